/* SPDX-License-Identifier: MIT */
/* The IPv4 networks that the calling process's network namespace knows, and its ways out. */
#ifndef DROVER_NETWORK_ROUTES_H
#define DROVER_NETWORK_ROUTES_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

enum { ROUTES_MAX_UPLINKS = 8 };

struct route_net {
	uint32_t address; /* host byte order */
	unsigned length;
};

struct routes {
	struct route_net *nets; /* owned: of addresses, and of routes in every table */
	size_t n;
	char uplinks[ROUTES_MAX_UPLINKS][IF_NAMESIZE]; /* of default routes */
	size_t n_uplinks;
};

/* 0, or < 0 and @e. routes_done(@ret) frees. */
int routes_read(struct routes *ret, struct err *e);
void routes_done(struct routes *r);

static inline void scoped_routes(struct routes *r)
{
	routes_done(r);
}

/* Whether an address of @address/@length belongs to one of the networks. Those wider than /8 stand for "everywhere". */
bool routes_overlap(const struct routes *r, uint32_t address, unsigned length);

#endif
