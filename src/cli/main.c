/* SPDX-License-Identifier: MIT */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/commands.h"

enum { NAME_MAX_LEN = 31, NEAR_ENOUGH = 2 };

const struct command *const cli_commands[] = {
	&command_up,    &command_ls,       &command_stats,
	&command_top,   &command_events,   &command_timeline,
	&command_wait,  &command_ssh,      &command_ssh_config,
	&command_exec,  &command_cp,       &command_run,
	&command_logs,  &command_console,  &command_forward,
	&command_net,   &command_pause,    &command_resume,
	&command_fork,  &command_snapshot, &command_reset,
	&command_kill,  &command_down,     &command_rm,
	&command_image, &command_audit,    &command_doctor,
	&command_prune, &command_version,  &command_help,
	&command_dial,  &command_complete, NULL,
};

const struct command *cli_find_command(const char *name)
{
	for (const struct command *const *c = cli_commands; *c; c++)
		if (!strcmp((*c)->name, name))
			return *c;
	return NULL;
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned m = a < b ? a : b;

	return m < c ? m : c;
}

/* How many letters must be changed, added or taken to make @a of @b. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[NAME_MAX_LEN + 2];
	size_t la = strnlen(a, NAME_MAX_LEN);
	size_t lb = strnlen(b, NAME_MAX_LEN);

	for (size_t j = 0; j <= lb; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= la; i++) {
		unsigned diagonal = row[0];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= lb; j++) {
			unsigned above = row[j];

			row[j] = min3(above + 1, row[j - 1] + 1,
				      diagonal + (a[i - 1] == b[j - 1] ? 0 : 1));
			diagonal = above;
		}
	}
	return row[lb];
}

static int unknown_command(const char *name)
{
	const char *nearest = NULL;
	unsigned best = NEAR_ENOUGH + 1;

	for (const struct command *const *c = cli_commands; *c; c++) {
		unsigned d = distance(name, (*c)->name);

		if (!(*c)->hidden && d < best && d < strlen((*c)->name)) {
			best = d;
			nearest = (*c)->name;
		}
	}
	if (nearest)
		return say_usage(NULL, "there is no command '%s'; did you mean '%s'?", name,
				 nearest);
	return say_usage(NULL, "there is no command '%s'", name);
}

static int run_command(const struct command *c, int argc, char **argv)
{
	scoped(mem) void *settings = calloc(1, c->settings_size + 1);
	struct args args;
	bool help = false;
	int r;

	if (!settings)
		return say_error("out of memory");
	r = options_parse(c, argc, argv, settings, &args, &help);
	if (r != CLI_OK)
		return r;
	if (help) {
		options_help(c);
		return say_done();
	}
	return c->run(c, settings, &args);
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;
	const struct command *c;

	/* a helper or a reader that goes away is an error to report, not a death */
	signal(SIGPIPE, SIG_IGN);
	if (!name)
		return say_usage(NULL, "which command?");
	if (!strcmp(name, "--help") || !strcmp(name, "-h"))
		name = "help";
	else if (!strcmp(name, "--version") || !strcmp(name, "-V"))
		name = "version";
	else if (name[0] == '-')
		return say_usage(NULL, "unknown option '%s'", name);
	c = cli_find_command(name);
	if (!c)
		return unknown_command(name);
	return run_command(c, argc - 2, argv + 2);
}
