/* SPDX-License-Identifier: MIT */
#include "loop/child.h"

#include "base/err.h"
#include "base/files.h"
#include "base/scoped.h"
#include "loop/keeper.h"
#include "loop/timer.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

extern char **environ;

struct child {
	uv_loop_t *loop;
	uv_poll_t poll; /* not of one that was adopted: init reaps that and tells */
	int pidfd;
	pid_t pid;
	int status; /* of one that had ended when it was adopted */
	child_exit_cb *on_exit;
	void *arg;
	struct timer *kill_timer;
};

static void on_closed(uv_handle_t *h)
{
	struct child *c = h->data;

	close(c->pidfd);
	free(c);
}

static void end_adopted(struct child *c, int status)
{
	child_exit_cb *on_exit = c->on_exit;
	void *arg = c->arg;

	timer_stop(&c->kill_timer);
	close(c->pidfd);
	free(c);
	if (on_exit)
		on_exit(arg, status);
}

static void on_adopted_end(void *arg, int status)
{
	end_adopted(arg, status);
}

static void on_adopted_ended(void *arg)
{
	struct child *c = arg;

	end_adopted(c, c->status);
}

static void on_pidfd(uv_poll_t *h, int uv_status, int events)
{
	struct child *c = h->data;
	child_exit_cb *on_exit = c->on_exit;
	void *arg = c->arg;
	int status = -1;

	if (waitpid(c->pid, &status, WNOHANG) == 0)
		return;
	timer_stop(&c->kill_timer);
	uv_close((uv_handle_t *)&c->poll, on_closed);
	if (on_exit)
		on_exit(arg, status);
}

/* Moves every source descriptor above the targets, so that no dup2 overwrites a source. */
static int add_fds(posix_spawn_file_actions_t *actions, const struct child_options *o, int null_fd,
		   int moved[CHILD_MAX_FDS])
{
	bool given[3] = {false, false, false};

	for (unsigned i = 0; i < o->n_fds; i++) {
		moved[i] = fcntl(o->fds[i].from, F_DUPFD_CLOEXEC, 64);
		if (moved[i] < 0)
			return -errno;
		if (o->fds[i].to < 3)
			given[o->fds[i].to] = true;
		posix_spawn_file_actions_adddup2(actions, moved[i], o->fds[i].to);
	}
	for (int fd = 0; fd < 3; fd++)
		if (!given[fd])
			posix_spawn_file_actions_adddup2(actions, null_fd, fd);
	return 0;
}

static int spawn_with(const char *path, const struct child_options *o,
		      posix_spawn_file_actions_t *actions, pid_t *ret)
{
	posix_spawnattr_t attr;
	sigset_t none;
	sigset_t defaults;
	short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
	int r;

	sigemptyset(&none);
	sigemptyset(&defaults);
	sigaddset(&defaults, SIGPIPE);
	sigaddset(&defaults, SIGHUP);
	if (o->new_session)
		flags |= POSIX_SPAWN_SETSID;
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, flags);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &defaults);
	r = posix_spawn(ret, path, actions, &attr, o->argv, o->env ? o->env : environ);
	posix_spawnattr_destroy(&attr);
	return -r;
}

static int spawn_process(const char *path, const struct child_options *o, pid_t *ret)
{
	posix_spawn_file_actions_t actions;
	int moved[CHILD_MAX_FDS];
	scoped(fd) int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	scoped(fd) int high_null = null_fd < 0 ? -1 : fcntl(null_fd, F_DUPFD_CLOEXEC, 64);
	int r;

	if (high_null < 0)
		return -errno;
	for (unsigned i = 0; i < CHILD_MAX_FDS; i++)
		moved[i] = -1;
	posix_spawn_file_actions_init(&actions);
	r = add_fds(&actions, o, high_null, moved);
	if (r == 0)
		r = spawn_with(path, o, &actions, ret);
	posix_spawn_file_actions_destroy(&actions);
	for (unsigned i = 0; i < o->n_fds; i++)
		close_fd(&moved[i]);
	return r;
}

int child_spawn(uv_loop_t *loop, const struct child_options *o, child_exit_cb *on_exit, void *arg,
		struct child **ret, struct err *e)
{
	scoped(mem) char *path = files_find_program(o->file);
	struct child *c;
	int r;

	if (!path)
		return err_set(e, ERR_MISSING_PROGRAM, "program '%s' is not installed", o->file);
	c = calloc(1, sizeof(*c));
	if (!c)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	r = spawn_process(path, o, &c->pid);
	if (r < 0) {
		free(c);
		return err_errno(e, r, "start %s", path);
	}
	c->pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
	r = c->pidfd < 0 ? -errno : uv_poll_init(loop, &c->poll, c->pidfd);
	if (r < 0) {
		kill(c->pid, SIGKILL);
		waitpid(c->pid, NULL, 0);
		if (c->pidfd >= 0)
			close(c->pidfd);
		free(c);
		return err_errno(e, r, "watch %s", path);
	}
	c->loop = loop;
	c->poll.data = c;
	c->on_exit = on_exit;
	c->arg = arg;
	uv_poll_start(&c->poll, UV_READABLE, on_pidfd);
	*ret = c;
	return 0;
}

static bool is_gone(int pidfd)
{
	return syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) < 0 && errno == ESRCH;
}

int child_adopt(uv_loop_t *loop, struct keeper *k, struct kept *from, child_exit_cb *on_exit,
		void *arg, struct child **ret, struct err *e)
{
	struct child *c = calloc(1, sizeof(*c));
	bool known = false;

	keeper_read(k);
	if (c) {
		*c = (struct child){.loop = loop,
				    .pid = from->pid,
				    .on_exit = on_exit,
				    .arg = arg,
				    .status = from->ended ? from->status : -1};
		if (from->ended || is_gone(from->fds[0]))
			known = timer_start(loop, 0, on_adopted_ended, c, NULL) != NULL;
		else
			known = keeper_await(k, c->pid, on_adopted_end, c) == 0;
	}
	if (!known) {
		free(c);
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	}
	c->pidfd = take_fd(&from->fds[0]);
	*ret = c;
	return 0;
}

int child_pidfd(const struct child *c)
{
	return c->pidfd;
}

pid_t child_pid(const struct child *c)
{
	return c->pid;
}

void child_kill(struct child *c, int sig)
{
	syscall(SYS_pidfd_send_signal, c->pidfd, sig, NULL, 0);
}

static void on_kill_timer(void *arg)
{
	child_kill(arg, SIGKILL);
}

void child_terminate(struct child *c, unsigned ms)
{
	child_kill(c, SIGTERM);
	if (!c->kill_timer)
		timer_start(c->loop, ms, on_kill_timer, c, &c->kill_timer);
}

void child_detach(struct child *c)
{
	if (c)
		c->on_exit = NULL;
}
