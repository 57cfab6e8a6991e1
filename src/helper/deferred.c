/* SPDX-License-Identifier: MIT */
/*
 * Requests about VMs of which it is not known yet whether they run or are paused, because they are being taken over.
 *
 * How it works: such a request is kept until all VMs that it is about are known, and is then handled as if it had come
 * then. A hypervisor that writes a point says nothing for as long as that takes, minutes perhaps; how long a request
 * waits for it is for its client to say, who hangs up. A request whose client has hung up is not handled any more.
 */
#include "helper/conn.h"

#include <poll.h>
#include <stdlib.h>

struct deferred {
	struct list link; /* helper.deferred */
	struct call *call;
	struct request q; /* but for its id, which @call has */
};

static bool is_unknown(const struct member *m)
{
	return m && m->vm && m->on_adopted;
}

static bool any_unknown(const struct helper *h)
{
	list_for_each (pos, &h->members)
		if (is_unknown(list_entry(pos, struct member, link)))
			return true;
	return false;
}

static bool must_wait(const struct call *c, const struct request *q)
{
	switch (q->verb) {
	case VERB_STATS:
		return any_unknown(c->helper);
	case VERB_SAVE:
	case VERB_LOAD:
	case VERB_POINTS:
	case VERB_DROP:
	case VERB_CAPTURE:
		if (q->all)
			return any_unknown(c->helper);
		break;
	case VERB_DIAL:
	case VERB_PAUSE:
	case VERB_RESUME:
		break;
	default:
		return false;
	}
	return is_unknown(q->name ? member_find(c->helper, q->name) : c->member);
}

bool call_defer(struct call *c, struct request *q)
{
	struct deferred *d;

	if (!c->helper->adoption || !must_wait(c, q))
		return false;
	d = malloc(sizeof(*d));
	if (!d)
		return false; /* it is refused, as starting */
	*d = (struct deferred){.call = c, .q = *q};
	*q = (struct request){0};
	list_append(&c->helper->deferred, &d->link);
	return true;
}

/* One that sends no more may still read; one that has closed its end does neither. */
static bool is_wanted(const struct call *c)
{
	struct pollfd p = {.fd = c->conn ? stream_fd(c->conn->stream) : -1};

	return c->conn && (poll(&p, 1, 0) <= 0 || !(p.revents & POLLHUP));
}

/* Takes it out of its list. */
static void handle(struct deferred *d)
{
	struct call *c = d->call;
	struct request q = d->q;

	list_remove(&d->link);
	free(d);
	if (is_wanted(c))
		call_handle(c, &q);
	else
		call_end(c);
	request_done(&q);
}

/* What is handled may end connections, members and the helper, but no other request that waits here. */
static void on_turn(void *arg)
{
	struct helper *h = arg;
	struct list due;

	list_init(&due);
	list_for_each_safe (pos, &h->deferred) {
		struct deferred *d = list_entry(pos, struct deferred, link);

		if (must_wait(d->call, &d->q))
			continue;
		list_remove(&d->link);
		list_append(&due, &d->link);
	}
	while (!list_is_empty(&due))
		handle(list_entry(due.next, struct deferred, link));
}

void deferred_look(struct helper *h)
{
	if (!list_is_empty(&h->deferred) && !h->deferred_turn)
		timer_start(&h->loop, 0, on_turn, h, &h->deferred_turn);
}

void deferred_end(struct helper *h)
{
	timer_stop(&h->deferred_turn);
	while (!list_is_empty(&h->deferred)) {
		struct deferred *d = list_entry(h->deferred.next, struct deferred, link);

		list_remove(&d->link);
		call_errorf(d->call, ERR_STOPPED, "the cluster is stopping");
		request_done(&d->q);
		free(d);
	}
}
