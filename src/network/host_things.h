/* SPDX-License-Identifier: MIT */
/* What a record of the host's network tells of: how it is removed. For host_net.c; the caller holds the host's lock. */
#ifndef DROVER_NETWORK_HOST_THINGS_H
#define DROVER_NETWORK_HOST_THINGS_H

#include "store/host_record.h"

struct err;

/* Forwarding of IPv4 packets that come in by @ifname, which may have gone. */
bool forwarding_is_off(const char *ifname);
/* Whether another record than @but of the same network namespace has the uplink @name. */
bool uplink_is_named(const struct host_records *all, const struct host_record *but,
		     const char *name);
int forwarding_set(const char *ifname, bool on, struct err *e);

/*
 * Removes what @r tells of, and then the record. Ways out that no other record of @all names forward no more; @r's are
 * forgotten. < 0: @e, and the record stays.
 */
int things_remove(struct host_record *r, const struct host_records *all, struct err *e);

#endif
