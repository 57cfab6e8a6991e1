/* SPDX-License-Identifier: MIT */
/*
 * A port of the host passed on to a port of a guest. Each connection is dialed through the helper, beside the others, and
 * then relayed on the cluster's loop: what one side has sent and the other has not taken yet fills a fixed buffer, and
 * only then that side is not read any more. The end of one direction is passed on alone.
 *
 * Connections are on the heap: the helper may answer a dial after the call has ended, and the answer frees what asked.
 */
#include "base/scoped.h"
#include "client/client.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

enum { BUFFER = 32768, BACKLOG = 64, DIAL_MS = 10000 };

struct way {
	char data[BUFFER];
	size_t start;
	size_t len;
	bool ended;     /* no more comes in */
	bool passed_on; /* the other side was told */
};

struct connection {
	struct list link;
	struct forward *forward; /* NULL: its call is over */
	int fd[2];               /* the host's and the guest's, -1: not there */
	uv_poll_t poll[2];
	unsigned handles; /* open polls */
	struct way way[2];
	bool closing;
};

struct forward {
	struct drover_vm *vm;
	uint16_t port;
	int fd;
	uv_poll_t listener;
	struct list connections;
	unsigned handles; /* open, connections' included */
	unsigned pending; /* 1 until the VM ends or the listener fails */
	struct err e;     /* why that did */
};

/* --- One connection ------------------------------------------------------------------------------------------ */

static void connection_free(struct connection *c)
{
	close_fd(&c->fd[0]);
	close_fd(&c->fd[1]);
	free(c);
}

static void on_poll_closed(uv_handle_t *h)
{
	struct connection *c = h->data;

	c->forward->handles--;
	if (--c->handles == 0)
		connection_free(c);
}

static void connection_close(struct connection *c)
{
	if (c->closing)
		return;
	c->closing = true;
	list_remove(&c->link);
	uv_close((uv_handle_t *)&c->poll[0], on_poll_closed);
	uv_close((uv_handle_t *)&c->poll[1], on_poll_closed);
}

/* Reads from side @i what fits. < 0: the connection is broken. */
static int take(struct connection *c, int i)
{
	struct way *w = &c->way[i];
	ssize_t n;

	if (w->len > 0 || w->ended)
		return 0;
	n = read(c->fd[i], w->data, sizeof(w->data));
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	w->start = 0;
	w->len = (size_t)n;
	w->ended = n == 0;
	return 0;
}

