/* SPDX-License-Identifier: MIT */
/* drover stats: what running members have used since they were started. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/commands.h"

struct stats_settings {
	bool json;
};

static const struct option_row stats_options[] = {
	{"json", 0, OPTION_FLAG, offsetof(struct stats_settings, json), NULL, "as JSON"},
	{0},
};

static const struct drover_stats *find(const struct drover_stats *all, int n, const char *name)
{
	for (int i = 0; i < n; i++)
		if (!strcmp(all[i].member, name))
			return &all[i];
	return NULL;
}

/* null for what nobody can tell */
static json_t *number(int64_t value)
{
	return value < 0 ? json_null() : json_integer(value);
}

static json_t *json_of(const struct drover_stats *s)
{
	return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "name", s->member, "cpu_ms",
			 number(s->cpu_ms), "memory_bytes", number(s->memory_bytes),
			 "disk_read_bytes", number(s->disk_read_bytes), "disk_written_bytes",
			 number(s->disk_written_bytes), "net_received_bytes",
			 number(s->net_received_bytes), "net_sent_bytes",
			 number(s->net_sent_bytes));
}

static void add_row(struct table *out, const struct drover_stats *s)
{
	char cell[6][24];

	say_seconds(s->cpu_ms, cell[0], sizeof(cell[0]));
	say_bytes(s->memory_bytes, cell[1], sizeof(cell[1]));
	say_bytes(s->disk_read_bytes, cell[2], sizeof(cell[2]));
	say_bytes(s->disk_written_bytes, cell[3], sizeof(cell[3]));
	say_bytes(s->net_received_bytes, cell[4], sizeof(cell[4]));
	say_bytes(s->net_sent_bytes, cell[5], sizeof(cell[5]));
	table_add(out, (const char *[]){s->member, cell[0], cell[1], cell[2], cell[3], cell[4],
					cell[5]});
}

static int print_json(const struct drover_stats *rows, size_t n)
{
	json_t *all = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(all, json_of(&rows[i]));
	return say_json(all);
}

static int print_table(const struct drover_stats *rows, size_t n)
{
	scoped(table) struct table *out = table_new(7);

	table_add(out, (const char *[]){"NAME", "CPU", "MEMORY", "DISK-READ", "DISK-WRITTEN",
					"NET-IN", "NET-OUT"});
	for (size_t i = 0; i < n; i++)
		add_row(out, &rows[i]);
	table_print(out);
	return say_done();
}

/* Of @t's members those that run, in the order of the store. A failure names those that were asked for and do not. */
static int pick(const struct targets *t, bool named, const struct drover_stats *all, int n,
		struct drover_stats *ret, size_t *ret_n)
{
	int status = t->unknown ? CLI_FAILED : CLI_OK;

	for (size_t i = 0; i < t->count; i++) {
		const struct drover_stats *one = find(all, n, t->hit[i]->name);
		struct drover_error e;

		if (one) {
			ret[(*ret_n)++] = *one;
		} else if (named) {
			member_not_running(t->hit[i]->name, &e);
			status = say_failed(NULL, &e);
		}
	}
	return status;
}

static int run_stats(const struct command *self, const void *settings, const struct args *a)
{
	const struct stats_settings *s = settings;
	scoped(targets) struct targets t = {0};
	scoped(mem) struct drover_stats *all = NULL;
	scoped(mem) struct drover_stats *rows = NULL;
	struct drover_error e;
	size_t count = 0;
	int printed = CLI_OK;
	int status = targets_find(a->names, a->count, a->count == 0, &t);
	int n;

	if (status != CLI_OK)
		return status;
	n = drover_stats(NULL, NULL, &all, &e);
	if (n < 0)
		return say_failed(NULL, &e);
	rows = calloc(t.count + 1, sizeof(*rows));
	if (!rows)
		return say_error("out of memory");
	status = pick(&t, a->count > 0, all, n, rows, &count);
	if (s->json)
		printed = print_json(rows, count);
	else if (count > 0 || status == CLI_OK)
		printed = print_table(rows, count);
	return printed == CLI_OK ? status : printed;
}

const struct command command_stats = {
	.name = "stats",
	.usage = "[--json] [NAME|CLUSTER...]",
	.summary = "Show the resource use of running members since they were started",
	.options = stats_options,
	.settings_size = sizeof(struct stats_settings),
	.run = run_stats,
};
