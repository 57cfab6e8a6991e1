/* SPDX-License-Identifier: MIT */
#include "backend/remote/rpc.h"

#include "base/clock.h"
#include "base/scoped.h"
#include "loop/stream.h"
#include "loop/timer.h"
#include "wire/framer.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { RETRY_MS = 100, MAX_REPLY = 4 << 20 };

struct rpc {
	uv_loop_t *loop;
	const struct store *store;
	struct name_list names;
	struct buf line;
	int64_t window_end; /* of clock_ms */
	struct stream *stream;
	struct framer in;
	int fd; /* passed by the helper */
	struct timer *deadline;
	uint64_t timeout_ms; /* of it */
	struct timer *retry;
	rpc_done *done;
	void *arg;
	enum verb verb;
	bool again; /* asked once more: the helper that was asked first has gone */
};

int rpc_connect(const struct store *store, const char *name)
{
	scoped(mem) char *path = store_socket_path(store, name, "sock");

	return path ? rpc_connect_path(path) : -ENOMEM;
}

int rpc_connect_path(const char *path)
{
	scoped(fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (fd < 0)
		return -errno;
	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path) + 1);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return take_fd(&fd);
}

void rpc_cancel(struct rpc *rpc)
{
	if (!rpc)
		return;
	timer_stop(&rpc->deadline);
	timer_stop(&rpc->retry);
	stream_close(rpc->stream);
	framer_done(&rpc->in);
	buf_done(&rpc->line);
	name_list_done(&rpc->names);
	close_fd(&rpc->fd);
	free(rpc);
}

static void rpc_end(struct rpc *rpc, int r, const struct reply *p, const struct err *e)
{
	rpc_done *done = rpc->done;
	void *arg = rpc->arg;
	int fd = take_fd(&rpc->fd);

	rpc_cancel(rpc);
	done(arg, r, p, fd, e);
}

static void rpc_fail(struct rpc *rpc, enum err_code code, const char *text)
{
	const char *name = rpc->names.n ? rpc->names.names[0] : "";
	struct err e;

	err_set(&e, code, "%s: helper of %s %s", verb_name(rpc->verb), name, text);
	rpc_end(rpc, err_code_number(code), NULL, &e);
}

static void take_reply(struct rpc *rpc, const char *text, size_t len)
{
	struct reply p;
	struct err e = ERR_INIT;

	if (reply_decode(text, len, &p, &e) < 0) {
		rpc_fail(rpc, ERR_PROTOCOL, "sent a reply that cannot be read");
		return;
	}
	if (p.error.code != ERR_NONE) {
		e = p.error;
		reply_done(&p);
		rpc_end(rpc, err_code_number(e.code), NULL, &e);
		return;
	}
	rpc_end(rpc, 0, &p, NULL);
	reply_done(&p);
}

static void attempt(void *arg);

/* Asking twice is the same as once; boot-member is answered by the helper that takes the boot over. */
static bool is_repeatable(enum verb verb)
{
	return verb != VERB_SAVE && verb != VERB_LOAD && verb != VERB_SHUTDOWN;
}

/*
 * Whether a connection that ended so has surely done nothing: the helper begins with a whole request, and this one has not
 * left yet (the newline behind it does not count), or was left unread, which the kernel tells by a reset.
 */
static bool was_not_taken(const struct rpc *rpc, ssize_t end)
{
	return stream_queued(rpc->stream) > 1 || end == -ECONNRESET;
}

/*
 * A helper that was killed is followed by another, which its init starts: that one is asked too, once, so that a request
 * that a helper dies of does not become the third crash that ends the cluster.
 */
static bool ask_again(struct rpc *rpc)
{
	if (rpc->again)
		return false;
	rpc->again = true;
	stream_close(rpc->stream);
	rpc->stream = NULL;
	framer_done(&rpc->in);
	return timer_start(rpc->loop, 0, attempt, rpc, &rpc->retry) != NULL;
}

