/* SPDX-License-Identifier: MIT */
/* One helper process and the hold on it. */
#include "base/files.h"
#include "base/scoped.h"
#include "client/client.h"
#include "config.h"
#include "wire/names.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

extern char **environ;

enum { READY_MS = 30000, ABORT_MS = 5000, MAX_ARGS = 16 };

char *session_helper(void)
{
	const char *named = getenv("DROVER_HELPER");

	if (named && *named)
		return strdup(named);
	if (files_exist(DROVER_LIBEXECDIR "/drover-helper"))
		return strdup(DROVER_LIBEXECDIR "/drover-helper");
	return strdup(DROVER_BUILD_HELPER);
}

static char *join_names(const struct name_list *names)
{
	struct buf b = BUF_INIT;

	for (size_t i = 0; i < names->n; i++)
		if (buf_addf(&b, "%s%s", i ? "," : "", names->names[i]) < 0)
			break;
	return buf_take(&b);
}

/* The parent's environment with DROVER_HOME and @hypervisor (may be NULL) set. The array is heap; its strings are borrowed. */
static char **helper_environment(char *home, char *hypervisor)
{
	size_t n = 0;
	char **env;

	while (environ[n])
		n++;
	env = calloc(n + 3, sizeof(char *));
	if (!env)
		return NULL;
	n = 0;
	for (char **e = environ; *e; e++)
		if (!str_starts(*e, "DROVER_HOME=") &&
		    (!hypervisor || !str_starts(*e, "DROVER_HYPERVISOR=")))
			env[n++] = *e;
	env[n++] = home;
	env[n] = hypervisor;
	return env;
}

struct launch {
	char *helper;
	char *names;
	char *home;
	char *hypervisor; /* NULL: the environment's */
	char **env;
	char *log; /* its path; NULL: none is kept */
	int log_fd;
	int ready[2];    /* we read 0, the helper writes 1 */
	char client[16]; /* our pid */
};

static inline void scoped_launch(struct launch *l)
{
	free(l->helper);
	free(l->names);
	free(l->home);
	free(l->hypervisor);
	free(l->env);
	free(l->log);
	close_fd(&l->log_fd);
	close_fd(&l->ready[0]);
	close_fd(&l->ready[1]);
}

static int open_log(const struct session_options *o, struct launch *l, struct err *e)
{
	l->log = store_log_path(o->store, o->members->names[0]);
	if (!l->log)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	l->log_fd = store_log_open(l->log);
	return l->log_fd < 0 ? err_errno(e, l->log_fd, "open %s", l->log) : 0;
}

/* Descriptors above 2 on both sides, so that moving them to 1, 2 and 3 in the child cannot collide. */
static int move_up(int *fd)
{
	int up = fcntl(*fd, F_DUPFD_CLOEXEC, 10);

	if (up < 0)
		return -errno;
	close(*fd);
	*fd = up;
	return 0;
}

/* @l's log and names are the caller's matter. @hypervisor may be NULL: the environment's. */
static int prepare_launch(const struct store *store, const char *hypervisor, struct launch *l,
			  struct err *e)
{
	int r;

	l->helper = session_helper();
	l->home = str_format("DROVER_HOME=%s", store->root);
	if (hypervisor)
		l->hypervisor = str_format("DROVER_HYPERVISOR=%s", hypervisor);
	if (!l->helper || !l->home || (hypervisor && !l->hypervisor) ||
	    !(l->env = helper_environment(l->home, l->hypervisor)))
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	if (access(l->helper, X_OK) < 0)
		return err_hint(e,
				err_set(e, ERR_MISSING_PROGRAM, "the helper program is missing: %s",
					l->helper),
				"install drover, or set DROVER_HELPER");
	if (pipe2(l->ready, O_CLOEXEC) < 0)
		return err_errno(e, -errno, "make a pipe");
	r = move_up(&l->ready[1]);
	return r < 0 ? err_errno(e, r, "move a descriptor") : 0;
}

static int spawn(struct launch *l, const char *const argv[], pid_t *ret, struct err *e)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none;
	int r = move_up(&l->log_fd);

	if (r < 0)
		return err_errno(e, r, "move a descriptor");
	sigemptyset(&none);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, l->log_fd, 1);
	posix_spawn_file_actions_adddup2(&actions, l->log_fd, 2);
	posix_spawn_file_actions_adddup2(&actions, l->ready[1], 3);
	posix_spawnattr_init(&attr);
	/* A session of its own: a terminal's ^C is for the client, which then decides. */
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigmask(&attr, &none);
	r = posix_spawn(ret, l->helper, &actions, &attr, (char **)argv, l->env);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	close_fd(&l->ready[1]);
	return r ? err_errno(e, -r, "start %s", l->helper) : 0;
}

