/* SPDX-License-Identifier: MIT */
/* Links of the calling process's network namespace: a bridge and its taps. All block for some milliseconds. */
#ifndef DROVER_NETWORK_LINKS_H
#define DROVER_NETWORK_LINKS_H

#include <net/if.h>
#include <stdbool.h>

struct err;

/* A bridge, up, with the address @ip/24 (text). */
int links_bridge_make(const char *name, const char *ip, struct err *e);

/* Removes a link; that there is none is success. */
int links_remove(const char *name, struct err *e);

/*
 * A tap on @bridge, up, named by @pattern, whose %d the kernel fills in. @ret_fd is the caller's; the tap goes with its
 * last descriptor.
 */
int links_tap_make(const char *bridge, const char *pattern, int *ret_fd,
		   char ret_ifname[IF_NAMESIZE], struct err *e);

/* True when @name is a bridge that links_bridge_make made and no port is on it; false also when that cannot be told. */
bool links_is_bare_bridge(const char *name);

#endif
