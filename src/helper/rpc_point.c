/* SPDX-License-Identifier: MIT */
/*
 * Points of one member, or of all members at one instant: save, load, points, drop; and capture, which writes them to
 * files of the client's for a fork: all of them, or what a point has, which is in the disks.
 *
 * How it works: one round at a time, whose steps each ask every member and go on when the last has answered:
 *
 *   list -> choose -> hold (pause who runs) -> save, load or capture -> let go -> tidy -> answer
 *   capture ahead --/
 *
 * A backend keeps a point under NAME.NUMBER, and each save takes a number that no point has yet. So an older point of the
 * same name is there until the new one is whole on every member, and is dropped then. After a crash in between some
 * members have the new number and some do not: load takes the highest number that all of them have. Since the members
 * of a point are held at the same time, what passes between them is never in one and not yet in the other.
 *
 * A round whose client goes before members are held, or before they are saved or put back, ends there. One that goes on does
 * so to its end, and who comes meanwhile waits (deferred.c).
 *
 * A member that stops meanwhile ends its steps with an error and is left out of the next ones; those that were held run
 * on in any case.
 */
#include "helper/helper.h"

#include "base/clock.h"
#include "base/scoped.h"
#include "wire/point.h"

#include <stdlib.h>
#include <string.h>

struct point_round;
typedef void round_next(struct point_round *round);

struct round_member {
	struct point_round *round;
	char name[NAME_SIZE];
	bool held;   /* paused by this round */
	bool gone;   /* stopped or released: nothing more is asked of it */
	bool failed; /* in save or load */
};

struct point_round {
	struct call *call;
	struct helper *helper;
	enum verb verb;
	char name[NAME_SIZE];
	char kept_as[POINT_SIZE]; /* NAME.NUMBER */
	char *dir;                /* capture: owned */
	struct round_member *members;
	struct point_list
		*lists; /* of the members, in their order: what each had when it was asked */
	size_t n;
	unsigned waiting;
	round_next *next;
	struct err error;   /* the first */
	int64_t held_since; /* clock_ms */
	int64_t held_ms;
};

/* --- Steps --------------------------------------------------------------------------------------------------- */

static struct member *member_of(const struct round_member *rm)
{
	struct member *m = rm->gone ? NULL : member_find(rm->round->helper, rm->name);

	return m && m->vm && m->state != MEMBER_STOPPING ? m : NULL;
}

static void note_error(struct round_member *rm, const struct err *e)
{
	struct point_round *round = rm->round;

	rm->gone = rm->gone || e->code == ERR_CANCELED || e->code == ERR_STOPPED;
	if (round->error.code == ERR_NONE)
		round->error = *e;
}

static void step_ended(struct point_round *round)
{
	if (--round->waiting == 0)
		round->next(round);
}

static void on_step(void *arg, int r, const struct err *e)
{
	struct round_member *rm = arg;

	if (r < 0) {
		rm->failed = true;
		note_error(rm, e);
	}
	step_ended(rm->round);
}

typedef int round_step(struct round_member *rm, struct backend_vm *vm, struct err *e);

/* @step on each member that is there and that @wants (NULL: all), then @next. Each step ends in step_ended. */
static void each(struct point_round *round, round_step *step,
		 bool (*wants)(const struct round_member *rm), round_next *next)
{
	round->next = next;
	round->waiting = 1;
	for (size_t i = 0; i < round->n; i++) {
		struct round_member *rm = &round->members[i];
		struct member *m;
		struct err e = ERR_INIT;

		rm->round = round; /* as it is: what the analyzer does not know of add_member */
		m = member_of(rm);
		if (!m || (wants && !wants(rm)))
			continue;
		round->waiting++;
		if (step(rm, m->vm, &e) < 0) {
			round->waiting--;
			rm->failed = true;
			note_error(rm, &e);
		}
	}
	step_ended(round);
}

static void round_free(struct point_round *round)
{
	round->helper->round = NULL;
	for (size_t i = 0; round->lists && i < round->n; i++)
		free(round->lists[i].points);
	free(round->lists);
	free(round->members);
	free(round->dir);
	free(round);
}

bool round_is_wanted(const struct point_round *round)
{
	return call_is_wanted(round->call);
}

