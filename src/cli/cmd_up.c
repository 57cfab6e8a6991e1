/* SPDX-License-Identifier: MIT */
/* drover up: makes and boots what does not run yet; what runs is left alone and shown. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "cli/cli.h"
#include "cli/commands.h"

struct up_settings {
	struct member_settings m;
};

static const struct option_row up_options[] = {
	{"count", 'n', OPTION_MEMBERS, offsetof(struct up_settings, m.count), "N",
	 "make PREFIX-1 to PREFIX-N"},
	MEMBER_OPTION_ROWS(struct up_settings),
	{0},
};

struct up {
	struct names names;
	struct targets store; /* as it was before */
	struct drover_options o;
	struct progress *progress;
	bool json;
	bool quiet;
	unsigned tries; /* that came second to another's */
};

/* A member in error may still be in the care of its helper, but it does not run. */
static bool runs(const struct drover_member *m)
{
	return m->pid > 0 && strcmp(m->state, "error") != 0;
}

static bool ran_before(const struct up *u, const char *name)
{
	const struct drover_member *m = targets_member(&u->store, name);

	return m && runs(m);
}

/* --- Members that another drover is starting or stopping -------------------------------------------------------- */

enum { UP_AGAIN = -1, UP_TRIES = 3 };

static bool is_starting(const struct drover_member *m)
{
	return m->pid > 0 && !strcmp(m->state, "starting");
}

static bool is_stopping(const struct drover_member *m)
{
	return m->pid > 0 && !strcmp(m->state, "stopping");
}

static int look_again(struct up *u)
{
	targets_done(&u->store);
	return targets_find(NULL, 0, false, &u->store);
}

static bool is_unknown(const struct drover_member *m)
{
	return m->pid > 0 && !strcmp(m->state, "unknown");
}

static void note_wait(const struct drover_member *m)
{
	if (is_unknown(m))
		fprintf(stderr, "note: the helper of %s (pid %d) does not answer: waiting for it\n",
			m->name, m->pid);
	else
		fprintf(stderr,
			"note: %s is being %s by another drover (helper pid %d): "
			"waiting for it\n",
			m->name, is_starting(m) ? "started" : "stopped", m->pid);
}

static int await_other(const struct up *u, const struct drover_member *m)
{
	const struct drover_call call = interrupt_call();
	struct drover_error e;

	if (!u->json && !u->quiet)
		note_wait(m);
	return drover_await_start(NULL, m->name, &call, &e) < 0 ? interrupt_or_failed(&e) : CLI_OK;
}

/* Until each runs, or does not: it is then for this call to start it. */
static int await_others(struct up *u)
{
	bool any = false;
	int r = CLI_OK;

	for (size_t i = 0; i < u->names.count && r == CLI_OK; i++) {
		const struct drover_member *m = targets_member(&u->store, u->names.v[i]);

		if (!m || (!is_starting(m) && !is_stopping(m) && !is_unknown(m)))
			continue;
		any = true;
		r = await_other(u, m);
	}
	return any && r == CLI_OK ? look_again(u) : r;
}

/* Of two that began at once the other was first. */
static int was_second(struct up *u, const struct drover_error *e)
{
	if (strcmp(e->code, "already_running") != 0 || ++u->tries >= UP_TRIES)
		return interrupt_or_failed(e);
	return UP_AGAIN;
}

/* ---------------------------------------------------------------------------------------------------------------- */

/* Whoever started the cluster that was to be joined has failed, and its helper goes, or has gone. */
static int was_left(struct up *u, const char *anchor, const struct drover_error *e)
{
	static const char *const codes[] = {"unreachable", "not_running", "stopped"};
	const struct drover_call call = interrupt_call();
	scoped(targets) struct targets now = {0};
	const struct drover_member *m;
	struct drover_error ignored;
	bool is_left = false;

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		is_left = is_left || !strcmp(e->code, codes[i]);
	if (!is_left || drover_await_start(NULL, anchor, &call, &ignored) < 0 ||
	    targets_find(NULL, 0, false, &now) != CLI_OK)
		return was_second(u, e);
	m = targets_member(&now, anchor);
	if ((m && runs(m)) || ++u->tries >= UP_TRIES)
		return interrupt_or_failed(e);
	return UP_AGAIN;
}

static void report_json(const char *name, const char *address, bool before, int64_t ms)
{
	json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:b}", "member", name, "stage", "up", "text",
			      before ? "running already" : "running", "address", address,
			      "already_running", before);

	if (!o)
		return;
	json_object_set_new(o, "percent", json_integer(100));
	json_object_set_new(o, "elapsed_ms", ms < 0 ? json_null() : json_integer(ms));
	json_dumpf(o, stdout, JSON_COMPACT);
	json_decref(o);
	putchar('\n');
}

