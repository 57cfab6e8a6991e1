/* SPDX-License-Identifier: MIT */
/*
 * Connections: who may connect, how many, how much and how long; requests in, replies and events out.
 *
 * How it works: a protocol-2 request has no "id": it is the only one of its connection, whose reading stops there and
 * which is closed after the reply. A request with an "id" keeps its connection for more; replies carry the id and may
 * come in any order. A watch turns its connection into a stream of events; it may carry requests too if it has an id.
 *
 * A connection that sits idle is the first to go when another needs its place; one that works for somebody is not.
 */
#include "helper/helper.h"

#include "base/scoped.h"
#include "config.h"

#include <string.h>
#include <sys/socket.h>

/* How long an answer may take to leave when its connection ends; and what unfinished requests may hold in all. */
enum { DRAIN_MS = 2000, MAX_PENDING_BYTES = 8 << 20, SMALL_REQUEST = 16384 };

struct conn {
	struct list link; /* helper.conns, the longest idle first */
	struct helper *helper;
	struct member *member; /* whose socket; NULL once that is retired */
	struct stream *stream;
	struct framer in;
	size_t counted; /* bytes of @in that helper.pending_bytes holds */
	struct timer *deadline;
	uint64_t deadline_at; /* when that fires; it then looks whether the time is really up */
	uint64_t since;    /* loop time: connected, or the last request ended, or a new one began */
	struct list calls; /* under way */
	unsigned n_calls;
	char *watch_id;
	bool watching;
	bool kept; /* its requests have ids */
	bool eof;  /* the peer sends no more */
	bool done; /* nothing more is read; closes when its calls have ended */
};

static rpc_handler *const handlers[VERB_MAX] = {
	[VERB_STATUS] = rpc_status,
	[VERB_STOP] = rpc_stop,
	[VERB_CREATENETWORK] = rpc_createnetwork,
	[VERB_RESERVE] = rpc_reserve,
	[VERB_BOOT_MEMBER] = rpc_boot_member,
	[VERB_HELLO] = rpc_hello,
	[VERB_WATCH] = rpc_watch,
	[VERB_DIAL] = rpc_dial,
	[VERB_CONSOLE] = rpc_console,
	[VERB_PAUSE] = rpc_pause,
	[VERB_SAVE] = rpc_save,
	[VERB_LOAD] = rpc_load,
	[VERB_POINTS] = rpc_points,
	[VERB_DROP] = rpc_drop,
	[VERB_RESUME] = rpc_resume,
	[VERB_KILL] = rpc_kill,
	[VERB_SHUTDOWN] = rpc_shutdown,
	[VERB_STATS] = rpc_stats,
};

static void count_pending(struct conn *c)
{
	c->helper->pending_bytes += c->in.in.len - c->counted;
	c->counted = c->in.in.len;
}

static void conn_free(struct conn *c)
{
	list_for_each_safe (pos, &c->calls) {
		struct call *call = list_entry(pos, struct call, link);

		list_remove(&call->link);
		call->conn = NULL;
	}
	c->helper->pending_bytes -= c->counted;
	c->helper->n_conns--;
	list_remove(&c->link);
	timer_stop(&c->deadline);
	framer_done(&c->in);
	free(c->watch_id);
	free(c);
}

static void conn_drop(struct conn *c)
{
	stream_close(c->stream);
	conn_free(c);
}

static void conn_finish(struct conn *c)
{
	stream_close_drained(c->stream, DRAIN_MS);
	conn_free(c);
}

static void send_error(struct conn *c, const char *id, const struct err *e)
{
	scoped(buf) struct buf line = BUF_INIT;

	if (reply_error(&line, id, e) == 0)
		stream_write(c->stream, line.data, line.len);
}

/*
 * Answers what is wrong with the connection itself, and ends it: at once, or, when requests are still under way on it,
 * after their replies. Nothing more is read.
 */
static void conn_refuse(struct conn *c, const char *id, const struct err *e)
{
	c->helper->total_refusals++;
	send_error(c, id, e);
	if (c->n_calls == 0) {
		conn_finish(c);
		return;
	}
	c->done = true;
	c->watching = false;
	timer_stop(&c->deadline);
	framer_done(&c->in);
	count_pending(c);
	stream_hold(c->stream, true);
}

