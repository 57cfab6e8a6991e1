/* SPDX-License-Identifier: MIT */
/*
 * Who a process is. A bare pid lies: it is recycled, and a zombie still has one. An identity is the pid,
 * the start time in clock ticks since boot, as the host counts them, and the boot's id.
 */
#ifndef DROVER_BASE_PROCID_H
#define DROVER_BASE_PROCID_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { BOOT_ID_SIZE = 37 };

struct procid {
	pid_t pid;
	uint64_t start_ticks;
	char boot_id[BOOT_ID_SIZE];
};

/* The identity of @pid now: 0, or -ESRCH when there is no such process (a zombie counts as none). */
int procid_of(pid_t pid, struct procid *ret);

/* Whether they name the same process. */
bool procid_equal(const struct procid *a, const struct procid *b);

/* True when the process that @id names is alive and no zombie. */
bool procid_is_alive(const struct procid *id);

/* 0 and the start time, or -ESRCH when @pid is gone or a zombie. */
int procid_start_ticks(pid_t pid, uint64_t *ret);

/* 0 and the running kernel's boot id, or -errno. */
int procid_boot_id(char ret[BOOT_ID_SIZE]);

#endif
