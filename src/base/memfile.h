/* SPDX-License-Identifier: MIT */
#ifndef DROVER_BASE_MEMFILE_H
#define DROVER_BASE_MEMFILE_H

/*
 * An empty file without a name, in memory and not limited in size, for a guest's memory: of huge pages where they are whole
 * within the file's size, on hosts that have them and whose administrator has not switched them off. -errno, or its
 * descriptor (close-on-exec). Huge pages need the right to mount; without it the pages are small.
 */
int memfile_open(void);

/* How a mapping is to be aligned for its pages to be huge. */
enum { MEMFILE_ALIGN_MIB = 2 };

#endif
