/* SPDX-License-Identifier: MIT */
/* drover wait: for a port, a line on the console, a command or a state of each member that is named. */
#include <jansson.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "cli/cli.h"
#include "cli/commands.h"

enum { DEFAULT_S = 300, MS = 1000 };

struct wait_settings {
	unsigned port;
	const char *console;
	const char *command;
	const char *state;
	unsigned timeout;
	bool is_new;
	bool json;
};

static const struct option_row wait_options[] = {
	{"port", 'p', OPTION_PORT, offsetof(struct wait_settings, port), "PORT",
	 "until this TCP port accepts a connection"},
	{"console", 0, OPTION_TEXT, offsetof(struct wait_settings, console), "REGEX",
	 "until a line of the console matches (POSIX extended)"},
	{"command", 'c', OPTION_TEXT, offsetof(struct wait_settings, command), "COMMAND",
	 "until this command, run in the member, exits with 0"},
	{"state", 's', OPTION_TEXT, offsetof(struct wait_settings, state),
	 "running|paused|stopped|error", "until it is in this state (default running)"},
	{"timeout", 't', OPTION_SECONDS, offsetof(struct wait_settings, timeout), "SECONDS",
	 "give up after this time (default 300)"},
	{"new", 'n', OPTION_FLAG, offsetof(struct wait_settings, is_new), NULL,
	 "wait for members to run first, even ones that do not exist yet"},
	{"json", 0, OPTION_FLAG, offsetof(struct wait_settings, json), NULL,
	 "a JSON object a line"},
	{0},
};

static const char *state_of(const struct wait_settings *s)
{
	return s->state ? s->state : "running";
}

/* That it is so for @name. In one call of stdio, for threads do it. */
static void tell(const struct wait_settings *s, const char *name)
{
	scoped(mem) char *text = NULL;
	json_t *o;

	if (s->json) {
		o = json_pack("{s:s}", "member", name);
		if (s->port)
			json_object_set_new(o, "port", json_integer(s->port));
		else if (s->console)
			json_object_set_new(o, "console", json_string(s->console));
		else if (s->command)
			json_object_set_new(o, "command", json_string(s->command));
		else
			json_object_set_new(o, "state", json_string(state_of(s)));
		text = json_dumps(o, JSON_COMPACT);
		json_decref(o);
	} else if (s->port) {
		text = str_format("%s: port %u is open", name, s->port);
	} else {
		text = str_format("%s: %s", name,
				  s->console   ? "the console has shown it"
				  : s->command ? "the command has succeeded"
					       : state_of(s));
	}
	if (text)
		printf("%s\n", text);
	fflush(stdout);
}

/* --- Port, console, command ---------------------------------------------------------------------------------- */

static const struct wait_settings
	*wanted; /* of the process: the threads of targets_each have no other way to it */

/* One that runs. */
static int wait_running(const char *name, const struct drover_wait *w, struct drover_error *e)
{
	struct drover_cluster *c = NULL;
	struct drover_vm *vm = member_open(name, &c, e);
	int r;

	if (!vm)
		return -1;
	r = drover_vm_wait_for(vm, w, e);
	drover_cluster_close(c);
	return r;
}

static int wait_one(const char *name, struct drover_error *e)
{
	struct drover_wait w = DROVER_WAIT_INIT;

	w.port = (uint16_t)wanted->port;
	w.console = wanted->console;
	w.command = wanted->command;
	w.timeout_ms = wanted->timeout * MS;
	w.cancel = interrupt_catch();
	if ((wanted->is_new ? drover_wait(NULL, name, &w, e) : wait_running(name, &w, e)) < 0)
		return -1;
	tell(wanted, name);
	return 0;
}

static int wait_guests(const struct targets *t, const struct wait_settings *s)
{
	wanted = s;
	return targets_each(t, wait_one, &(struct target_words){.done = NULL});
}

/* --- State --------------------------------------------------------------------------------------------------- */

struct state_wait {
	const struct targets *targets;
	const struct wait_settings *settings;
	const char *state;
	bool *reached; /* one a target */
	bool *heard;
	size_t left;
	int status;
};

