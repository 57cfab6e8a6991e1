/* SPDX-License-Identifier: MIT */
/*
 * The tree on disk, the same for client and helper.
 *
 *   <root>/clusters/<cluster>/<member>/   config.json disk.qcow2 seed.iso serial.log pid owner ...
 *   <root>/run/<key>.sock .ctl            sockets (or <$XDG_RUNTIME_DIR>/drover when <root> is too long)
 *   <images>/                             $XDG_CACHE_HOME/drover/images, or <root>/images under DROVER_HOME
 *   <root>/id_ed25519[.pub]  helper-<first name>.log
 */
#ifndef DROVER_STORE_STORE_H
#define DROVER_STORE_STORE_H

#include "base/str.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct err;

struct store {
	char *root;
	char *run;    /* sockets */
	char *images; /* image cache */
};

/*
 * Opens the store: @root (made absolute), or NULL for $DROVER_HOME, else $XDG_STATE_HOME/drover, else
 * ~/.local/state/drover. Makes the directories (0700). An image cache may be named by $DROVER_IMAGE_CACHE.
 * < 0: @e names the directory and why. store_close(@ret) frees (a zeroed store is fine).
 */
int store_open(const char *root, struct store *ret, struct err *e);
void store_close(struct store *s);

static inline void scoped_store(struct store *s)
{
	store_close(s);
}

/* Paths: heap, caller frees; NULL only when out of memory. @file may be NULL: the member's directory itself. */
char *store_member_path(const struct store *s, const char *name, const char *file);
char *store_socket_path(const struct store *s, const char *name,
			const char *suffix); /* "sock", "ctl" */
char *store_log_path(const struct store *s, const char *first_name);

#endif
