/* SPDX-License-Identifier: MIT */
/* What links.c and neighbours.c both have of libnl, for scoped(). */
#ifndef DROVER_NETWORK_NETLINK_H
#define DROVER_NETWORK_NETLINK_H

#include <netlink/addr.h>
#include <netlink/netlink.h>

static inline void scoped_nl(struct nl_sock **s)
{
	nl_socket_free(*s);
}

static inline void scoped_nladdr(struct nl_addr **a)
{
	if (*a)
		nl_addr_put(*a);
}

#endif
