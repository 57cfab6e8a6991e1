/* SPDX-License-Identifier: MIT */
/* What commands on members share: names and options, and the way to one that runs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/host.h"
#include "base/str.h"
#include "cli/cli.h"

int name_check_usage(const struct command *c, const char *name)
{
	struct err e;

	return name_check(name, &e) < 0 ? say_usage(c, "%s", e.msg) : CLI_OK;
}

static int check_name(const struct command *c, const struct names *n, size_t i)
{
	int r = name_check_usage(c, n->v[i]);

	if (r != CLI_OK)
		return r;
	for (size_t j = 0; j < i; j++)
		if (!strcmp(n->v[i], n->v[j]))
			return say_usage(c, "'%s' is named twice", n->v[i]);
	return CLI_OK;
}

int names_make(const struct command *c, char *const given[], size_t n, unsigned count,
	       struct names *ret)
{
	size_t total = count > 0 ? count : n;

	*ret = (struct names){.v = calloc(total + 1, sizeof(char *))};
	if (!ret->v)
		return say_error("out of memory");
	for (size_t i = 0; i < total; i++) {
		int r;

		ret->v[i] = count > 0 ? str_format("%s-%zu", given[0], i + 1) : strdup(given[i]);
		if (!ret->v[i])
			return say_error("out of memory");
		ret->count = i + 1;
		r = check_name(c, ret, i);
		if (r != CLI_OK)
			return r;
	}
	return CLI_OK;
}

static bool has_name(const struct names *n, const char *name)
{
	for (size_t i = 0; i < n->count; i++)
		if (!strcmp(n->v[i], name))
			return true;
	return false;
}

static int add_name(struct names *n, const char *name)
{
	if (has_name(n, name))
		return CLI_OK;
	n->v[n->count] = strdup(name);
	return n->v[n->count++] ? CLI_OK : say_error("out of memory");
}

int names_expand(struct names *n, const struct targets *t)
{
	struct names all = {.v = calloc(n->count + t->total + 1, sizeof(char *))};
	int r = all.v ? CLI_OK : say_error("out of memory");

	for (size_t i = 0; i < n->count && all.v && r == CLI_OK; i++) {
		bool is_cluster = false;

		for (size_t j = 0; j < t->total && !targets_member(t, n->v[i]); j++) {
			if (strcmp(t->members[j].cluster, n->v[i]) != 0 || r != CLI_OK)
				continue;
			is_cluster = true;
			r = add_name(&all, t->members[j].name);
		}
		if (!is_cluster && r == CLI_OK)
			r = add_name(&all, n->v[i]);
	}
	names_done(n);
	*n = all;
	return r;
}

void names_done(struct names *n)
{
	for (size_t i = 0; i < n->count; i++)
		free(n->v[i]);
	free((void *)n->v);
	*n = (struct names){0};
}

/* HOST:GUEST, at the last colon. @text is cut up. */
static int add_share(const struct command *c, const char *option, char *text /* taken */,
		     enum drover_share_kind kind, struct shares *ret)
{
	char *colon = text ? strrchr(text, ':') : NULL;

	if (!text)
		return say_error("out of memory");
	ret->hosts[ret->count] = text;
	ret->v[ret->count] = (struct drover_share){kind, text, colon ? colon + 1 : ""};
	ret->count++;
	if (!colon || colon == text || colon[1] != '/')
		return say_usage(c, "option %s: '%s' is not HOST:GUEST with an absolute GUEST",
				 option, text);
	*colon = '\0';
	return CLI_OK;
}

/* With ":ro" or ":rw" at the end, or neither. */
static int add_mount(const struct command *c, const char *text, struct shares *ret)
{
	bool rw = str_ends(text, ":rw");
	size_t len = strlen(text) - (rw || str_ends(text, ":ro") ? 3 : 0);

	return add_share(c, "--mount", strndup(text, len), rw ? DROVER_MOUNT_RW : DROVER_MOUNT,
			 ret);
}

int shares_make(const struct command *c, const struct member_settings *m, struct shares *ret)
{
	int r = CLI_OK;

	for (size_t i = 0; i < m->fixtures.count && r == CLI_OK; i++)
		r = add_share(c, "--fixture", strdup(m->fixtures.v[i]), DROVER_FIXTURE, ret);
	for (size_t i = 0; i < m->mounts.count && r == CLI_OK; i++)
		r = add_mount(c, m->mounts.v[i], ret);
	return r;
}

