/* SPDX-License-Identifier: MIT */
/* A stream of events from one helper. */
#ifndef DROVER_BACKEND_REMOTE_WATCH_H
#define DROVER_BACKEND_REMOTE_WATCH_H

#include <uv.h>

struct watch;

/* One event of docs/protocol.md; what it does not carry is "". All borrowed during the call. */
struct watch_event {
	const char *kind;
	const char *member;
	const char *state;
	const char *ip;
	const char *stage;
	const char *code;
	const char *error;
	const char *panic;
	const char *reason; /* of restarted, which is of no member: how the last helper ended */
};

/*
 * @ev NULL: nothing more comes; the watch is still its owner's to close. A kind "": the helper tells of no events, and
 * error says why. watch_close is allowed inside.
 */
typedef void watch_fn(void *arg, const struct watch_event *ev);

/* Asks for events on @fd, a connected socket of a helper (taken, also on failure). 0 or -errno. */
int watch_open(uv_loop_t *loop, int fd, watch_fn *on_event, void *arg, struct watch **ret);

/* NULL is harmless. Nothing is called afterwards. */
void watch_close(struct watch *w);

#endif
