/* SPDX-License-Identifier: MIT */
#include "backend/waiter.h"

#include <stdlib.h>
#include <string.h>

static void waiter_end(struct waiter *w, const char *ip, const struct err *e)
{
	int r = e ? err_code_number(e->code) : 0;

	timer_stop(&w->deadline);
	list_remove(&w->link);
	if (w->kind == WAITER_ADDRESS)
		w->address(w->arg, r, e ? NULL : ip, e);
	else
		w->done(w->arg, r, e);
	free(w);
}

static void on_deadline(void *arg)
{
	struct waiter *w = arg;
	struct err e;

	err_set(&e, ERR_TIMEOUT, "%s", w->timeout_text);
	waiter_end(w, NULL, &e);
}

static struct waiter *add(struct list *list, uv_loop_t *loop, uint64_t timeout_ms, const char *text,
			  struct err *e)
{
	struct waiter *w = calloc(1, sizeof(*w));

	if (w && timeout_ms && !timer_start(loop, timeout_ms, on_deadline, w, &w->deadline)) {
		free(w);
		w = NULL;
	}
	if (!w) {
		err_set(e, ERR_NO_MEMORY, "out of memory");
		return NULL;
	}
	w->timeout_text = text;
	list_append(list, &w->link);
	return w;
}

int waiter_add(struct list *list, uv_loop_t *loop, backend_done *done, void *arg,
	       uint64_t timeout_ms, const char *timeout_text, struct err *e)
{
	struct waiter *w = add(list, loop, timeout_ms, timeout_text, e);

	if (!w)
		return -ENOMEM;
	w->kind = WAITER_DONE;
	w->done = done;
	w->arg = arg;
	return 0;
}

int waiter_add_address(struct list *list, uv_loop_t *loop, backend_address_done *done, void *arg,
		       uint64_t timeout_ms, const char *timeout_text, struct err *e)
{
	struct waiter *w = add(list, loop, timeout_ms, timeout_text, e);

	if (!w)
		return -ENOMEM;
	w->kind = WAITER_ADDRESS;
	w->address = done;
	w->arg = arg;
	return 0;
}

/* Moves all nodes of @from to the end of @to. */
static void move_all(struct list *to, struct list *from)
{
	while (!list_is_empty(from)) {
		struct list *node = from->next;

		list_remove(node);
		list_append(to, node);
	}
}

void waiters_end(struct list *list, const char *ip, const struct err *e)
{
	struct list ending = LIST_INIT(ending);
	struct err kept = ERR_INIT;
	char address[IP_SIZE] = "";

	if (e)
		kept = *e; /* a callback may end the owner of @e and @ip */
	if (ip)
		snprintf(address, sizeof(address), "%s", ip);
	move_all(&ending, list);
	while (!list_is_empty(&ending))
		waiter_end(list_entry(ending.next, struct waiter, link), address, e ? &kept : NULL);
}

struct later {
	struct list waiters;
	bool failed;
	struct err e;
	char ip[IP_SIZE];
};

static void on_later(void *arg)
{
	struct later *l = arg;

	waiters_end(&l->waiters, l->ip, l->failed ? &l->e : NULL);
	free(l);
}

void waiters_end_later(struct list *list, uv_loop_t *loop, const char *ip, const struct err *e)
{
	struct later *l;

	if (list_is_empty(list))
		return;
	l = calloc(1, sizeof(*l));
	if (!l || !timer_start(loop, 0, on_later, l, NULL)) {
		free(l); /* the deadlines, where there are any, still end them */
		return;
	}
	list_init(&l->waiters);
	move_all(&l->waiters, list);
	l->failed = e != NULL;
	if (e)
		l->e = *e;
	if (ip)
		snprintf(l->ip, sizeof(l->ip), "%s", ip);
}
