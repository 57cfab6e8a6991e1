/* SPDX-License-Identifier: MIT */
/*
 * cloud-hypervisor's REST API over its unix socket, by libcurl on the loop.
 *
 * How it works: one curl multi handle, whose sockets and timer are the loop's. Each call has a connection and a deadline
 * of its own, so that one that hangs holds up nobody. After rest_close nothing is called.
 */
#ifndef DROVER_BACKEND_CLOUD_HYPERVISOR_REST_H
#define DROVER_BACKEND_CLOUD_HYPERVISOR_REST_H

#include <jansson.h>
#include <uv.h>

struct rest;

/*
 * @ret is the body of a good reply (an empty object when there was none), borrowed; NULL when the call failed: then
 * @error is a sentence. Runs once, from the loop. rest_call and rest_close are allowed inside.
 */
typedef void rest_reply_cb(void *arg, json_t *ret, const char *error);

/* After curl_load. @socket is the path; nothing is connected yet. NULL: out of memory. */
struct rest *rest_open(uv_loop_t *loop, const char *socket);

/*
 * GET (no @body) or PUT /api/v1/@action; @body is borrowed, json_null() for a PUT without one. 0, or -ENOMEM: then
 * @on_reply never runs. @timeout_ms counts from now to the last byte of the reply.
 */
int rest_call(struct rest *r, const char *action, json_t *body, unsigned timeout_ms,
	      rest_reply_cb *on_reply, void *arg);

/* NULL is harmless. */
void rest_close(struct rest *r);

#endif
