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
#include "helper/conn.h"

#include "base/scoped.h"
#include "config.h"

#include <string.h>
#include <sys/socket.h>

/* How long an answer may take to leave when its connection ends; and what unfinished requests may hold in all. */
enum { DRAIN_MS = 2000, MAX_PENDING_BYTES = 8 << 20, SMALL_REQUEST = 16384 };

/* A request beyond SMALL_REQUEST is read a chunk at a time with pauses: its peer waits, the others do not. */
enum { PAUSE_MS = 1 };

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
	[VERB_SAVE] = rpc_point,
	[VERB_LOAD] = rpc_point,
	[VERB_POINTS] = rpc_point,
	[VERB_DROP] = rpc_point,
	[VERB_CAPTURE] = rpc_point,
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
	if (c->helper->current == c)
		c->helper->current = NULL;
	list_remove(&c->link);
	timer_stop(&c->pause);
	framer_done(&c->in);
	free(c->watch_id);
	free(c);
}

void conn_drop(struct conn *c)
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

static void end_overdue(struct conn *c)
{
	struct err e;

	if (is_between_requests(c)) {
		conn_finish(c);
		return;
	}
	err_set(&e, ERR_TIMEOUT, "the request was not complete within %d s",
		WIRE_REQUEST_MS / 1000);
	conn_refuse(c, NULL, &e);
}

/* What is busy has no time limit; one is set when it no longer is. */
void conns_end_overdue(struct helper *h)
{
	uint64_t next = ALARM_NEVER;

	list_for_each_safe (pos, &h->conns) {
		struct conn *c = list_entry(pos, struct conn, link);

		if (is_busy(c))
			continue;
		if (due_time(c) <= uv_now(&h->loop))
			end_overdue(c);
		else if (due_time(c) < next)
			next = due_time(c);
	}
	alarm_set(h->overdue, next);
}

/* The usual request sets no alarm: one that comes too early looks again. */
static void set_deadline(struct conn *c)
{
	if (!is_busy(c) && due_time(c) < alarm_time(c->helper->overdue))
		alarm_set(c->helper->overdue, due_time(c));
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
		stream_hold(c->stream, (c->done && !c->watching) || c->pause ||
					       c->n_calls >= WIRE_MAX_INFLIGHT ||
					       stream_queued(c->stream) > WIRE_MAX_QUEUED);
	set_deadline(c);
}

static void on_pause_over(void *arg)
{
	conn_settle(arg);
}

static void slow_down(struct conn *c)
{
	if (c->done || c->in.in.len <= SMALL_REQUEST || framer_is_idle(&c->in))
		return;
	if (timer_start(&c->helper->loop, PAUSE_MS, on_pause_over, c, &c->pause))
		stream_hold(c->stream, true);
}

void call_handle(struct call *call, const struct request *q)
{
	handlers[q->verb](call, q);
}

static struct call *call_new(struct conn *c, struct request *q)
{
	struct call *call = malloc(sizeof(*call));

	if (!call)
		return NULL;
	*call = (struct call){
		.conn = c, .helper = c->helper, .member = c->member, .verb = q->verb, .id = q->id};
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
	struct err e;

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
	if (!call_defer(call, &q))
		call_handle(call, &q);
	request_done(&q);
	return true;
}

/* @r: what the framer said. */
static void refuse_bytes(struct conn *c, int r)
{
	struct err e;

	if (r == -EMSGSIZE)
		err_set(&e, ERR_TOO_LARGE, "the request is larger than %d bytes", WIRE_MAX_REQUEST);
	else
		err_set(&e, ERR_BAD_REQUEST, "bad JSON: a request is an object");
	conn_refuse(c, NULL, &e);
}

static void read_requests(struct conn *c)
{
	struct helper *h = c->helper;
	const char *text;
	size_t len;
	int r;

	while (!c->done && (r = framer_next(&c->in, &text, &len)) != 0) {
		if (r < 0) {
			refuse_bytes(c, r);
			return;
		}
		if (!handle_request(c, text, len) || !conn_is_current(h, c))
			return;
	}
	conn_settle(c);
}

static void on_read(void *arg, const char *data, ssize_t len, int fd)
{
	struct conn *c = arg;
	struct helper *h = c->helper;
	struct err e;
	bool was_idle;

	close_fd(&fd); /* no request brings a descriptor */
	h->current = c;
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
	if (!conn_is_current(h, c))
		return;
	count_pending(c);
	slow_down(c);
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

bool peer_is_welcome(const struct helper *h, uid_t peer)
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

bool conn_accept(struct helper *h, struct member *m, int fd, uid_t peer)
{
	struct conn *c;

	h->total_connections++;
	if (!peer_is_welcome(h, peer)) {
		refuse_fd(h, fd, ERR_DENIED,
			  "permission denied: only the cluster's owner and root");
		return false;
	}
	if (!make_room(h)) {
		refuse_fd(h, fd, ERR_BUSY, "too many connections");
		return false;
	}
	c = malloc(sizeof(*c)); /* calloc of glibc has no quick way for what was just freed */
	if (!c) {
		close(fd);
		return false;
	}
	*c = (struct conn){.helper = h, .member = m};
	list_init(&c->calls);
	framer_init(&c->in, WIRE_MAX_REQUEST);
	list_append(&h->conns, &c->link);
	h->n_conns++;
	c->stream = stream_open_fresh(&h->loop, fd, on_read, c);
	if (!c->stream) {
		conn_free(c);
		return false;
	}
	stream_on_drain(c->stream, on_drain);
	c->since = uv_now(&h->loop);
	h->current = c;
	stream_kick(c->stream); /* the request is often there already */
	if (!conn_is_current(h, c))
		return true;
	set_deadline(c);
	return false;
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

void call_end(struct call *call)
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
