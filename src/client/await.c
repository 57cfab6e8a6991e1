/* SPDX-License-Identifier: MIT */
/*
 * A member that somebody else is starting or stopping: waiting for the end of that.
 *
 * How it works: the member's helper is watched, and no network is asked for, which whoever starts it is about to make as it
 * should be. A member that ends, or whose helper does, was not started; one that runs is asked for a login, as its own
 * starter does.
 */
#include "backend/remote/remote.h"
#include "base/scoped.h"
#include "client/client.h"
#include "wire/names.h"

#include <string.h>

enum { START_MS = 600000 };

struct start_wait {
	const char *name;
	bool runs;
};

static int on_event(void *arg, const struct drover_event *ev)
{
	struct start_wait *w = arg;

	if (strcmp(ev->member, w->name) != 0)
		return 0;
	if (strcmp(ev->kind, WIRE_EVENT_GONE) == 0)
		return 1;
	if (strcmp(ev->kind, WIRE_EVENT_STATE) != 0 ||
	    strcmp(ev->state, WIRE_STATE_STARTING) == 0 ||
	    strcmp(ev->state, WIRE_STATE_STOPPING) == 0)
		return 0;
	w->runs = strcmp(ev->state, WIRE_STATE_RUNNING) == 0;
	return 1;
}

/* The member's helper alone, without its network. NULL: @e says why, or the member does not run, which is no error. */
static struct drover_cluster *look_at(const char *home, const char *name, struct err *e)
{
	scoped(store) struct store store = {0};
	struct drover_cluster *c;

	if (name_check(name, e) < 0 || store_open(home, &store, e) < 0 ||
	    store_owner_alive(&store, name) == 0)
		return NULL;
	c = cluster_new(&store, name, e);
	if (c && cluster_attach(c, name, e) < 0) {
		cluster_free(c);
		return NULL;
	}
	return c;
}

static int await_running(const char *home, const char *name, const struct limits *l, bool *ret_runs,
			 struct err *e)
{
	struct start_wait w = {.name = name};
	struct drover_watch o = DROVER_WATCH_INIT;
	struct drover_error pe;
	struct drover_cluster *c = look_at(home, name, e);
	int r;

	if (!c)
		return e->code == ERR_NONE ? 0 : err_code_number(e->code);
	o.on_event = on_event;
	o.arg = &w;
	o.timeout_ms = (unsigned)l->timeout_ms;
	o.cancel = l->cancel;
	r = drover_cluster_events(c, &o, &pe);
	cluster_free(c);
	if (r >= 0)
		*ret_runs = w.runs;
	return r < 0 ? private_error(e, &pe) : 0;
}

/* What is asked once more, since the member's configuration may have come only now. */
static int log_in(const char *home, const char *name, const struct limits *l, struct err *e)
{
	struct drover_exec x = DROVER_EXEC_INIT;
	struct drover_result result = {0};
	struct drover_error pe;
	struct drover_cluster *c = look_at(home, name, e);
	int r;

	if (!c)
		return e->code == ERR_NONE ? 0 : err_code_number(e->code);
	x.command = "true";
	x.timeout_ms = (unsigned)l->timeout_ms;
	x.cancel = l->cancel;
	r = c->vms[0]->is_fake ? 0 : drover_vm_exec(c->vms[0], &x, &result, &pe);
	drover_result_done(&result);
	cluster_free(c);
	if (r < 0)
		private_error(e, &pe);
	return r < 0 && e->code == ERR_NOT_RUNNING ? 0 : r; /* it has ended meanwhile */
}

int drover_await_start(const char *home, const char *name, const struct drover_call *o,
		       struct drover_error *pe)
{
	struct err e = ERR_INIT;
	struct limits l;
	struct giveup g;
	bool runs = false;
	int r = limits_from(o, &l, &e);

	if (r == 0 && !l.timeout_ms)
		l.timeout_ms = START_MS;
	g = limits_giveup(&l);
	if (r == 0)
		r = await_running(home, name, &l, &runs, &e);
	l.timeout_ms = giveup_left_ms(&g);
	if (r == 0 && runs)
		r = log_in(home, name, &l, &e);
	return r < 0 ? public_error(pe, &e, r) : 0;
}
