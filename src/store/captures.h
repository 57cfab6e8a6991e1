/* SPDX-License-Identifier: MIT */
/* Directories of what is captured of clusters: <root>/captures/XXXXXX, each its maker's, who holds the .lock in it. */
#ifndef DROVER_STORE_CAPTURES_H
#define DROVER_STORE_CAPTURES_H

#include "base/giveup.h"
#include "store/store.h"

/*
 * All functions block, as long as a cluster is captured by somebody else, until @g (may be NULL) gives up.
 *
 * The lock of <root>/captures: one is made, and one cluster captured, at a time; the others wait for it. A descriptor, for
 * unlock_fd.
 */
int captures_lock(const struct store *s, const struct giveup *g, struct err *e);

/* An empty one (@ret_dir: heap) and its lock, after those of the dead are removed. */
int captures_make(const struct store *s, const struct giveup *g, char **ret_dir, int *ret_lock,
		  struct err *e);

/* Removes those whose makers have died. */
int captures_sweep(const struct store *s, const struct giveup *g, struct err *e);

#endif
