/* SPDX-License-Identifier: MIT */
/* The last bytes of some output, for error sentences. */
#ifndef DROVER_BACKEND_LOCAL_TAIL_H
#define DROVER_BACKEND_LOCAL_TAIL_H

#include "base/buf.h"

/* Adds, and forgets the oldest beyond @max (lazily: up to twice that is kept meanwhile). */
void tail_add(struct buf *b, const char *data, size_t len, size_t max);

/* The last whole lines that fit into @size bytes, printable, on one line (" | " between). */
void tail_text(const struct buf *b, char *ret, size_t size);

#endif
