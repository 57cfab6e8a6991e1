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

static int run_on_targets(const struct command *self, const struct args *a, target_fn *work,
			  const char *done_text)
{
	scoped(targets) struct targets t = {0};
	int r;

	if (a->count == 0)
		return say_usage(self, "%s needs a name", self->name);
	r = targets_find(a->names, a->count, false, &t);
	if (r != CLI_OK)
		return r;
	r = targets_each(&t, work, done_text, NULL, NULL);
	return t.unknown ? CLI_FAILED : r;
}

static int run_pause(const struct command *self, const void *settings, const struct args *a)
{
	return run_on_targets(self, a, pause_one, "paused");
}

static int run_resume(const struct command *self, const void *settings, const struct args *a)
{
	return run_on_targets(self, a, resume_one, "running");
}

static int run_kill(const struct command *self, const void *settings, const struct args *a)
{
	return run_on_targets(self, a, kill_one, "killed");
}

const struct command command_pause = {
	.name = "pause",
	.usage = "NAME|CLUSTER...",
	.summary = "Freeze the CPUs of members",
	.run = run_pause,
};

const struct command command_resume = {
	.name = "resume",
	.usage = "NAME|CLUSTER...",
	.summary = "Let the CPUs of paused members run on",
	.run = run_resume,
};

const struct command command_kill = {
	.name = "kill",
	.usage = "NAME|CLUSTER...",
	.summary = "Take the power of members away; their disks stay as they are at that instant",
	.run = run_kill,
};
