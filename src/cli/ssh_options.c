/* SPDX-License-Identifier: MIT */
/* What ssh must be told to reach a member: the same words for its command line and for its configuration file. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "cli/cli.h"

/* @text quoted for ssh: for its own %-expansion and for the shell that it starts. Heap, or NULL. */
static char *quote(const char *text)
{
	scoped(buf) struct buf b = BUF_INIT;

	if (buf_addstr(&b, "'") < 0)
		return NULL;
	for (const char *p = text; *p; p++) {
		int r;

		if (*p == '\'')
			r = buf_addstr(&b, "'\\''");
		else if (*p == '%')
			r = buf_addstr(&b, "%%");
		else
			r = buf_add(&b, p, 1);
		if (r < 0)
			return NULL;
	}
	if (buf_addstr(&b, "'") < 0)
		return NULL;
	return buf_take(&b);
}

static char *quoted_self(void)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (n <= 0)
		return strdup("drover");
	path[n] = '\0';
	return quote(path);
}

/* An option that holds a path: ssh splits it at blanks, ends it at a '"' and expands '%', unless quoted, escaped and doubled. */
static char *path_option(const char *option, const char *path)
{
	scoped(buf) struct buf b = BUF_INIT;

	if (!path || buf_addf(&b, "%s=\"", option) < 0)
		return NULL;
	for (; *path; path++) {
		const char *before = *path == '%' ? "%" : *path == '"' || *path == '\\' ? "\\" : "";

		if (buf_addf(&b, "%s%c", before, *path) < 0)
			return NULL;
	}
	if (buf_addstr(&b, "\"") < 0)
		return NULL;
	return buf_take(&b);
}

/* The store is named in the command: ssh may be started from anywhere, with another environment. */
static char *proxy_option(const char *name, const char *key)
{
	scoped(mem) char *self = quoted_self();
	const char *slash = key ? strrchr(key, '/') : NULL;
	scoped(mem) char *root = slash ? strndup(key, (size_t)(slash - key)) : NULL;
	scoped(mem) char *home = root ? quote(root) : NULL;

	if (!self || !home)
		return NULL;
	return str_format("ProxyCommand=env DROVER_HOME=%s %s dial %s 22", home, self, name);
}

int ssh_options_make(const struct drover_member *m, struct ssh_options *ret)
{
	scoped(mem) char *known_hosts = drover_path(NULL, m->name, DROVER_PATH_KNOWN_HOSTS);
	scoped(mem) char *key = drover_path(NULL, m->name, DROVER_PATH_KEY);
	char *v[SSH_OPTIONS] = {
		proxy_option(m->name, key),
		path_option("UserKnownHostsFile", known_hosts),
		strdup("GlobalKnownHostsFile=none"),
		str_format("HostKeyAlias=%s", m->name),
		strdup("StrictHostKeyChecking=yes"),
		path_option("IdentityFile", key),
		strdup("IdentitiesOnly=yes"),
		str_format("User=%s", *m->user ? m->user : "root"),
	};
	int r = 0;

	for (size_t i = 0; i < SSH_OPTIONS; i++) {
		ret->v[i] = v[i];
		if (!v[i])
			r = -ENOMEM;
	}
	return r;
}

void ssh_options_done(struct ssh_options *o)
{
	for (size_t i = 0; i < SSH_OPTIONS; i++)
		free(o->v[i]);
	*o = (struct ssh_options){0};
}