static int report(const struct up *u, struct drover_cluster *c)
{
	scoped(table) struct table *t = table_new(4);

	for (size_t i = 0; i < u->names.count; i++) {
		const char *name = u->names.v[i];
		const struct drover_member *m = targets_member(&u->store, name);
		struct drover_vm *vm = c ? drover_cluster_find(c, name) : NULL;
		bool before = ran_before(u, name);
		int64_t ms = before ? -1 : progress_ready_ms(u->progress, name);
		const char *address = vm ? drover_vm_address(vm) : m ? m->ip : "";
		char seconds[32];
		char how[NAME_SIZE + 16];

		if (u->json) {
			report_json(name, address, before, ms);
			continue;
		}
		say_seconds(ms, seconds, sizeof(seconds));
		snprintf(how, sizeof(how), "drover ssh %s", name);
		table_add(t, (const char *[]){name, address, before ? "running already" : seconds,
					      how});
	}
	table_print(t);
	return say_done();
}

static int add_missing(struct up *u, const char *anchor, struct drover_cluster **ret)
{
	scoped(mem) const char **missing = calloc(u->names.count + 1, sizeof(*missing));
	const struct drover_call o = interrupt_call();
	struct drover_error e;
	size_t n = 0;

	if (!missing)
		return say_error("out of memory");

	/* The helper lets go of a member in error when it is stopped; from then on it can be added. */
	for (size_t i = 0; i < u->names.count; i++) {
		const struct drover_member *m = targets_member(&u->store, u->names.v[i]);

		if (m && m->pid > 0 && !runs(m) && drover_stop(NULL, m->name, &o, &e) < 0)
			return interrupt_or_failed(&e);
	}
	if (drover_cluster_open(NULL, anchor, &o, ret, &e) < 0)
		return was_left(u, anchor, &e);
	for (size_t i = 0; i < u->names.count; i++)
		if (!ran_before(u, u->names.v[i]))
			missing[n++] = u->names.v[i];
	return drover_cluster_add(*ret, missing, n, &u->o, &e) < 0 ? was_left(u, anchor, &e)
								   : CLI_OK;
}

/* The missing ones join the cluster that they belong to, where that runs. */
static int start_missing(struct up *u, struct drover_cluster **ret)
{
	const char *const *names = (const char *const *)u->names.v;
	const struct drover_call o = interrupt_call();
	const struct drover_member *m;
	char anchor[NAME_SIZE];
	struct drover_error e;
	int found = drover_find_cluster(NULL, names, u->names.count, &o, anchor, &e);

	if (found < 0)
		return interrupt_or_failed(&e);
	m = found ? targets_member(&u->store, anchor) : NULL;
	if (m && is_stopping(m)) {
		int r = await_other(u, m);

		return r == CLI_OK ? UP_AGAIN : r;
	}
	if (found)
		return add_missing(u, anchor, ret);
	return drover_cluster_start(names, u->names.count, &u->o, ret, &e) < 0 ? was_second(u, &e)
									       : CLI_OK;
}

static int bring_up(struct up *u)
{
	struct drover_cluster *c = NULL;
	size_t missing = 0;
	int r = CLI_OK;

	for (size_t i = 0; i < u->names.count; i++)
		missing += !ran_before(u, u->names.v[i]);
	if (missing > 0)
		r = start_missing(u, &c);
	if (r == CLI_OK)
		r = report(u, c);
	else if (interrupt_signal() && !u->json && !u->quiet)
		fputs("note: interrupted: new members are removed, others that were booted are stopped\n",
		      stderr);
	drover_cluster_close(c);
	return r;
}

static int bring_up_all(struct up *u)
{
	int r = await_others(u);

	while (r == CLI_OK && (r = bring_up(u)) == UP_AGAIN) {
		r = look_again(u);
		if (r == CLI_OK)
			r = await_others(u);
	}
	return r;
}

/* @had and @wanted: a size and its unit. A boot gives it to the member. */
static void note_size(const struct drover_member *m, const char *had, const char *wanted,
		      const char *option, const char *value)
{
	if (runs(m))
		fprintf(stderr,
			"note: %s runs already with %s: `drover restart %s %s %s` boots it with %s\n",
			m->name, had, m->name, option, value, wanted);
	else
		fprintf(stderr, "note: %s had %s and gets %s\n", m->name, had, wanted);
}

/* @before: what stands before the size; @after: behind it. */
static void note_mb(const struct drover_member *m, unsigned had, unsigned wanted,
		    const char *before, const char *after, const char *option)
{
	char sizes[2][32];
	char texts[2][64];

	say_mb(had, sizes[0], sizeof(sizes[0]));
	say_mb(wanted, sizes[1], sizeof(sizes[1]));
	for (int i = 0; i < 2; i++)
		snprintf(texts[i], sizeof(texts[i]), "%s%s%s", before, sizes[i], after);
	note_size(m, texts[0], texts[1], option, sizes[1]);
}

