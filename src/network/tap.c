/* SPDX-License-Identifier: MIT */
#include "network/tap.h"

#include "base/err.h"

#include <linux/if_tun.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>
#include <sys/ioctl.h>

int tap_keep(int fd, struct err *e)
{
	return ioctl(fd, TUNSETPERSIST, 1) < 0 ? err_errno(e, -errno, "keep a tap") : 0;
}

void tap_remove(const char *ifname)
{
	struct nl_sock *s = nl_socket_alloc();
	struct rtnl_link *link = rtnl_link_alloc();

	if (s && link && nl_connect(s, NETLINK_ROUTE) == 0) {
		rtnl_link_set_name(link, ifname);
		rtnl_link_delete(s, link);
	}
	if (link)
		rtnl_link_put(link);
	nl_socket_free(s);
}
