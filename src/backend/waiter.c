/* SPDX-License-Identifier: MIT */
#include "backend/waiter.h"

#include <stdlib.h>
#include <string.h>

struct waiter {
	struct list link;
	struct waiters *set;
	struct timer *deadline;
	backend_done *done; /* one of the two */
	backend_address_done *address;
	void *arg;
	const char *timeout_text;
	struct err e; /* code ERR_NONE: success */
	char ip[IP_SIZE];
};

void waiters_init(struct waiters *w, uv_loop_t *loop)
{
	w->loop = loop;
	w->turn = NULL;
	list_init(&w->pending);
	list_init(&w->due);
}

/* Calls back and frees. The set may be gone afterwards. */
static void waiter_call(struct waiter *w)
{
	bool failed = w->e.code != ERR_NONE;
	int r = failed ? err_code_number(w->e.code) : 0;
	const struct err *e = failed ? &w->e : NULL;

	timer_stop(&w->deadline);
	list_remove(&w->link);
	if (w->address)
		w->address(w->arg, r, failed ? NULL : w->ip, e);
	else
		w->done(w->arg, r, e);
	free(w);
}

/* Calls one due waiter a turn: its callback may end the set, so the next turn is ordered before the call. */
static void on_turn(void *arg)
{
	struct waiters *set = arg;
	struct waiter *w = list_entry(set->due.next, struct waiter, link);

	if (w->link.next != &set->due)
		timer_start(set->loop, 0, on_turn, set, &set->turn);
	waiter_call(w);
}

static void make_due(struct waiter *w)
{
	struct waiters *set = w->set;

	timer_stop(&w->deadline);
	list_remove(&w->link);
	list_append(&set->due, &w->link);
	if (!set->turn)
		timer_start(set->loop, 0, on_turn, set, &set->turn);
}

static void on_deadline(void *arg)
{
	struct waiter *w = arg;

	err_set(&w->e, ERR_TIMEOUT, "%s", w->timeout_text);
	make_due(w);
}

static struct waiter *add(struct waiters *set, uint64_t timeout_ms, const char *text, struct err *e)
{
	struct waiter *w = calloc(1, sizeof(*w));

	if (w && timeout_ms && !timer_start(set->loop, timeout_ms, on_deadline, w, &w->deadline)) {
		free(w);
		w = NULL;
	}
	if (!w) {
		err_set(e, ERR_NO_MEMORY, "out of memory");
		return NULL;
	}
	w->set = set;
	w->timeout_text = text;
	list_append(&set->pending, &w->link);
	return w;
}

int waiters_add(struct waiters *set, backend_done *done, void *arg, uint64_t timeout_ms,
		const char *timeout_text, struct err *e)
{
	struct waiter *w = add(set, timeout_ms, timeout_text, e);

	if (!w)
		return -ENOMEM;
	w->done = done;
	w->arg = arg;
	return 0;
}

int waiters_add_address(struct waiters *set, backend_address_done *done, void *arg,
			uint64_t timeout_ms, const char *timeout_text, struct err *e)
{
	struct waiter *w = add(set, timeout_ms, timeout_text, e);

	if (!w)
		return -ENOMEM;
	w->address = done;
	w->arg = arg;
	return 0;
}

void waiters_end(struct waiters *set, const char *ip, const struct err *e)
{
	while (!list_is_empty(&set->pending)) {
		struct waiter *w = list_entry(set->pending.next, struct waiter, link);

		if (e)
			w->e = *e;
		if (ip)
			snprintf(w->ip, sizeof(w->ip), "%s", ip);
		make_due(w);
	}
}

int waiters_add_ended(struct waiters *w, const struct err *how, backend_done *done, void *arg,
		      struct err *e)
{
	int r = waiters_add(w, done, arg, 0, "", e);

	if (r == 0)
		waiters_end(w, NULL, how);
	return r;
}

void waiters_cancel(struct waiters *set)
{
	timer_stop(&set->turn);
	while (!list_is_empty(&set->due) || !list_is_empty(&set->pending)) {
		struct list *head = list_is_empty(&set->due) ? &set->pending : &set->due;
		struct waiter *w = list_entry(head->next, struct waiter, link);

		if (head == &set->pending)
			err_set(&w->e, ERR_CANCELED, "canceled");
		waiter_call(w);
	}
	timer_stop(&set->turn);
}
