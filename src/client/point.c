/* SPDX-License-Identifier: MIT */
/* Points of a cluster: one request to its helper each; after a load the guests are woken (wake.c). */
#include "backend/remote/rpc.h"
#include "base/scoped.h"
#include "client/capture.h"
#include "client/client.h"

#include <string.h>

enum { POINT_MS = 120000, LIST_MS = 30000, WAKE_MS = 60000 };

struct answer {
	unsigned pending;
	int r;
	struct err error;
	struct point *points; /* owned */
	size_t n_points;
	int64_t held_ms;
};

static inline void scoped_answer(struct answer *a)
{
	free(a->points);
}

static void on_answer(void *arg, int r, const struct reply *p, int fd, const struct err *e)
{
	struct answer *a = arg;

	close_fd(&fd);
	a->pending = 0;
	a->r = r;
	if (r < 0) {
		a->error = *e;
		return;
	}
	a->held_ms = json_integer_value(json_object_get(p->root, "held_ms"));
	if (json_object_get(p->root, "points"))
		a->r = reply_take_points(p, &a->points, &a->n_points, &a->error);
}

/* The request ends by its own deadline; a helper that does not know it closes the connection. */
static int ask_all(struct drover_cluster *c, const struct request *q, const struct limits *l,
		   struct answer *ret, struct err *e)
{
	struct name_list doors = {0};
	struct rpc *rpc = NULL;
	int r = q->point ? name_check(q->point, e) : 0;

	*ret = (struct answer){.pending = 1};
	if (r == 0)
		r = cancel_check(l->cancel, e);
	if (r == 0)
		r = cluster_doors(c, &doors, e);
	if (r == 0 && doors.n == 0)
		r = err_set(e, ERR_NOT_RUNNING, "the cluster is not running");
	if (r == 0)
		rpc = rpc_start(&c->loop, &c->store, &doors, q, 0,
				q->verb == VERB_POINTS ? LIST_MS : POINT_MS, on_answer, ret, e);
	name_list_done(&doors);
	if (!rpc)
		return r < 0 ? r : err_code_number(e->code);
	r = wait_loop(&c->loop, &ret->pending, l->timeout_ms, l->cancel, e);
	if (r < 0)
		rpc_cancel(rpc); /* the helper goes on with it */
	else if (ret->r < 0)
		r = err_copy(e, &ret->error);
	return r;
}

static int ask(struct drover_cluster *c, enum verb verb, const char *point, const struct limits *l,
	       struct answer *ret, struct err *e)
{
	const struct request q = {.verb = verb, .point = (char *)point, .all = true};

	return ask_all(c, &q, l, ret, e);
}

/* The same for a public call. */
static int ask_for(struct drover_cluster *c, enum verb verb, const char *point,
		   const struct drover_call *o, struct answer *ret, struct err *e)
{
	struct limits l;
	int r = limits_from(o, &l, e);

	return r < 0 ? r : ask(c, verb, point, &l, ret, e);
}

int cluster_capture(struct drover_cluster *c, const char *dir, const char *point,
		    const struct limits *l, int64_t *ret_held_ms, struct err *e)
{
	const struct request q = {
		.verb = VERB_CAPTURE, .dir = (char *)dir, .point = (char *)point, .all = true};
	scoped(answer) struct answer a = {0};
	int r = ask_all(c, &q, l, &a, e);

	if (r == 0)
		*ret_held_ms = a.held_ms;
	return r;
}

int drover_cluster_snapshot_save(struct drover_cluster *c, const char *point,
				 const struct drover_call *o, struct drover_error *pe)
{
	scoped(answer) struct answer a = {0};
	struct err e = ERR_INIT;
	int r = ask_for(c, VERB_SAVE, point ? point : "", o, &a, &e);

	return r < 0 ? public_error(pe, &e, r) : (int)a.held_ms;
}

int drover_cluster_snapshot_remove(struct drover_cluster *c, const char *point,
				   const struct drover_call *o, struct drover_error *pe)
{
	scoped(answer) struct answer a = {0};
	struct err e = ERR_INIT;
	int r = ask_for(c, VERB_DROP, point ? point : "", o, &a, &e);

	return r < 0 ? public_error(pe, &e, r) : 0;
}

int drover_cluster_snapshot_list(struct drover_cluster *c, const struct drover_call *o,
				 struct drover_point **ret, struct drover_error *pe)
{
	scoped(answer) struct answer a = {0};
	struct err e = ERR_INIT;
	int r = ask_for(c, VERB_POINTS, NULL, o, &a, &e);
	struct drover_point *points = r < 0 ? NULL : calloc(a.n_points + 1, sizeof(*points));

	if (r == 0 && !points)
		r = err_set(&e, ERR_NO_MEMORY, "out of memory");
	if (r < 0)
		return public_error(pe, &e, r);
	for (size_t i = 0; i < a.n_points; i++) {
		snprintf(points[i].name, sizeof(points[i].name), "%.63s", a.points[i].name);
		points[i].bytes = a.points[i].bytes;
		points[i].saved_at = a.points[i].saved_at;
	}
	*ret = points;
	return (int)a.n_points;
}

/* The name of the point that was saved last. */
static int find_last(struct drover_cluster *c, const struct limits *l, char ret[NAME_SIZE],
		     struct err *e)
{
	scoped(answer) struct answer a = {0};
	int r = ask(c, VERB_POINTS, NULL, l, &a, e);

	if (r == 0 && a.n_points == 0)
		r = err_hint(e, err_set(e, ERR_NOT_FOUND, "the cluster has no point"),
			     "save one first: drover snapshot save CLUSTER POINT");
	if (r == 0)
		snprintf(ret, NAME_SIZE, "%.63s", a.points[0].name);
	return r;
}

/* A point that was saved of members that do not run now, too: those that do would be put back without them. */
static int check_all_run(const struct drover_cluster *c, const char *point, struct err *e)
{
	scoped(names) struct name_list all = {0};
	int r = c->n_vms ? cluster_members(&c->store, c->vms[0]->name, &all, e) : 0;

	for (size_t i = 0; i < all.n && r == 0; i++) {
		if (store_owner_alive(&c->store, all.names[i]))
			continue;
		r = capture_stopped_has(&c->store, all.names[i], point, e);
		if (r > 0)
			return err_hint(e,
					err_set(e, ERR_NOT_RUNNING,
						"%s does not run, and the point '%s' is of it too",
						all.names[i], point),
					"drover up %s", all.names[i]);
	}
	return r;
}

int drover_cluster_reset(struct drover_cluster *c, const struct drover_reset *from,
			 struct drover_error *pe)
{
	scoped(answer) struct answer a = {0};
	struct drover_reset o;
	char last[NAME_SIZE] = "";
	struct err e = ERR_INIT;
	int r = options_take(&o, sizeof(o), from, "DROVER_RESET_INIT", &e);
	const struct limits l = {.cancel = o.cancel};

	if (r == 0 && !o.point)
		r = find_last(c, &l, last, &e);
	if (r == 0)
		r = check_all_run(c, o.point ? o.point : last, &e);
	if (r == 0)
		r = ask(c, VERB_LOAD, o.point ? o.point : last, &l, &a, &e);
	if (r == 0)
		r = cluster_wake(c, o.timeout_ms ? o.timeout_ms : WAKE_MS, o.cancel, &e);
	return r < 0 ? public_error(pe, &e, r) : (int)a.held_ms;
}
