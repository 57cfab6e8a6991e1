/* SPDX-License-Identifier: MIT */
#include "loop/stream.h"

#include "base/fds.h"
#include "base/list.h"
#include "base/scoped.h"
#include "loop/timer.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>

/* A chunk is what one reader may cost the others before its owner can hold it. */
enum { READ_CHUNK = 16384, READS_PER_TURN = 8, PEEK_SIZE = 4096 };

enum took { TOOK_NOTHING, TOOK_SOME, TOOK_A_CHUNK };

struct chunk {
	struct list link;
	int fd; /* goes with the first byte, or -1 */
	size_t sent;
	size_t len;
	char data[];
};

struct stream {
	uv_poll_t poll;
	uv_loop_t *loop;
	int fd;
	stream_read_cb *on_read;
	stream_drain_cb *on_drain;
	void *arg;
	struct list queue;
	size_t queued;
	struct timer *linger;
	bool without_fds;
	size_t peeked; /* of PEEK_SIZE: bytes that on_read has got and the kernel still holds */
	bool held;
	bool draining; /* closes when the queue is empty */
	bool closing;
	bool polling; /* @poll is a handle of the loop; not before the stream has to wait for something */
	bool kicking; /* stream_kick runs, and frees what is closed meanwhile */
};

static void on_poll(uv_poll_t *h, int status, int events);

/*
 * Takes the bytes that were only looked at out of the kernel. Until then the peer's socket is as full as it was: when that
 * changes, the kernel wakes whoever sleeps on it, and a client that waits for its reply would run for nothing. So a small
 * request stays there until the reply has woken the client.
 */
static void take_peeked(struct stream *s)
{
	char bytes[PEEK_SIZE];

	while (s->peeked > 0) {
		ssize_t n = recv(s->fd, bytes, s->peeked, MSG_DONTWAIT);

		s->peeked = n > 0 ? s->peeked - (size_t)n : 0;
	}
}

static int watch(struct stream *s)
{
	int events = 0;
	int r;

	if (!s->held && !s->draining) {
		take_peeked(s);
		events |= UV_READABLE;
	}
	if (!list_is_empty(&s->queue))
		events |= UV_WRITABLE;
	if (!events)
		return s->polling ? uv_poll_stop(&s->poll) : 0;
	if (!s->polling) {
		r = uv_poll_init(s->loop, &s->poll, s->fd);
		if (r < 0)
			return r;
		s->poll.data = s;
		s->polling = true;
	}
	return uv_poll_start(&s->poll, events, on_poll);
}

static void chunk_free(struct chunk *c)
{
	list_remove(&c->link);
	close_fd(&c->fd);
	free(c);
}

static void on_closed(uv_handle_t *h)
{
	free(h->data);
}

void stream_close(struct stream *s)
{
	if (!s || s->closing)
		return;
	s->closing = true;
	if (s->peeked) {
		shutdown(s->fd, SHUT_WR); /* the end wakes the peer, and not what is taken now */
		take_peeked(s);
	}
	timer_stop(&s->linger);
	list_for_each_safe (pos, &s->queue)
		chunk_free(list_entry(pos, struct chunk, link));
	s->queued = 0;
	if (s->polling)
		uv_close((uv_handle_t *)&s->poll, on_closed);
	close(s->fd); /* uv_close has taken it out of the poll set */
	s->fd = -1;
	if (!s->polling && !s->kicking)
		free(s);
}

static void on_linger(void *arg)
{
	stream_close(arg);
}

void stream_close_drained(struct stream *s, unsigned ms)
{
	if (!s || s->closing)
		return;
	if (list_is_empty(&s->queue)) {
		stream_close(s);
		return;
	}
	s->draining = true;
	if (!timer_start(s->loop, ms, on_linger, s, &s->linger)) {
		stream_close(s);
		return;
	}
	watch(s);
}

/* @passed: goes with them; -1: none. How many went, or -errno. */
static ssize_t send_bytes(const struct stream *s, const char *data, size_t len, int passed)
{
	return fds_send(s->fd, data, len, &passed, passed >= 0, MSG_DONTWAIT);
}

/* Sends from the queue until the kernel is full. 0, or -errno of a dead peer. */
static int flush_queue(struct stream *s)
{
	while (!list_is_empty(&s->queue)) {
		struct chunk *c = list_entry(s->queue.next, struct chunk, link);
		ssize_t n = send_bytes(s, c->data + c->sent, c->len - c->sent, c->fd);

		if (n == -EAGAIN || n == -EWOULDBLOCK)
			return 0;
		if (n < 0)
			return (int)n;
		close_fd(&c->fd);
		c->sent += (size_t)n;
		s->queued -= (size_t)n;
		if (c->sent == c->len)
			chunk_free(c);
	}
	return 0;
}

static int enqueue(struct stream *s, const char *data, size_t len, int fd)
{
	struct chunk *c = malloc(sizeof(*c) + len);

	if (!c) {
		close_fd(&fd);
		return -ENOMEM;
	}
	c->fd = fd;
	c->sent = 0;
	c->len = len;
	memcpy(c->data, data, len);
	list_append(&s->queue, &c->link);
	s->queued += len;
	return 0;
}

int stream_write_fd(struct stream *s, const void *data, size_t len, int fd)
{
	const char *bytes = data;
	ssize_t n = 0;
	int r = 0;

	if (s->closing || s->draining || len == 0) {
		close_fd(&fd);
		return -EPIPE;
	}
	if (list_is_empty(&s->queue)) {
		n = send_bytes(s, bytes, len, fd);
		if (n == -EAGAIN || n == -EWOULDBLOCK)
			n = 0;
		if (n != 0)
			close_fd(&fd);
		if (n < 0)
			return (int)n;
	}
	if ((size_t)n < len) {
		r = enqueue(s, bytes + n, len - (size_t)n, fd);
		if (r == 0)
			r = watch(s);
	}
	return r;
}

