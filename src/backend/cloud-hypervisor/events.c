/* SPDX-License-Identifier: MIT */
#include "backend/cloud-hypervisor/events.h"

#include "base/buf.h"
#include "base/scoped.h"
#include "loop/stream.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum { MAX_EVENT = 64 << 10 };

struct events {
	struct stream *stream; /* NULL when it has ended */
	struct buf in;
	events_cb *cb;
	void *arg;
	bool handling; /* a callback runs: events_close leaves the freeing to its caller */
	bool closed;
};

static void events_free(struct events *v)
{
	buf_done(&v->in);
	free(v);
}

static void stop_reading(struct events *v)
{
	stream_close(v->stream);
	v->stream = NULL;
	buf_done(&v->in);
}

static void tell(struct events *v, json_t *message)
{
	const char *source = json_string_value(json_object_get(message, "source"));
	const char *event = json_string_value(json_object_get(message, "event"));

	if (source && event)
		v->cb(v->arg, source, event);
}

/* Takes one whole event out of what has come. */
static bool take_event(struct events *v)
{
	json_error_t error;
	json_t *message;
	size_t space = 0;

	while (space < v->in.len && strchr(" \r\n\t", v->in.data[space]))
		space++;
	buf_consume(&v->in, space);
	if (!v->in.len)
		return false;
	message = json_loadb(v->in.data, v->in.len, JSON_DISABLE_EOF_CHECK, &error);
	if (!message) {
		if (json_error_code(&error) != json_error_premature_end_of_input ||
		    v->in.len > MAX_EVENT) {
			fprintf(stderr,
				"cloud-hypervisor: an event cannot be read (%s); what "
				"follows is not looked at, nor are resets and panics\n",
				error.text);
			stop_reading(v);
		}
		return false;
	}
	buf_consume(&v->in, (size_t)error.position);
	tell(v, message);
	json_decref(message);
	return true;
}

static void on_read(void *arg, const char *data, ssize_t len, int fd)
{
	struct events *v = arg;

	close_fd(&fd);
	if (len <= 0 || buf_add(&v->in, data, (size_t)len) < 0) {
		stop_reading(v);
		return;
	}
	v->handling = true;
	while (!v->closed && take_event(v))
		continue;
	v->handling = false;
	if (v->closed)
		events_free(v);
}

struct events *events_open(uv_loop_t *loop, int fd, events_cb *cb, void *arg)
{
	struct events *v = calloc(1, sizeof(*v));

	if (!v) {
		close(fd);
		return NULL;
	}
	v->cb = cb;
	v->arg = arg;
	v->stream = stream_open(loop, fd, on_read, v);
	if (!v->stream) {
		free(v);
		return NULL;
	}
	return v;
}

void events_close(struct events *v)
{
	if (!v || v->closed)
		return;
	v->closed = true;
	stream_close(v->stream);
	v->stream = NULL;
	if (!v->handling)
		events_free(v);
}
