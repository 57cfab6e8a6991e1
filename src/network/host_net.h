/* SPDX-License-Identifier: MIT */
/*
 * A cluster's network in the host's own network namespace: a bridge with a /24 that nothing else of the host uses, a table
 * of the packet filter, and forwarding on the interfaces that it needs. store/host_record.h says what is kept of it.
 *
 * How it works: everything is done under one lock of the host. The record is written, then the things are made; they are
 * removed, then the record is. A cluster that dies in between leaves a record whose owner is dead, and whoever reconciles
 * next removes what it tells of. Forwarding is turned on where it was off, on the bridge and on the ways out, and off
 * again on a way out when no other record names it. All functions block, for some milliseconds.
 */
#ifndef DROVER_NETWORK_HOST_NET_H
#define DROVER_NETWORK_HOST_NET_H

#include "base/procid.h"

#include <net/if.h>
#include <stdbool.h>

struct err;
struct host_net;

/* Whose network it is. The identity is the supervisor's: it outlives whatever it watches over. */
struct host_net_owner {
	const char *root; /* the store's, borrowed */
	const char *member;
	struct procid id;
	uint64_t pid_ns; /* that the supervisor lives in */
};

/* Whether the caller may: 0, or < 0 with a sentence that names --network private. */
int host_net_check(struct err *e);

/*
 * A sentence on what is in the way of guests of this host to the outside, with the rules that mend it: heap, the caller's;
 * NULL: nothing is known to be.
 */
char *host_net_warning(void);

/*
 * Makes the network. @wanted ("a.b.c.0/24", may be NULL) is taken when it is free, else another. What is recorded for the
 * same owner was made by a helper that was killed meanwhile, and is removed first. < 0: nothing is left, and @e.
 */
int host_net_open(const struct host_net_owner *o, const char *wanted, bool egress,
		  struct host_net **ret, struct err *e);

/*
 * The live supervisor, another than @o's, that has the network of that store and member still: one that is about to end. 0:
 * there is none.
 */
pid_t host_net_holder(const struct host_net_owner *o);

/* Takes over, from a helper that was killed, a network of the same owner that stands. < 0: there is none. */
int host_net_adopt(const struct host_net_owner *o, struct host_net **ret, struct err *e);

const char *host_net_bridge(const struct host_net *n);
const char *host_net_subnet(const struct host_net *n); /* "a.b.c.0/24" */
int host_net_tap(const struct host_net *n, int *ret_fd, char ret_ifname[IF_NAMESIZE],
		 struct err *e);

/* Removes it and frees @n (may be NULL). What cannot be removed keeps its record, and is told on stderr. */
void host_net_close(struct host_net *n);

/* For the supervisor, when all that it watched over is dead: removes what @o left. Harmless when there is nothing. */
void host_net_sweep(const struct host_net_owner *o);

/*
 * Removes what dead owners left in this network namespace. With @orphans also bridges and tables that look like ours, have
 * no record and are not in use. < 0: @e names all that could not be judged or removed, with their files.
 */
int host_net_reconcile(bool orphans, struct err *e);

#endif
