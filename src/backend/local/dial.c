/* SPDX-License-Identifier: MIT */
#include "backend/local/dial.h"

#include "backend/backend.h"
#include "base/err.h"
#include "base/scoped.h"
#include "base/str.h"
#include "loop/timer.h"
#include "network/neighbours.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

enum {
	USER_TIMEOUT_MS = 30000, /* unacknowledged data: the guest is gone */
	BANNER_TRY_MS = 20,      /* the first attempt to connect */
	BANNER_TRY_MAX_MS = 400, /* each next one lasts an eighth longer, up to this */
	BANNER_READ_MS = 10000,  /* from connect to the banner: sshd starts slowly */
	BANNER_PAUSE_MS = 100    /* after a refusal: the guest is up, its sshd is not */
};

struct dialer {
	uv_poll_t poll;
	int fd; /* -1 when given away */
	struct timer *deadline;
	dialer_cb *cb;
	void *arg;
};

static void on_dialer_closed(uv_handle_t *h)
{
	struct dialer *d = h->data;

	close_fd(&d->fd);
	free(d);
}

static void dialer_end(struct dialer *d, int r)
{
	dialer_cb *cb = d->cb;
	void *arg = d->arg;
	int fd = -1;

	/* uv_close takes the descriptor out of epoll at once, so it may be given away now. */
	timer_stop(&d->deadline);
	uv_close((uv_handle_t *)&d->poll, on_dialer_closed);
	if (r == 0)
		fd = take_fd(&d->fd);
	cb(arg, r, fd);
}

static void on_connected(uv_poll_t *h, int status, int events)
{
	struct dialer *d = h->data;
	socklen_t len = sizeof(int);
	int error = 0;

	if (getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (error == 0 && status < 0)
		error = -status;
	dialer_end(d, -error);
}

static void on_deadline(void *arg)
{
	dialer_end(arg, -ETIMEDOUT);
}

/*
 * A socket that a client holds keeps the whole network namespace alive, and after the guest's death the kernel would go
 * on sending FIN there; so closing resets, and silence ends it.
 */
static void set_options(int fd)
{
	const struct linger reset = {.l_onoff = 1, .l_linger = 0};
	const unsigned timeout = USER_TIMEOUT_MS;
	const int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof(timeout));
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
}

int dialer_start(uv_loop_t *loop, const char *ip, uint16_t port, uint64_t timeout_ms, dialer_cb *cb,
		 void *arg, struct dialer **ret, struct err *e)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	scoped(fd) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct dialer *d;

	if (fd < 0)
		return err_errno(e, -errno, "socket");
	if (inet_pton(AF_INET, ip, &to.sin_addr) != 1)
		return err_set(e, ERR_INVALID, "'%s' is no address", ip);
	set_options(fd);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS)
		return err_errno(e, -errno, "connect to %s:%u", ip, port);
	d = calloc(1, sizeof(*d));
	if (!d || uv_poll_init(loop, &d->poll, fd) < 0) {
		free(d);
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	}
	d->fd = take_fd(&fd);
	d->poll.data = d;
	d->cb = cb;
	d->arg = arg;
	if (timeout_ms)
		timer_start(loop, timeout_ms, on_deadline, d, &d->deadline);
	uv_poll_start(&d->poll, UV_WRITABLE, on_connected);
	*ret = d;
	return 0;
}

void dialer_cancel(struct dialer *d)
{
	if (!d)
		return;
	timer_stop(&d->deadline);
	uv_close((uv_handle_t *)&d->poll, on_dialer_closed);
}

/* --- The banner ---------------------------------------------------------------------------------------------- */

static const char greeting[] = "SSH-";

/* How many bytes must have come for @fd to be readable. */
static void set_least(int fd, int bytes)
{
	setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof(bytes));
}

/* Waits for the first bytes of @fd without reading them. */
struct peek {
	uv_poll_t poll;
	struct banner *banner;
};

/* Waits for the guest's first frame. */
struct ears {
	uv_poll_t poll;
	struct banner *banner;
	unsigned bridge; /* its index */
	char mac[MAC_SIZE];
	int fd;
};

/*
 * Nothing inside the guest tells when its SSH server listens, so this asks again and again: a SYN that meets no guest is
 * lost, and the kernel's own next one comes after 1 s, then 2, then 4; fresh attempts find the guest sooner. They become
 * slower, so that a guest that goes on from memory is found within a part of the time that it took, and one that boots for
 * long, or answers slowly, is not asked for more than it can answer. When the bridge hears the guest's first frame, which
 * comes with its address or not long before, it is asked at once, and often again.
 */
struct banner {
	uv_loop_t *loop;
	char ip[IP_SIZE];
	struct dialer *dialer; /* one of the three is set */
	struct peek *peek;
	struct ears *ears;   /* until they have heard it, or NULL */
	struct timer *timer; /* the pause, or the deadline of the greeting */
	uint64_t try_ms;     /* how long the next attempt may take */
	int fd;              /* with @peek: the connection; else -1 */
	banner_cb *cb;
	void *arg;
};