void shares_done(struct shares *s)
{
	for (size_t i = 0; i < s->count; i++)
		free(s->hosts[i]);
	*s = (struct shares){0};
}

struct drover_options members_options(const struct member_settings *m, struct progress *p,
				      struct drover_cancel *cancel)
{
	struct drover_options o = DROVER_OPTIONS_INIT;

	o.image = m->image;
	o.cpus = m->cpus;
	o.memory_mb = m->mem;
	o.disk_mb = m->disk;
	o.backend = m->backend;
	o.hypervisor = m->hypervisor;
	o.firmware = m->firmware;
	o.kernel = m->kernel;
	o.initrd = m->initrd;
	o.append = m->append;
	o.no_egress = m->no_egress;
	o.warm = m->warm;
	o.network = m->network;
	o.on_progress = progress_on_event;
	o.progress_arg = p;
	o.cancel = cancel;
	return o;
}

int members_check_sizes(const struct member_settings *m)
{
	struct drover_error shown = {0};
	struct err e;

	if (host_check_sizes(m->cpus, m->mem, &e) == 0)
		return CLI_OK;
	snprintf(shown.sentence, sizeof(shown.sentence), "%s", e.msg);
	snprintf(shown.hint, sizeof(shown.hint), "%s", e.hint);
	return say_failed(NULL, &shown);
}

int members_check_program(const struct command *c, const struct member_settings *m)
{
	if (m->hypervisor && m->backend && strcmp(m->backend, "auto") != 0 &&
	    strcmp(m->backend, "cloud-hypervisor") != 0)
		return say_usage(c,
				 "--hypervisor names the program cloud-hypervisor, and the backend "
				 "is to be %s",
				 m->backend);
	return CLI_OK;
}

enum progress_style members_style(const struct member_settings *m)
{
	if (m->json)
		return PROGRESS_JSON;
	return m->quiet ? PROGRESS_QUIET : PROGRESS_AUTO;
}

void member_not_running(const char *name, struct drover_error *e)
{
	*e = (struct drover_error){.code = "not_running"};
	snprintf(e->sentence, sizeof(e->sentence), "member %s is not running", name);
	snprintf(e->hint, sizeof(e->hint), "drover up %s", name);
}

int member_failed(struct drover_vm *vm, bool limited, struct drover_error *e)
{
	const char *name = drover_vm_name(vm);
	bool late = !strcmp(e->code, "timeout") && !*e->hint && !interrupt_signal();

	if (late && !strcmp(drover_vm_state(vm), "paused"))
		snprintf(e->hint, sizeof(e->hint), "%s is paused: drover resume %s", name, name);
	else if (late && limited)
		snprintf(e->hint, sizeof(e->hint),
			 "that is the limit of --timeout: give it more, or leave it out");
	else if (late || (!strcmp(e->code, "unreachable") && !*e->hint))
		snprintf(
			e->hint, sizeof(e->hint),
			"whether its SSH server runs, or what keeps the guest busy: drover console "
			"%s, drover logs %s",
			name, name);
	return interrupt_or_failed(e);
}

/* What the library cannot know: what the command is called that makes, boots or lists. */
static void add_hint(const char *name, struct drover_error *e)
{
	scoped(targets) struct targets t = {0};

	if (*e->hint)
		return;
	if (!strcmp(e->code, "not_running"))
		snprintf(e->hint, sizeof(e->hint), "drover up %s", name);
	else if (!strcmp(e->code, "not_found") && targets_find(NULL, 0, false, &t) == CLI_OK)
		targets_hint(&t, name, false, e->hint, sizeof(e->hint));
}

struct drover_vm *member_open(const char *name, struct drover_cluster **ret, struct drover_error *e)
{
	const struct drover_call o = interrupt_call();
	struct drover_cluster *c = NULL;
	struct drover_vm *vm;

	if (drover_cluster_open(NULL, name, &o, &c, e) < 0) {
		add_hint(name, e);
		return NULL;
	}
	vm = drover_cluster_find(c, name);
	if (vm) {
		*ret = c;
		return vm;
	}
	drover_cluster_close(c);
	member_not_running(name, e);
	return NULL;
}
