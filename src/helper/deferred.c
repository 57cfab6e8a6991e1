/* SPDX-License-Identifier: MIT */
/*
 * Requests about VMs of which it is not known yet whether they run or are paused, because they are being taken over; and what
 * comes during a round of rpc_point.c for whose answer nobody waits any more.
 *
 * How it works: such a request is kept until all VMs that it is about are known, and is then handled as if it had come
 * then. A hypervisor that writes a point says nothing for as long as that takes, minutes perhaps; how long a request
 * waits for it is for its client to say, who hangs up. A request whose client has hung up is not handled any more.
 *
 * As long as whoever asked for a round waits for it, others are told that the cluster is busy. When that client was killed,
 * or has given up, nobody could tell when to ask again: what comes then waits for the end of the round.
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

/* Whether it is refused while a round is under way. */
static bool needs_turn(enum verb verb)
{
	switch (verb) {
	case VERB_SAVE:
	case VERB_LOAD:
	case VERB_POINTS:
	case VERB_DROP:
	case VERB_CAPTURE:
	case VERB_PAUSE:
	case VERB_RESUME:
		return true;
	default:
		return false;
	}
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
	const struct helper *h = c->helper;
	bool waits = h->round && needs_turn(q->verb) && !round_is_wanted(h->round);

	if (!waits && (!h->adoption || !must_wait(c, q)))
		return false;
	d = malloc(sizeof(*d));
	if (!d)
		return false; /* it is refused, as starting */
	*d = (struct deferred){.call = c, .q = *q};
	*q = (struct request){0};
	list_append(&c->helper->deferred, &d->link);
	return true;
}

bool call_is_wanted(const struct call *c)
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
	if (call_is_wanted(c))
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
	while (!list_is_empty(&due)) {
		struct deferred *d = list_entry(due.next, struct deferred, link);

		if (!h->round || !needs_turn(d->q.verb)) {
			handle(d);
			continue;
		}
		list_remove(&d->link); /* one that was handled before it has begun another */
		list_append(&h->deferred, &d->link);
	}
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
