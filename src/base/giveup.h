/* SPDX-License-Identifier: MIT */
/* When a blocking step of somebody's call is given up: by that caller's cancel, or at the call's deadline. */
#ifndef DROVER_BASE_GIVEUP_H
#define DROVER_BASE_GIVEUP_H

#include <stdint.h>

struct err;

struct giveup {
	int cancel_fd;  /* borrowed; readable: canceled; -1: nobody cancels */
	int64_t end_ms; /* of giveup_now_ms; 0: no deadline */
	double limit_s; /* how long that was, for the sentence */
};
#define GIVEUP_NEVER ((struct giveup){.cancel_fd = -1})

/* CLOCK_MONOTONIC in milliseconds. */
int64_t giveup_now_ms(void);

/* How long is left, for a step that takes its own limit in ms: at least 1; 0: no deadline. @g may be NULL: never. */
uint64_t giveup_left_ms(const struct giveup *g);

/* Between two steps: 0, or < 0: ERR_CANCELED, ERR_TIMEOUT. @g may be NULL: never. Does not wait. */
int giveup_check(const struct giveup *g, struct err *e);

/*
 * Waits until @fd can be read, or is at its end, at most @step_ms: 1; 0: not by then; < 0: given up before, as
 * giveup_check. @g may be NULL.
 */
int giveup_wait(const struct giveup *g, int fd, int64_t step_ms, struct err *e);

#endif
