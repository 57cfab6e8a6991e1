/* SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "base/buf.h"
#include "cli/cli.h"
#include "cli/commands.h"

struct rm_settings {
	bool all;
	bool force;
	bool json;
};

static const struct option_row rm_options[] = {
	{"force", 'f', OPTION_FLAG, offsetof(struct rm_settings, force), NULL, "do not ask"},
	{"all", 'a', OPTION_FLAG, offsetof(struct rm_settings, all), NULL, "every member"},
	{"json", 0, OPTION_FLAG, offsetof(struct rm_settings, json), NULL, "results as JSON"},
	{0},
};

static int remove_one(const char *name, struct drover_error *e)
{
	return drover_remove(NULL, name, NULL, e);
}

/* True when the user says yes. */
static bool ask(const struct targets *t)
{
	scoped(buf) struct buf text = BUF_INIT;
	scoped(mem) char *line = NULL;
	size_t size = 0;

	for (size_t i = 0; i < t->count; i++) {
		const char *before = i == 0 ? "" : i + 1 == t->count ? " and " : ", ";

		if (buf_addf(&text, "%s%s", before, t->hit[i]->name) < 0)
			return false;
	}
	fprintf(stderr, "Remove %s and %s disk%s? [y/N] ", text.data,
		t->count == 1 ? "its" : "their", t->count == 1 ? "" : "s");
	fflush(stderr);
	if (getline(&line, &size, stdin) < 0)
		return false;
	return line[0] == 'y' || line[0] == 'Y';
}

static int run_rm(const struct command *self, const void *settings, const struct args *a)
{
	const struct rm_settings *s = settings;
	scoped(targets) struct targets t = {0};
	int r;

	if (a->count == 0 && !s->all)
		return say_usage(self, "rm needs a name, a cluster or --all");
	if (a->count > 0 && s->all)
		return say_usage(self, "option --all takes no names");
	r = targets_find(a->names, a->count, s->all, &t);
	if (r != CLI_OK)
		return r;
	if (t.count > 0 && !s->force) {
		if (!isatty(STDIN_FILENO))
			return say_error("rm asks before it removes, and stdin is not a terminal: "
					 "use -f");
		if (!ask(&t))
			return say_error("nothing was removed");
	}
	r = targets_each(&t, remove_one,
			 &(struct target_words){.done = "removed", .json = s->json});
	return t.unknown ? CLI_FAILED : r;
}

const struct command command_rm = {
	.name = "rm",
	.usage = "[-f] [--json] NAME|CLUSTER... | --all",
	.summary = "Stop members and remove them with their disks",
	.options = rm_options,
	.settings_size = sizeof(struct rm_settings),
	.run = run_rm,
};
