/* SPDX-License-Identifier: MIT */
/* A listening unix socket on the loop. */
#ifndef DROVER_LOOP_LISTENER_H
#define DROVER_LOOP_LISTENER_H

#include <stdbool.h>
#include <sys/types.h>
#include <uv.h>

struct listener;
struct err;

/*
 * @fd is the callee's; @peer is who connected (SO_PEERCRED). listener_close is allowed inside. True when the connection has
 * ended already: then the next one may have its turn at once.
 */
typedef bool listener_cb(void *arg, int fd, uid_t peer);

/*
 * Listens at @path (mode 0600). A file in the way is removed: the caller holds the lock that says nobody lives there.
 * A path that does not fit a socket address is an error, never cut. 0 and *@ret, or < 0 with @e.
 */
int listener_open(uv_loop_t *loop, const char *path, listener_cb *on_connection, void *arg,
		  struct listener **ret, struct err *e);

/* Goes on with the listening socket @fd (taken) at @path, which an earlier process opened. */
int listener_adopt(uv_loop_t *loop, int fd, const char *path, listener_cb *on_connection, void *arg,
		   struct listener **ret, struct err *e);

/* Its socket, borrowed. */
int listener_fd(const struct listener *l);

/* Ends it and unlinks the path. NULL is harmless. */
void listener_close(struct listener *l);

#endif
