/* SPDX-License-Identifier: MIT */
/* drover doctor: what of the host is as drover needs it, and the command that mends the rest. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/commands.h"

struct doctor_settings {
	bool json;
};

static const struct option_row doctor_options[] = {
	{"json", 0, OPTION_FLAG, offsetof(struct doctor_settings, json), NULL, "as JSON"},
	{0},
};

static int print_json(const struct drover_check *all, int n)
{
	json_t *out = json_array();

	for (int i = 0; i < n; i++)
		json_array_append_new(out, json_pack("{s:s, s:s, s:s, s:s}", "name", all[i].name,
						     "state", all[i].state, "found", all[i].found,
						     "fix", all[i].fix));
	return say_json(out);
}

static int print_lines(const struct drover_check *all, int n)
{
	for (int i = 0; i < n; i++) {
		printf("%-8s %-19s %s\n", all[i].state, all[i].name, all[i].found);
		if (*all[i].fix)
			printf("%-8s %-19s -> %s\n", "", "", all[i].fix);
	}
	return say_done();
}

static int run_doctor(const struct command *self, const void *settings, const struct args *a)
{
	const struct doctor_settings *s = settings;
	scoped(mem) struct drover_check *all = NULL;
	struct drover_error e;
	int missing = 0;
	int n;
	int r;

	if (a->count > 0)
		return say_usage(self, "doctor takes no names");
	n = drover_doctor(NULL, NULL, &all, &e);
	if (n < 0)
		return say_failed(NULL, &e);
	for (int i = 0; i < n; i++)
		missing += !strcmp(all[i].state, "missing");
	r = s->json ? print_json(all, n) : print_lines(all, n);
	if (r == CLI_OK && missing)
		return say_error("%d of what every cluster needs %s missing", missing,
				 missing == 1 ? "is" : "are");
	return r;
}

const struct command command_doctor = {
	.name = "doctor",
	.usage = "[--json]",
	.summary = "Check that the host has what drover needs, and say how to fix it",
	.options = doctor_options,
	.settings_size = sizeof(struct doctor_settings),
	.run = run_doctor,
};