/* The answer to save, load and drop. */
static void answer(struct point_round *round)
{
	struct call *c = round->call;
	struct helper *h = round->helper;
	struct err e = round->error;
	int64_t held_ms = round->held_ms;
	bool held = round->verb != VERB_DROP;
	struct buf line = BUF_INIT;

	round_free(round); /* first: who is answered may ask again */
	if (e.code != ERR_NONE) {
		call_error(c, &e);
	} else if (!held) {
		call_empty(c);
	} else {
		reply_held(&line, c->id, held_ms);
		call_reply(c, &line);
	}
	deferred_look(h);
}

/* --- Tidying: what a save makes useless, and what is dropped ---------------------------------------------------- */

static struct point_list *list_of(const struct round_member *rm)
{
	return &rm->round->lists[rm - rm->round->members];
}

/* What of @rm's points is not wanted any more. */
static struct point *next_useless(const struct round_member *rm)
{
	const struct point_round *round = rm->round;
	const struct point_list *l = list_of(rm);

	for (size_t i = 0; i < l->n; i++) {
		struct point *p = &l->points[i];

		if (p->name[0] && point_is_named(p, round->name) &&
		    strcmp(p->name, round->kept_as) != 0)
			return p;
	}
	return NULL;
}

static int drop_one(struct round_member *rm, struct backend_vm *vm, struct err *e);

static void on_dropped(void *arg, int r, const struct err *e)
{
	struct round_member *rm = arg;
	struct member *m;
	struct err late = ERR_INIT;

	if (r < 0 && rm->round->verb == VERB_DROP)
		note_error(rm, e);
	else if (r < 0)
		helper_log("%s: %s", rm->name, e->msg); /* the next save tries again */
	m = r < 0 ? NULL : member_of(rm);
	if (m && next_useless(rm) && drop_one(rm, m->vm, &late) == 0)
		return;
	step_ended(rm->round);
}

static int drop_one(struct round_member *rm, struct backend_vm *vm, struct err *e)
{
	struct point *p = next_useless(rm);
	char name[POINT_SIZE];

	if (!p)
		return err_set(e, ERR_NOT_FOUND, "there is no such point");
	memcpy(name, p->name, sizeof(name));
	p->name[0] = '\0'; /* asked for once */
	return backend_drop(vm, name, on_dropped, rm, e);
}

static bool has_useless(const struct round_member *rm)
{
	return next_useless(rm) != NULL;
}

static int drop_new(struct round_member *rm, struct backend_vm *vm, struct err *e)
{
	return backend_drop(vm, rm->round->kept_as, on_dropped, rm, e);
}

static bool has_saved(const struct round_member *rm)
{
	return !rm->failed;
}

/* --- Hold, save or load, let go -------------------------------------------------------------------------------- */

static void tidy(struct point_round *round)
{
	round->held_ms = clock_ms() - round->held_since;
	if (round->verb != VERB_SAVE)
		answer(round);
	else if (round->error.code == ERR_NONE)
		each(round, drop_one, has_useless, answer);
	else
		each(round, drop_new, has_saved, answer);
}

/* A helper that follows lets it go. */
static void keep_held(struct round_member *rm, bool held)
{
	struct member *m = member_of(rm);

	if (!m || m->held == held)
		return;
	m->held = held;
	member_keep(m);
}

static void on_resumed(void *arg, int r, const struct err *e)
{
	struct round_member *rm = arg;

	if (r < 0)
		note_error(rm, e);
	keep_held(rm, false);
	step_ended(rm->round);
}

static int resume_one(struct round_member *rm, struct backend_vm *vm, struct err *e)
{
	return backend_resume(vm, on_resumed, rm, e);
}

static bool is_held(const struct round_member *rm)
{
	return rm->held;
}

static void let_go(struct point_round *round)
{
	each(round, resume_one, is_held, tidy);
}

typedef int capture_fn(struct backend_vm *vm, const char *memory_path, const char *disk_path,
		       backend_done *done, void *arg, struct err *e);

static int capture_by(capture_fn *f, struct round_member *rm, struct backend_vm *vm, struct err *e)
{
	const char *dir = rm->round->dir;
	bool is_saved = rm->round->name[0]; /* the memory is in the disk already */
	scoped(mem) char *memory = str_format("%s/%s.memory", dir, rm->name);
	scoped(mem) char *disk = str_format("%s/%s.disk", dir, rm->name);

	if (!memory || !disk)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	return f(vm, is_saved ? NULL : memory, disk, on_step, rm, e);
}

