/* SPDX-License-Identifier: MIT */
/* Reaching a guest over TCP from inside its network. */
#ifndef DROVER_BACKEND_LOCAL_DIAL_H
#define DROVER_BACKEND_LOCAL_DIAL_H

#include <stdint.h>
#include <uv.h>

struct err;
struct dialer;
struct banner;

/* @r 0: @fd is connected and the callee's; < 0: -errno (-ETIMEDOUT after the time). Runs once; the dialer is freed. */
typedef void dialer_cb(void *arg, int r, int fd);

/* Connects to @ip:@port; @timeout_ms 0: as long as the kernel tries. 0 and *@ret, or < 0 with @e. */
int dialer_start(uv_loop_t *loop, const char *ip, uint16_t port, uint64_t timeout_ms, dialer_cb *cb,
		 void *arg, struct dialer **ret, struct err *e);
void dialer_cancel(struct dialer *d); /* NULL is harmless; the callback will not run */

/* Where a guest will be; borrowed for a call. */
struct whereabouts {
	const char *bridge;
	const char *ip;
	const char *mac;
};

/*
 * Waits, however long, until an SSH server greets on port 22 of it; then calls back once (and is freed). @fd is that
 * connection, the callee's, of which nothing has been read.
 */
typedef void banner_cb(void *arg, int fd);
struct banner *banner_wait(uv_loop_t *loop, const struct whereabouts *at, banner_cb *cb, void *arg);
void banner_cancel(struct banner *b); /* NULL is harmless */

#endif