/* @is_first: what the member was when the wait began. A member at rest after an error is as good as stopped. */
static bool is_reached(const struct state_wait *w, const struct drover_member *m,
		       const struct drover_event *ev, bool is_first)
{
	if (!strcmp(ev->kind, "gone"))
		return !strcmp(w->state, "stopped");
	if (strcmp(ev->kind, "state") != 0)
		return false;
	if (!strcmp(ev->state, "error") && is_first && m->pid == 0 && !strcmp(w->state, "stopped"))
		return true;
	return !strcmp(ev->state, w->state);
}

static int on_event(void *arg, const struct drover_event *ev)
{
	struct state_wait *w = arg;

	for (size_t i = 0; i < w->targets->count; i++) {
		const struct drover_member *m = w->targets->hit[i];
		bool is_first = !w->heard[i];

		if (w->reached[i] || strcmp(m->name, ev->member) != 0)
			continue;
		w->heard[i] = true;
		if (is_reached(w, m, ev, is_first)) {
			tell(w->settings, m->name);
		} else if (!strcmp(ev->state, "error") && !(is_first && m->pid == 0)) {
			w->status = say_of(m->name, *ev->message ? ev->message : "it failed");
		} else {
			continue;
		}
		w->reached[i] = true;
		w->left--;
	}
	return w->left == 0;
}

static int wait_state(const struct targets *t, const struct wait_settings *s)
{
	scoped(mem) bool *reached = calloc(t->count + 1, sizeof(*reached));
	scoped(mem) bool *heard = calloc(t->count + 1, sizeof(*heard));
	struct state_wait w = {.targets = t,
			       .settings = s,
			       .state = state_of(s),
			       .reached = reached,
			       .heard = heard,
			       .left = t->count,
			       .status = CLI_OK};
	struct drover_watch o = DROVER_WATCH_INIT;
	struct drover_error e;

	if (!reached || !heard)
		return say_error("out of memory");
	if (t->count == 0)
		return CLI_FAILED;
	o.on_event = on_event;
	o.arg = &w;
	o.timeout_ms = (s->timeout ? s->timeout : DEFAULT_S) * MS;
	o.cancel = interrupt_catch();
	if (drover_events(NULL, &o, &e) >= 0)
		return w.status;
	if (strcmp(e.code, "timeout") != 0)
		return interrupt_or_failed(&e);
	for (size_t i = 0; i < t->count; i++)
		if (!reached[i])
			say_error("%s: it was not %s in time", t->hit[i]->name, w.state);
	return CLI_FAILED;
}

/* ------------------------------------------------------------------------------------------------------------- */

/* Once, and not by each member. */
static int check_console(const struct command *self, const char *expression)
{
	char why[128];
	regex_t regex;
	int r = expression ? regcomp(&regex, expression, REG_EXTENDED | REG_NOSUB) : 0;

	if (r != 0) {
		regerror(r, &regex, why, sizeof(why));
		return say_usage(self, "option --console: '%s' is no regular expression: %s",
				 expression, why);
	}
	if (expression)
		regfree(&regex);
	return CLI_OK;
}

static int run_wait(const struct command *self, const void *settings, const struct args *a)
{
	const struct wait_settings *s = settings;
	scoped(targets) struct targets t = {0};
	int for_guest = !!s->port + !!s->console + !!s->command;
	int r;

	if (a->count == 0)
		return say_usage(self, "wait needs a name");
	if (for_guest + !!s->state > 1)
		return say_usage(self,
				 "wait is for one of --port, --console, --command and --state");
	r = check_console(self, s->console);
	if (r != CLI_OK)
		return r;
	r = s->is_new ? targets_find_new(a->names, a->count, &t)
		      : targets_find(a->names, a->count, false, &t);
	if (r != CLI_OK || t.unknown)
		return CLI_FAILED;
	r = for_guest ? wait_guests(&t, s) : wait_state(&t, s);
	return interrupt_signal() ? CLI_SIGNALED + interrupt_signal() : r;
}

const struct command command_wait = {
	.name = "wait",
	.usage = "[OPTIONS] NAME|CLUSTER...",
	.summary = "Wait for a port, a line on the console, a command or a state",
	.options = wait_options,
	.settings_size = sizeof(struct wait_settings),
	.run = run_wait,
};
