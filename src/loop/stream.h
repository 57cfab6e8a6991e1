/* SPDX-License-Identifier: MIT */
/*
 * A connected stream socket on the loop: reads, queued writes, passed descriptors.
 *
 * How it works: one uv_poll_t. A write is tried at once; what the kernel does not take is queued and sent when
 * the socket is writable. Reading can be held back (stream_hold) while the peer does not read its replies.
 * The owner closes; nothing is called after stream_close except the loop's own close callback, which frees.
 */
#ifndef DROVER_LOOP_STREAM_H
#define DROVER_LOOP_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <uv.h>

struct stream;

/*
 * @len > 0: bytes (borrowed). 0: the peer closed. < 0: -errno, the stream is dead. @fd: a descriptor that came with
 * the bytes (now the callee's), or -1. stream_close is allowed inside.
 */
typedef void stream_read_cb(void *arg, const char *data, ssize_t len, int fd);
typedef void stream_drain_cb(void *arg);

/* Takes @fd (closed on failure too) and begins to read. NULL: out of memory or not pollable. */
struct stream *stream_open(uv_loop_t *loop, int fd, stream_read_cb *on_read, void *arg);

/*
 * The same for a connection that was just accepted, whose peer passes no descriptors (they are closed unseen): the loop
 * hears of @fd only from the first stream_kick on, and only if something is left to wait for. What on_read writes or closes
 * is the first that wakes the peer.
 */
struct stream *stream_open_fresh(uv_loop_t *loop, int fd, stream_read_cb *on_read, void *arg);

/* Reads what is there now instead of waiting for the next turn of the loop: for fresh connections. */
void stream_kick(struct stream *s);

/* Sends or queues a copy. 0, -ENOMEM, or -errno of a dead peer (which also reaches on_read). */
int stream_write(struct stream *s, const void *data, size_t len);

/* The same, with a descriptor beside the first byte. Takes @fd in every case. */
int stream_write_fd(struct stream *s, const void *data, size_t len, int fd);

/* Bytes that wait in the queue. */
size_t stream_queued(const struct stream *s);

/* Stops or resumes reading; the peer then feels its own full socket. */
void stream_hold(struct stream *s, bool hold);

/* Tells when the queue becomes empty (NULL: nobody). */
void stream_on_drain(struct stream *s, stream_drain_cb *cb);

/* The descriptor, still the stream's. */
int stream_fd(const struct stream *s);

/* Ends it now; what is queued is lost. NULL and a second call are harmless. */
void stream_close(struct stream *s);

/* Reads no more, sends what is queued within @ms milliseconds, then ends it. No further callbacks. */
void stream_close_drained(struct stream *s, unsigned ms);

#endif
