/* SPDX-License-Identifier: MIT */
/*
 * Pending operations of a backend: each may have a deadline and calls back exactly once.
 *
 * How it works: a waiter is pending until the set it is in ends; ending marks it due with its result and a later turn
 * of the loop calls it, so that no operation calls back from inside its own call. waiters_cancel calls all that are
 * left, there and then: afterwards no callback of the set runs any more and its owner may go.
 */
#ifndef DROVER_BACKEND_WAITER_H
#define DROVER_BACKEND_WAITER_H

#include "backend/backend.h"
#include "base/list.h"
#include "loop/timer.h"

struct waiters {
	uv_loop_t *loop;
	struct list pending;
	struct list due;
	struct timer *turn;
};

void waiters_init(struct waiters *w, uv_loop_t *loop);

/*
 * Adds one. @timeout_ms 0: none; else it ends with ERR_TIMEOUT and the sentence @timeout_text (static).
 * 0, or -ENOMEM with @e.
 */
int waiters_add(struct waiters *w, backend_done *done, void *arg, uint64_t timeout_ms,
		const char *timeout_text, struct err *e);
int waiters_add_address(struct waiters *w, backend_address_done *done, void *arg,
			uint64_t timeout_ms, const char *timeout_text, struct err *e);

/*
 * Adds one that ends with the next turn of the loop, and all of @w with it: success when @how is NULL, else @how. 0, or
 * -ENOMEM with @e.
 */
int waiters_add_ended(struct waiters *w, const struct err *how, backend_done *done, void *arg,
		      struct err *e);

/* All pending ones end, from the next turn of the loop: success when @e is NULL (with @ip for addresses), else @e. */
void waiters_end(struct waiters *w, const char *ip, const struct err *e);

/*
 * Ends everything at once: due ones with their result, pending ones with ERR_CANCELED. A callback may add to the set;
 * that is canceled too.
 */
void waiters_cancel(struct waiters *w);

#endif
