/* SPDX-License-Identifier: MIT */
/*
 * Runs a program to its end from a work thread of somebody else's process: posix_spawn, no signal handler, no chdir, no
 * descriptor inherited but the three standard ones.
 */
#ifndef DROVER_GUEST_RUN_H
#define DROVER_GUEST_RUN_H

#include "base/buf.h"

struct err;
struct giveup;

/*
 * One line of the program's stdout, without its newline; borrowed. NULL, of a program that can be given up: nothing came
 * for another second.
 */
typedef void run_line_fn(void *arg, const char *line);

enum {
	RUN_STDERR_KEPT = 4096, /* bytes of stderr's end that are kept */
	RUN_SILENT_MS = 1000,   /* when a silent program is told of */
	RUN_TERM_MS = 5000      /* from SIGTERM to SIGKILL */
};

/*
 * Runs @argv ([0]: found as execvp would). Lines of stdout go to @on_line (may be NULL); *@tail (an empty buffer) gets
 * the end of stderr, trimmed and printable. Returns the exit status (128 + signal when it was killed), or < 0:
 * ERR_MISSING_PROGRAM, ERR_CANCELED or ERR_TIMEOUT by @g (may be NULL; its process group was ended), or what the system said.
 */
int run_program(const char *const argv[], const struct giveup *g, run_line_fn *on_line, void *arg,
		struct buf *tail, struct err *e);

/* The last line of @tail, where programs say what went wrong; "" when there is none. */
const char *run_last_line(const struct buf *tail);

#endif
