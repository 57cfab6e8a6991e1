/* SPDX-License-Identifier: MIT */
/* Where a cluster's network is: in the namespaces of the helper proper, which is its supervisor's child. */
#include "base/scoped.h"
#include "client/client.h"
#include "store/audit.h"

#include <fcntl.h>
#include <sys/stat.h>

static pid_t find_supervisor(const struct drover_cluster *c)
{
	pid_t pid = 0;

	for (size_t i = 0; i < c->n_vms && !pid; i++)
		pid = store_owner_alive(&c->store, c->vms[i]->name);
	return pid;
}

static const struct process *find_helper(const struct process_list *l, pid_t supervisor)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->all[i].is_helper && l->all[i].parent == supervisor)
			return &l->all[i];
	return NULL;
}

/* *@ret_fd is -1 when @kind is the caller's own. */
static int open_namespace(pid_t pid, const char *kind, int *ret_fd, struct err *e)
{
	char path[64];
	char own[64];
	struct stat a;
	struct stat b;
	scoped(fd) int fd = -1;

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, kind);
	snprintf(own, sizeof(own), "/proc/self/ns/%s", kind);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &a) < 0 || stat(own, &b) < 0)
		return err_errno(e, -errno, "open %s", path);
	*ret_fd = a.st_ino == b.st_ino ? -1 : take_fd(&fd);
	return 0;
}

static int find_namespaces(const struct drover_cluster *c, int *ret_user, int *ret_net,
			   struct err *e)
{
	scoped(processes) struct process_list all = {0};
	scoped(fd) int user = -1;
	pid_t supervisor = find_supervisor(c);
	const struct process *helper;
	int r = store_processes(&c->store, &all, e);

	if (r < 0)
		return r;
	if (!supervisor)
		return err_set(e, ERR_NOT_RUNNING, "the cluster is not running");
	helper = find_helper(&all, supervisor);
	if (!helper)
		return err_set(e, ERR_UNSUPPORTED,
			       "the cluster of %s has no network of its own (backend fake)",
			       c->vms[0]->name);
	r = open_namespace(helper->id.pid, "user", &user, e);
	if (r == 0)
		r = open_namespace(helper->id.pid, "net", ret_net, e);
	if (r < 0)
		return r;
	if (*ret_net < 0)
		close_fd(&user);
	if (!procid_is_alive(&helper->id)) { /* what was opened may be somebody else's */
		close_fd(ret_net);
		return err_set(e, ERR_NOT_RUNNING, "the cluster is not running any more");
	}
	*ret_user = take_fd(&user);
	return 0;
}

int drover_cluster_namespaces(struct drover_cluster *c, int *ret_user, int *ret_net,
			      struct drover_error *pe)
{
	struct err e = ERR_INIT;
	int user = -1;
	int net = -1;
	int r = find_namespaces(c, &user, &net, &e);

	if (r < 0)
		return public_error(pe, &e, r);
	*ret_user = user;
	*ret_net = net;
	return 0;
}
