/* SPDX-License-Identifier: MIT */
/* A one-shot timer on the heap: it ends by firing or by timer_stop, and frees itself in either case. */
#ifndef DROVER_LOOP_TIMER_H
#define DROVER_LOOP_TIMER_H

#include <stdint.h>
#include <uv.h>

struct timer;

typedef void timer_cb(void *arg);

/*
 * Calls @cb once, @ms milliseconds from now. Returns the timer, or NULL when out of memory.
 * @owner (may be NULL) is where the caller keeps the pointer: it is set to NULL before @cb runs and by
 * timer_stop, so that it never dangles.
 */
struct timer *timer_start(uv_loop_t *loop, uint64_t ms, timer_cb *cb, void *arg,
			  struct timer **owner);

/* Stops *@owner if it is set, and sets it to NULL. */
void timer_stop(struct timer **owner);

#endif