static int spawn_session(const struct session_options *o, struct launch *l, pid_t *ret,
			 struct err *e)
{
	const char *argv[MAX_ARGS] = {l->helper,  "--members",  l->names, "--backend",
				      o->backend, "--ready-fd", "3"};
	size_t n = 7;

	if (o->network && strcmp(o->network, "private") != 0) {
		argv[n++] = "--network";
		argv[n++] = o->network;
	}
	if (o->subnet && *o->subnet) {
		argv[n++] = "--subnet";
		argv[n++] = o->subnet;
	}
	if (o->no_egress)
		argv[n++] = "--no-egress";
	snprintf(l->client, sizeof(l->client), "%d", (int)getpid());
	argv[n++] = o->detached ? "--starter" : "--bound";
	argv[n++] = l->client;
	if (o->temporary)
		argv[n++] = "--remove";
	return spawn(l, argv, ret, e);
}

/* One line, without its end. */
static int read_line(int fd, const char *log, const struct giveup *g, char *line, size_t size,
		     struct err *e)
{
	int64_t end = clock_ms() + READY_MS;
	size_t len = 0;

	while (len < size - 1 && !(len && line[len - 1] == '\n')) {
		int64_t left = end - clock_ms();
		int r = giveup_wait(g, fd, POLLIN, left > 0 ? left : 0, e);
		ssize_t n;

		if (r == 0)
			return err_set(e, ERR_TIMEOUT, "the helper was not ready within %d s",
				       READY_MS / 1000);
		if (r < 0)
			return r;
		n = read(fd, line + len, 1); /* more could be of the next line */
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_hint(
				e, err_set(e, ERR_INTERNAL, "the helper ended before it was ready"),
				"%s%s", log ? "it may have said why in its log: " : "",
				log ? log : "");
		len += (size_t)n;
	}
	line[len] = '\0';
	line[strcspn(line, "\n")] = '\0';
	return 0;
}

/* What follows "error ": CODE SENTENCE, and on a line of its own perhaps a hint. */
static int read_failure(int fd, char *code, struct err *e)
{
	char *text = strchr(code, ' ');
	char hint[ERR_HINT_SIZE + 16];
	int r;

	if (text)
		*text++ = '\0';
	if (read_line(fd, NULL, NULL, hint, sizeof(hint), NULL) < 0 || !str_starts(hint, "hint "))
		hint[0] = '\0';
	r = err_set(e, err_code_from_name(code), "%s", text ? text : code);
	return *hint ? err_hint(e, r, "%s", hint + strlen("hint ")) : r;
}

/* "ready", or "error CODE SENTENCE"; before it perhaps "warning SENTENCE", for @warning (WIRE_MAX_WARNING bytes). */
static int read_ready(int fd, const char *log, const struct giveup *g, char *warning, struct err *e)
{
	char line[WIRE_MAX_WARNING + 64];
	int r = read_line(fd, log, g, line, sizeof(line), e);

	while (r == 0 && str_starts(line, "warning ")) {
		snprintf(warning, WIRE_MAX_WARNING, "%.*s", WIRE_MAX_WARNING - 1,
			 line + strlen("warning "));
		r = read_line(fd, log, g, line, sizeof(line), e);
	}
	if (r < 0 || strcmp(line, "ready") == 0)
		return r;
	if (str_starts(line, "error "))
		return read_failure(fd, line + strlen("error "), e);
	return err_set(e, ERR_PROTOCOL, "the helper said '%.100s' instead of ready", line);
}

