/* SPDX-License-Identifier: MIT */
/*
 * Pending operations of a backend: each has an owner list, may have a deadline, and calls back exactly once, from the
 * loop. What the callback looks like is the backend's business: a waiter carries one of the contract's callbacks.
 */
#ifndef DROVER_BACKEND_WAITER_H
#define DROVER_BACKEND_WAITER_H

#include "backend/backend.h"
#include "base/list.h"
#include "loop/timer.h"

enum waiter_kind { WAITER_DONE, WAITER_ADDRESS };

struct waiter {
	struct list link;
	struct timer *deadline;
	enum waiter_kind kind;
	union {
		backend_done *done;
		backend_address_done *address;
	};
	void *arg;
	const char *timeout_text; /* static: what did not happen in time */
};

/*
 * Adds a waiter to @list. @timeout_ms 0: none. When it passes, the waiter ends with ERR_TIMEOUT "@timeout_text".
 * 0 or -ENOMEM with @e.
 */
int waiter_add(struct list *list, uv_loop_t *loop, backend_done *done, void *arg,
	       uint64_t timeout_ms, const char *timeout_text, struct err *e);
int waiter_add_address(struct list *list, uv_loop_t *loop, backend_address_done *done, void *arg,
		       uint64_t timeout_ms, const char *timeout_text, struct err *e);

/*
 * Ends all waiters of @list, those added by their callbacks not included: success when @e is NULL (with @ip for the
 * address kind), else @e. To be called from the loop, never from inside an operation's call.
 */
void waiters_end(struct list *list, const char *ip, const struct err *e);

/* The same from a later turn of the loop: for use inside an operation's call. Takes the waiters at once. */
void waiters_end_later(struct list *list, uv_loop_t *loop, const char *ip, const struct err *e);

#endif
