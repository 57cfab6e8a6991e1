/* SPDX-License-Identifier: MIT */
/*
 * drover ssh-config: a file for the user's own ssh to include. It names the store and this program by path, and members
 * by name, so it stays right when members stop, boot again and change their address.
 */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/commands.h"

static int print_host(const struct drover_member *m)
{
	scoped(ssh_options) struct ssh_options o = {0};

	if (ssh_options_make(m, &o) < 0)
		return say_error("out of memory");
	for (size_t i = 0; i < SSH_OPTIONS; i++)
		if (strchr(o.v[i], '\n'))
			return say_error(
				"ssh takes no path with a newline, as that of the state directory or of drover is");
	printf("Host %s\n", m->name);
	for (size_t i = 0; i < SSH_OPTIONS; i++)
		printf("\t%s\n", o.v[i]);
	return CLI_OK;
}

static int run_ssh_config(const struct command *self, const void *settings, const struct args *a)
{
	scoped(targets) struct targets t = {0};
	int r = targets_find(a->names, a->count, a->count == 0, &t);

	for (size_t i = 0; r == CLI_OK && i < t.count; i++)
		r = print_host(t.hit[i]);
	if (r == CLI_OK)
		r = say_done();
	return t.unknown ? CLI_FAILED : r;
}

const struct command command_ssh_config = {
	.name = "ssh-config",
	.usage = "[NAME|CLUSTER...]",
	.summary = "Print an SSH configuration with which plain ssh reaches members by name",
	.run = run_ssh_config,
};
