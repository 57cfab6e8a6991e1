/* SPDX-License-Identifier: MIT */
/* A session to a member: which key, which user, and whose host key is expected. */
#include "base/files.h"
#include "base/scoped.h"
#include "client/client.h"

/* The store's, or what came with the member out of a file. */
static char *login_key(const struct store *store, const char *name)
{
	scoped(mem) char *its = store_member_path(store, name, MEMBER_LOGIN_KEY);

	return its && files_exist(its) ? take_ptr(&its) : str_format("%s/" STORE_KEY, store->root);
}

int vm_ssh_open(const struct store *store, const char *name, const char *user, int fd,
		const struct ssh_limits *limits, struct ssh_session **ret, struct err *e)
{
	scoped(mem) char *key = login_key(store, name);
	scoped(mem) char *host_key = store_member_path(store, name, MEMBER_HOST_PUBLIC);
	const struct ssh_options o = {
		.name = name,
		.user = user && *user ? user : "drover",
		.key_path = key,
		.host_key_path = host_key,
		.limits = *limits,
	};

	if (!key || !host_key) {
		close_fd(&fd);
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	}
	return ssh_open(fd, &o, ret, e);
}