int stream_write(struct stream *s, const void *data, size_t len)
{
	return stream_write_fd(s, data, len, -1);
}

static ssize_t receive(const struct stream *s, char *bytes, size_t size, int flags)
{
	ssize_t n = recv(s->fd, bytes, size, flags | MSG_DONTWAIT);

	return n < 0 ? -errno : n;
}

/*
 * What is new behind the bytes that were looked at before, or, when that is much, a chunk that is taken at once. How much
 * that is, 0 at the end, or -errno.
 */
static ssize_t peek(struct stream *s, char *bytes, const char **ret_new)
{
	/* without room for them the kernel closes passed descriptors */
	ssize_t n = receive(s, bytes, PEEK_SIZE, MSG_PEEK);
	size_t seen = s->peeked;

	*ret_new = bytes;
	if (n == PEEK_SIZE) {
		take_peeked(s);
		return receive(s, bytes, READ_CHUNK, 0);
	}
	if (n <= 0)
		return n;
	if ((size_t)n <= seen) {
		take_peeked(s);
		return -EAGAIN;
	}
	s->peeked = (size_t)n;
	*ret_new = bytes + seen;
	return n - (ssize_t)seen;
}

/* One read; after TOOK_A_CHUNK there may be more. */
static enum took read_once(struct stream *s)
{
	static _Thread_local char bytes[READ_CHUNK];
	const char *new = bytes;
	int fd = -1;
	ssize_t n;

	do
		n = s->without_fds ? peek(s, bytes, &new)
				   : fds_receive(s->fd, bytes, sizeof(bytes), &fd, 1, MSG_DONTWAIT);
	while (n == -EINTR);
	if (n == -EAGAIN || n == -EWOULDBLOCK)
		return TOOK_NOTHING;
	if (n <= 0) {
		s->held = true; /* the end is told once */
		watch(s);
		s->on_read(s->arg, NULL, n, -1);
		return TOOK_SOME;
	}
	s->on_read(s->arg, new, n, fd);
	return (size_t)n == sizeof(bytes) ? TOOK_A_CHUNK : TOOK_SOME;
}

/* A chunk counts twice. */
static void read_turn(struct stream *s)
{
	for (int i = 0; i < READS_PER_TURN; i++) {
		enum took took;

		if (s->closing || s->held || s->draining)
			return;
		took = read_once(s);
		if (took == TOOK_NOTHING)
			break;
		i += took == TOOK_A_CHUNK;
	}
	if (!s->closing && !s->held)
		take_peeked(s);
}

static void write_turn(struct stream *s)
{
	int r = flush_queue(s);

	if (r < 0) {
		if (s->draining) {
			stream_close(s);
		} else if (!s->held) {
			s->held = true;
			s->on_read(s->arg, NULL, r, -1);
		}
		return;
	}
	if (!list_is_empty(&s->queue))
		return;
	if (s->draining) {
		stream_close(s);
		return;
	}
	watch(s);
	if (s->on_drain)
		s->on_drain(s->arg);
}

static void on_poll(uv_poll_t *h, int status, int events)
{
	struct stream *s = h->data;

	if (status < 0)
		events = UV_READABLE | UV_WRITABLE; /* recvmsg or send tells what it is */
	if ((events & UV_WRITABLE) && !list_is_empty(&s->queue))
		write_turn(s);
	if (!s->closing && (events & UV_READABLE))
		read_turn(s);
	/* libuv has stopped to look, but bytes that came before a reset are read first, and its end after them. */
	if (status < 0 && !s->closing && !s->held && !s->draining)
		watch(s);
}

static struct stream *stream_new(uv_loop_t *loop, int fd, stream_read_cb *on_read, void *arg)
{
	struct stream *s = malloc(sizeof(*s));

	if (!s) {
		close(fd);
		return NULL;
	}
	*s = (struct stream){.loop = loop, .fd = fd, .on_read = on_read, .arg = arg};
	list_init(&s->queue);
	return s;
}

struct stream *stream_open_fresh(uv_loop_t *loop, int fd, stream_read_cb *on_read, void *arg)
{
	struct stream *s = stream_new(loop, fd, on_read, arg);

	if (s)
		s->without_fds = true;
	return s;
}

struct stream *stream_open(uv_loop_t *loop, int fd, stream_read_cb *on_read, void *arg)
{
	struct stream *s = stream_new(loop, fd, on_read, arg);

	if (s && watch(s) < 0) {
		stream_close(s);
		return NULL;
	}
	return s;
}

void stream_kick(struct stream *s)
{
	int r = 0;

	s->kicking = true;
	if (read_once(s) == TOOK_NOTHING) {
		sched_yield(); /* a peer that has just connected is about to write */
		read_once(s);
	}
	if (!s->closing)
		r = watch(s);
	if (r < 0 && !s->held) {
		s->held = true;
		s->on_read(s->arg, NULL, r, -1);
	}
	s->kicking = false;
	if (s->closing && !s->polling)
		free(s);
}

size_t stream_queued(const struct stream *s)
{
	return s->queued;
}

void stream_hold(struct stream *s, bool hold)
{
	if (s->closing || s->held == hold)
		return;
	s->held = hold;
	watch(s);
}

void stream_on_drain(struct stream *s, stream_drain_cb *cb)
{
	s->on_drain = cb;
}

int stream_fd(const struct stream *s)
{
	return s->fd;
}