static void on_read(void *arg, const char *data, ssize_t len, int fd)
{
	struct rpc *rpc = arg;
	const char *text;
	size_t text_len;
	int r;

	if (fd >= 0) {
		close_fd(&rpc->fd);
		rpc->fd = fd;
	}
	if (len <= 0 && (is_repeatable(rpc->verb) || was_not_taken(rpc, len)) && ask_again(rpc))
		return;
	if (len <= 0) {
		rpc_fail(rpc, ERR_UNREACHABLE, "closed the connection without a reply");
		return;
	}
	if (framer_feed(&rpc->in, data, (size_t)len) < 0) {
		rpc_fail(rpc, ERR_NO_MEMORY, "sent more than there is memory for");
		return;
	}
	r = framer_next(&rpc->in, &text, &text_len);
	if (r < 0)
		rpc_fail(rpc, ERR_PROTOCOL, "sent a reply that cannot be read");
	else if (r > 0)
		take_reply(rpc, text, text_len);
}

static void on_deadline(void *arg)
{
	struct rpc *rpc = arg;
	char text[64];

	snprintf(text, sizeof(text), "did not reply within %g s", (double)rpc->timeout_ms / 1000);
	rpc_fail(rpc, ERR_TIMEOUT, text);
}

static int try_connect(struct rpc *rpc)
{
	int r = -ENOENT;

	for (size_t i = 0; i < rpc->names.n; i++) {
		r = rpc_connect(rpc->store, rpc->names.names[i]);
		if (r >= 0)
			return r;
	}
	return r;
}

static void send_request(struct rpc *rpc, int fd)
{
	int r;

	rpc->stream = stream_open(rpc->loop, fd, on_read, rpc);
	r = rpc->stream ? stream_write(rpc->stream, rpc->line.data, rpc->line.len) : -ENOMEM;
	if (r == -ENOMEM)
		rpc_fail(rpc, ERR_NO_MEMORY, "cannot be asked: out of memory");
	else if (r < 0 && !ask_again(rpc)) /* it went before the first byte */
		rpc_fail(rpc, ERR_UNREACHABLE, "closed the connection without a reply");
}

static void attempt(void *arg)
{
	struct rpc *rpc = arg;
	int fd = try_connect(rpc);

	/* EAGAIN: the helper's queue of new connections is full for a moment. */
	if (fd == -EAGAIN || (fd < 0 && clock_ms() < rpc->window_end))
		timer_start(rpc->loop, RETRY_MS, attempt, rpc, &rpc->retry);
	else if (fd < 0 && rpc->again)
		rpc_fail(rpc, ERR_UNREACHABLE, "closed the connection without a reply");
	else if (fd < 0)
		rpc_fail(rpc, ERR_UNREACHABLE, "cannot be reached: it does not run");
	else
		send_request(rpc, fd);
}

static int copy_names(struct name_list *to, const struct name_list *from)
{
	int r = 0;

	for (size_t i = 0; i < from->n && r == 0; i++)
		r = name_list_add(to, from->names[i]);
	return r;
}

struct rpc *rpc_start(uv_loop_t *loop, const struct store *store, const struct name_list *names,
		      const struct request *q, unsigned window_ms, uint64_t timeout_ms,
		      rpc_done *done, void *arg, struct err *e)
{
	struct rpc *rpc = calloc(1, sizeof(*rpc));

	if (!rpc) {
		err_set(e, ERR_NO_MEMORY, "out of memory");
		return NULL;
	}
	rpc->loop = loop;
	rpc->store = store;
	rpc->fd = -1;
	rpc->verb = q->verb;
	rpc->done = done;
	rpc->arg = arg;
	rpc->timeout_ms = timeout_ms;
	rpc->window_end = clock_ms() + window_ms;
	framer_init(&rpc->in, MAX_REPLY);
	if (copy_names(&rpc->names, names) < 0 || request_encode(q, &rpc->line) < 0 ||
	    !timer_start(loop, timeout_ms, on_deadline, rpc, &rpc->deadline) ||
	    !timer_start(loop, 0, attempt, rpc, &rpc->retry)) {
		rpc_cancel(rpc);
		err_set(e, ERR_NO_MEMORY, "out of memory");
		return NULL;
	}
	return rpc;
}
