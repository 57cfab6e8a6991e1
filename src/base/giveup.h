/* SPDX-License-Identifier: MIT */
/* When a blocking step of somebody's call is given up: by that caller's cancel, or at the call's deadline. */
#ifndef DROVER_BASE_GIVEUP_H
#define DROVER_BASE_GIVEUP_H

#include "base/clock.h"

#include <stdbool.h>
#include <stdint.h>

struct err;

struct giveup {
	int cancel_fd;  /* borrowed; readable: canceled; -1: nobody cancels */
	int64_t end_ms; /* of clock_ms; 0: no deadline */
	double limit_s; /* how long that was, for the sentence */
};
#define GIVEUP_NEVER ((struct giveup){.cancel_fd = -1})

/* How long is left, for a step that takes its own limit in ms: at least 1; 0: no deadline. @g may be NULL: never. */
uint64_t giveup_left_ms(const struct giveup *g);

/* Between two steps: 0, or < 0: ERR_CANCELED, ERR_TIMEOUT. @g may be NULL: never. Does not wait. */
int giveup_check(const struct giveup *g, struct err *e);

/*
 * Whether a step ended with @r < 0 because it was given up: then @e (may be NULL) says so. For steps between giveup_check and
 * the caller that have no struct err and hand on its number.
 */
bool giveup_is_why(const struct giveup *g, int r, struct err *e);

/* What to give to a poll beside g->cancel_fd so that it ends by the deadline, and after @step_ms (-1: none). */
int giveup_poll_ms(const struct giveup *g, int64_t step_ms);

/*
 * Waits for @events of @fd (as of poll; its end and errors always count), at most @step_ms (-1: without end): 1; 0: not by
 * then; < 0: given up before, as giveup_check. @g may be NULL.
 */
int giveup_wait(const struct giveup *g, int fd, short events, int64_t step_ms, struct err *e);

#endif
