/* SPDX-License-Identifier: MIT */
/* Files that are made alike. Blocking, for work threads. */
#ifndef DROVER_BASE_COPY_H
#define DROVER_BASE_COPY_H

#include <sys/types.h>

/*
 * Gives @to the first @size bytes of @from, by writing only where they differ: into an empty file that is a sparse copy,
 * and a second time it is what has changed meanwhile. Holes become holes. What @to has behind @size stays. Neither
 * descriptor's offset matters, or is kept. When others write to @from at the same time, or cut it, @to has some of
 * their bytes and some of before: a call that finds @from at rest puts that right. 0 or -errno.
 */
int copy_changes(int from, int to, off_t size);

#endif
