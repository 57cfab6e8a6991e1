/* SPDX-License-Identifier: MIT */
/* flock(2), which belongs to an open file and not to a process. Ends with unlock_fd. */
#ifndef DROVER_BASE_LOCK_H
#define DROVER_BASE_LOCK_H

#include <stdbool.h>

struct giveup;

/*
 * Takes the lock of @fd's file for itself alone; waits for whoever has it, until @g (may be NULL: never) gives up: -ECANCELED or
 * -ETIMEDOUT, and the lock is not taken. 0 or -errno. Blocks.
 */
int lock_take(int fd, const struct giveup *g);

/* Whether @fd's file is still the one at @path: whoever had its lock before may have removed it, which ends the lock's use. */
bool lock_is_current(int fd, const char *path);

#endif
