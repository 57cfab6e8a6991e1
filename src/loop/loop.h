/* SPDX-License-Identifier: MIT */
/* An event loop for a program that is not ours. */
#ifndef DROVER_LOOP_LOOP_H
#define DROVER_LOOP_LOOP_H

#include "base/err.h"

#include <uv.h>

/*
 * uv_loop_init for a library. libuv aborts when it closes a descriptor of its own whose number is that of a standard one:
 * where the program has closed these, /dev/null takes their place, for good. 0, or < 0 with @e.
 */
int loop_init(uv_loop_t *loop, struct err *e);

#endif
