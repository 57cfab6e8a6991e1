/* SPDX-License-Identifier: MIT */
#include "cli/cli.h"
#include "cli/commands.h"

struct down_settings {
	bool all;
	bool json;
};

static const struct option_row down_options[] = {
	{"all", 'a', OPTION_FLAG, offsetof(struct down_settings, all), NULL, "every member"},
	{"json", 0, OPTION_FLAG, offsetof(struct down_settings, json), NULL, "results as JSON"},
	{0},
};

static int stop_one(const char *name, struct drover_error *e)
{
	return drover_stop(NULL, name, NULL, e);
}

static int run_down(const struct command *self, const void *settings, const struct args *a)
{
	const struct down_settings *s = settings;
	scoped(targets) struct targets t = {0};
	int r;

	if (a->count == 0 && !s->all)
		return say_usage(self, "down needs a name, a cluster or --all");
	if (a->count > 0 && s->all)
		return say_usage(self, "option --all takes no names");
	r = targets_find(a->names, a->count, s->all, &t);
	if (r == CLI_OK)
		r = targets_each(&t, stop_one,
				 &(struct target_words){"stopped", "not_running", "was not running",
							s->json});
	return t.unknown ? CLI_FAILED : r;
}

const struct command command_down = {
	.name = "down",
	.usage = "[--json] NAME|CLUSTER... | --all",
	.summary = "Stop members; their disks stay",
	.options = down_options,
	.settings_size = sizeof(struct down_settings),
	.run = run_down,
};
