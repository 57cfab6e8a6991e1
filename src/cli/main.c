/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/commands.h"

const struct command *const cli_commands[] = {
	&command_up,         &command_run,
	&command_down,       &command_restart,
	&command_kill,       &command_rm,
	&command_exec,       &command_ssh,
	&command_ssh_config, &command_cp,
	&command_console,    &command_forward,
	&command_net,        &command_ls,
	&command_top,        &command_stats,
	&command_events,     &command_wait,
	&command_logs,       &command_timeline,
	&command_pause,      &command_resume,
	&command_snapshot,   &command_reset,
	&command_fork,       &command_image,
	&command_doctor,     &command_audit,
	&command_prune,      &command_version,
	&command_help,       &command_dial,
	&command_complete,   NULL,
};

const struct command *cli_find_command(const char *name)
{
	for (const struct command *const *c = cli_commands; *c; c++)
		if (!strcmp((*c)->name, name))
			return *c;
	return NULL;
}

/* What other tools of this kind call it. */
static const struct {
	const char *theirs;
	const char *ours;
} synonyms[] = {
	{"start", "up"},       {"launch", "up"},      {"create", "up"},
	{"boot", "up"},        {"list", "ls"},        {"ps", "ls"},
	{"status", "ls"},      {"info", "ls"},        {"shell", "ssh"},
	{"connect", "ssh"},    {"copy", "cp"},        {"scp", "cp"},
	{"transfer", "cp"},    {"stop", "down"},      {"halt", "down"},
	{"shutdown", "down"},  {"delete", "rm"},      {"destroy", "rm"},
	{"remove", "rm"},      {"suspend", "pause"},  {"restore", "reset"},
	{"clone", "fork"},     {"images", "image"},   {"checkpoint", "snapshot"},
	{"reboot", "restart"}, {"reload", "restart"},
};

int cli_unknown_command(const char *name)
{
	struct near near = {.word = name};

	for (size_t i = 0; i < sizeof(synonyms) / sizeof(synonyms[0]); i++)
		if (!strcmp(synonyms[i].theirs, name))
			return say_usage(NULL, "there is no command '%s': here it is '%s'", name,
					 synonyms[i].ours);
	for (const struct command *const *c = cli_commands; *c; c++)
		if (!(*c)->hidden)
			near_try(&near, (*c)->name);
	if (near.best)
		return say_usage(NULL, "there is no command '%s'; did you mean '%s'?", name,
				 near.best);
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
	r = c->run(c, settings, &args);
	return r == CLI_OK ? say_done() : r;
}

/*
 * The number of a stream that is closed would go to the next file or socket that is opened, and what is printed into that. Now
 * stdin is empty, stdout cannot be written, and stderr says nothing.
 */
static void hold_streams(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			(void)!open("/dev/null", fd == STDERR_FILENO ? O_WRONLY : O_RDONLY);
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;
	const struct command *c;

	hold_streams();
	/* a helper or a reader that goes away is an error to report, not a death */
	signal(SIGPIPE, SIG_IGN);
	if (!name)
		return say_usage(NULL, "which command?");
	if (!strcmp(name, "--help") || !strcmp(name, "-h"))
		name = "help";
	else if (!strcmp(name, "--version") || !strcmp(name, "-V"))
		name = "version";
	else if (name[0] == '-')
		return say_usage(NULL, "unknown option '%s': options follow the command", name);
	c = cli_find_command(name);
	if (!c)
		return cli_unknown_command(name);
	return run_command(c, argc - 2, argv + 2);
}
