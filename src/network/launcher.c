/* SPDX-License-Identifier: MIT */
#include "network/launcher.h"

#include "base/fds.h"
#include "base/files.h"
#include "base/scoped.h"
#include "loop/keeper.h"
#include "network/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	ANSWER_S = 5, /* of somebody who only forks */
	/* Where the launcher puts what slirp4netns inherits. */
	FIRST_FD = 3,
	CLEAR_FD = 64 /* above them */
};

#define KEPT_NAME "launcher"

/* It names the order that it is for: a helper that died may have left one in the socket. */
struct answer {
	uint64_t number;
	int r;
};

/* --- The launcher ------------------------------------------------------------------------------------------------- */

/* In the child that becomes slirp4netns. */
static void run_slirp(const struct launcher_order *o, const int fds[LAUNCHER_N_FDS])
{
	scoped(mem) char *path = files_find_program("slirp4netns");
	int moved[LAUNCHER_N_FDS];
	sigset_t none;

	for (int i = 0; i < LAUNCHER_N_FDS; i++)
		moved[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, CLEAR_FD);
	for (int i = 0; i < LAUNCHER_N_FDS; i++)
		if (dup2(moved[i], FIRST_FD + i) < 0)
			_exit(127);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (path)
		execl(path, "slirp4netns", "--configure", "--mtu=65520", "--disable-host-loopback",
		      "--enable-sandbox", "--ready-fd=4", "--exit-fd=5", o->cidr,
		      "--netns-type=path", "/proc/self/fd/3", o->ifname, (char *)NULL);
	_exit(127);
}

/* One order. false: nobody gives any more. */
static bool obey(int sock)
{
	scoped(fd) int pidfd = -1;
	struct answer answer = {0};
	struct launcher_order o;
	int fds[LAUNCHER_N_FDS];
	pid_t pid;

	if (fds_receive(sock, &o, sizeof(o), fds, LAUNCHER_N_FDS, 0) != sizeof(o))
		return false;
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
	for (int i = 0; i < LAUNCHER_N_FDS; i++)
		close_fd(&fds[i]);
	fds_send(sock, &answer, sizeof(answer), &pidfd, pidfd >= 0, 0);
	return true;
}

/* Its whole life. @fd is its end of the socket. */
static void __attribute__((noreturn)) live(int fd)
{
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	int sock = fcntl(fd, F_DUPFD_CLOEXEC, 32);

	prctl(PR_SET_NAME, "drover-egress");
	dup2(null_fd, 0);
	dup2(null_fd, 1);
	fds_close_but(sock);
	while (obey(sock))
		;
	_exit(0);
}

pid_t launcher_fork(int *ret_fd)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		live(pair[1]);
	close(pair[1]);
	if (pid < 0) {
		pid = -errno;
		close(pair[0]);
		return pid;
	}
	*ret_fd = pair[0];
	return pid;
}

/* --- Another one, by the supervisor ------------------------------------------------------------------------------- */

/* In a child of the supervisor: goes into the sandbox and leaves the launcher there, as a child of the supervisor. */
static void __attribute__((noreturn)) join_and_fork(int pidfd, bool is_user_ns, int fd)
{
	long pid;

	if (setns(pidfd, (is_user_ns ? CLONE_NEWUSER : 0) | CLONE_NEWPID | CLONE_NEWNS) < 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		_exit(errno);
	pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
	if (pid == 0)
		live(fd);
	_exit(pid < 0 ? errno : 0);
}

/* The socket to it, the caller's, or -errno. */
static int fork_beside(pid_t init, bool is_user_ns)
{
	scoped(fd) int pidfd = (int)syscall(SYS_pidfd_open, init, 0);
	int pair[2];
	int status = 0;
	pid_t pid;

	if (pidfd < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		join_and_fork(pidfd, is_user_ns, pair[1]);
	close(pair[1]);
	if (pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
	    WEXITSTATUS(status) == 0)
		return pair[0];
	close(pair[0]);
	return pid > 0 && WIFEXITED(status) ? -WEXITSTATUS(status) : -EAGAIN;
}

bool launcher_serve(int sock, pid_t init, bool is_user_ns)
{
	struct answer answer = {0};
	scoped(fd) int fd = -1;

	if (recv(sock, &answer.number, sizeof(answer.number), 0) != sizeof(answer.number))
		return false;
	fd = fork_beside(init, is_user_ns);
	answer.r = fd < 0 ? fd : 0;
	fds_send(sock, &answer, sizeof(answer), &fd, fd >= 0, 0);
	return true;
}

/* --- Whoever gives orders ----------------------------------------------------------------------------------------- */

void launcher_init(struct launcher *l, const struct sandbox *s)
{
	struct kept *kept = keeper_take(s->keeper, KEPT_NAME);

	*l = (struct launcher){.supervisor_fd = s->supervisor_fd, .keeper = s->keeper};
	if (kept && kept->n_fds == 1)
		l->fd = take_fd(&kept->fds[0]);
	else
		l->fd = fcntl(s->egress_fd, F_DUPFD_CLOEXEC, 0);
}

void launcher_done(struct launcher *l)
{
	close_fd(&l->fd);
}

/* Sends @data, which begins with a number of its own, and waits for the answer to it: 0 and its descriptor, or -errno. */
static int ask(int sock, const void *data, size_t len, const int *fds, size_t n_fds, int *ret_fd)
{
	const struct timeval limit = {.tv_sec = ANSWER_S};
	uint64_t number = *(const uint64_t *)data;
	struct answer answer;
	ssize_t n;

	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	n = fds_send(sock, data, len, fds, n_fds, 0);
	if (n < 0)
		return (int)n;
	while ((n = fds_receive(sock, &answer, sizeof(answer), ret_fd, 1, 0)) == sizeof(answer)) {
		if (answer.number == number && answer.r < 0)
			return answer.r;
		if (answer.number == number) /* or there was no room for the descriptor here */
			return *ret_fd >= 0 ? 0 : -EMFILE;
		close_fd(ret_fd); /* its process left with the helper that asked for it */
	}
	return n < 0 ? (int)n : -EPIPE;
}

static uint64_t new_number(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Another one, which the next helper is to find. */
static int renew(struct launcher *l)
{
	uint64_t number = new_number();
	int fd = -1;
	int r = l->supervisor_fd < 0 ? -EPIPE
				     : ask(l->supervisor_fd, &number, sizeof(number), NULL, 0, &fd);

	if (r < 0)
		return r;
	close_fd(&l->fd);
	l->fd = fd;
	keeper_put(l->keeper, KEPT_NAME, 0, &fd, 1, NULL);
	fprintf(stderr, "network: the egress launcher was started again\n");
	return 0;
}

int launcher_order(struct launcher *l, struct launcher_order *o, const int fds[LAUNCHER_N_FDS],
		   int *ret_pidfd)
{
	int r;

	o->number = new_number();
	r = l->fd < 0 ? -EPIPE : ask(l->fd, o, sizeof(*o), fds, LAUNCHER_N_FDS, ret_pidfd);
	if ((r == -EPIPE || r == -ECONNRESET) && renew(l) == 0)
		r = ask(l->fd, o, sizeof(*o), fds, LAUNCHER_N_FDS, ret_pidfd);
	return r;
}