/* Nobody waits for the peer while it waits for us. */
static bool is_busy(const struct conn *c)
{
	return c->watching || c->n_calls > 0 || c->done;
}

static bool is_between_requests(const struct conn *c)
{
	return c->kept && framer_is_idle(&c->in);
}

static uint64_t due_time(const struct conn *c)
{
	return c->since + (is_between_requests(c) ? WIRE_IDLE_MS : WIRE_REQUEST_MS);
}

static void set_deadline(struct conn *c);

static void on_deadline(void *arg)
{
	struct conn *c = arg;
	struct err e;

	if (is_busy(c))
		return; /* set again when it is no more */
	if (uv_now(&c->helper->loop) < due_time(c)) {
		set_deadline(c);
		return;
	}
	if (is_between_requests(c)) {
		conn_finish(c);
		return;
	}
	err_set(&e, ERR_TIMEOUT, "the request was not complete within %d s",
		WIRE_REQUEST_MS / 1000);
	conn_refuse(c, NULL, &e);
}

/* A timer that fires too early looks again: so the usual request starts and stops none. */
static void set_deadline(struct conn *c)
{
	uint64_t due = due_time(c);
	uint64_t now = uv_now(&c->helper->loop);

	if (is_busy(c) || (c->deadline && c->deadline_at <= due))
		return;
	timer_stop(&c->deadline);
	c->deadline_at = due;
	timer_start(&c->helper->loop, due > now ? due - now : 0, on_deadline, c, &c->deadline);
}

/* The connection may have ended after this. */
static void conn_settle(struct conn *c)
{
	if (c->n_calls == 0 && !c->watching && (c->done || c->eof)) {
		conn_finish(c);
		return;
	}
	if (c->watching && c->eof) {
		conn_drop(c);
		return;
	}
	if (!c->eof)
		stream_hold(c->stream, (c->done && !c->watching) ||
					       c->n_calls >= WIRE_MAX_INFLIGHT ||
					       stream_queued(c->stream) > WIRE_MAX_QUEUED);
	set_deadline(c);
}

static struct call *call_new(struct conn *c, struct request *q)
{
	struct call *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	call->conn = c;
	call->helper = c->helper;
	call->member = c->member;
	call->verb = q->verb;
	call->id = q->id;
	q->id = NULL;
	list_init(&call->wait_link);
	list_append(&c->calls, &call->link);
	list_append(&c->helper->calls, &call->all_link);
	c->n_calls++;
	return call;
}

/* One object. False when the connection is gone or reads no more. */
static bool handle_request(struct conn *c, const char *text, size_t len)
{
	struct helper *h = c->helper;
	struct request q;
	struct call *call;
	struct err e = ERR_INIT;

	if (request_decode(text, len, &q, &e) < 0) {
		conn_refuse(c, q.id, &e);
		request_done(&q);
		return false;
	}
	h->total_requests++;
	if (!q.id) {
		c->done = true;
	} else {
		c->kept = true;
	}
	call = call_new(c, &q);
	if (!call) {
		request_done(&q);
		conn_drop(c);
		return false;
	}
	handlers[q.verb](call, &q);
	request_done(&q);
	return true;
}

/* True while @c is still one of the helper's: a handler may have ended it. */
static bool is_alive(struct helper *h, const struct conn *c)
{
	list_for_each_safe (pos, &h->conns)
		if (list_entry(pos, struct conn, link) == c)
			return true;
	return false;
}

static void read_requests(struct conn *c)
{
	struct helper *h = c->helper;
	struct err e = ERR_INIT;
	const char *text;
	size_t len;
	int r;

	while (!c->done && (r = framer_next(&c->in, &text, &len)) != 0) {
		if (r == -EMSGSIZE)
			err_set(&e, ERR_TOO_LARGE, "the request is larger than %d bytes",
				WIRE_MAX_REQUEST);
		else if (r < 0)
			err_set(&e, ERR_BAD_REQUEST, "bad JSON: a request is an object");
		if (r < 0) {
			conn_refuse(c, NULL, &e);
			return;
		}
		if (!handle_request(c, text, len) || !is_alive(h, c))
			return;
	}
	conn_settle(c);
}

