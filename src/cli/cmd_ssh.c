/* SPDX-License-Identifier: MIT */
/*
 * drover ssh: the system's ssh, told to reach the member through the helper. The host key was made by drover, so the
 * very first connection is verified and nothing of the user's own ssh files is read for it or written.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/commands.h"

static int exec_ssh(const struct drover_member *m, const struct args *a)
{
	scoped(ssh_options) struct ssh_options o = {0};
	scoped(mem) const char **argv = NULL;
	size_t n = 0;

	argv = calloc(3 + 2 * SSH_OPTIONS + 2 + a->tail_count + 1, sizeof(*argv));
	if (!argv || ssh_options_make(m, &o) < 0)
		return say_error("out of memory");
	argv[n++] = "ssh";
	argv[n++] = "-F";
	argv[n++] = "none";
	for (size_t i = 0; i < SSH_OPTIONS; i++) {
		argv[n++] = "-o";
		argv[n++] = o.v[i];
	}
	argv[n++] = m->name;
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
	struct drover_error e;
	int r;

	if (a->count != 1)
		return say_usage(self, "ssh needs the name of a member");
	r = targets_find_member(a->names[0], &t, &m);
	if (r != CLI_OK)
		return r;
	if (m->pid <= 0) {
		member_not_running(m->name, &e);
		return say_failed(NULL, &e);
	}
	return exec_ssh(m, a);
}

const struct command command_ssh = {
	.name = "ssh",
	.usage = "NAME [--] [COMMAND...]",
	.summary = "Log in to a member, with the system's ssh",
	.shape = ARGS_STOP_AT_FIRST,
	.run = run_ssh,
};