static int capture_ahead(struct round_member *rm, struct backend_vm *vm, struct err *e)
{
	return capture_by(backend_capture_ahead, rm, vm, e);
}

static int save_or_load(struct round_member *rm, struct backend_vm *vm, struct err *e)
{
	if (rm->round->verb == VERB_CAPTURE)
		return capture_by(backend_capture, rm, vm, e);
	return rm->round->verb == VERB_SAVE ? backend_save(vm, rm->round->kept_as, on_step, rm, e)
					    : backend_load(vm, rm->round->kept_as, on_step, rm, e);
}

static void mark_failed(struct point_round *round)
{
	for (size_t i = 0; i < round->n; i++)
		round->members[i].failed = true;
}

/* What is not begun yet is not done for nobody. */
static void check_asker(struct point_round *round)
{
	if (round->error.code == ERR_NONE && !round_is_wanted(round))
		err_set(&round->error, ERR_CANCELED, "canceled");
}

static void after_hold(struct point_round *round)
{
	check_asker(round);
	if (round->error.code != ERR_NONE) {
		mark_failed(round); /* none has saved anything */
		let_go(round);
	} else {
		each(round, save_or_load, NULL, let_go);
	}
}

static void on_held(void *arg, int r, const struct err *e)
{
	struct round_member *rm = arg;

	rm->held = r == 0;
	if (r < 0) {
		keep_held(rm, false);
		note_error(rm, e);
	}
	step_ended(rm->round);
}

static int hold_one(struct round_member *rm, struct backend_vm *vm, struct err *e)
{
	keep_held(rm, true);
	return backend_pause(vm, on_held, rm, e);
}

static bool is_running(const struct round_member *rm)
{
	struct member *m = member_of(rm);

	return m && m->state == MEMBER_RUNNING;
}

static void hold(struct point_round *round)
{
	check_asker(round);
	if (round->error.code != ERR_NONE) {
		answer(round);
		return;
	}
	round->held_since = clock_ms();
	each(round, hold_one, is_running, after_hold);
}

static void after_ahead(struct point_round *round)
{
	hold(round);
}

/* --- What there is, and what it means -------------------------------------------------------------------------- */

static void choose_new(struct point_round *round)
{
	int highest = 0;

	for (size_t i = 0; i < round->n; i++)
		for (size_t j = 0; j < round->lists[i].n; j++) {
			int number = point_number(&round->lists[i].points[j]);

			highest = number > highest ? number : highest;
		}
	snprintf(round->kept_as, sizeof(round->kept_as), "%s.%d", round->name, highest + 1);
	hold(round);
}

static void refuse_unknown(struct point_round *round)
{
	points_refuse(round->lists, round->n,
		      round->n == 1 ? round->members[0].name : "the cluster", round->name,
		      &round->error);
	answer(round);
}

static void copy_ahead(struct point_round *round)
{
	each(round, capture_ahead, NULL, after_ahead);
}

static void choose_newest(struct point_round *round)
{
	int64_t bytes;
	const struct point *best = points_newest(round->lists, round->n, round->name, &bytes);

	if (!best) {
		refuse_unknown(round);
		return;
	}
	memcpy(round->kept_as, best->name, sizeof(round->kept_as));
	if (round->verb == VERB_CAPTURE)
		copy_ahead(round);
	else
		hold(round);
}

static void choose_dropped(struct point_round *round)
{
	bool found = false;

	round->kept_as[0] = '\0';
	for (size_t i = 0; i < round->n; i++)
		found = found || has_useless(&round->members[i]);
	if (found)
		each(round, drop_one, has_useless, answer);
	else
		refuse_unknown(round);
}

static void tell(struct point_round *round)
{
	struct call *c = round->call;
	struct helper *h = round->helper;
	scoped(mem) struct point *points = calloc(round->lists[0].n + 1, sizeof(*points));
	struct buf line = BUF_INIT;
	size_t n = points ? points_whole(round->lists, round->n, points) : 0;

	round_free(round);
	if (!points) {
		call_errorf(c, ERR_NO_MEMORY, "out of memory");
	} else {
		reply_points(&line, c->id, points, n);
		call_reply(c, &line);
	}
	deferred_look(h);
}

