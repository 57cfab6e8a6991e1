/* SPDX-License-Identifier: MIT */
/* What conn.c and events.c share of a connection. */
#ifndef DROVER_HELPER_CONN_H
#define DROVER_HELPER_CONN_H

#include "helper/helper.h"

struct conn {
	struct list link; /* helper.conns, the longest idle first */
	struct helper *helper;
	struct member *member; /* whose socket; NULL once that is retired */
	struct stream *stream;
	struct framer in;
	size_t counted;      /* bytes of @in that helper.pending_bytes holds */
	struct timer *pause; /* in the middle of a large request */
	uint64_t since;    /* loop time: connected, or the last request ended, or a new one began */
	struct list calls; /* under way */
	unsigned n_calls;
	char *watch_id;
	bool watching;
	bool kept; /* its requests have ids */
	bool eof;  /* the peer sends no more */
	bool done; /* nothing more is read; closes when its calls have ended */
};

/* Ends it at once; what is queued is lost. */
void conn_drop(struct conn *c);

/* True while it is the one whose bytes are being handled: a handler may have ended it. */
static inline bool conn_is_current(const struct helper *h, const struct conn *c)
{
	return h->current == c;
}

/* Does what @q asks for; its handler takes the call. */
void call_handle(struct call *call, const struct request *q);

/* Frees an answered call; its connection may end with it. */
void call_end(struct call *call);

#endif
