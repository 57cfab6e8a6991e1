/* SPDX-License-Identifier: MIT */
#include "loop/listener.h"

#include "base/err.h"
#include "base/scoped.h"
#include "loop/timer.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

/* BACKLOG: connections the kernel keeps for us; RETRY_MS: the pause after running out of descriptors. */
enum { BACKLOG = 1024, RETRY_MS = 50, ACCEPTS_PER_TURN = 8 };

struct listener {
	uv_poll_t poll;
	int fd;
	struct sockaddr_un address;
	listener_cb *on_connection;
	void *arg;
	struct timer *retry;
	bool closing;
};

static void on_closed(uv_handle_t *h)
{
	free(h->data);
}

static void on_readable(uv_poll_t *h, int status, int events);

static void on_retry(void *arg)
{
	struct listener *l = arg;

	uv_poll_start(&l->poll, UV_READABLE, on_readable);
}

/* True when there was one, and it has been served to its end. */
static bool accept_one(struct listener *l)
{
	struct ucred peer = {.uid = (uid_t)-1};
	socklen_t len = sizeof(peer);
	int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM)) {
		/* The socket stays readable: wait instead of spinning. */
		uv_poll_stop(&l->poll);
		timer_start(l->poll.loop, RETRY_MS, on_retry, l, &l->retry);
		return false;
	}
	if (fd < 0)
		return false;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0) {
		close(fd);
		return true;
	}
	return l->on_connection(l->arg, fd, peer.uid);
}

/*
 * One connection a turn: the loop comes back for the next, and the peers that are in already have their turn between. Those
 * that are served at once are more: a client that calls again and again does without the turns.
 */
static void on_readable(uv_poll_t *h, int status, int events)
{
	struct listener *l = h->data;

	for (int i = 0; i < ACCEPTS_PER_TURN; i++)
		if (!accept_one(l) || l->closing)
			return;
}

static int set_path(struct listener *l, const char *path, struct err *e)
{
	if (strlen(path) >= sizeof(l->address.sun_path))
		return err_set(e, ERR_INVALID,
			       "the socket path is too long (%zu bytes, at most %zu): %s",
			       strlen(path), sizeof(l->address.sun_path) - 1, path);
	l->address.sun_family = AF_UNIX;
	memcpy(l->address.sun_path, path, strlen(path) + 1);
	return 0;
}

static int bind_address(struct listener *l)
{
	return bind(l->fd, (struct sockaddr *)&l->address, sizeof(l->address)) < 0 ? -errno : 0;
}

static int bind_path(struct listener *l, const char *path, struct err *e)
{
	int r = set_path(l, path, e);

	if (r < 0)
		return r;
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0)
		return err_errno(e, -errno, "open socket");
	/* Linux gives the name the mode of the socket: at no instant may others connect. */
	r = fchmod(l->fd, 0600) < 0 ? -errno : bind_address(l);
	if (r == -EADDRINUSE && unlink(path) == 0)
		r = bind_address(l);
	if (r == 0 && listen(l->fd, BACKLOG) < 0)
		r = -errno;
	return r < 0 ? err_errno(e, r, "listen socket %s", path) : 0;
}

/* @fd: one that listens already (taken), -1: none yet. */
static int begin(uv_loop_t *loop, int fd, const char *path, listener_cb *on_connection, void *arg,
		 struct listener **ret, struct err *e)
{
	struct listener *l = calloc(1, sizeof(*l));
	int r;

	if (!l) {
		close_fd(&fd);
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	}
	l->fd = fd;
	r = fd < 0 ? bind_path(l, path, e) : set_path(l, path, e);
	if (r == 0 && fd >= 0 &&
	    listen(fd, BACKLOG) < 0) /* whoever connects is told of this process */
		r = err_errno(e, -errno, "listen socket %s", path);
	if (r == 0 && (r = uv_poll_init(loop, &l->poll, l->fd)) < 0)
		err_errno(e, r, "watch socket %s", path);
	if (r < 0) {
		if (l->fd >= 0)
			close(l->fd);
		free(l);
		return r;
	}
	l->poll.data = l;
	l->on_connection = on_connection;
	l->arg = arg;
	uv_poll_start(&l->poll, UV_READABLE, on_readable);
	*ret = l;
	return 0;
}

int listener_open(uv_loop_t *loop, const char *path, listener_cb *on_connection, void *arg,
		  struct listener **ret, struct err *e)
{
	return begin(loop, -1, path, on_connection, arg, ret, e);
}

int listener_adopt(uv_loop_t *loop, int fd, const char *path, listener_cb *on_connection, void *arg,
		   struct listener **ret, struct err *e)
{
	return begin(loop, fd, path, on_connection, arg, ret, e);
}

int listener_fd(const struct listener *l)
{
	return l->fd;
}

void listener_close(struct listener *l)
{
	if (!l || l->closing)
		return;
	l->closing = true;
	timer_stop(&l->retry);
	unlink(l->address.sun_path);
	uv_close((uv_handle_t *)&l->poll, on_closed);
	close(l->fd);
}