static int connect_ctl(const struct session_options *o, struct err *e)
{
	scoped(mem) char *path = store_socket_path(o->store, o->members->names[0], "ctl");
	scoped(fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int r;

	if (!path || fd < 0)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	do
		r = connect(fd, (struct sockaddr *)&address, sizeof(address));
	while (r < 0 && errno == EINTR);
	return r < 0 ? err_errno(e, -errno, "connect %s", path) : take_fd(&fd);
}

/* The reference's handshake: bind, version, ack; from then on the connection's end is the helper's. */
static int bind_helper(const struct session_options *o, int *ret, struct err *e)
{
	scoped(fd) int fd = connect_ctl(o, e);
	char version[64];
	ssize_t n = 0;
	int r;

	if (fd < 0)
		return fd;
	if (send(fd, WIRE_BIND, strlen(WIRE_BIND), MSG_NOSIGNAL) < 0)
		return err_errno(e, -errno, "bind to the helper");
	/* with a signal of the program's meanwhile too */
	r = giveup_wait(&o->giveup, fd, POLLIN, READY_MS, e);
	if (r < 0)
		return r;
	if (r > 0)
		n = recv(fd, version, sizeof(version) - 1, MSG_DONTWAIT);
	if (n <= 0)
		return err_set(e, ERR_PROTOCOL, "the helper did not answer the bind");
	version[n] = '\0';
	version[strcspn(version, " \r\n")] = '\0';
	if (strcmp(version, WIRE_PROTOCOL) != 0)
		return err_hint(
			e,
			err_set(e, ERR_PROTOCOL,
				"drover helper protocol \"%s\" does not match client \"%s\"",
				version, WIRE_PROTOCOL),
			"DROVER_HELPER may name an old helper");
	if (send(fd, WIRE_ACK, strlen(WIRE_ACK), MSG_NOSIGNAL) < 0)
		return err_errno(e, -errno, "bind to the helper");
	*ret = take_fd(&fd);
	return 0;
}

/* Whether the process has ended, at the latest after @timeout_ms, or when it is not waited for any more. */
static bool await_end(const struct session *s, uint64_t timeout_ms, struct drover_cancel *cancel)
{
	const struct giveup g = cancel_giveup(cancel);

	return s->pidfd < 0 || giveup_wait(&g, s->pidfd, POLLIN, (int64_t)timeout_ms, NULL) > 0;
}

static void reap(pid_t pid, int flags)
{
	pid_t r;

	do
		r = waitpid(pid, NULL, flags);
	while (r < 0 && errno == EINTR);
}

void session_abort(struct session *s)
{
	if (s->pid > 0) {
		if (s->ctl_fd >= 0)
			close_fd(&s->ctl_fd); /* which it takes for its client's end */
		else
			kill(s->pid, SIGTERM);
		if (!await_end(s, ABORT_MS, NULL))
			kill(s->pid, SIGKILL);
		reap(s->pid, 0);
	}
	close_fd(&s->pidfd);
	s->pid = 0;
}

int session_start(const struct session_options *o, struct session *ret, struct err *e)
{
	scoped(launch) struct launch l = {.log_fd = -1, .ready = {-1, -1}};
	struct session s = {.pidfd = -1, .ctl_fd = -1};
	int r = prepare_launch(o->store, o->hypervisor, &l, e);

	if (r == 0 && !(l.names = join_names(o->members)))
		r = err_set(e, ERR_NO_MEMORY, "out of memory");
	if (r == 0)
		r = open_log(o, &l, e);
	if (r == 0)
		r = spawn_session(o, &l, &s.pid, e);
	if (r < 0)
		return r;
	s.pidfd = (int)syscall(SYS_pidfd_open, s.pid, 0);
	r = read_ready(l.ready[0], l.log, &o->giveup, s.warning, e);
	if (r == 0 && !o->detached)
		r = bind_helper(o, &s.ctl_fd, e);
	if (r < 0) {
		session_abort(&s);
		return r;
	}
	*ret = s;
	return 0;
}

int session_reconcile(const struct store *store, const struct giveup *g, struct err *e)
{
	scoped(launch) struct launch l = {.log_fd = -1, .ready = {-1, -1}};
	struct session s = {.pidfd = -1, .ctl_fd = -1};
	int r = prepare_launch(store, NULL, &l, e);

	if (r < 0)
		return r;
	l.log_fd = open("/dev/null",
			O_WRONLY | O_CLOEXEC); /* what it has to say comes as its answer */
	if (l.log_fd < 0)
		return err_errno(e, -errno, "open /dev/null");
	r = spawn(&l, (const char *const[]){l.helper, "--reconcile", "--ready-fd", "3", NULL},
		  &s.pid, e);
	if (r < 0)
		return r;
	s.pidfd = (int)syscall(SYS_pidfd_open, s.pid, 0);
	r = read_ready(l.ready[0], l.log, g, s.warning, e);
	if (r < 0)
		session_abort(&s); /* it has ended, or it does not in time */
	else
		reap(s.pid, 0);
	close_fd(&s.pidfd);
	return r;
}

void session_end(struct session *s, uint64_t timeout_ms, struct drover_cancel *cancel)
{
	bool bound = s->ctl_fd >= 0;

	close_fd(&s->ctl_fd);
	if (s->pid > 0) {
		if (timeout_ms && !await_end(s, timeout_ms, cancel) && bound)
			kill(s->pid, SIGKILL);
		reap(s->pid, timeout_ms && bound ? 0 : WNOHANG);
	}
	close_fd(&s->pidfd);
	s->pid = 0;
}
