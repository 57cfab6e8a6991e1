/* SPDX-License-Identifier: MIT */
/* flock(2), which belongs to an open file and not to a process. Ends with unlock_fd. */
#ifndef DROVER_BASE_LOCK_H
#define DROVER_BASE_LOCK_H

#include <stdbool.h>
#include <sys/types.h>

struct giveup;

/*
 * Takes the lock of @fd's file for itself alone; waits for whoever has it, until @g (may be NULL: never) gives up: -ECANCELED or
 * -ETIMEDOUT, and the lock is not taken. 0 or -errno. Blocks.
 */
int lock_take(int fd, const struct giveup *g);

/* The same of one byte: a lock for each of many names in one file, which is open for writing. It ends with the open file. */
int lock_take_byte(int fd, off_t byte, const struct giveup *g);

/* Whether @fd's file is still the one at @path: whoever had its lock before may have removed it, which ends the lock's use. */
bool lock_is_current(int fd, const char *path);

#endif
