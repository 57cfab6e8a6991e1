/* SPDX-License-Identifier: MIT */
/*
 * Bound mode: the helper dies with its client, however that dies.
 *
 * Two things tell, both events: the end of an armed connection to the .ctl socket, and the client's pidfd. The
 * handshake is protocol 2's: "bind", "2", "ack", raw bytes; here they are really compared, and may come in any
 * number of pieces. A connection that ends before its ack tells nothing.
 */
#include "helper/helper.h"

#include "base/scoped.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HANDSHAKE_MS = 10000, MAX_CTL_CONNS = 16 };

struct ctl_conn {
	struct list link;
	struct helper *helper;
	struct stream *stream;
	struct timer *deadline;
	size_t matched; /* bytes of "bindack" seen */
	bool armed;
};

static void ctl_conn_free(struct ctl_conn *c)
{
	list_remove(&c->link);
	timer_stop(&c->deadline);
	stream_close(c->stream);
	free(c);
}

/*
 * Nobody is left to wait for a graceful stop, one that is under way included. The kernel ends all VMs of a sandbox side by
 * side and gives each one's memory back as it ends; what is on disk is the supervisor's to remove.
 */
static void client_is_gone(struct helper *h)
{
	if (h->closing)
		return;
	helper_log("the client is gone: ending the cluster");
	if (h->o->sandbox) {
		list_for_each (pos, &h->members)
			backend_abandon(list_entry(pos, struct member, link)->vm);
		_exit(HELPER_CLIENT_GONE);
	}
	helper_shutdown(h, true);
}

static void on_ctl_end(struct ctl_conn *c)
{
	struct helper *h = c->helper;
	bool armed = c->armed;

	ctl_conn_free(c);
	if (armed)
		client_is_gone(h);
}

static void on_handshake_deadline(void *arg)
{
	ctl_conn_free(arg);
}

static void on_ctl_read(void *arg, const char *data, ssize_t len, int fd)
{
	static const char expected[] = WIRE_BIND WIRE_ACK;
	struct ctl_conn *c = arg;

	close_fd(&fd);
	if (len <= 0) {
		on_ctl_end(c);
		return;
	}
	for (ssize_t i = 0; i < len && !c->armed; i++) {
		if (data[i] != expected[c->matched]) {
			ctl_conn_free(c);
			return;
		}
		c->matched++;
		if (c->matched == strlen(WIRE_BIND) &&
		    stream_write(c->stream, WIRE_PROTOCOL, strlen(WIRE_PROTOCOL)) < 0) {
			ctl_conn_free(c);
			return;
		}
		if (c->matched == strlen(expected)) {
			c->armed = true;
			timer_stop(&c->deadline);
		}
	}
}

static unsigned count_ctl(struct helper *h)
{
	unsigned n = 0;

	list_for_each (pos, &h->ctl_conns)
		n++;
	return n;
}

static bool on_ctl_connection(void *arg, int fd, uid_t peer)
{
	struct helper *h = arg;
	struct ctl_conn *c = NULL;

	if (peer_is_welcome(h, peer) && count_ctl(h) < MAX_CTL_CONNS)
		c = calloc(1, sizeof(*c));
	if (!c) {
		close(fd);
		return false;
	}
	c->helper = h;
	list_append(&h->ctl_conns, &c->link);
	c->stream = stream_open(&h->loop, fd, on_ctl_read, c);
	if (!c->stream ||
	    !timer_start(&h->loop, HANDSHAKE_MS, on_handshake_deadline, c, &c->deadline))
		ctl_conn_free(c);
	return false;
}

/* One that waits to be booted. */
static struct member *find_unbooted(struct helper *h)
{
	list_for_each (pos, &h->members) {
		struct member *m = list_entry(pos, struct member, link);

		if (m->state == MEMBER_STARTING && !m->booting && !m->vm && !m->fresh &&
		    !m->unanswered_boot)
			return m;
	}
	return NULL;
}

/* Whoever comes next would take them for members that are about to run. */
static void end_unbooted(struct helper *h)
{
	struct member *m;

	while (!h->closing && (m = find_unbooted(h))) {
		helper_log("%s: whoever was to boot it is gone", m->name);
		store_member_forget(h->o->store, m->name); /* what was made of it so far */
		member_stop(m, true, NULL);
	}
}

static void on_client_dead(uv_poll_t *poll, int status, int events)
{
	struct helper *h = poll->data;

	uv_poll_stop(poll);
	if (h->o->bound)
		client_is_gone(h);
	else
		end_unbooted(h);
}

int ctl_open(struct helper *h, struct err *e)
{
	scoped(mem) char *path = store_socket_path(h->o->store, h->o->members.names[0], "ctl");

	if (!path)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	return listener_open(&h->loop, path, on_ctl_connection, h, &h->ctl, e);
}

int ctl_watch_client(struct helper *h, struct err *e)
{
	int r;

	if (h->o->client_pidfd < 0)
		return 0;
	r = uv_poll_init(&h->loop, &h->client_poll, h->o->client_pidfd);
	if (r < 0)
		return err_errno(e, r, "watch the client");
	h->client_poll.data = h;
	h->watching_client = true;
	uv_poll_start(&h->client_poll, UV_READABLE, on_client_dead);
	return 0;
}

void ctl_close(struct helper *h)
{
	listener_close(h->ctl);
	h->ctl = NULL;
	while (!list_is_empty(&h->ctl_conns))
		ctl_conn_free(list_entry(h->ctl_conns.next, struct ctl_conn, link));
}
