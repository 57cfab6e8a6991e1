/* SPDX-License-Identifier: MIT */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "cli/cli.h"

const struct drover_member *targets_member(const struct targets *t, const char *name)
{
	for (size_t i = 0; i < t->total; i++)
		if (!strcmp(t->members[i].name, name))
			return &t->members[i];
	return NULL;
}

bool targets_match(const struct args *a, const char *member)
{
	char cluster[NAME_SIZE];

	name_cluster(member, cluster);
	for (size_t i = 0; i < a->count; i++)
		if (!strcmp(a->names[i], member) || !strcmp(a->names[i], cluster))
			return true;
	return a->count == 0;
}

/* Marks what @pattern names; returns how many. */
static size_t mark(const struct targets *t, const char *pattern, bool *marked)
{
	size_t n = 0;

	for (size_t i = 0; i < t->total; i++)
		if (!strcmp(t->members[i].name, pattern)) {
			marked[i] = true;
			return 1;
		}
	for (size_t i = 0; i < t->total; i++)
		if (!strcmp(t->members[i].cluster, pattern)) {
			marked[i] = true;
			n++;
		}
	return n;
}

void targets_hint(const struct targets *t, const char *name, bool clusters, char *ret, size_t size)
{
	struct near near = {.word = name};
	const char *cluster = NULL; /* one of its members, when @name is one */

	for (size_t i = 0; i < t->total; i++) {
		near_try(&near, t->members[i].name);
		if (clusters)
			near_try(&near, t->members[i].cluster);
		else if (!cluster && !strcmp(t->members[i].cluster, name))
			cluster = t->members[i].name;
	}
	if (cluster)
		snprintf(ret, size, "it is a cluster: name one of its members, like '%s'", cluster);
	else if (near.best)
		snprintf(ret, size, "did you mean '%s'?", near.best);
	else if (t->total > 0)
		snprintf(ret, size, "'drover ls' lists those that there are");
	else
		snprintf(ret, size, "there are none yet; 'drover up %s' makes one",
			 name_check(name, NULL) < 0 ? "web" : name);
}

static void say_unknown(const struct targets *t, const char *name, bool clusters)
{
	struct drover_error e = {0};

	snprintf(e.sentence, sizeof(e.sentence), "no member %sis called '%s'",
		 clusters ? "or cluster " : "", name);
	targets_hint(t, name, clusters, e.hint, sizeof(e.hint));
	say_failed(NULL, &e);
}

int targets_find_member(const char *name, struct targets *t, const struct drover_member **ret)
{
	int r = targets_find(NULL, 0, false, t);

	if (r != CLI_OK)
		return r;
	*ret = targets_member(t, name);
	if (*ret)
		return CLI_OK;
	say_unknown(t, name, false);
	return CLI_FAILED;
}

/* What the analyzer does not know of say_error. */
static int no_memory(void)
{
	say_error("out of memory");
	return CLI_FAILED;
}

/* Room for @n members more than there are. */
static int list_members(size_t n, struct targets *ret)
{
	struct drover_error e;
	struct drover_member *members;
	int total;

	*ret = (struct targets){0};
	total = drover_list(NULL, NULL, &ret->members, &e);
	if (total < 0) {
		say_failed(NULL, &e);
		return CLI_FAILED;
	}
	ret->total = (size_t)total;
	members = reallocarray(ret->members, ret->total + n + 1, sizeof(*members));
	if (!members)
		return no_memory();
	ret->members = members;
	return CLI_OK;
}

/* A member that is yet to be made; false when none can have that name. */
static bool add_new(struct targets *t, const char *name)
{
	struct drover_member *m = &t->members[t->total];

	if (name_check(name, NULL) < 0)
		return false;
	*m = (struct drover_member){.state = "stopped"};
	snprintf(m->name, sizeof(m->name), "%s", name);
	name_cluster(m->name, m->cluster);
	t->total++;
	return true;
}

