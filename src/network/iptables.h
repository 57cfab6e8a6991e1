/* SPDX-License-Identifier: MIT */
/* The old ip_tables of the kernel, which iptables-legacy fills and libnftables does not see. */
#ifndef DROVER_NETWORK_IPTABLES_H
#define DROVER_NETWORK_IPTABLES_H

struct buf;

/*
 * Whether its chains INPUT and FORWARD drop by policy what guests of the host need to be let through, and have no rule
 * about our bridges ("drv+"). Adds a sentence for each that does to @out, with the commands that add the rules. 0 or -errno;
 * a table that nobody has made is not made by this.
 */
int iptables_what_drops(struct buf *out);

#endif
