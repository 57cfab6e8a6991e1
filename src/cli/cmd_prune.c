/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/commands.h"

struct prune_settings {
	bool json;
};

static const struct option_row prune_options[] = {
	{"json", 0, OPTION_FLAG, offsetof(struct prune_settings, json), NULL, "as JSON"},
	{0},
};

static bool is_there(const struct drover_thing *things, int n, const struct drover_thing *t)
{
	for (int i = 0; i < n; i++)
		if (!strcmp(things[i].kind, t->kind) && !strcmp(things[i].what, t->what))
			return true;
	return false;
}

/* What was nobody's before: gone, or still there. */
static int report(const struct drover_thing *before, int n, const struct drover_thing *after, int m)
{
	int status = CLI_OK;

	for (int i = 0; i < n; i++) {
		if (before[i].owner)
			continue;
		if (is_there(after, m, &before[i]))
			status = say_error("%s %s is still there", before[i].kind, before[i].what);
		else
			printf("%s %s: reclaimed\n", before[i].kind, before[i].what);
	}
	return status == CLI_OK ? say_done() : status;
}

static int report_json(const struct drover_thing *before, int n, const struct drover_thing *after,
		       int m)
{
	json_t *all = json_array();
	int status = CLI_OK;

	for (int i = 0; i < n; i++) {
		bool gone = !is_there(after, m, &before[i]);

		if (before[i].owner)
			continue;
		if (!gone)
			status = CLI_FAILED;
		json_array_append_new(all, json_pack("{s:s, s:s, s:s, s:b}", "kind", before[i].kind,
						     "what", before[i].what, "member",
						     before[i].member, "reclaimed", gone));
	}
	return say_json(all) == CLI_OK ? status : CLI_FAILED;
}

static int run_prune(const struct command *self, const void *settings, const struct args *a)
{
	const struct prune_settings *s = settings;
	scoped(mem) struct drover_thing *before = NULL;
	scoped(mem) struct drover_thing *after = NULL;
	struct drover_error e = {0};
	int status = CLI_OK;
	int n;
	int m;

	if (a->count > 0)
		return say_usage(self, "prune takes no names");
	n = drover_audit(NULL, NULL, &before, &e);
	if (n < 0)
		return say_failed(NULL, &e);
	if (drover_prune(NULL, NULL, &e) < 0)
		status = say_failed(NULL, &e);
	m = drover_audit(NULL, NULL, &after, &e);
	if (m < 0)
		return say_failed(NULL, &e);
	m = s->json ? report_json(before, n, after, m) : report(before, n, after, m);
	return m == CLI_OK ? status : CLI_FAILED;
}

const struct command command_prune = {
	.name = "prune",
	.usage = "[--json]",
	.summary = "Clean up what audit lists as nobody's",
	.options = prune_options,
	.settings_size = sizeof(struct prune_settings),
	.run = run_prune,
};
