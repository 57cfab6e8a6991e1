/* SPDX-License-Identifier: MIT */
#include "backend/qemu/qmp.h"

#include "base/err.h"
#include "base/list.h"
#include "base/scoped.h"
#include "loop/stream.h"
#include "wire/framer.h"
#include "wire/json.h"

#include <string.h>

enum { MAX_MESSAGE = 4 << 20 };

struct qmp {
	struct stream *stream;
	struct framer in;
	struct list calls; /* struct qmp_pending */
	int64_t last_id;
	qmp_event_cb *on_event;
	void *arg;
	bool handling; /* a callback runs: qmp_close leaves the freeing to its caller */
	bool closed;
	bool resync; /* up to the first newline the line's beginning may be missing */
};

struct qmp_pending {
	struct list link;
	int64_t id;
	qmp_reply_cb *on_reply;
	void *arg;
};

static void handle_reply(struct qmp *q, json_t *message)
{
	int64_t id = json_integer_value(json_object_get(message, "id"));
	json_t *ret = json_object_get(message, "return");
	const char *desc =
		json_string_value(json_object_get(json_object_get(message, "error"), "desc"));

	list_for_each_safe (pos, &q->calls) {
		struct qmp_pending *call = list_entry(pos, struct qmp_pending, link);

		if (call->id != id)
			continue;
		list_remove(&call->link);
		if (call->on_reply)
			call->on_reply(call->arg, ret,
				       ret    ? NULL
				       : desc ? desc
					      : "no reason given");
		free(call);
		return;
	}
}

static void handle_message(struct qmp *q, const char *text, size_t len)
{
	json_t *message = wire_json_parse(text, len, NULL);
	const char *event = json_string_value(json_object_get(message, "event"));

	if (event)
		q->on_event(q->arg, event, json_object_get(message, "data"));
	else if (json_object_get(message, "return") || json_object_get(message, "error"))
		handle_reply(q, message);
	json_decref(message);
}

static void qmp_free(struct qmp *q)
{
	list_for_each_safe (pos, &q->calls)
		free(list_entry(pos, struct qmp_pending, link));
	framer_done(&q->in);
	free(q);
}

/* A line whose beginning was read before is no object, whatever is left of it: its brackets do not match. */
static void resync(struct qmp *q)
{
	const char *end = memchr(q->in.in.data, '\n', q->in.in.len);
	json_t *message;

	if (!end)
		return;
	message = wire_json_parse(q->in.in.data, (size_t)(end - q->in.in.data), NULL);
	if (!message)
		buf_consume(&q->in.in, (size_t)(end - q->in.in.data) + 1);
	json_decref(message);
	q->resync = false;
}

/* The end of the connection tells nothing: QEMU's exit does. */
static void on_read(void *arg, const char *data, ssize_t len, int fd)
{
	struct qmp *q = arg;
	const char *text;
	size_t n;

	close_fd(&fd);
	if (len <= 0 || framer_feed(&q->in, data, (size_t)len) < 0) {
		stream_close(q->stream);
		q->stream = NULL;
		return;
	}
	q->handling = true;
	if (q->resync)
		resync(q);
	while (!q->resync && !q->closed && framer_next(&q->in, &text, &n) > 0)
		handle_message(q, text, n);
	q->handling = false;
	if (q->closed)
		qmp_free(q);
}

static int begin(uv_loop_t *loop, int fd, bool adopted, qmp_event_cb *on_event, void *arg,
		 struct qmp **ret)
{
	/* QEMU's parser begins anew at this byte, whatever came before; it complains, and nobody listens. */
	static const char flush[] = "\xff";
	struct qmp *q = calloc(1, sizeof(*q));
	int r = 0;

	if (!q) {
		close(fd);
		return -ENOMEM;
	}
	list_init(&q->calls);
	framer_init(&q->in, MAX_MESSAGE);
	q->on_event = on_event;
	q->arg = arg;
	q->stream = stream_open(loop, fd, on_read, q);
	q->resync = adopted;
	q->last_id = adopted ? (int64_t)(uv_hrtime() / 1000) : 0; /* no other's */
	if (!q->stream)
		r = -ENOMEM;
	else if (adopted)
		r = stream_write(q->stream, flush, 1);
	if (r == 0)
		r = qmp_call(q, "qmp_capabilities", NULL, NULL);
	if (r < 0) {
		stream_close(q->stream);
		qmp_free(q);
		return r;
	}
	*ret = q;
	return 0;
}

struct qmp *qmp_open(uv_loop_t *loop, int fd, qmp_event_cb *on_event, void *arg)
{
	struct qmp *q = NULL;

	begin(loop, fd, false, on_event, arg, &q);
	return q;
}

int qmp_adopt(uv_loop_t *loop, int fd, qmp_event_cb *on_event, void *arg, struct qmp **ret)
{
	return begin(loop, fd, true, on_event, arg, ret);
}

/* @arguments: "" or a member of the command's object with the comma before it. */
static int call(struct qmp *q, const char *command, const char *arguments, int fd,
		qmp_reply_cb *on_reply, void *arg)
{
	struct qmp_pending *p;
	char line[512];
	int r = -EPIPE;
	int n;

	p = q->stream ? calloc(1, sizeof(*p)) : NULL;
	if (!p) {
		close_fd(&fd);
		return q->stream ? -ENOMEM : -ENOTCONN;
	}
	p->id = ++q->last_id;
	p->on_reply = on_reply;
	p->arg = arg;
	list_append(&q->calls, &p->link);
	n = snprintf(line, sizeof(line), "{\"execute\":\"%s\"%s,\"id\":%lld}\n", command, arguments,
		     (long long)p->id);
	if (n >= (int)sizeof(line))
		close_fd(&fd);
	else if (fd < 0)
		r = stream_write(q->stream, line, (size_t)n);
	else
		r = stream_write_fd(q->stream, line, (size_t)n, fd);
	if (r == 0)
		return 0;
	list_remove(&p->link);
	free(p);
	return -EPIPE;
}

int qmp_call(struct qmp *q, const char *command, qmp_reply_cb *on_reply, void *arg)
{
	return call(q, command, "", -1, on_reply, arg);
}

int qmp_call_human(struct qmp *q, const char *line, qmp_reply_cb *on_reply, void *arg)
{
	char arguments[160];
	int n = snprintf(arguments, sizeof(arguments), ",\"arguments\":{\"command-line\":\"%s\"}",
			 line);

	if (n >= (int)sizeof(arguments))
		return -EMSGSIZE;
	return call(q, "human-monitor-command", arguments, -1, on_reply, arg);
}

int qmp_call_with(struct qmp *q, const char *command, const char *arguments, int fd,
		  qmp_reply_cb *on_reply, void *arg)
{
	char member[320];
	int n = snprintf(member, sizeof(member), ",\"arguments\":%s", arguments);

	if (n >= (int)sizeof(member)) {
		close_fd(&fd);
		return -EMSGSIZE;
	}
	return call(q, command, member, fd, on_reply, arg);
}

void qmp_close(struct qmp *q)
{
	if (!q)
		return;
	stream_close(q->stream);
	q->stream = NULL;
	q->closed = true;
	if (!q->handling)
		qmp_free(q);
}
