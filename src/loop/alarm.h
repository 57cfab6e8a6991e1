/* SPDX-License-Identifier: MIT */
/*
 * A timer of the kernel's, for a time that is seldom reached: unlike a timer of the loop it is no part of each wait, which
 * costs a server of small requests a tenth of its time.
 */
#ifndef DROVER_LOOP_ALARM_H
#define DROVER_LOOP_ALARM_H

#include "base/err.h"

#include <stdint.h>
#include <uv.h>

struct alarm;

typedef void alarm_cb(void *arg);

#define ALARM_NEVER UINT64_MAX

/* 0 and an alarm that is not set, the caller's until alarm_close; < 0 with @e. */
int alarm_open(uv_loop_t *loop, alarm_cb *cb, void *arg, struct alarm **ret, struct err *e);

/* Calls the callback once when the loop's time (uv_now) is @at, in place of what was set before. */
void alarm_set(struct alarm *a, uint64_t at);

/* When it fires; ALARM_NEVER when it is not set. */
uint64_t alarm_time(const struct alarm *a);

/* NULL is nobody. */
void alarm_close(struct alarm *a);

#endif