static void choose(struct point_round *round)
{
	if (round->error.code != ERR_NONE)
		answer(round);
	else if (round->verb == VERB_SAVE)
		choose_new(round);
	else if (round->verb == VERB_LOAD || round->verb == VERB_CAPTURE)
		choose_newest(round);
	else if (round->verb == VERB_DROP)
		choose_dropped(round);
	else
		tell(round);
}

static void on_listed(void *arg, int r, const struct point *points, size_t n, const struct err *e)
{
	struct round_member *rm = arg;
	struct point_list *l = list_of(rm);
	struct err late;

	if (r == 0) {
		l->points = calloc(n + 1, sizeof(*points));
		r = l->points ? 0 : err_set(&late, ERR_NO_MEMORY, "out of memory");
		e = &late;
	}
	if (r < 0) {
		note_error(rm, e);
	} else {
		if (n)
			memcpy(l->points, points, n * sizeof(*points));
		l->n = n;
	}
	step_ended(rm->round);
}

static int list_points(struct round_member *rm, struct backend_vm *vm, struct err *e)
{
	return backend_points(vm, on_listed, rm, e);
}

/* --- The requests ---------------------------------------------------------------------------------------------- */

static int add_member(struct point_round *round, const struct member *m, struct err *e)
{
	struct round_member *rm = &round->members[round->n];

	if (!m->vm || (m->state != MEMBER_RUNNING && m->state != MEMBER_PAUSED))
		return err_set(e, ERR_NOT_RUNNING, "member %s is %s", m->name,
			       member_state_word(m));
	rm->round = round;
	snprintf(rm->name, sizeof(rm->name), "%s", m->name);
	round->n++;
	return 0;
}

/* All members, or the one that @q is about. */
static int add_members(struct point_round *round, const struct request *q, struct member *one,
		       struct err *e)
{
	struct helper *h = round->helper;
	size_t n = 1;
	int r = 0;

	list_for_each (pos, &h->members)
		n++;
	round->members = calloc(n, sizeof(*round->members));
	round->lists = calloc(n, sizeof(*round->lists));
	if (!round->members || !round->lists)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	if (!q->all)
		return add_member(round, one, e);
	list_for_each (pos, &h->members) {
		if (r == 0)
			r = add_member(round, list_entry(pos, struct member, link), e);
	}
	return r;
}

static void refuse_capture(struct point_round *round)
{
	err_set(&round->error, ERR_UNSUPPORTED, "backend '%s' cannot fork a running VM",
		round->helper->backend->ops->name);
	answer(round);
}

static void round_begin(struct call *c, const struct request *q, struct member *one)
{
	struct helper *h = c->helper;
	struct point_round *round = calloc(1, sizeof(*round));
	struct err e = ERR_INIT;

	if (!round) {
		call_errorf(c, ERR_NO_MEMORY, "out of memory");
		return;
	}
	round->call = c;
	round->helper = h;
	round->verb = q->verb;
	snprintf(round->name, sizeof(round->name), "%s", q->point ? q->point : "");
	h->round = round;
	round->dir = strdup(q->dir ? q->dir : "");
	if (!round->dir || add_members(round, q, one, &e) < 0) {
		if (!round->dir)
			err_set(&e, ERR_NO_MEMORY, "out of memory");
		round->error = e;
		answer(round);
		return;
	}
	if (q->verb == VERB_CAPTURE && !h->backend->ops->capture)
		refuse_capture(round);
	else if (q->verb == VERB_CAPTURE && !round->name[0])
		copy_ahead(round);
	else
		each(round, list_points, NULL, choose);
}

void rpc_point(struct call *c, const struct request *q)
{
	struct member *one = q->all ? NULL : call_booted_target(c, q);
	struct err e = ERR_INIT;

	if (!q->all && !one)
		return; /* answered */
	if (q->verb == VERB_CAPTURE && (!q->dir || q->dir[0] != '/'))
		call_errorf(c, ERR_INVALID, "capture needs a \"dir\", an absolute path");
	else if (q->verb != VERB_POINTS && (q->verb != VERB_CAPTURE || q->point) &&
		 name_check(q->point ? q->point : "", &e) < 0)
		call_errorf(c, ERR_BAD_NAME, "\"point\": %s", e.msg);
	else if (c->helper->round)
		call_errorf(c, ERR_BUSY, "the cluster is being saved or put back already");
	else
		round_begin(c, q, one);
}