static int find(char *const patterns[], size_t n, bool all, bool may_be_new, struct targets *ret)
{
	scoped(mem) bool *marked = NULL;
	int r = list_members(n, ret);

	if (r != CLI_OK)
		return r;
	marked = calloc(ret->total + n + 1, sizeof(*marked));
	ret->hit = calloc(ret->total + n + 1, sizeof(struct drover_member *));
	if (!marked || !ret->hit)
		return no_memory();
	for (size_t i = 0; i < n; i++) {
		if (mark(ret, patterns[i], marked) > 0)
			continue;
		if (may_be_new && add_new(ret, patterns[i])) {
			marked[ret->total - 1] = true;
			continue;
		}
		say_unknown(ret, patterns[i], true);
		ret->unknown = true;
	}
	for (size_t i = 0; i < ret->total; i++)
		if (all || marked[i])
			ret->hit[ret->count++] = &ret->members[i];
	return CLI_OK;
}

int targets_find(char *const patterns[], size_t n, bool all, struct targets *ret)
{
	return find(patterns, n, all, false, ret);
}

int targets_find_new(char *const patterns[], size_t n, struct targets *ret)
{
	return find(patterns, n, false, true, ret);
}

void targets_done(struct targets *t)
{
	free(t->members);
	free((void *)t->hit);
	*t = (struct targets){0};
}

struct job {
	pthread_t thread;
	bool threaded;
	const char *name;
	target_fn *work;
	int r;
	struct drover_error e;
};

static void *on_job(void *arg)
{
	struct job *j = arg;

	j->r = j->work(j->name, &j->e);
	return NULL;
}

/* What became of one: in words, or into @all. CLI_OK, or CLI_FAILED when said. */
static int tell(const struct job *j, const struct target_words *w, json_t *all)
{
	bool ignored = j->r < 0 && w->ignored_code && !strcmp(j->e.code, w->ignored_code);
	const char *text = ignored ? w->ignored : w->done;
	json_t *row;

	if (j->r < 0 && !ignored && interrupt_signal() && !strcmp(j->e.code, "canceled"))
		return CLI_FAILED; /* the user knows */
	if (j->r < 0 && !ignored)
		say_failed(j->name, &j->e);
	if (!all) {
		if ((j->r >= 0 || ignored) && text)
			printf("%s: %s\n", j->name, text);
		return j->r < 0 && !ignored ? CLI_FAILED : CLI_OK;
	}
	row = json_pack("{s:s, s:s?}", "member", j->name, "result",
			j->r >= 0 || ignored ? text : NULL);
	if (row && j->r < 0 && !ignored) {
		json_object_set_new(row, "code", json_string(j->e.code));
		json_object_set_new(row, "message", json_string(j->e.sentence));
	}
	json_array_append_new(all, row);
	return j->r < 0 && !ignored ? CLI_FAILED : CLI_OK;
}

int targets_each(const struct targets *t, target_fn *work, const struct target_words *w)
{
	scoped(mem) struct job *jobs = calloc(t->count + 1, sizeof(*jobs));
	json_t *all = w->json ? json_array() : NULL;
	int status = CLI_OK;

	if (!jobs)
		return say_error("out of memory");
	for (size_t i = 0; i < t->count; i++) {
		jobs[i] = (struct job){.name = t->hit[i]->name, .work = work};
		jobs[i].threaded = pthread_create(&jobs[i].thread, NULL, on_job, &jobs[i]) == 0;
		if (!jobs[i].threaded)
			on_job(&jobs[i]);
	}
	for (size_t i = 0; i < t->count; i++) {
		if (jobs[i].threaded)
			pthread_join(jobs[i].thread, NULL);
		if (tell(&jobs[i], w, all) != CLI_OK)
			status = CLI_FAILED;
		fflush(stdout);
	}
	if (all && say_json(all) != CLI_OK)
		status = CLI_FAILED;
	return status;
}

int cluster_open_named(char *name, struct drover_cluster **ret)
{
	scoped(targets) struct targets t = {0};
	const struct drover_call o = interrupt_call();
	const char *member = NULL;
	struct drover_error e;
	int r = targets_find(&name, 1, false, &t);

	if (r != CLI_OK || t.unknown)
		return CLI_FAILED;
	for (size_t i = 0; i < t.count && !member; i++)
		if (t.hit[i]->pid > 0)
			member = t.hit[i]->name;
	if (!member) {
		member_not_running(name, &e);
		return say_failed(NULL, &e);
	}
	if (drover_cluster_open(NULL, member, &o, ret, &e) < 0)
		return interrupt_or_failed(&e);
	return CLI_OK;
}
