/* SPDX-License-Identifier: MIT */
/* One request to a helper, one reply: a connection of its own, a deadline, and a way to cancel. */
#ifndef DROVER_BACKEND_REMOTE_RPC_H
#define DROVER_BACKEND_REMOTE_RPC_H

#include "store/store.h"
#include "wire/message.h"

#include <uv.h>

struct rpc;

/*
 * @r < 0: @e says why and @p is NULL; the helper's own error reply comes as @r < 0 too. @fd: a passed descriptor (the
 * callee's) or -1. The rpc is freed after.
 */
typedef void rpc_done(void *arg, int r, const struct reply *p, int fd, const struct err *e);

/*
 * Sends @q to the first of @names whose socket answers to connect. When none does, and @window_ms is not over, tries
 * again each 100 ms (a helper that was just spawned and tells nobody when it is ready); then ERR_UNREACHABLE. When the
 * helper goes before it answers, the next one is asked, once, if nothing can have been done yet or twice is as once.
 * Without a reply within @timeout_ms: ERR_TIMEOUT. NULL with @e set when it cannot begin. @names is copied.
 */
struct rpc *rpc_start(uv_loop_t *loop, const struct store *store, const struct name_list *names,
		      const struct request *q, unsigned window_ms, uint64_t timeout_ms,
		      rpc_done *done, void *arg, struct err *e);

/* Ends it without a callback. NULL is harmless. */
void rpc_cancel(struct rpc *rpc);

/* A connected, non-blocking socket to the member's helper, or -errno. */
int rpc_connect(const struct store *store, const char *name);
int rpc_connect_path(const char *path);

#endif