static void banner_try(void *arg);

static void on_peek_closed(uv_handle_t *h)
{
	free(h->data);
}

/* The connection stays open, the banner's. */
static void peek_end(struct banner *b)
{
	if (b->peek)
		uv_close((uv_handle_t *)&b->peek->poll, on_peek_closed);
	b->peek = NULL;
}

static void on_ears_closed(uv_handle_t *h)
{
	struct ears *ears = h->data;

	close_fd(&ears->fd);
	free(ears);
}

static void ears_end(struct banner *b)
{
	if (b->ears)
		uv_close((uv_handle_t *)&b->ears->poll, on_ears_closed);
	b->ears = NULL;
}

static void on_news(uv_poll_t *h, int status, int events)
{
	struct ears *ears = h->data;
	struct banner *b = ears->banner;

	if (!neighbours_have_heard(ears->fd, ears->bridge, ears->mac))
		return;
	ears_end(b);
	b->try_ms = BANNER_TRY_MS;
	if (!b->dialer)
		return; /* it has answered already */
	dialer_cancel(b->dialer);
	b->dialer = NULL;
	banner_try(b);
}

/* Best effort: without them it is found a little later. */
static void ears_begin(struct banner *b, const struct whereabouts *at)
{
	struct ears *ears = calloc(1, sizeof(*ears));
	int fd = ears ? neighbours_listen() : -1;

	if (fd < 0 || uv_poll_init(b->loop, &ears->poll, fd) < 0) {
		close_fd(&fd);
		free(ears);
		return;
	}
	ears->fd = fd;
	ears->poll.data = ears;
	ears->banner = b;
	ears->bridge = if_nametoindex(at->bridge);
	snprintf(ears->mac, sizeof(ears->mac), "%s", at->mac);
	b->ears = ears;
	uv_poll_start(&ears->poll, UV_READABLE, on_news);
}

static void banner_free(struct banner *b)
{
	ears_end(b);
	dialer_cancel(b->dialer);
	peek_end(b);
	close_fd(&b->fd);
	timer_stop(&b->timer);
	free(b);
}

static void banner_again(void *arg)
{
	struct banner *b = arg;

	peek_end(b);
	close_fd(&b->fd);
	timer_stop(&b->timer);
	timer_start(b->loop, BANNER_PAUSE_MS, banner_try, b, &b->timer);
}

/* Nothing is read: whoever gets the connection is to find it as it came. */
static void on_greeting(uv_poll_t *h, int status, int events)
{
	struct peek *p = h->data;
	struct banner *b = p->banner;
	char seen[sizeof(greeting) - 1];
	ssize_t n = recv(b->fd, seen, sizeof(seen), MSG_PEEK | MSG_DONTWAIT);
	banner_cb *cb = b->cb;
	void *cb_arg = b->arg;
	int fd;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n != sizeof(seen) || memcmp(seen, greeting, sizeof(seen)) != 0) {
		banner_again(b);
		return;
	}
	peek_end(b);
	fd = take_fd(&b->fd);
	set_least(fd, 1);
	banner_free(b);
	cb(cb_arg, fd);
}

static int peek_begin(struct banner *b, int fd)
{
	struct peek *p = calloc(1, sizeof(*p));

	b->fd = fd;
	if (!p || uv_poll_init(b->loop, &p->poll, fd) < 0) {
		free(p);
		return -ENOMEM;
	}
	p->poll.data = p;
	p->banner = b;
	b->peek = p;
	set_least(fd, sizeof(greeting) - 1);
	return uv_poll_start(&p->poll, UV_READABLE, on_greeting);
}

static void on_banner_dialed(void *arg, int r, int fd)
{
	struct banner *b = arg;

	b->dialer = NULL;
	if (r == -ETIMEDOUT)
		banner_try(b);
	else if (r == 0 && peek_begin(b, fd) == 0)
		timer_start(b->loop, BANNER_READ_MS, banner_again, b, &b->timer);
	else
		banner_again(b);
}

static void banner_try(void *arg)
{
	struct banner *b = arg;
	uint64_t this_ms = b->try_ms;

	b->try_ms += b->try_ms / 8;
	if (b->try_ms > BANNER_TRY_MAX_MS)
		b->try_ms = BANNER_TRY_MAX_MS;
	if (dialer_start(b->loop, b->ip, SSH_PORT, this_ms, on_banner_dialed, b, &b->dialer, NULL) <
	    0)
		banner_again(b);
}

struct banner *banner_wait(uv_loop_t *loop, const struct whereabouts *at, banner_cb *cb, void *arg)
{
	struct banner *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->loop = loop;
	b->fd = -1;
	b->try_ms = BANNER_TRY_MS;
	b->cb = cb;
	b->arg = arg;
	snprintf(b->ip, sizeof(b->ip), "%s", at->ip);
	neighbours_tell(at->bridge, at->ip, at->mac);
	ears_begin(b, at);
	banner_try(b);
	return b;
}

void banner_cancel(struct banner *b)
{
	if (b)
		banner_free(b);
}
