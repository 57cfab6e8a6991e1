/* SPDX-License-Identifier: MIT */
/*
 * drover ssh: the system's ssh, told to reach the member through the helper. The host key was made by drover, so the
 * very first connection is verified and nothing of the user's own ssh files is read for it or written.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/commands.h"

enum { SSH_ARGS = 24 };

/* This program's path, quoted for ssh: for its own %-expansion and for the shell that it starts. */
static char *quoted_self(void)
{
	scoped(buf) struct buf b = BUF_INIT;
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (n <= 0)
		return strdup("drover");
	path[n] = '\0';
	if (buf_addstr(&b, "'") < 0)
		return NULL;
	for (const char *p = path; *p; p++) {
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

struct ssh_paths {
	char *proxy;
	char *known_hosts;
	char *alias;
	char *key;
};

static void scoped_ssh_paths(struct ssh_paths *p)
{
	free(p->proxy);
	free(p->known_hosts);
	free(p->alias);
	free(p->key);
}

/* An option that holds a path: ssh splits it at blanks and expands '%' unless quoted and doubled. */
static char *path_option(const char *option, const char *path)
{
	scoped(buf) struct buf b = BUF_INIT;

	if (!path || buf_addf(&b, "%s=\"", option) < 0)
		return NULL;
	for (; *path; path++)
		if (buf_addf(&b, *path == '%' ? "%%%c" : "%c", *path) < 0)
			return NULL;
	if (buf_addstr(&b, "\"") < 0)
		return NULL;
	return buf_take(&b);
}

static int fill_paths(const char *name, struct ssh_paths *p)
{
	scoped(mem) char *self = quoted_self();
	scoped(mem) char *known_hosts = drover_path(NULL, name, DROVER_PATH_KNOWN_HOSTS);
	scoped(mem) char *key = drover_path(NULL, name, DROVER_PATH_KEY);

	if (self)
		p->proxy = str_format("ProxyCommand=%s dial --fd %s 22", self, name);
	p->known_hosts = path_option("UserKnownHostsFile", known_hosts);
	p->alias = str_format("HostKeyAlias=%s", name);
	p->key = path_option("IdentityFile", key);
	return p->proxy && p->known_hosts && p->alias && p->key ? 0 : -ENOMEM;
}

static int exec_ssh(const struct drover_member *m, const struct args *a)
{
	scoped(ssh_paths) struct ssh_paths p = {0};
	scoped(mem) const char **argv = NULL;
	size_t n = 0;

	argv = calloc(SSH_ARGS + a->tail_count + 1, sizeof(*argv));
	if (!argv || fill_paths(m->name, &p) < 0)
		return say_error("out of memory");
	const char *const fixed[] = {
		"ssh",
		"-F",
		"none",
		"-o",
		p.proxy,
		"-o",
		"ProxyUseFdpass=yes",
		"-o",
		p.known_hosts,
		"-o",
		"GlobalKnownHostsFile=none",
		"-o",
		p.alias,
		"-o",
		"StrictHostKeyChecking=yes",
		"-o",
		p.key,
		"-o",
		"IdentitiesOnly=yes",
		"-l",
		*m->user ? m->user : "root",
		m->name,
	};

	_Static_assert(sizeof(fixed) / sizeof(fixed[0]) <= SSH_ARGS, "ssh arguments");
	for (; n < sizeof(fixed) / sizeof(fixed[0]); n++)
		argv[n] = fixed[n];
	if (a->tail_count > 0)
		argv[n++] = "--";
	for (size_t i = 0; i < a->tail_count; i++)
		argv[n++] = a->tail[i];
	interrupt_reset();
	execvp("ssh", (char *const *)argv);
	if (errno == ENOENT)
		return say_error("the program ssh is not installed (openssh-client)");
	return say_error("cannot run ssh: %s", strerror(errno));
}

static int run_ssh(const struct command *self, const void *settings, const struct args *a)
{
	scoped(targets) struct targets t = {0};
	const struct drover_member *m;
	int r;

	if (a->count != 1)
		return say_usage(self, "ssh needs the name of a member");
	r = targets_find(NULL, 0, false, &t);
	if (r != CLI_OK)
		return r;
	m = targets_member(&t, a->names[0]);
	if (!m)
		return say_error("no member is called '%s'", a->names[0]);
	if (m->pid <= 0)
		return say_error("'%s' is not running; 'drover up %s' boots it", m->name, m->name);
	return exec_ssh(m, a);
}

const struct command command_ssh = {
	.name = "ssh",
	.usage = "NAME [--] [COMMAND...]",
	.summary = "Log in to a member, with the system's ssh",
	.shape = ARGS_STOP_AT_FIRST,
	.run = run_ssh,
};
