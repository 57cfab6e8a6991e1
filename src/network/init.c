/* SPDX-License-Identifier: MIT */
#include "network/init.h"

#include "base/clock.h"
#include "base/crashes.h"
#include "base/err.h"
#include "base/fds.h"
#include "base/files.h"
#include "base/scoped.h"
#include "base/str.h"
#include "base/wait_status.h"
#include "loop/keeper.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* Descriptors are what a restart hands on, so their number bounds the table long before this does. */
enum { MAX_KEPT = 4096 };

struct init {
	const struct init_options *o;
	int signals; /* a signalfd */
	int sock;    /* to the helper that runs */
	pid_t helper;
	bool helper_ended;
	int status; /* its */
	bool ready; /* one helper was, once */
	unsigned restarts;
	struct crashes crashes;
	char reason[64]; /* how the last helper ended */
	struct kept *all;
	size_t n;
};

/* --- The table -------------------------------------------------------------------------------------------------- */

static struct kept *find(struct init *in, const char *name)
{
	for (size_t i = 0; i < in->n; i++)
		if (strcmp(in->all[i].name, name) == 0)
			return &in->all[i];
	return NULL;
}

static void drop(struct init *in, const char *name)
{
	struct kept *e = find(in, name);

	if (!e)
		return;
	kept_close(e);
	*e = in->all[--in->n];
}

/* Takes the descriptors that it keeps out of @fds. */
static void put(struct init *in, const struct keep_order *o, int *fds)
{
	struct kept *all;
	struct kept *e;
	size_t at = 0;

	drop(in, o->name);
	all = in->n < MAX_KEPT ? realloc(in->all, (in->n + 1) * sizeof(*all)) : NULL;
	if (!all)
		return; /* what it was for does not survive a crash */
	in->all = all;
	e = &all[in->n++];
	*e = (struct kept){.pid = o->pid, .n_fds = o->n_fds, .text_fd = -1};
	memcpy(e->name, o->name, sizeof(e->name));
	if (o->has_text)
		e->text_fd = take_fd(&fds[at++]);
	for (unsigned i = 0; i < o->n_fds; i++)
		e->fds[i] = take_fd(&fds[at++]);
}

static void put_text(struct init *in, const struct keep_order *o, int *fds)
{
	struct kept *e = find(in, o->name);

	if (!e || !o->has_text)
		return;
	close_fd(&e->text_fd);
	e->text_fd = take_fd(&fds[0]);
}

static void obey(struct init *in, struct keep_order *o, int *fds)
{
	o->name[sizeof(o->name) - 1] = '\0';
	switch (o->what) {
	case KEEP_PUT:
		if (o->n_fds <= KEPT_MAX_FDS)
			put(in, o, fds);
		break;
	case KEEP_TEXT:
		put_text(in, o, fds);
		break;
	case KEEP_DROP:
		drop(in, o->name);
		break;
	case KEEP_READY:
		in->ready = true;
		break;
	}
}

/* All that the helper has sent so far. */
static void read_orders(struct init *in)
{
	struct keep_order o;
	int fds[KEPT_MAX_FDS + 1];

	while (fds_receive(in->sock, &o, sizeof(o), fds, KEPT_MAX_FDS + 1, MSG_DONTWAIT) ==
	       sizeof(o)) {
		obey(in, &o, fds);
		for (unsigned i = 0; i < KEPT_MAX_FDS + 1; i++)
			close_fd(&fds[i]);
	}
}

/* --- Processes -------------------------------------------------------------------------------------------------- */

static void note_end(struct init *in, pid_t pid, int status)
{
	const struct keep_end end = {pid, status};

	for (size_t i = 0; i < in->n; i++) {
		if (in->all[i].pid != pid)
			continue;
		in->all[i].ended = true;
		in->all[i].status = status;
	}
	if (in->helper > 0)
		send(in->sock, &end, sizeof(end), MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void reap(struct init *in)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == in->helper) {
			in->helper_ended = true;
			in->status = status;
		} else {
			read_orders(in); /* what is entered before is known to be */
			note_end(in, pid, status);
		}
	}
}

static bool is_kept(const struct init *in, pid_t pid)
{
	if (pid == in->o->launcher)
		return true;
	for (size_t i = 0; i < in->n; i++)
		if (in->all[i].pid == pid)
			return true;
	return false;
}