static void on_read(void *arg, const char *data, ssize_t len, int fd)
{
	struct conn *c = arg;
	struct helper *h = c->helper;
	struct err e = ERR_INIT;
	bool was_idle;

	close_fd(&fd); /* no request brings a descriptor */
	if (len < 0) {
		conn_drop(c);
		return;
	}
	if (len == 0) {
		c->eof = true;
		conn_settle(c);
		return;
	}
	if (c->done)
		return;        /* bytes after a protocol-2 request are ignored */
	list_remove(&c->link); /* no longer the longest idle */
	list_append(&h->conns, &c->link);
	was_idle = is_between_requests(c);
	if (framer_feed(&c->in, data, (size_t)len) < 0) {
		conn_drop(c);
		return;
	}
	if (was_idle && !is_between_requests(c))
		c->since = uv_now(&h->loop);
	count_pending(c);
	if (h->pending_bytes > MAX_PENDING_BYTES && c->in.in.len > SMALL_REQUEST) {
		err_set(&e, ERR_BUSY,
			"too many unfinished requests: %d bytes are held for all peers",
			MAX_PENDING_BYTES);
		conn_refuse(c, NULL, &e);
		return;
	}
	read_requests(c);
	if (is_alive(h, c))
		count_pending(c);
}

static void on_drain(void *arg)
{
	conn_settle(arg);
}

/* Makes room for one more: the longest idle connection goes. False when all of them work for somebody. */
static bool make_room(struct helper *h)
{
	if (h->n_conns < WIRE_MAX_CONNECTIONS)
		return true;
	list_for_each (pos, &h->conns) {
		struct conn *c = list_entry(pos, struct conn, link);
		struct err e;

		if (c->n_calls > 0 || c->watching)
			continue;
		err_set(&e, ERR_BUSY, "the connection was idle and its place is needed");
		conn_refuse(c, NULL, &e);
		return true;
	}
	return false;
}

/*
 * Owner and root. In a user namespace every foreign uid reads as unmapped: there the file mode (0600, checked by the
 * kernel at connect) has already said that the peer is the owner or may override modes, which is root.
 */
static bool may_connect(const struct helper *h, uid_t peer)
{
	return peer == 0 || peer == geteuid() || h->o->namespaced;
}

static void refuse_fd(struct helper *h, int fd, enum err_code code, const char *text)
{
	scoped(buf) struct buf line = BUF_INIT;
	struct err e;

	h->total_refusals++;
	err_set(&e, code, "%s", text);
	if (reply_error(&line, NULL, &e) == 0)
		send(fd, line.data, line.len, MSG_NOSIGNAL | MSG_DONTWAIT);
	close(fd);
}

void conn_accept(struct helper *h, struct member *m, int fd, uid_t peer)
{
	struct conn *c;

	h->total_connections++;
	if (!may_connect(h, peer)) {
		refuse_fd(h, fd, ERR_DENIED,
			  "permission denied: only the cluster's owner and root");
		return;
	}
	if (!make_room(h)) {
		refuse_fd(h, fd, ERR_BUSY, "too many connections");
		return;
	}
	c = calloc(1, sizeof(*c));
	if (!c) {
		close(fd);
		return;
	}
	c->helper = h;
	c->member = m;
	list_init(&c->calls);
	framer_init(&c->in, WIRE_MAX_REQUEST);
	list_append(&h->conns, &c->link);
	h->n_conns++;
	c->stream = stream_open_unwatched(&h->loop, fd, on_read, c);
	if (!c->stream) {
		conn_free(c);
		return;
	}
	stream_on_drain(c->stream, on_drain);
	c->since = uv_now(&h->loop);
	set_deadline(c);
	stream_kick(c->stream); /* the request is often there already */
}

void conns_forget_member(struct helper *h, const struct member *m)
{
	list_for_each (pos, &h->conns) {
		struct conn *c = list_entry(pos, struct conn, link);

		if (c->member == m)
			c->member = NULL;
	}
	list_for_each (pos, &h->calls) {
		struct call *call = list_entry(pos, struct call, all_link);

		if (call->member == m)
			call->member = NULL;
	}
}

void conns_close_all(struct helper *h)
{
	while (!list_is_empty(&h->conns))
		conn_finish(list_entry(h->conns.next, struct conn, link));
}

/* --- Answers ------------------------------------------------------------------------------------------------- */

