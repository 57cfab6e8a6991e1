/* SPDX-License-Identifier: MIT */
#include "loop/timer.h"

#include <stdlib.h>

struct timer {
	uv_timer_t uv;
	timer_cb *cb;
	void *arg;
	struct timer **owner;
};

static void on_closed(uv_handle_t *h)
{
	free(h->data);
}

static void timer_end(struct timer *t)
{
	if (t->owner)
		*t->owner = NULL;
	uv_close((uv_handle_t *)&t->uv, on_closed);
}

static void on_timer(uv_timer_t *h)
{
	struct timer *t = h->data;
	timer_cb *cb = t->cb;
	void *arg = t->arg;

	timer_end(t);
	cb(arg);
}

struct timer *timer_start(uv_loop_t *loop, uint64_t ms, timer_cb *cb, void *arg,
			  struct timer **owner)
{
	struct timer *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	uv_timer_init(loop, &t->uv);
	t->uv.data = t;
	t->cb = cb;
	t->arg = arg;
	t->owner = owner;
	uv_update_time(loop);
	uv_timer_start(&t->uv, on_timer, ms, 0);
	if (owner)
		*owner = t;
	return t;
}

void timer_stop(struct timer **owner)
{
	if (*owner)
		timer_end(*owner);
}
