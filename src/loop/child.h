/* SPDX-License-Identifier: MIT */
/*
 * A child process on the loop. Started by posix_spawn (vfork speed, whatever the parent's size), its end is a pidfd
 * event: no SIGCHLD handler, so the library can use it inside anybody's program.
 */
#ifndef DROVER_LOOP_CHILD_H
#define DROVER_LOOP_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

struct child;
struct err;
struct keeper;
struct kept;

/* @status is as waitpid gives it; -1 when somebody else reaped the child. Runs once; the child is freed after. */
typedef void child_exit_cb(void *arg, int status);

enum { CHILD_MAX_FDS = 24 };

struct child_fd {
	int from; /* the parent's descriptor, borrowed */
	int to;   /* its number in the child */
};

struct child_options {
	const char *file;  /* path, or a name looked up in PATH and /usr/sbin:/sbin */
	char *const *argv; /* NULL-terminated */
	char *const *env;  /* NULL: the parent's */
	struct child_fd fds[CHILD_MAX_FDS]; /* 0, 1, 2 that are not named here are /dev/null */
	unsigned n_fds;
	bool new_session; /* setsid */
};

/* Every descriptor of the parent not named in fds must be O_CLOEXEC. */
int child_spawn(uv_loop_t *loop, const struct child_options *o, child_exit_cb *on_exit, void *arg,
		struct child **ret, struct err *e);

/*
 * Goes on with a process that an earlier helper started and left in @from (loop/keeper.h), of which the pidfd is taken.
 * on_exit as above; its @status is -1 when the process ended in between and nobody saw how.
 */
int child_adopt(uv_loop_t *loop, struct keeper *k, struct kept *from, child_exit_cb *on_exit,
		void *arg, struct child **ret, struct err *e);

/* Its pidfd, borrowed. */
int child_pidfd(const struct child *c);

pid_t child_pid(const struct child *c);

/* Sends @sig through the pidfd; harmless when the child is gone. */
void child_kill(struct child *c, int sig);

/* SIGTERM now, SIGKILL after @ms milliseconds; on_exit tells the end. */
void child_terminate(struct child *c, unsigned ms);

/* Forgets the child: on_exit will not run; it is still reaped while the loop runs. NULL is harmless. */
void child_detach(struct child *c);

#endif
