/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/commands.h"

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

static int run_prune(const struct command *self, const void *settings, const struct args *a)
{
	scoped(mem) struct drover_thing *before = NULL;
	scoped(mem) struct drover_thing *after = NULL;
	struct drover_error e = {0};
	int status = CLI_OK;
	int n;
	int m;

	if (a->count > 0)
		return say_usage(self, "prune takes no names");
	n = drover_audit(NULL, &before, &e);
	if (n < 0)
		return say_error("%s", e.message);
	if (drover_prune(NULL, &e) < 0)
		status = say_error("%s", e.message);
	m = drover_audit(NULL, &after, &e);
	if (m < 0)
		return say_error("%s", e.message);
	return report(before, n, after, m) == CLI_OK ? status : CLI_FAILED;
}

const struct command command_prune = {
	.name = "prune",
	.usage = "",
	.summary = "End and remove what audit says is nobody's",
	.run = run_prune,
};
