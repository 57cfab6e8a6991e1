/* SPDX-License-Identifier: MIT */
#ifndef DROVER_GUEST_QCOW2_H
#define DROVER_GUEST_QCOW2_H

#include <stdint.h>

/*
 * Makes the empty file @fd a qcow2 of @bytes: blank (@base NULL), or all of it still @base's, a whole path, whose format is
 * @base_format. 0 or -errno: -ENAMETOOLONG when the header has no room for @base.
 */
int qcow2_write_empty(int fd, uint64_t bytes, const char *base, const char *base_format);

#endif