static void note_sizes(const struct drover_member *m, const struct member_settings *s)
{
	char had[32];
	char wanted[32];
	char value[16];

	if (s->cpus && s->cpus != m->cpus) {
		snprintf(value, sizeof(value), "%u", s->cpus);
		snprintf(had, sizeof(had), "%u CPU%s", m->cpus, m->cpus == 1 ? "" : "s");
		snprintf(wanted, sizeof(wanted), "%u CPU%s", s->cpus, s->cpus == 1 ? "" : "s");
		note_size(m, had, wanted, "--cpus", value);
	}
	if (s->mem && s->mem != m->memory_mb)
		note_mb(m, m->memory_mb, s->mem, "", " of memory", "--mem");
	if (s->disk && !m->disk_mb && runs(m))
		fprintf(stderr, "note: %s has no disk that could grow\n", m->name);
	if (s->disk && m->disk_mb && s->disk > m->disk_mb)
		note_mb(m, m->disk_mb, s->disk, "a disk of ", "", "--disk");
}

/* What is for a start, and @m has had that. */
static void note_running(const struct drover_member *m, const struct member_settings *s)
{
	bool names_backend = s->backend && strcmp(s->backend, "auto") != 0;

	if (s->kernel || s->initrd || s->append)
		fprintf(stderr,
			"note: %s runs already: --kernel, --initrd and --append are for a boot\n",
			m->name);
	if (s->no_egress || s->network)
		fprintf(stderr, "note: %s runs already and keeps its network: %s is for a start\n",
			m->name, s->no_egress ? "--no-egress" : "--network");
	if (names_backend || s->hypervisor)
		fprintf(stderr,
			"note: %s runs already and keeps its backend: "
			"--backend and --hypervisor are for a start\n",
			m->name);
}

/* What is asked for and changes a member that is there, or does not. */
static void note_differences(const struct up *u, const struct member_settings *s)
{
	for (size_t i = 0; i < u->names.count; i++) {
		const struct drover_member *m = targets_member(&u->store, u->names.v[i]);

		if (!m)
			continue;
		if (!strcmp(m->state, "paused"))
			fprintf(stderr, "note: %s is paused: `drover resume %s` lets it run on\n",
				m->name, m->name);
		if (runs(m))
			note_running(m, s);
		if (s->firmware)
			fprintf(stderr,
				"note: %s is there already and keeps its firmware: --firmware is for new members\n",
				m->name);
		if (s->warm)
			fprintf(stderr, "note: %s is there already: --warm is for new members\n",
				m->name);
		note_sizes(m, s);
		if (s->fixtures.count || s->mounts.count)
			fprintf(stderr,
				"note: %s is there already and keeps its directories of the host: "
				"--fixture and --mount are for new members\n",
				m->name);
		if (s->image && strcmp(s->image, m->image) != 0)
			fprintf(stderr,
				"note: %s is there already and keeps its image %s: --image is for new members\n",
				m->name, m->image);
	}
}

int up_members(struct names *names, const struct member_settings *m, const struct shares *shares)
{
	struct up u = {.names = *names, .json = m->json, .quiet = m->quiet};
	int r = members_check_sizes(m);

	if (r == CLI_OK)
		r = targets_find(NULL, 0, false, &u.store);
	if (r == CLI_OK && m->count == 0)
		r = names_expand(&u.names, &u.store);
	if (r == CLI_OK) {
		if (!u.json && !u.quiet)
			note_differences(&u, m);
		u.progress = progress_new(members_style(m));
		u.o = members_options(m, u.progress, interrupt_catch());
		u.o.detached = true;
		u.o.undivided = true;
		u.o.shares = shares->v;
		u.o.n_shares = shares->count;
		r = u.progress ? bring_up_all(&u) : say_error("out of memory");
	}
	progress_free(u.progress);
	targets_done(&u.store);
	*names = u.names;
	return r;
}

static int run_up(const struct command *self, const void *settings, const struct args *a)
{
	const struct up_settings *s = settings;
	scoped(shares) struct shares shares = {0};
	scoped(names) struct names names = {0};
	int r;

	if (a->count == 0)
		return say_usage(self, "up needs the name of a member, or a prefix and -n N");
	if (s->m.count > 0 && a->count != 1)
		return say_usage(self, "option -n takes exactly one prefix, not %zu names",
				 a->count);
	r = members_check_program(self, &s->m);
	if (r == CLI_OK)
		r = names_make(self, a->names, a->count, s->m.count, &names);
	if (r == CLI_OK)
		r = shares_make(self, &s->m, &shares);
	return r == CLI_OK ? up_members(&names, &s->m, &shares) : r;
}

const struct command command_up = {
	.name = "up",
	.usage = "[OPTIONS] NAME|CLUSTER... | PREFIX -n N",
	.summary = "Create and boot members, and wait until each accepts a login",
	.options = up_options,
	.settings_size = sizeof(struct up_settings),
	.run = run_up,
};
