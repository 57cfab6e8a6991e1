/* SPDX-License-Identifier: MIT */
#include "network/egress.h"

#include "base/err.h"
#include "base/fds.h"
#include "base/files.h"
#include "base/scoped.h"
#include "base/str.h"
#include "loop/keeper.h"
#include "loop/timer.h"

#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum {
	CLOSE_MS = 2000, /* then SIGKILL */
	ANSWER_S = 5,    /* of the launcher, which only forks */
	/* Where the launcher puts what slirp4netns inherits. */
	NETNS_FD = 3,
	READY_FD = 4,
	EXIT_FD = 5,
	N_FDS = 3
};

#define KEPT_NAME "egress"

/* The launcher's answer names the order that it is for: a helper that died may have left one in the socket. */
struct order {
	uint64_t number;
	char ifname[IF_NAMESIZE];
	char cidr[SUBNET_SIZE];
};

struct answer {
	uint64_t number;
	int r;
};

/* In the child that becomes slirp4netns. */
static void run_slirp(const struct order *o, const int fds[N_FDS])
{
	scoped(mem) char *path = files_find_program("slirp4netns");
	char cidr[SUBNET_SIZE + 8];
	sigset_t none;
	int moved[N_FDS];

	for (int i = 0; i < N_FDS; i++)
		moved[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 64);
	for (int i = 0; i < N_FDS; i++)
		if (dup2(moved[i], NETNS_FD + i) < 0)
			_exit(127);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(cidr, sizeof(cidr), "--cidr=%s", o->cidr);
	if (path)
		execl(path, "slirp4netns", "--configure", "--mtu=65520", "--disable-host-loopback",
		      "--enable-sandbox", "--ready-fd=4", "--exit-fd=5", cidr, "--netns-type=path",
		      "/proc/self/fd/3", o->ifname, (char *)NULL);
	_exit(127);
}

void egress_launcher(int fd)
{
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	int sock = fcntl(fd, F_DUPFD_CLOEXEC, 32);

	prctl(PR_SET_NAME, "drover-egress");
	dup2(null_fd, 0);
	dup2(null_fd, 1);
	close_range(3, 31, 0);
	close_range((unsigned)sock + 1, ~0U, 0);
	for (;;) {
		struct order o;
		int fds[N_FDS];
		scoped(fd) int pidfd = -1;
		pid_t pid;
		struct answer answer = {0};

		if (fds_receive(sock, &o, sizeof(o), fds, N_FDS, 0) != sizeof(o))
			_exit(0);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			; /* earlier ones; pidfds told their end */
		pid = fork();
		if (pid == 0)
			run_slirp(&o, fds);
		if (pid > 0)
			pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
		answer.number = o.number;
		if (pidfd < 0)
			answer.r = -errno;
		for (int i = 0; i < N_FDS; i++)
			close_fd(&fds[i]);
		fds_send(sock, &answer, sizeof(answer), &pidfd, pidfd >= 0);
	}
}

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

static ssize_t receive_answer(int sock, uint64_t number, struct answer *ret, int *ret_pidfd)
{
	for (;;) {
		ssize_t n = fds_receive(sock, ret, sizeof(*ret), ret_pidfd, 1, 0);

		if (n != sizeof(*ret) || ret->number == number)
			return n;
		close_fd(ret_pidfd); /* its slirp4netns left with the helper that asked for it */
	}
}

static int order(const struct egress_options *o, struct egress *g, struct err *e)
{
	struct order what = {0};
	struct timeval limit = {.tv_sec = ANSWER_S};
	scoped(fd) int netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	int ready[2];
	int leave[2];
	struct answer answer = {.r = -EIO};
	ssize_t r;

	if (netns < 0 || pipe2(ready, O_CLOEXEC | O_NONBLOCK) < 0)
		return err_errno(e, -errno, "start slirp4netns");
	g->ready_fd = ready[0];
	if (pipe2(leave, O_CLOEXEC) < 0) {
		r = -errno;
		close(ready[1]);
		return err_errno(e, (int)r, "start slirp4netns");
	}
	g->exit_fd = leave[1];
	what.number = uv_hrtime();
	snprintf(what.ifname, sizeof(what.ifname), "%s", o->ifname);
	snprintf(what.cidr, sizeof(what.cidr), "%s", o->cidr);
	setsockopt(o->launcher_fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	r = fds_send(o->launcher_fd, &what, sizeof(what), (const int[]){netns, ready[1], leave[0]},
		     N_FDS);
	close(ready[1]);
	close(leave[0]);
	if (r == 0)
		r = receive_answer(o->launcher_fd, what.number, &answer, &g->pidfd);
	if (r == sizeof(answer) && g->pidfd >= 0)
		return 0;
	return err_errno(e, r < 0 ? (int)r : answer.r < 0 ? answer.r : -EPIPE, "start slirp4netns");
}

/* What stood is told like what begins to stand: by a pipe. */
static int adopt(struct kept *kept, struct egress *g, struct err *e)
{
	int ready[2];

	if (kept->n_fds != 2)
		return err_set(e, ERR_INTERNAL, "what was left of slirp4netns is incomplete");
	if (pipe2(ready, O_CLOEXEC | O_NONBLOCK) < 0)
		return err_errno(e, -errno, "go on with slirp4netns");
	g->ready_fd = ready[0];
	g->pidfd = take_fd(&kept->fds[0]);
	g->exit_fd = take_fd(&kept->fds[1]);
	if (write(ready[1], "1", 1) < 0)
		err_errno(e, -errno, "go on with slirp4netns");
	close(ready[1]);
	return 0;
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
		r = err_set(e, ERR_MISSING_PROGRAM,
			    "slirp4netns is not installed: apt-get install slirp4netns");
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