/* Gives to the other side what came from side @i, and its end. */
static int give(struct connection *c, int i)
{
	struct way *w = &c->way[i];

	while (w->len > 0) {
		ssize_t n = send(c->fd[!i], w->data + w->start, w->len, MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		w->start += (size_t)n;
		w->len -= (size_t)n;
	}
	if (w->ended && !w->passed_on) {
		w->passed_on = true;
		shutdown(c->fd[!i], SHUT_WR);
	}
	return 0;
}

static void on_poll(uv_poll_t *h, int status, int events);

static void watch_side(struct connection *c, int i)
{
	int events = 0;

	if (c->way[i].len == 0 && !c->way[i].ended)
		events |= UV_READABLE;
	if (c->way[!i].len > 0)
		events |= UV_WRITABLE;
	if (events)
		uv_poll_start(&c->poll[i], events, on_poll);
	else
		uv_poll_stop(&c->poll[i]);
}

static void on_poll(uv_poll_t *h, int status, int events)
{
	struct connection *c = h->data;
	int i = h == &c->poll[1];
	int r = status;

	if (r == 0 && (events & UV_READABLE))
		r = take(c, i);
	if (r == 0)
		r = give(c, 0);
	if (r == 0)
		r = give(c, 1);
	if (r < 0 || (c->way[0].passed_on && c->way[1].passed_on)) {
		connection_close(c);
		return;
	}
	watch_side(c, 0);
	watch_side(c, 1);
}

static void connection_begin(struct connection *c)
{
	struct forward *f = c->forward;
	uv_loop_t *loop = &f->vm->cluster->loop;

	for (int i = 0; i < 2; i++) {
		int one = 1;

		setsockopt(c->fd[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (uv_poll_init(loop, &c->poll[i], c->fd[i]) < 0) {
			/* the first is open already: it ends the connection */
			list_remove(&c->link);
			if (i == 1)
				uv_close((uv_handle_t *)&c->poll[0], on_poll_closed);
			else
				connection_free(c);
			return;
		}
		c->poll[i].data = c;
		c->handles++;
		f->handles++;
	}
	watch_side(c, 0);
	watch_side(c, 1);
}

/* A guest that does not answer shows as a connection that ends at once. */
static void on_dialed(void *arg, int r, int fd, const struct err *e)
{
	struct connection *c = arg;

	if (r >= 0)
		c->fd[1] = fd;
	if (c->forward && r >= 0) {
		connection_begin(c);
		return;
	}
	if (c->forward)
		list_remove(&c->link);
	connection_free(c);
}

/* --- The listener -------------------------------------------------------------------------------------------- */

static void on_incoming(uv_poll_t *h, int status, int events)
{
	struct forward *f = h->data;
	int fd = accept4(f->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct connection *c;
	struct err e = ERR_INIT;

	if (fd < 0) {
		/* a lack of descriptors would be told again and again */
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
			err_errno(&f->e, -errno, "accept a connection");
			f->pending = 0;
		}
		return;
	}
	c = calloc(1, sizeof(*c));
	if (!c) {
		close(fd);
		return;
	}
	c->forward = f;
	c->fd[0] = fd;
	c->fd[1] = -1;
	list_append(&f->connections, &c->link);
	if (backend_dial(f->vm->handle, f->port, DIAL_MS, on_dialed, c, &e) < 0) {
		list_remove(&c->link);
		connection_free(c);
	}
}

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static int parse_address(const char *host, uint16_t port, union address *ret, socklen_t *ret_len,
			 struct err *e)
{
	*ret = (union address){0};
	if (inet_pton(AF_INET, host, &ret->v4.sin_addr) == 1) {
		ret->v4.sin_family = AF_INET;
		ret->v4.sin_port = htons(port);
		*ret_len = sizeof(ret->v4);
		return 0;
	}
	*ret = (union address){0};
	if (inet_pton(AF_INET6, host, &ret->v6.sin6_addr) == 1) {
		ret->v6.sin6_family = AF_INET6;
		ret->v6.sin6_port = htons(port);
		*ret_len = sizeof(ret->v6);
		return 0;
	}
	return err_set(e, ERR_INVALID, "'%s' is not an IPv4 or IPv6 address", host);
}

static int listen_failed(const char *host, uint16_t port, int r, struct err *e)
{
	err_errno(e, r, "listen on %s port %u", host, port);
	if (r == -EADDRINUSE)
		err_hint(e, r, "take another port; 0 finds one that is free");
	else if (r == -EACCES)
		err_hint(e, r, "ports below 1024 are root's: take a higher one, or 0");
	return r;
}

static int listen_on(const char *host, uint16_t port, int *ret_fd, uint16_t *ret_port,
		     struct err *e)
{
	scoped(fd) int fd = -1;
	union address a;
	socklen_t len = 0;
	int one = 1;
	int r = parse_address(host, port, &a, &len, e);

	if (r < 0)
		return r;
	fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(e, -errno, "make a socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	/* an address of IPv6 is that and nothing else, "::" too */
	if (a.any.sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, &a.any, len) < 0 || listen(fd, BACKLOG) < 0 ||
	    getsockname(fd, &a.any, &len) < 0)
		return listen_failed(host, port, -errno, e);
	*ret_port = ntohs(a.any.sa_family == AF_INET6 ? a.v6.sin6_port : a.v4.sin_port);
	*ret_fd = take_fd(&fd);
	return 0;
}

/* --- The call ------------------------------------------------------------------------------------------------ */

static void on_listener_closed(uv_handle_t *h)
{
	struct forward *f = h->data;

	f->handles--;
}

/* A guest that panics or resets itself sends no end of its connections: whoever reads there would wait for ever. */
static void on_cut(void *arg)
{
	struct forward *f = arg;

	for (struct list *pos = f->connections.next; pos != &f->connections;) {
		struct connection *c = list_entry(pos, struct connection, link);

		pos = pos->next;
		if (c->handles > 0) /* not still dialing: that may come to the next boot */
			connection_close(c);
	}
}

/* Closes all that is open. */
static void forward_end(struct forward *f)
{
	while (!list_is_empty(&f->connections)) {
		struct connection *c = list_entry(f->connections.next, struct connection, link);

		if (c->handles > 0) {
			connection_close(c);
			continue;
		}
		list_remove(&c->link); /* still dialing: the answer frees it */
		c->forward = NULL;
	}
	uv_close((uv_handle_t *)&f->listener, on_listener_closed);
	wait_loop(&f->vm->cluster->loop, &f->handles, 0, NULL, NULL);
	close_fd(&f->fd);
}

static int forward_run(struct forward *f, struct drover_cancel *cancel, struct err *e)
{
	struct drover_vm *vm = f->vm;
	uv_loop_t *loop = &vm->cluster->loop;
	int r = uv_poll_init(loop, &f->listener, f->fd);

	if (r < 0) {
		close_fd(&f->fd);
		return err_errno(e, r, "watch a socket");
	}
	f->handles = 1;
	f->pending = 1;
	f->listener.data = f;
	uv_poll_start(&f->listener, UV_READABLE, on_incoming);
	vm->pending_to_end = &f->pending;
	vm->on_cut = on_cut;
	vm->cut_arg = f;
	r = vm_await_end(vm, e);
	if (r == 0)
		r = wait_loop(loop, &f->pending, 0, cancel, e);
	if (r == 0)
		r = vm->has_ended ? err_set(e, ERR_NOT_RUNNING, "member %s is not running any more",
					    vm->name)
				  : err_copy(e, &f->e);
	vm->on_cut = NULL;
	forward_end(f);
	vm->pending_to_end = NULL;
	return r;
}

int drover_vm_forward(struct drover_vm *vm, const struct drover_forward *from,
		      struct drover_error *pe)
{
	struct drover_forward o;
	struct err e = ERR_INIT;
	struct forward f = {.vm = vm};
	uint16_t host_port = 0;
	int r = options_take(&o, sizeof(o), from, "DROVER_FORWARD_INIT", &e);

	if (r < 0)
		return public_error(pe, &e, r);
	if (o.port == 0)
		r = err_set(&e, ERR_INVALID, "a forward needs the guest's port");
	else if (!vm->handle)
		r = err_set(&e, ERR_NOT_RUNNING, "member %s is not running", vm->name);
	if (r < 0)
		return public_error(pe, &e, r);
	f.port = o.port;
	list_init(&f.connections);
	r = listen_on(o.host ? o.host : "127.0.0.1", o.host_port, &f.fd, &host_port, &e);
	if (r < 0)
		return public_error(pe, &e, r);
	if (o.on_ready)
		o.on_ready(o.arg, host_port);
	r = forward_run(&f, o.cancel, &e);
	return public_error(pe, &e, r);
}
