/* SPDX-License-Identifier: MIT */
/* How often something may be started again: not after its third end within a minute. */
#ifndef DROVER_BASE_CRASHES_H
#define DROVER_BASE_CRASHES_H

#include <stdbool.h>
#include <stdint.h>

enum { CRASHES_MAX = 3, CRASHES_WINDOW_MS = 60000 };

struct crashes {
	int64_t at[CRASHES_MAX]; /* ms, the latest first; 0: none */
};

/* Notes one at @now_ms (of clock_ms). True when it is one too many. */
static inline bool crashes_add(struct crashes *c, int64_t now_ms)
{
	for (unsigned i = CRASHES_MAX - 1; i > 0; i--)
		c->at[i] = c->at[i - 1];
	c->at[0] = now_ms;
	return c->at[CRASHES_MAX - 1] && now_ms - c->at[CRASHES_MAX - 1] < CRASHES_WINDOW_MS;
}

#endif