static pid_t parent_of(pid_t pid)
{
	char path[64];
	scoped(mem) char *stat = NULL;
	const char *rest;
	int parent = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	rest = files_read(path, 4096, &stat, NULL) == 0 ? strrchr(stat, ')') : NULL;
	return rest && sscanf(rest, ") %*c %d", &parent) == 1 ? (pid_t)parent : 0;
}

/* What the dead helper had started and not entered: nobody would ever end it. They are init's children now. */
static void kill_strangers(const struct init *in)
{
	scoped(dir) DIR *dir = opendir("/proc");
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		int64_t pid;

		if (str_to_int64(entry->d_name, 2, INT32_MAX, &pid) < 0 ||
		    parent_of((pid_t)pid) != 1 || is_kept(in, (pid_t)pid))
			continue;
		kill((pid_t)pid, SIGKILL);
		waitpid((pid_t)pid, NULL, 0); /* it lets go of its disk */
	}
}

/* --- Helpers ---------------------------------------------------------------------------------------------------- */

/* In the child. Everything of the table is open here too. */
static void become_helper(struct init *in, int sock, struct keeper **ret)
{
	sigset_t chld;

	prctl(PR_SET_NAME, "drover-helper");
	close(in->signals);
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_UNBLOCK, &chld, NULL);
	*ret = keeper_new(sock, in->all, in->n, in->restarts, in->reason);
	if (!*ret)
		_exit(1);
}

/* 1: in the new helper; 0: in init; < 0: there is none. */
static int start_helper(struct init *in, struct keeper **ret)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	in->helper_ended = false;
	pid = fork();
	close(pair[pid == 0 ? 0 : 1]);
	if (pid == 0) {
		become_helper(in, pair[1], ret);
		return 1;
	}
	if (pid < 0) {
		close(pair[0]);
		return -errno;
	}
	in->sock = pair[0];
	in->helper = pid;
	return 0;
}

/* The helper has ended: leaves, or makes ready for the next. */
static void after_helper(struct init *in)
{
	char how[ERR_MSG_SIZE];

	read_orders(in);
	close_fd(&in->sock);
	in->helper = 0;
	wait_status_text(in->status, in->reason, sizeof(in->reason));
	if (!in->o->restart || !in->ready ||
	    (WIFEXITED(in->status) && WEXITSTATUS(in->status) == 0))
		_exit(wait_status_code(in->status));
	if (crashes_add(&in->crashes, clock_ms())) {
		snprintf(how, sizeof(how),
			 "the helper crashed %d times within a minute, the last time by %s; its "
			 "log says more",
			 CRASHES_MAX, in->reason);
		fprintf(stderr, "init: %s\n", how);
		in->o->give_up(in->o->arg, how);
		_exit(WIFSIGNALED(in->status) ? wait_status_code(in->status)
					      : WAIT_SIGNALED + SIGABRT);
	}
	in->restarts++;
	fprintf(stderr, "init: the helper crashed (%s); starting it again\n", in->reason);
	kill_strangers(in);
}

static void read_signals(struct init *in)
{
	struct signalfd_siginfo info;

	while (read(in->signals, &info, sizeof(info)) == sizeof(info))
		if (info.ssi_signo != SIGCHLD && in->helper > 0)
			kill(in->helper,
			     (int)info.ssi_signo); /* not reaped yet, so still the one */
	reap(in);
}

/* Until the helper has ended. */
static void attend(struct init *in)
{
	struct pollfd p[2] = {{.fd = in->signals, .events = POLLIN},
			      {.fd = in->sock, .events = POLLIN}};

	while (!in->helper_ended) {
		if (poll(p, 2, -1) < 0)
			continue;
		if (p[1].revents & POLLIN)
			read_orders(in);
		if (p[1].revents & POLLHUP)
			p[1].fd = -1; /* its end follows */
		if (p[0].revents)
			read_signals(in);
	}
}

int init_enter(const struct init_options *o, struct keeper **ret)
{
	struct init in = {.o = o, .sock = -1};
	sigset_t set;

	prctl(PR_SET_NAME, "drover-init");
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	in.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (in.signals < 0)
		_exit(1);
	for (;;) {
		int r = start_helper(&in, ret);

		if (r == 1)
			return 0;
		if (r < 0)
			_exit(1);
		if (o->ready_fd >= 0 && in.restarts == 0)
			close(o->ready_fd);
		attend(&in);
		after_helper(&in);
	}
}
