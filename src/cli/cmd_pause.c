/* SPDX-License-Identifier: MIT */
/* drover pause, resume, kill: what the helper does to a running VM at once, without asking the guest. */
#include "cli/cli.h"
#include "cli/commands.h"

#include <stdio.h>
#include <string.h>

typedef int vm_call(struct drover_vm *vm, const struct drover_call *o, struct drover_error *e);

/* @call on the running member @name; not_running when it is none. */
static int with_vm(const char *name, vm_call *call, struct drover_error *e)
{
	struct drover_cluster *c = NULL;
	struct drover_vm *vm = member_open(name, &c, e);
	int r;

	if (!vm)
		return -1;
	r = call(vm, NULL, e);
	drover_cluster_close(c);
	return r;
}

static int pause_one(const char *name, struct drover_error *e)
{
	return with_vm(name, drover_vm_pause, e);
}

static int resume_one(const char *name, struct drover_error *e)
{
	return with_vm(name, drover_vm_resume, e);
}

static int kill_one(const char *name, struct drover_error *e)
{
	return with_vm(name, drover_vm_kill, e);
}

struct pause_settings {
	bool json;
};

static const struct option_row pause_options[] = {
	{"json", 0, OPTION_FLAG, offsetof(struct pause_settings, json), NULL, "results as JSON"},
	{0},
};

static int run_on_targets(const struct command *self, const struct pause_settings *s,
			  const struct args *a, target_fn *work, const char *done)
{
	scoped(targets) struct targets t = {0};
	int r;

	if (a->count == 0)
		return say_usage(self, "%s needs a name", self->name);
	r = targets_find(a->names, a->count, false, &t);
	if (r != CLI_OK)
		return r;
	r = targets_each(&t, work, &(struct target_words){.done = done, .json = s->json});
	return t.unknown ? CLI_FAILED : r;
}

static int run_pause(const struct command *self, const void *settings, const struct args *a)
{
	return run_on_targets(self, settings, a, pause_one, "paused");
}

static int run_resume(const struct command *self, const void *settings, const struct args *a)
{
	return run_on_targets(self, settings, a, resume_one, "running");
}

static int run_kill(const struct command *self, const void *settings, const struct args *a)
{
	return run_on_targets(self, settings, a, kill_one, "killed");
}

const struct command command_pause = {
	.name = "pause",
	.usage = "[--json] NAME|CLUSTER...",
	.summary = "Freeze members: their CPUs stop",
	.options = pause_options,
	.settings_size = sizeof(struct pause_settings),
	.run = run_pause,
};

const struct command command_resume = {
	.name = "resume",
	.usage = "[--json] NAME|CLUSTER...",
	.summary = "Continue members that are paused",
	.options = pause_options,
	.settings_size = sizeof(struct pause_settings),
	.run = run_resume,
};

const struct command command_kill = {
	.name = "kill",
	.usage = "[--json] NAME|CLUSTER...",
	.summary = "Power members off at once, without asking the guest",
	.options = pause_options,
	.settings_size = sizeof(struct pause_settings),
	.run = run_kill,
};
