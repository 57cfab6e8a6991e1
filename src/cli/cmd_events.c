/* SPDX-License-Identifier: MIT */
/* drover events: what members do, a line each, until it is interrupted. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/str.h"
#include "cli/cli.h"
#include "cli/commands.h"

enum { MS = 1000 };

struct events_settings {
	bool json;
	unsigned seconds;
};

static const struct option_row events_options[] = {
	{"json", 0, OPTION_FLAG, offsetof(struct events_settings, json), NULL,
	 "one JSON object a line"},
	{"for", 0, OPTION_SECONDS, offsetof(struct events_settings, seconds), "SECONDS",
	 "stop after this time"},
	{0},
};

struct listening {
	const struct events_settings *s;
	const struct args *a;
	int write_error; /* errno, or 0 */
};

static void set(json_t *o, const char *key, const char *value)
{
	if (*value)
		json_object_set_new(o, key, json_string(value));
}

static int print_json(const struct drover_event *ev)
{
	json_t *o = json_object();
	int r;

	json_object_set_new(o, "time_ms", json_integer(ev->time_ms));
	set(o, "member", ev->member);
	set(o, "event", ev->kind);
	set(o, "state", ev->state);
	set(o, "address", ev->address);
	set(o, "stage", ev->stage);
	set(o, "code", ev->code);
	set(o, "message", ev->message);
	r = o ? json_dumpf(o, stdout, JSON_COMPACT) : -1;
	json_decref(o);
	return r < 0 || putchar('\n') == EOF ? -1 : 0;
}

static int print_line(const struct drover_event *ev)
{
	time_t seconds = (time_t)(ev->time_ms / MS);
	char message[1024];
	struct tm tm;

	localtime_r(&seconds, &tm);
	snprintf(message, sizeof(message), "%s", ev->message);
	str_make_printable(message);
	return printf("%02d:%02d:%02d.%03d  %-12s  %s%s%s%s%s%s%s%s%s\n", tm.tm_hour, tm.tm_min,
		      tm.tm_sec, (int)(ev->time_ms % MS), ev->member, ev->kind,
		      *ev->state ? " " : "", ev->state, *ev->stage ? " " : "", ev->stage,
		      *ev->address ? " " : "", ev->address, *message ? ": " : "", message);
}

static int on_event(void *arg, const struct drover_event *ev)
{
	struct listening *l = arg;
	int r;

	if (!targets_match(l->a, ev->member))
		return 0;
	r = l->s->json ? print_json(ev) : print_line(ev);
	if (r >= 0 && fflush(stdout) != EOF)
		return 0;
	l->write_error = errno;
	return -1;
}

/* They may come, or may be misspelt. */
static int note_unknown(const struct args *a)
{
	scoped(targets) struct targets t = {0};
	int r = a->count > 0 ? targets_find(NULL, 0, false, &t) : CLI_OK;

	for (size_t i = 0; i < a->count && r == CLI_OK; i++) {
		const struct args one = {.names = &a->names[i], .count = 1};
		bool is_there = false;

		for (size_t j = 0; j < t.total && !is_there; j++)
			is_there = targets_match(&one, t.members[j].name);
		if (!is_there)
			fprintf(stderr, "note: no member or cluster is called '%s' yet\n",
				a->names[i]);
	}
	return r;
}

static int run_events(const struct command *self, const void *settings, const struct args *a)
{
	const struct events_settings *s = settings;
	struct listening l = {s, a, 0};
	struct drover_watch o = DROVER_WATCH_INIT;
	struct drover_error e;

	for (size_t i = 0; i < a->count; i++)
		if (name_check_usage(self, a->names[i]) != CLI_OK)
			return CLI_USAGE;
	if (note_unknown(a) != CLI_OK)
		return CLI_FAILED;
	o.on_event = on_event;
	o.arg = &l;
	o.timeout_ms = s->seconds * MS;
	o.cancel = interrupt_catch();
	drover_events(NULL, &o, &e);
	if (interrupt_signal())
		return CLI_SIGNALED + interrupt_signal();
	if (l.write_error)
		return say_not_written(l.write_error);
	return s->seconds && !strcmp(e.code, "timeout") ? CLI_OK : say_failed(NULL, &e);
}

const struct command command_events = {
	.name = "events",
	.usage = "[OPTIONS] [NAME|CLUSTER...]",
	.summary = "Show what happens to members, as it happens",
	.options = events_options,
	.settings_size = sizeof(struct events_settings),
	.run = run_events,
};
