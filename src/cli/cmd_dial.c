/* SPDX-License-Identifier: MIT */
/*
 * drover dial: stdin and stdout become the ends of a connection to a member's TCP port, for the ProxyCommand of ssh.
 *
 * A connection into a guest that dies, panics or resets itself just falls silent: its network is gone, and with it whoever
 * could tell. So a thread hears what the member does, and ends the connection with it.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>

#include "base/files.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/commands.h"

enum { DIAL_TIMEOUT_MS = 30000, CHUNK = 65536, PORT_SSH = 22, PORT_MAX = 65535 };

/* Moves one chunk. > 0, 0 at the end of @from, or -errno. */
static ssize_t move(int from, int to)
{
	char chunk[CHUNK];
	ssize_t n = read(from, chunk, sizeof(chunk));
	int r;

	if (n < 0)
		return errno == EINTR ? 1 : -errno;
	if (n == 0)
		return 0;
	r = files_write_all(to, chunk, (size_t)n);
	return r < 0 ? r : n;
}

/* Until the guest has said all: its half may go on after ours is closed. 0 or -errno. */
static int relay(int fd)
{
	struct pollfd p[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
	ssize_t r = 1;

	while (r > 0) {
		if (poll(p, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (p[0].revents) {
			r = move(STDIN_FILENO, fd);
			if (r == 0) {
				shutdown(fd, SHUT_WR);
				p[0].fd = -1;
				r = 1;
			}
		}
		if (r > 0 && p[1].revents)
			r = move(fd, STDOUT_FILENO);
	}
	return (int)r;
}

/* --- The member's end ---------------------------------------------------------------------------------------- */

struct guard {
	struct drover_cluster *cluster; /* the thread's alone while that runs */
	const char *member;
	int fd; /* of the connection */
	struct drover_cancel *cancel;
	atomic_bool has_ended; /* set last */
	char why[512];
};

static int on_event(void *arg, const struct drover_event *ev)
{
	struct guard *g = arg;

	if (strcmp(ev->member, g->member) != 0)
		return 0;
	if (!strcmp(ev->kind, "panic"))
		snprintf(g->why, sizeof(g->why), "%s: its kernel panicked: %s", g->member,
			 ev->message);
	else if (!strcmp(ev->kind, "reset"))
		snprintf(g->why, sizeof(g->why), "%s has reset itself", g->member);
	else if (!strcmp(ev->kind, "gone") || !strcmp(ev->state, "stopped") ||
		 !strcmp(ev->state, "error"))
		snprintf(g->why, sizeof(g->why), "member %s is not running any more", g->member);
	return *g->why != '\0';
}

static void *watch_member(void *arg)
{
	struct guard *g = arg;
	struct drover_watch w = DROVER_WATCH_INIT;

	w.on_event = on_event;
	w.arg = g;
	w.cancel = g->cancel;
	if (drover_cluster_events(g->cluster, &w, NULL) < 0)
		return NULL; /* canceled; or a helper that tells nothing: then it is as it was without the thread */
	if (!*g->why)
		snprintf(g->why, sizeof(g->why), "member %s is not running any more", g->member);
	atomic_store(&g->has_ended, true);
	shutdown(g->fd, SHUT_RDWR);
	return NULL;
}

static int relay_guarded(struct drover_cluster *c, const char *member, int fd)
{
	struct guard g = {.cluster = c, .member = member, .fd = fd, .cancel = drover_cancel_new()};
	pthread_t thread;
	int r;

	if (!g.cancel)
		return say_error("out of memory or descriptors");
	r = pthread_create(&thread, NULL, watch_member, &g);
	if (r == 0) {
		r = relay(fd);
		drover_cancel_now(g.cancel);
		pthread_join(thread, NULL);
	} else {
		r = -r;
	}
	drover_cancel_free(g.cancel);
	if (atomic_load(&g.has_ended))
		return say_error("%s", g.why);
	return r < 0 ? say_error("the connection to %s broke: %s", member, strerror(-r)) : CLI_OK;
}

static int run_dial(const struct command *self, const void *settings, const struct args *a)
{
	struct drover_call call = DROVER_CALL_INIT;
	struct drover_cluster *c = NULL;
	struct drover_vm *vm;
	struct drover_error e;
	scoped(fd) int fd = -1;
	int64_t port;
	int r;

	if (a->count != 2)
		return say_usage(self, "dial needs the name of a member and a port");
	if (str_to_int64(a->names[1], 1, PORT_MAX, &port) < 0)
		return say_usage(self, "'%s' is not a port", a->names[1]);
	vm = member_open(a->names[0], &c, &e);
	if (!vm)
		return say_failed(NULL, &e);
	call.timeout_ms = DIAL_TIMEOUT_MS;
	fd = drover_vm_dial(vm, (uint16_t)port, &call, &e);
	if (fd < 0)
		r = port == PORT_SSH ? member_failed(vm, false, &e) : say_failed(NULL, &e);
	else
		r = relay_guarded(c, a->names[0], fd);
	drover_cluster_close(c);
	return r;
}

const struct command command_dial = {
	.name = "dial",
	.usage = "NAME PORT",
	.summary = "Connect stdin and stdout to a TCP port of a member",
	.hidden = true,
	.run = run_dial,
};
