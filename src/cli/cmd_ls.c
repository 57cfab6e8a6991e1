/* SPDX-License-Identifier: MIT */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/commands.h"

struct ls_settings {
	bool quiet;
	bool json;
	const char *output;
};

static const struct option_row ls_options[] = {
	{"quiet", 'q', OPTION_FLAG, offsetof(struct ls_settings, quiet), NULL, "names only"},
	{"output", 'o', OPTION_TEXT, offsetof(struct ls_settings, output), "table|json",
	 "what is printed (default table)"},
	{"json", 0, OPTION_FLAG, offsetof(struct ls_settings, json), NULL, "same as -o json"},
	{0},
};

static int print_json(const struct targets *t)
{
	json_t *all = json_array();

	for (size_t i = 0; i < t->count; i++) {
		const struct drover_member *m = t->hit[i];

		json_array_append_new(
			all,
			json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:s}",
				  "name", m->name, "cluster", m->cluster, "state", m->state,
				  "address", m->ip, "image", m->image, "user", m->user,
				  "created_at", m->created_at, "cpus", (int)m->cpus, "memory_mb",
				  (int)m->memory_mb, "disk_mb", (int)m->disk_mb, "pid", m->pid,
				  "message", m->message));
	}
	return say_json(all);
}

static int print_table(const struct targets *t)
{
	scoped(table) struct table *out = table_new(8);

	table_add(out, (const char *[]){"NAME", "STATE", "ADDRESS", "IMAGE", "CPUS", "MEM", "DISK",
					"AGE"});
	for (size_t i = 0; i < t->count; i++) {
		const struct drover_member *m = t->hit[i];
		char cpus[16];
		char mem[16];
		char disk[16];
		char age[24];

		snprintf(cpus, sizeof(cpus), "%u", m->cpus);
		say_mb(m->memory_mb, mem, sizeof(mem));
		say_mb(m->disk_mb, disk, sizeof(disk));
		say_age(m->created_at, age, sizeof(age));
		table_add(out, (const char *[]){m->name, m->state, m->ip, m->image, cpus, mem, disk,
						age});
	}
	table_print(out);
	for (size_t i = 0; i < t->count; i++)
		if (*t->hit[i]->message)
			say_of(t->hit[i]->name, t->hit[i]->message);
	return say_done();
}

static int run_ls(const struct command *self, const void *settings, const struct args *a)
{
	const struct ls_settings *s = settings;
	scoped(targets) struct targets t = {0};
	bool json = s->json || (s->output && !strcmp(s->output, "json"));
	int r;

	r = targets_find(a->names, a->count, a->count == 0, &t);
	if (r != CLI_OK)
		return r;
	if (json)
		r = print_json(&t);
	else if (s->quiet)
		for (size_t i = 0; i < t.count; i++)
			puts(t.hit[i]->name);
	else if (t.count > 0 || !t.unknown)
		r = print_table(&t);
	if (r == CLI_OK)
		r = say_done();
	return t.unknown ? CLI_FAILED : r;
}

const struct command command_ls = {
	.name = "ls",
	.usage = "[OPTIONS] [NAME|CLUSTER...]",
	.summary = "List members, running or not",
	.options = ls_options,
	.settings_size = sizeof(struct ls_settings),
	.run = run_ls,
};
