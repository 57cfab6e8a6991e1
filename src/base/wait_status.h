/* SPDX-License-Identifier: MIT */
/* What waitpid says of an ended process. */
#ifndef DROVER_BASE_WAIT_STATUS_H
#define DROVER_BASE_WAIT_STATUS_H

#include <stddef.h>

/* "exit status 3" or "signal 9 (Killed)", into @ret; "no exit status" of a negative one, which nobody knows. */
void wait_status_text(int status, char *ret, size_t size);

/* The exit code by which a shell tells it: the process' own, or WAIT_SIGNALED + N for signal N. */
enum { WAIT_SIGNALED = 128 };
int wait_status_code(int status);

#endif
