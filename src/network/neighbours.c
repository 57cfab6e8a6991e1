/* SPDX-License-Identifier: MIT */
#include "network/neighbours.h"

#include "base/scoped.h"
#include "network/netlink.h"

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/route/neighbour.h>
#include <string.h>
#include <sys/socket.h>

static inline void scoped_neigh(struct rtnl_neigh **n)
{
	if (*n)
		rtnl_neigh_put(*n);
}

void neighbours_tell(const char *bridge, const char *ip, const char *mac)
{
	scoped(nl) struct nl_sock *s = nl_socket_alloc();
	scoped(nladdr) struct nl_addr *to = NULL;
	scoped(nladdr) struct nl_addr *at = NULL;
	scoped(neigh) struct rtnl_neigh *n = rtnl_neigh_alloc();

	if (!s || !n || nl_addr_parse(ip, AF_INET, &to) < 0 ||
	    nl_addr_parse(mac, AF_LLC, &at) < 0 || nl_connect(s, NETLINK_ROUTE) < 0)
		return;
	rtnl_neigh_set_ifindex(n, (int)if_nametoindex(bridge));
	rtnl_neigh_set_dst(n, to);
	rtnl_neigh_set_lladdr(n, at);
	rtnl_neigh_set_state(n, NUD_STALE); /* used, and looked at when nothing comes back */
	rtnl_neigh_add(s, n, NLM_F_CREATE | NLM_F_REPLACE);
}

int neighbours_listen(void)
{
	const struct sockaddr_nl local = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_NEIGH};
	scoped(fd) int fd =
		socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&local, sizeof(local)) < 0)
		return -1;
	return take_fd(&fd);
}

/* A bridge tells of each address that it learns, with the port that it is behind. */
static bool tells_of(struct nlmsghdr *h, uint32_t bridge, const struct ether_addr *mac)
{
	struct nlattr *tb[NDA_MAX + 1];
	const struct ndmsg *m = nlmsg_data(h);

	return h->nlmsg_type == RTM_NEWNEIGH && nlmsg_valid_hdr(h, sizeof(*m)) &&
	       m->ndm_family == AF_BRIDGE && nlmsg_parse(h, sizeof(*m), tb, NDA_MAX, NULL) == 0 &&
	       tb[NDA_MASTER] && nla_len(tb[NDA_MASTER]) == sizeof(uint32_t) &&
	       nla_get_u32(tb[NDA_MASTER]) == bridge && tb[NDA_LLADDR] &&
	       nla_len(tb[NDA_LLADDR]) == sizeof(*mac) &&
	       memcmp(nla_data(tb[NDA_LLADDR]), mac, sizeof(*mac)) == 0;
}

bool neighbours_have_heard(int fd, unsigned bridge, const char *mac)
{
	char data[8192] __attribute__((aligned(NLMSG_ALIGNTO)));
	const struct ether_addr *wanted = ether_aton(mac);
	bool heard = false;
	ssize_t n;

	while (wanted && (n = recv(fd, data, sizeof(data), 0)) > 0) {
		int left = (int)n;

		for (struct nlmsghdr *h = (struct nlmsghdr *)data; nlmsg_ok(h, left);
		     h = nlmsg_next(h, &left))
			heard |= tells_of(h, bridge, wanted);
	}
	return heard;
}
