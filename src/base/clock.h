/* SPDX-License-Identifier: MIT */
/* What time it is, in milliseconds. */
#ifndef DROVER_BASE_CLOCK_H
#define DROVER_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t clock_read_ms(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Of a clock that never goes back: for deadlines and durations. */
static inline int64_t clock_ms(void)
{
	return clock_read_ms(CLOCK_MONOTONIC);
}

/* Since 1970, as the host's clock is set. */
static inline int64_t clock_unix_ms(void)
{
	return clock_read_ms(CLOCK_REALTIME);
}

/* From now until @end_ms of clock_ms, for what takes 0 as no limit: at least 1. */
static inline uint64_t clock_left_ms(int64_t end_ms)
{
	int64_t left = end_ms - clock_ms();

	return left > 0 ? (uint64_t)left : 1;
}

#endif
