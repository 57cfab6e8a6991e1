/* SPDX-License-Identifier: MIT */
#include "network/egress.h"

#include "base/err.h"
#include "base/files.h"
#include "base/scoped.h"
#include "loop/keeper.h"
#include "loop/timer.h"
#include "network/launcher.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>

enum {
	CLOSE_MS = 2000, /* then SIGKILL */
};

#define KEPT_NAME "egress"

struct egress {
	uv_poll_t life;  /* on pidfd */
	uv_poll_t ready; /* on ready_fd */
	int pidfd;
	int ready_fd;
	int exit_fd; /* slirp4netns leaves when this is closed */
	unsigned open;
	struct keeper *keeper;
	bool told; /* that it stands */
	egress_cb *cb;
	egress_close_cb *on_close;
	void *arg;
	struct timer *kill_timer;
};

static void on_handle_closed(uv_handle_t *h)
{
	struct egress *g = h->data;

	if (--g->open > 0)
		return;
	close_fd(&g->pidfd);
	close_fd(&g->ready_fd);
	close_fd(&g->exit_fd);
	free(g);
}

static void close_ready(struct egress *g)
{
	if (!uv_is_closing((uv_handle_t *)&g->ready))
		uv_close((uv_handle_t *)&g->ready, on_handle_closed);
}

/* From here on: before, a next helper could not tell whether it stands, and starts another. */
static void keep(struct egress *g)
{
	keeper_put(g->keeper, KEPT_NAME, 0, (const int[]){g->pidfd, g->exit_fd}, 2, NULL);
}

static void on_ready(uv_poll_t *h, int uv_status, int events)
{
	struct egress *g = h->data;
	char c;
	bool stands = read(g->ready_fd, &c, 1) == 1;

	close_ready(g);
	if (stands && g->cb && !g->told) {
		g->told = true;
		keep(g);
		g->cb(g->arg, true);
	}
}

static void on_ended(uv_poll_t *h, int uv_status, int events)
{
	struct egress *g = h->data;
	egress_cb *cb = g->cb;
	egress_close_cb *on_close = g->on_close;
	void *arg = g->arg;

	timer_stop(&g->kill_timer);
	keeper_drop(g->keeper, KEPT_NAME);
	uv_close((uv_handle_t *)&g->life, on_handle_closed);
	close_ready(g);
	if (on_close)
		on_close(arg);
	else if (cb)
		cb(arg, false);
}

static int order(const struct egress_options *o, struct egress *g, struct err *e)
{
	struct launcher_order what = {0};
	scoped(fd) int netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	scoped(fd) int ready = -1;
	scoped(fd) int leave = -1;
	int pair[2];
	int r;

	if (netns < 0 || pipe2(pair, O_CLOEXEC | O_NONBLOCK) < 0)
		return err_errno(e, -errno, "start slirp4netns");
	g->ready_fd = pair[0];
	ready = pair[1];
	if (pipe2(pair, O_CLOEXEC) < 0)
		return err_errno(e, -errno, "start slirp4netns");
	leave = pair[0];
	g->exit_fd = pair[1];
	snprintf(what.ifname, sizeof(what.ifname), "%s", o->ifname);
	snprintf(what.cidr, sizeof(what.cidr), "--cidr=%s", o->cidr);
	r = launcher_order(o->launcher, &what, (const int[]){netns, ready, leave}, &g->pidfd);
	return r < 0 ? err_errno(e, r, "start slirp4netns") : 0;
}

/* What stood is told like what begins to stand: by a pipe. */
static int adopt(struct kept *kept, struct egress *g, struct err *e)
{
	int ready[2];
	int r = 0;

	if (kept->n_fds != 2)
		return err_set(e, ERR_INTERNAL, "what was left of slirp4netns is incomplete");
	if (pipe2(ready, O_CLOEXEC | O_NONBLOCK) < 0)
		return err_errno(e, -errno, "go on with slirp4netns");
	g->ready_fd = ready[0];
	g->pidfd = take_fd(&kept->fds[0]);
	g->exit_fd = take_fd(&kept->fds[1]);
	if (write(ready[1], "1", 1) < 0)
		r = err_errno(e, -errno, "go on with slirp4netns");
	close(ready[1]);
	return r;
}

int egress_open(uv_loop_t *loop, const struct egress_options *o, egress_cb *cb, void *arg,
		struct egress **ret, struct err *e)
{
	scoped(mem) char *path = files_find_program("slirp4netns");
	struct kept *kept = keeper_take(o->keeper, KEPT_NAME);
	struct egress *g = calloc(1, sizeof(*g));
	int r;

	if (!g)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	g->pidfd = g->ready_fd = g->exit_fd = -1;
	g->keeper = o->keeper;
	if (kept)
		r = adopt(kept, g, e);
	else if (!path)
		r = err_hint(e, err_set(e, ERR_MISSING_PROGRAM, "slirp4netns is not installed"),
			     "apt-get install slirp4netns");
	else
		r = order(o, g, e);
	if (r < 0) {
		close_fd(&g->pidfd);
		close_fd(&g->ready_fd);
		close_fd(&g->exit_fd);
		free(g);
		return r;
	}
	g->cb = cb;
	g->arg = arg;
	g->open = 2;
	g->life.data = g->ready.data = g;
	uv_poll_init(loop, &g->life, g->pidfd);
	uv_poll_init(loop, &g->ready, g->ready_fd);
	uv_poll_start(&g->life, UV_READABLE, on_ended);
	uv_poll_start(&g->ready, UV_READABLE, on_ready);
	*ret = g;
	return 0;
}

static void on_kill_timer(void *arg)
{
	struct egress *g = arg;

	syscall(SYS_pidfd_send_signal, g->pidfd, SIGKILL, NULL, 0);
}

void egress_close(struct egress *g, egress_close_cb *done, void *arg)
{
	g->cb = NULL;
	g->on_close = done;
	g->arg = arg;
	keeper_drop(g->keeper, KEPT_NAME); /* init has it open too */
	close_fd(&g->exit_fd);
	timer_start(g->life.loop, CLOSE_MS, on_kill_timer, g, &g->kill_timer);
}
