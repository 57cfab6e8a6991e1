/* SPDX-License-Identifier: MIT */
#include "guest/run.h"

#include "base/err.h"
#include "base/files.h"
#include "base/giveup.h"
#include "base/scoped.h"
#include "base/str.h"
#include "base/wait_status.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { LINE_MAX_KEPT = 65536 };

struct run {
	const char *name;
	pid_t pid;
	int pidfd;
	int out;
	int err;
	struct buf line;
	struct buf *tail;
	run_line_fn *on_line;
	void *arg;
};

static void set_actions(posix_spawn_file_actions_t *fa, int out, int err)
{
	posix_spawn_file_actions_addopen(fa, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(fa, out, 1);
	posix_spawn_file_actions_adddup2(fa, err, 2);
	posix_spawn_file_actions_addclosefrom_np(fa, 3);
}

/* Its own process group (so that all of it can be ended), no signal blocked or ignored as the host program may have it. */
static void set_attributes(posix_spawnattr_t *attr)
{
	sigset_t set;

	sigemptyset(&set);
	posix_spawnattr_setsigmask(attr, &set);
	sigfillset(&set);
	posix_spawnattr_setsigdefault(attr, &set);
	posix_spawnattr_setpgroup(attr, 0);
	posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
					       POSIX_SPAWN_SETPGROUP);
}

/* Moves @fd above the standard three, which the host program may have closed: dup2 in the child must not overwrite it. */
static int move_up(int fd[2])
{
	for (int i = 0; i < 2; i++) {
		int up = fd[i] > 2 ? fd[i] : fcntl(fd[i], F_DUPFD_CLOEXEC, 3);

		if (up < 0)
			return -errno;
		if (up != fd[i])
			close(fd[i]);
		fd[i] = up;
	}
	return 0;
}

static int make_pipe(int *ret_read, int *ret_write)
{
	int fd[2];
	int r;

	if (pipe2(fd, O_CLOEXEC) < 0)
		return -errno;
	r = move_up(fd);
	*ret_read = fd[0];
	*ret_write = fd[1];
	return r;
}

static int spawn(struct run *run, const char *path, const char *const argv[])
{
	scoped(fd) int out = -1;
	scoped(fd) int err = -1;
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	int r;

	r = make_pipe(&run->out, &out);
	if (r == 0)
		r = make_pipe(&run->err, &err);
	if (r < 0)
		return r;
	if (posix_spawn_file_actions_init(&fa) != 0)
		return -ENOMEM;
	if (posix_spawnattr_init(&attr) != 0) {
		posix_spawn_file_actions_destroy(&fa);
		return -ENOMEM;
	}
	set_actions(&fa, out, err);
	set_attributes(&attr);
	r = -posix_spawn(&run->pid, path, &fa, &attr, (char *const *)argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&fa);
	return r;
}

static void give_lines(struct run *run, bool at_end)
{
	char *newline;

	while (run->line.len > 0 && (newline = memchr(run->line.data, '\n', run->line.len))) {
		*newline = '\0';
		if (run->on_line)
			run->on_line(run->arg, run->line.data);
		buf_consume(&run->line, (size_t)(newline - run->line.data) + 1);
	}
	if (run->line.len > 0 && (at_end || run->line.len > LINE_MAX_KEPT)) {
		if (run->on_line)
			run->on_line(run->arg, run->line.data);
		buf_consume(&run->line, run->line.len);
	}
}

/* One read of *@fd; at its end it is closed. 0 or -ENOMEM. */
static int drain(struct run *run, int *fd)
{
	char data[4096];
	ssize_t n = read(*fd, data, sizeof(data));

	if (n < 0 && errno == EINTR)
		return 0;
	if (n <= 0) {
		close_fd(fd);
		return 0;
	}
	if (fd == &run->err) {
		if (buf_add(run->tail, data, (size_t)n) < 0)
			return -ENOMEM;
		if (run->tail->len > RUN_STDERR_KEPT)
			buf_consume(run->tail, run->tail->len - RUN_STDERR_KEPT);
		return 0;
	}
	if (buf_add(&run->line, data, (size_t)n) < 0)
		return -ENOMEM;
	give_lines(run, false);
	return 0;
}

