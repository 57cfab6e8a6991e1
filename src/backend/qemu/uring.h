/* SPDX-License-Identifier: MIT */
/*
 * Whether QEMU can read and write disks by io_uring. Otherwise it gives each read to a thread of its own, also of what is in the
 * page cache: a point is some thousand reads, and handing them over was half of what a reset took.
 */
#ifndef DROVER_BACKEND_QEMU_URING_H
#define DROVER_BACKEND_QEMU_URING_H

#include <stdbool.h>

/* This kernel has it, and gives it to this process and its children. */
bool uring_in_kernel(void);

/* The program @path is linked with it. */
bool uring_in_program(const char *path);

#endif
