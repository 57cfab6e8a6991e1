/* SPDX-License-Identifier: MIT */
#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/commands.h"

struct audit_settings {
	bool json;
};

static const struct option_row audit_options[] = {
	{"json", 0, OPTION_FLAG, offsetof(struct audit_settings, json), NULL,
	 "an array of objects"},
	{0},
};

static int print_json(const struct drover_thing *things, int n)
{
	json_t *all = json_array();

	for (int i = 0; i < n; i++)
		json_array_append_new(
			all, json_pack("{s:s, s:s, s:s, s:i, s:b}", "kind", things[i].kind, "what",
				       things[i].what, "member", things[i].member, "owner",
				       things[i].owner, "owned", things[i].owner != 0));
	return say_json(all);
}

static int print_table(const struct drover_thing *things, int n)
{
	scoped(table) struct table *out = table_new(4);

	table_add(out, (const char *[]){"KIND", "MEMBER", "OWNER", "WHAT"});
	for (int i = 0; i < n; i++) {
		char owner[16];

		snprintf(owner, sizeof(owner), "%d", things[i].owner);
		table_add(out, (const char *[]){
				       things[i].kind, *things[i].member ? things[i].member : "-",
				       things[i].owner ? owner : "nobody", things[i].what});
	}
	if (n > 0)
		table_print(out);
	return say_done();
}

/* What audit cannot see for want of rights is said, and is no fault of a cluster's. */
static void say_unseen(void)
{
	if (geteuid() != 0)
		fputs("note: what other users' processes hold open is not seen; as root it is: "
		      "sudo DROVER_HOME=... drover audit\n",
		      stderr);
}

static int run_audit(const struct command *self, const void *settings, const struct args *a)
{
	const struct audit_settings *s = settings;
	scoped(mem) struct drover_thing *things = NULL;
	struct drover_error e = {0};
	int unowned = 0;
	int n;
	int r;

	if (a->count > 0)
		return say_usage(self, "audit takes no names");
	n = drover_audit(NULL, NULL, &things, &e);
	if (n < 0)
		return say_failed(NULL, &e);
	r = s->json ? print_json(things, n) : print_table(things, n);
	for (int i = 0; i < n; i++)
		unowned += things[i].owner == 0;
	say_unseen();
	if (r == CLI_OK && unowned)
		return say_error("%d thing%s nobody's; 'drover prune' reclaims what is", unowned,
				 unowned == 1 ? " is" : "s are");
	return r;
}

const struct command command_audit = {
	.name = "audit",
	.usage = "[--json]",
	.summary = "List everything that runs or is held, with its owner",
	.options = audit_options,
	.settings_size = sizeof(struct audit_settings),
	.run = run_audit,
};
