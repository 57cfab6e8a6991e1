/* SPDX-License-Identifier: MIT */
/* Links of the calling process's network namespace: the bridge, its taps, and NAT towards the way out. */
#ifndef DROVER_NETWORK_LINKS_H
#define DROVER_NETWORK_LINKS_H

#include <net/if.h>

struct err;

/* A bridge, up, with the address @ip/24 (text). */
int links_bridge_make(const char *name, const char *ip, struct err *e);
void links_bridge_remove(const char *name);

/* A tap on @bridge, up. @ret_fd is the caller's; the tap goes with its last descriptor. */
int links_tap_make(const char *bridge, int *ret_fd, char ret_ifname[IF_NAMESIZE], struct err *e);

/* Forwards @subnet ("a.b.c.0/24") out of the device @out, masqueraded; the device need not exist yet. */
int links_nat_make(const char *subnet, const char *out, struct err *e);
void links_nat_remove(void);

#endif