static bool exited_within(int pidfd, int ms)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	int r;

	do {
		r = poll(&p, 1, ms);
	} while (r < 0 && errno == EINTR);
	return r > 0;
}

/* The whole group: SIGTERM, so that it can tidy up, then SIGKILL. The group's id is ours until the leader is reaped. */
static void end_group(struct run *run)
{
	kill(-run->pid, SIGTERM);
	if (run->pidfd >= 0)
		exited_within(run->pidfd, RUN_TERM_MS);
	kill(-run->pid, SIGKILL);
}

/*
 * Both pipes to their end and the process to its own. What a left-over grandchild holds open is not waited for: when the
 * process has ended, only what is already in the pipes is read.
 */
static int follow(struct run *run, const struct giveup *g)
{
	bool exited = false;

	while (!exited || run->out >= 0 || run->err >= 0) {
		struct pollfd p[] = {
			{.fd = run->out, .events = POLLIN},
			{.fd = run->err, .events = POLLIN},
			{.fd = exited ? -1 : run->pidfd, .events = POLLIN},
			{.fd = g ? g->cancel_fd : -1, .events = POLLIN},
		};
		bool tells = g && run->on_line;
		int n = poll(p, 4, exited ? 0 : giveup_poll_ms(g, tells ? RUN_SILENT_MS : -1));
		int r;

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0 && exited)
			break;
		r = giveup_check(g, NULL);
		if (r < 0)
			return r;
		if (n == 0 && tells)
			run->on_line(run->arg, NULL);
		if (n <= 0)
			continue;
		if (p[0].revents)
			r = drain(run, &run->out);
		if (r == 0 && p[1].revents)
			r = drain(run, &run->err);
		if (r < 0)
			return r;
		exited = exited || p[2].revents;
	}
	give_lines(run, true);
	return 0;
}

static void trim(struct buf *tail)
{
	while (tail->len > 0 && strchr(" \t\r\n", tail->data[tail->len - 1]))
		tail->data[--tail->len] = '\0';
	for (char *p = tail->data; p && *p; p++)
		if (((unsigned char)*p < ' ' && *p != '\n') || *p == 0x7f)
			*p = '?';
}

/*
 * When the host program ignores SIGCHLD or reaps every child itself, the status is lost: then a program that wrote
 * nothing to stderr counts as good, and callers look at what it made.
 */
static int reap(struct run *run)
{
	int status;

	while (waitpid(run->pid, &status, 0) < 0) {
		if (errno != EINTR)
			return run->tail->len > 0;
	}
	return wait_status_code(status);
}

static void run_done(struct run *run)
{
	close_fd(&run->out);
	close_fd(&run->err);
	close_fd(&run->pidfd);
	buf_done(&run->line);
}

int run_program(const char *const argv[], const struct giveup *g, run_line_fn *on_line, void *arg,
		struct buf *tail, struct err *e)
{
	struct run run = {.name = argv[0],
			  .pidfd = -1,
			  .out = -1,
			  .err = -1,
			  .tail = tail,
			  .on_line = on_line,
			  .arg = arg};
	scoped(mem) char *path = files_find_program(argv[0]);
	int status;
	int r;

	if (!path)
		return err_hint(e, err_set(e, ERR_MISSING_PROGRAM, "%s is not installed", argv[0]),
				"%s",
				str_equal(argv[0], "qemu-img") ? "apt-get install qemu-utils" : "");
	r = giveup_check(g, e);
	if (r < 0)
		return r;
	r = spawn(&run, path, argv);
	if (r < 0) {
		run_done(&run);
		return err_errno(e, r, "cannot run %s", path);
	}
	run.pidfd = pidfd_open(run.pid, 0);
	r = run.pidfd < 0 ? -errno : follow(&run, g);
	if (r < 0)
		end_group(&run);
	status = reap(&run);
	run_done(&run);
	trim(tail);
	if (giveup_is_why(g, r, e))
		return r;
	if (r < 0)
		return err_errno(e, r, "cannot follow %s", path);
	return status;
}

const char *run_last_line(const struct buf *tail)
{
	const char *newline;

	if (tail->len == 0)
		return "";
	newline = strrchr(tail->data, '\n');
	return newline ? newline + 1 : tail->data;
}
