/* SPDX-License-Identifier: MIT */
/*
 * What a helper leaves with its init while it works, so that the next one can go on where it was killed: descriptors, a
 * process and a text under a name.
 *
 * How it works: init (network/init.h) has the other end of a socket and a table. A helper that has sent something need
 * not wait: init empties the socket before it starts the next helper. That one finds the table in its memory, being
 * init's child, and takes from it what it goes on with; keeper_drop_rest ends what nobody took. What a helper dies of
 * before it was sent does not survive it: a process that is not in the table is killed, a descriptor is closed.
 *
 * Processes that outlive their helper become init's children: init reaps them and tells their end.
 *
 * Every function takes a keeper of NULL, of a helper that nobody starts again, and keeps nothing.
 */
#ifndef DROVER_LOOP_KEEPER_H
#define DROVER_LOOP_KEEPER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <uv.h>

enum { KEPT_NAME_SIZE = 80, KEPT_MAX_FDS = 6, KEPT_TEXT_MAX = 4 << 20 };

/* One entry of the table. */
struct kept {
	char name[KEPT_NAME_SIZE]; /* "" : free */
	pid_t pid;                 /* 0: none; else fds[0] is its pidfd */
	bool ended;                /* the process has, with @status */
	bool taken;                /* by the helper that runs */
	int status;                /* as waitpid gives it */
	unsigned n_fds;
	int fds[KEPT_MAX_FDS];
	int text_fd; /* a memfd, -1: none */
};

struct keeper;

/* What goes over the socket. To init: one of these, with descriptors: the text's, then fds. */
enum keep_what { KEEP_PUT, KEEP_TEXT, KEEP_DROP, KEEP_READY };
struct keep_order {
	enum keep_what what;
	char name[KEPT_NAME_SIZE];
	pid_t pid;
	bool has_text;
	unsigned n_fds;
};
/* From init: a process that was not this helper's child has ended. */
struct keep_end {
	pid_t pid;
	int status;
};

/*
 * For init, in the helper that it has just forked. Takes @sock, @all (heap) and its descriptors. @restarts: how many
 * helpers there were before; @reason: how the last one ended. NULL: out of memory.
 */
struct keeper *keeper_new(int sock, struct kept *all, size_t n, unsigned restarts,
			  const char *reason);
void keeper_free(struct keeper *k);

unsigned keeper_restarts(const struct keeper *k);
const char *keeper_reason(const struct keeper *k); /* "" at first */

/* Hears of ended processes on @loop, which it does not keep alive; unwatch before the loop closes, then run it once. */
int keeper_watch(struct keeper *k, uv_loop_t *loop);
void keeper_unwatch(struct keeper *k);

/* Reads what init has told so far; callbacks run. */
void keeper_read(struct keeper *k);

/*
 * Puts an entry in place of an older one of that name: @pid (0: none; else fds[0] is its pidfd), @fds (borrowed) and
 * @text (may be NULL). 0 or -errno; sent when it returns.
 */
int keeper_put(struct keeper *k, const char *name, pid_t pid, const int *fds, unsigned n_fds,
	       const char *text);
/* Another text for an entry that is there. */
int keeper_text(struct keeper *k, const char *name, const char *text);
void keeper_drop(struct keeper *k, const char *name);
/* This helper serves: from now on it is worth starting again. */
void keeper_ready(struct keeper *k);

/* What an earlier helper left under @name, or NULL. Its descriptors are taken one by one with take_fd. */
struct kept *keeper_take(struct keeper *k, const char *name);
/* The next entry after @prev (NULL: the first) whose name begins with @prefix; not taken by this. */
struct kept *keeper_next(struct keeper *k, struct kept *prev, const char *prefix);
/* An entry's text: heap, caller frees; NULL when there is none. */
char *kept_text(const struct kept *e);
/* Closes what of its descriptors was not taken. */
void kept_close(struct kept *e);
/* Kills the processes and closes the descriptors that were not taken, and drops those entries. */
void keeper_drop_rest(struct keeper *k);

/* Tells the end of @pid, an init's child, once, from the loop; -1 when nobody knows its status. */
typedef void keeper_end_cb(void *arg, int status);
int keeper_await(struct keeper *k, pid_t pid, keeper_end_cb *cb, void *arg);

#endif
