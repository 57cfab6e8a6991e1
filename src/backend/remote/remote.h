/* SPDX-License-Identifier: MIT */
/*
 * The client's side of the contract: each operation becomes a request to a helper.
 *
 *   create_network   createnetwork            cluster calls go over the primary's socket and, when the primary has
 *   reserve          reserve                  left, over any other member's that is known
 *   create           keeps the spec, sends nothing
 *   start            boot-member              done when the helper has answered: the guest is up then
 *   wait_address     watch events; against a protocol-2 helper, status every 500 ms
 *   stop             stop, then the member's pidfile and socket vanish (inotify) or the helper dies (pidfd)
 *   state            status; running, starting (and downloading), error; anything else or unreachable is stopped
 *   wait             like wait_address; unreachable is stopped
 *   close_network, reconcile, release         nothing is sent
 * Capabilities are answered from the host.
 */
#ifndef DROVER_BACKEND_REMOTE_H
#define DROVER_BACKEND_REMOTE_H

#include "backend/backend.h"
#include "store/store.h"

/* What the helper tells beside the contract; @text may be "". Runs from the loop while anything is observed. */
typedef void remote_event_fn(void *arg, const char *member, const char *stage, const char *text);

struct remote_options {
	uv_loop_t *loop;
	const struct store *store; /* borrowed for the backend's life */
	const char *primary;       /* the member that the helper was spawned for */
	unsigned
		connect_window_ms; /* how long a helper may take to open its sockets, when nobody told it is ready */
	remote_event_fn *on_event; /* may be NULL */
	void *event_arg;
};

struct backend *remote_backend_new(const struct remote_options *o, struct err *e);

/* Gives up the create_network and reserve calls under way: no callback comes. What the helper makes stays the helper's. */
void remote_cancel_asked(struct backend *b);

/* Makes another live member known as a way to the cluster. */
int remote_backend_know(struct backend *b, const char *name);

/*
 * Row @i of the reply to `stats`: the member's name (borrowed from @p) and its counters. NULL behind the last row; then,
 * and for a counter that is not told, @ret has -1.
 */
const char *remote_stats_row(const struct reply *p, size_t i, struct vm_stats *ret);

/* As backend_reserve, for a member that is called @as inside the network (NULL: @name). */
int remote_reserve_as(struct backend_network *net, const char *name, const char *as,
		      const char *ip_hint, backend_reserve_done *done, void *arg, struct err *e);

/*
 * A handle on a member that runs already (or may): no spec, so it cannot be started. The caller releases it.
 */
struct backend_vm *remote_vm_attach(struct backend *b, const char *name);

#endif
