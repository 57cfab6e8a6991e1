/* SPDX-License-Identifier: MIT */
/* Tables of the kernel's packet filter, in the calling process's network namespace. All block for some milliseconds. */
#ifndef DROVER_NETWORK_NFT_H
#define DROVER_NETWORK_NFT_H

#include <stdbool.h>

struct buf;
struct err;

/* In a namespace of ours: forwards @subnet ("a.b.c.0/24") out of the device @out, masqueraded; it need not exist yet. */
int nft_private_make(const char *subnet, const char *out, struct err *e);
void nft_private_remove(void);

struct nft_host {
	const char *table;
	const char *bridge;
	const char *subnet; /* "a.b.c.0/24" */
	bool egress;
};

/*
 * On the host, a table of its own for one bridge: with egress its guests are masqueraded, under no address but their
 * own, and nobody from outside begins a connection to them; without, nothing passes in or out. The host itself always reaches them. Forwarding is not touched.
 */
int nft_host_make(const struct nft_host *h, struct err *e);

/* Removes the table @name; that there is none is success. */
int nft_table_remove(const char *name, struct err *e);

/*
 * Whether chains drop what guests of the host need to be let through (to the host: addresses and names; through it: the way
 * out) unless a rule says otherwise, and none has a rule about our bridges ("drv*"). Adds a sentence for each to @out, with
 * the commands that add it. 0, or < 0 and @e.
 */
int nft_what_drops(struct buf *out, struct err *e);

#endif
