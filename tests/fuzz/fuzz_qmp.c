/* SPDX-License-Identifier: MIT */
/*
 * QMP: what QEMU says, over a real socket pair, with calls under way. The first byte chooses how the rest is cut into
 * writes, and whether a callback closes the connection.
 */
#include "fuzz/fuzz.h"

#include "backend/qemu/qmp.h"

#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CALLS = 3 };

struct session {
	struct qmp *qmp;
	bool close_in_callback;
	int answered;
};

static void maybe_close(struct session *s)
{
	if (!s->close_in_callback || !s->qmp)
		return;
	qmp_close(s->qmp);
	s->qmp = NULL;
}

static void on_event(void *arg, const char *event, json_t *data)
{
	if (!event)
		abort();
	maybe_close(arg);
}

static void on_reply(void *arg, json_t *ret, const char *why)
{
	struct session *s = arg;

	if ((ret == NULL) == (why == NULL) || ++s->answered > CALLS)
		abort();
	maybe_close(s);
}

int fuzz_one(const uint8_t *data, size_t size)
{
	size_t step = size ? data[0] % 64 + 1 : 1;
	struct session s = {.close_in_callback = size && data[0] >= 192};
	uv_loop_t loop;
	int pair[2];

	if (uv_loop_init(&loop) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	s.qmp = qmp_open(&loop, pair[0], on_event, &s);
	for (int i = 0; s.qmp && i < CALLS; i++)
		qmp_call(s.qmp, "query-status", on_reply, &s);
	for (size_t at = 1; at < size; at += step) {
		size_t n = size - at < step ? size - at : step;

		if (send(pair[1], data + at, n, MSG_NOSIGNAL) < 0)
			break;
		uv_run(&loop, UV_RUN_NOWAIT);
	}
	close(pair[1]);
	uv_run(&loop, UV_RUN_NOWAIT);
	qmp_close(s.qmp);
	uv_run(&loop, UV_RUN_DEFAULT);
	if (uv_loop_close(&loop) != 0)
		abort();
	return 0;
}