static void call_end(struct call *call)
{
	struct conn *c = call->conn;

	list_remove(&call->link);
	list_remove(&call->wait_link);
	list_remove(&call->all_link);
	free(call->id);
	free(call);
	if (c) {
		c->n_calls--;
		c->since = uv_now(&c->helper->loop);
		conn_settle(c);
	}
}

void call_reply_fd(struct call *call, struct buf *line, int fd)
{
	if (call->conn && line->len)
		stream_write_fd(call->conn->stream, line->data, line->len, fd);
	else
		close_fd(&fd);
	buf_done(line);
	call_end(call);
}

void call_reply(struct call *call, struct buf *line)
{
	call_reply_fd(call, line, -1);
}

void call_empty(struct call *call)
{
	struct buf line = BUF_INIT;

	reply_empty(&line, call->id);
	call_reply(call, &line);
}

void call_error(struct call *call, const struct err *e)
{
	struct buf line = BUF_INIT;

	reply_error(&line, call->id, e);
	call_reply(call, &line);
}

void call_errorf(struct call *call, enum err_code code, const char *fmt, ...)
{
	struct err e;
	va_list ap;

	va_start(ap, fmt);
	err_vset(&e, code, fmt, ap);
	va_end(ap);
	call_error(call, &e);
}

/* --- Events -------------------------------------------------------------------------------------------------- */

static void begin_event(struct json_out *o, struct buf *line, const char *event,
			const struct member *m)
{
	json_out_begin(o, line);
	json_out_string(o, "event", event);
	json_out_string(o, "name", m->name);
}

/* Ends the line for this watcher and sends it; a watcher that does not read is dropped. */
static void send_event(struct conn *c, struct json_out *o)
{
	if (c->watch_id)
		json_out_raw(o, "id", c->watch_id);
	if (json_out_end(o) < 0)
		return;
	if (stream_write(c->stream, o->b->data, o->b->len) < 0)
		return; /* a dead peer: the stream tells */
	if (stream_queued(c->stream) > WIRE_MAX_QUEUED) {
		c->helper->total_refusals++;
		conn_drop(c);
	}
}

static void state_event(struct conn *c, const struct member *m)
{
	scoped(buf) struct buf line = BUF_INIT;
	struct json_out o;

	begin_event(&o, &line, WIRE_EVENT_STATE, m);
	json_out_string(&o, "state", member_state_word(m));
	json_out_string_opt(&o, "ip", m->ip);
	if (m->state == MEMBER_ERROR) {
		json_out_string(&o, "error", m->error.msg);
		json_out_string(&o, "code", err_code_name(m->error.code));
	}
	send_event(c, &o);
}

#define for_each_watcher(pos, h) list_for_each_safe (pos, &(h)->conns)

void event_state(struct helper *h, const struct member *m)
{
	for_each_watcher(pos, h)
	{
		struct conn *c = list_entry(pos, struct conn, link);

		if (c->watching)
			state_event(c, m);
	}
}

static void event_text(struct helper *h, const struct member *m, const char *event, const char *key,
		       const char *value)
{
	for_each_watcher(pos, h)
	{
		struct conn *c = list_entry(pos, struct conn, link);
		scoped(buf) struct buf line = BUF_INIT;
		struct json_out o;

		if (!c->watching)
			continue;
		begin_event(&o, &line, event, m);
		json_out_string_opt(&o, key, value);
		send_event(c, &o);
	}
}

void event_stage(struct helper *h, const struct member *m, const char *stage)
{
	event_text(h, m, WIRE_EVENT_STAGE, "stage", stage);
}

void event_address(struct helper *h, const struct member *m)
{
	event_text(h, m, WIRE_EVENT_ADDRESS, "ip", m->ip);
}

void event_gone(struct helper *h, const struct member *m)
{
	event_text(h, m, WIRE_EVENT_GONE, "", NULL);
}

void call_watch(struct call *call)
{
	struct conn *c = call->conn;
	struct helper *h = call->helper;

	if (!c) {
		call_end(call);
		return;
	}
	free(c->watch_id);
	c->watch_id = call->id;
	call->id = NULL;
	c->watching = true;
	call_end(call);
	list_for_each_safe (pos, &h->members) {
		if (!is_alive(h, c))
			return;
		state_event(c, list_entry(pos, struct member, link));
	}
}
