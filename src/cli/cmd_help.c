/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/commands.h"

/* What stands above a command, and above those that follow it. */
static const struct {
	const struct command *first;
	const char *title;
} groups[] = {
	{&command_up, "Start and stop"},
	{&command_exec, "Use"},
	{&command_ls, "Inspect"},
	{&command_pause, "Pause, save and copy"},
	{&command_image, "Images and the host"},
	{&command_version, "About drover"},
};

static int help_all(void)
{
	printf("usage: drover COMMAND [OPTIONS] [NAME...]\n\n"
	       "Real Linux virtual machines, alone or as a cluster, for tests and development.\n");
	for (const struct command *const *c = cli_commands; *c; c++) {
		for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
			if (groups[i].first == *c)
				printf("\n%s:\n", groups[i].title);
		if (!(*c)->hidden)
			printf("  %-11s %s\n", (*c)->name, (*c)->summary);
	}
	printf("\nTo start: drover up web -n 2, drover ls, drover ssh web-1, drover rm web.\n"
	       "'drover help COMMAND' tells more, and so does the page drover-COMMAND(1).\n");
	return say_done();
}

/* "save" of snapshot: a word of its usage that stands for itself. */
static bool is_verb_of(const struct command *c, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = c->usage; len > 0 && (at = strstr(at, word)); at += len)
		if ((at == c->usage || at[-1] == ' ') && (!at[len] || at[len] == ' ') &&
		    word[strspn(word, "abcdefghijklmnopqrstuvwxyz")] == '\0')
			return true;
	return false;
}

static int run_help(const struct command *self, const void *settings, const struct args *a)
{
	const struct command *c;

	if (a->count == 0)
		return help_all();
	c = cli_find_command(a->names[0]);
	if (!c)
		return cli_unknown_command(a->names[0]);
	if (a->count > 2 || (a->count == 2 && !is_verb_of(c, a->names[1])))
		return say_usage(NULL, "help takes one command");
	options_help(c);
	return say_done();
}

const struct command command_help = {
	.name = "help",
	.usage = "[COMMAND]",
	.summary = "Show how to use a command",
	.run = run_help,
};

struct version_settings {
	bool json;
};

static const struct option_row version_options[] = {
	{"json", 0, OPTION_FLAG, offsetof(struct version_settings, json), NULL, "a JSON object"},
	{0},
};

static int run_version(const struct command *self, const void *settings, const struct args *a)
{
	const struct version_settings *s = settings;

	if (a->count > 0)
		return say_usage(self, "version takes no arguments");
	if (s->json)
		return say_json(json_pack("{s:s}", "version", drover_version()));
	printf("drover %s\n", drover_version());
	return say_done();
}

const struct command command_version = {
	.name = "version",
	.usage = "[--json]",
	.summary = "Show the version",
	.options = version_options,
	.settings_size = sizeof(struct version_settings),
	.run = run_version,
};
