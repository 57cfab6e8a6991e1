/* SPDX-License-Identifier: MIT */
/* drover restart: down and up, for members that exist. */
#include "cli/cli.h"
#include "cli/commands.h"

#include <stdio.h>
#include <string.h>

struct restart_settings {
	struct member_settings m;
};

static const struct option_row restart_options[] = {
	{"cpus", 0, OPTION_CPUS, offsetof(struct restart_settings, m.cpus), "N",
	 "boot each with N CPUs"},
	{"mem", 0, OPTION_SIZE_MB, offsetof(struct restart_settings, m.mem), "SIZE",
	 "boot each with this much memory"},
	{"disk", 0, OPTION_SIZE_MB, offsetof(struct restart_settings, m.disk), "SIZE",
	 "grow the disk of each"},
	{"kernel", 0, OPTION_TEXT, offsetof(struct restart_settings, m.kernel), "image|PATH",
	 "boot each with this kernel"},
	{"initrd", 0, OPTION_TEXT, offsetof(struct restart_settings, m.initrd), "image|none|PATH",
	 "with this initrd"},
	{"append", 0, OPTION_TEXT, offsetof(struct restart_settings, m.append), "WORDS",
	 "added to the kernel command line"},
	{"json", 0, OPTION_FLAG, offsetof(struct restart_settings, m.json), NULL,
	 "progress as JSON, one object per line"},
	{"quiet", 'q', OPTION_FLAG, offsetof(struct restart_settings, m.quiet), NULL,
	 "no progress"},
	{0},
};

static int stop_one(const char *name, struct drover_error *e)
{
	struct drover_call o = DROVER_CALL_INIT;

	o.cancel = interrupt_catch();
	return drover_stop(NULL, name, &o, e);
}

/* Those that were hit: in failure too the names are to be freed. */
static int take_names(const struct targets *t, struct names *ret)
{
	ret->v = calloc(t->count + 1, sizeof(char *));
	for (size_t i = 0; ret->v && i < t->count; i++) {
		ret->v[i] = strdup(t->hit[i]->name);
		if (!ret->v[i])
			return say_error("out of memory");
		ret->count = i + 1;
	}
	return ret->v ? CLI_OK : say_error("out of memory");
}

/* The members of a `drover run` go with the stop of their last one: nothing would be there to boot. */
static int check_stop(const struct names *names)
{
	const struct drover_call o = interrupt_call();
	struct drover_error e = {0};

	if (drover_check_stop(NULL, (const char *const *)names->v, names->count, &o, &e) == 0)
		return CLI_OK;
	return interrupt_or_failed(&e);
}

/* As check_stop, once they have stopped: another may have ended meanwhile, and up would make new ones. */
static int check_kept(const struct names *names)
{
	scoped(targets) struct targets t = {0};
	int r = targets_find(NULL, 0, false, &t);

	for (size_t i = 0; i < names->count && r == CLI_OK; i++)
		if (!targets_member(&t, names->v[i]))
			r = say_error(
				"%s was removed when it stopped: it was a member of `drover run`",
				names->v[i]);
	return r;
}

/* Points fit the sizes that they were saved with. */
static int check_points(const struct drover_member *had, const struct member_settings *m)
{
	scoped(mem) struct drover_point *points = NULL;
	const struct drover_call o = interrupt_call();
	struct drover_error e = {0};

	if ((!m->cpus || m->cpus == had->cpus) && (!m->mem || m->mem == had->memory_mb) &&
	    (!m->disk || !had->disk_mb || m->disk == had->disk_mb))
		return CLI_OK;
	if (drover_points(NULL, had->name, &o, &points, &e) <= 0)
		return CLI_OK; /* what is wrong, if anything, the boot says */
	snprintf(e.sentence, sizeof(e.sentence),
		 "member %s keeps its sizes while its cluster has points", had->name);
	snprintf(e.hint, sizeof(e.hint),
		 "the points are listed by 'drover snapshot ls %s' and forgotten by "
		 "'drover snapshot rm %s POINT'",
		 had->cluster, had->cluster);
	return say_failed(NULL, &e);
}

/* What the boot would refuse, told while the members run. */
static int check_sizes(const struct targets *t, const struct member_settings *m)
{
	int r = members_check_sizes(m);

	for (size_t i = 0; i < t->count && m->disk && r == CLI_OK; i++)
		if (m->disk < t->hit[i]->disk_mb)
			r = say_error("the disk of %s has %u MB: it can grow, not shrink",
				      t->hit[i]->name, t->hit[i]->disk_mb);
	for (size_t i = 0; i < t->count && r == CLI_OK; i++)
		r = check_points(t->hit[i], m);
	return r;
}

static int run_restart(const struct command *self, const void *settings, const struct args *a)
{
	const struct restart_settings *s = settings;
	scoped(targets) struct targets t = {0};
	scoped(names) struct names names = {0};
	struct shares none = {0};
	int r;

	if (a->count == 0)
		return say_usage(self, "restart needs a name or a cluster");
	r = targets_find(a->names, a->count, false, &t);
	if (r != CLI_OK || t.unknown)
		return CLI_FAILED;
	r = check_sizes(&t, &s->m);
	if (r == CLI_OK)
		r = take_names(&t, &names);
	if (r == CLI_OK)
		r = check_stop(&names);
	if (r == CLI_OK)
		r = targets_each(&t, stop_one,
				 &(struct target_words){.ignored_code = "not_running"});
	if (interrupt_signal())
		return CLI_SIGNALED + interrupt_signal();
	if (r == CLI_OK)
		r = check_kept(&names);
	return r == CLI_OK ? up_members(&names, &s->m, &none) : r;
}

const struct command command_restart = {
	.name = "restart",
	.usage = "[OPTIONS] NAME|CLUSTER...",
	.summary = "Stop members and boot them again, also with other sizes",
	.options = restart_options,
	.settings_size = sizeof(struct restart_settings),
	.run = run_restart,
};
