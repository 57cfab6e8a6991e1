/* SPDX-License-Identifier: MIT */
#include "network/links.h"

#include "base/err.h"
#include "base/files.h"
#include "base/scoped.h"
#include "base/str.h"
#include "network/netlink.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/neighbour.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/bridge.h>
#include <netlink/route/route.h>
#include <string.h>
#include <sys/ioctl.h>

enum { ASK_MS = 100 };

static inline void scoped_msg(struct nl_msg **m)
{
	nlmsg_free(*m);
}

static inline void scoped_link(struct rtnl_link **l)
{
	if (*l)
		rtnl_link_put(*l);
}

static inline void scoped_rtaddr(struct rtnl_addr **a)
{
	if (*a)
		rtnl_addr_put(*a);
}

static inline void scoped_route(struct rtnl_route **r)
{
	if (*r)
		rtnl_route_put(*r);
}

/* libnl has its own error numbers. */
static int nl_failed(int r, const char *what, const char *name, struct err *e)
{
	return err_set(e, ERR_IO, "%s %s: %s", what, name, nl_geterror(r));
}

static int open_route(struct nl_sock **ret, struct err *e)
{
	struct nl_sock *s = nl_socket_alloc();
	int r = s ? nl_connect(s, NETLINK_ROUTE) : -NLE_NOMEM;

	if (r < 0) {
		nl_socket_free(s);
		return nl_failed(r, "open", "netlink", e);
	}
	*ret = s;
	return 0;
}

static int set_up(struct nl_sock *s, const char *name, int master, struct err *e)
{
	scoped(link) struct rtnl_link *which = rtnl_link_alloc();
	scoped(link) struct rtnl_link *change = rtnl_link_alloc();
	int r;

	if (!which || !change)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	rtnl_link_set_ifindex(which, (int)if_nametoindex(name));
	rtnl_link_set_ifindex(change, (int)if_nametoindex(name));
	rtnl_link_set_flags(change, IFF_UP);
	if (master)
		rtnl_link_set_master(change, master);
	r = rtnl_link_change(s, which, change, 0);
	return r < 0 ? nl_failed(r, "bring up", name, e) : 0;
}

static int add_address(struct nl_sock *s, const char *name, const char *ip, struct err *e)
{
	scoped(nladdr) struct nl_addr *local = NULL;
	scoped(rtaddr) struct rtnl_addr *addr = rtnl_addr_alloc();
	int r = addr ? nl_addr_parse(ip, AF_INET, &local) : -NLE_NOMEM;

	if (r == 0) {
		nl_addr_set_prefixlen(local, 24);
		rtnl_addr_set_ifindex(addr, (int)if_nametoindex(name));
		r = rtnl_addr_set_local(addr, local);
	}
	if (r == 0)
		r = rtnl_addr_add(s, addr, 0);
	return r < 0 ? nl_failed(r, "give an address to", name, e) : 0;
}

/*
 * A guest that comes up is asked for its link address ten times a second, not once, so that it is reached as soon as it
 * answers. Best effort. (libnl's own call leaves out which link it is about.)
 */
static void ask_often(struct nl_sock *s, const char *name)
{
	const struct ndtmsg family = {.ndtm_family = AF_INET};
	scoped(msg) struct nl_msg *m = nlmsg_alloc_simple(RTM_SETNEIGHTBL, 0);
	struct nlattr *parms;

	if (!m || nlmsg_append(m, (void *)&family, sizeof(family), NLMSG_ALIGNTO) < 0 ||
	    nla_put_string(m, NDTA_NAME, "arp_cache") < 0)
		return;
	parms = nla_nest_start(m, NDTA_PARMS);
	if (!parms || nla_put_u32(m, NDTPA_IFINDEX, if_nametoindex(name)) < 0 ||
	    nla_put_u64(m, NDTPA_RETRANS_TIME, ASK_MS) < 0)
		return;
	nla_nest_end(m, parms);
	nl_send_sync(s, take_ptr(&m));
}

/*
 * What guests send is acknowledged at once. OpenSSH's server sends two small packets in a row when a session begins, and the
 * second one waits for the first one's acknowledgment, which comes 40 ms late otherwise. Best effort.
 */
static void acknowledge_at_once(struct nl_sock *s, const char *name, const char *ip)
{
	scoped(nladdr) struct nl_addr *here = NULL;
	scoped(nladdr) struct nl_addr *net = NULL;
	scoped(route) struct rtnl_route *route = rtnl_route_alloc();
	struct rtnl_nexthop *hop = rtnl_route_nh_alloc();
	char text[IP_SIZE + 8];

	snprintf(text, sizeof(text), "%.*s.0/24", (int)(strrchr(ip, '.') - ip), ip);
	if (!route || !hop || nl_addr_parse(ip, AF_INET, &here) < 0 ||
	    nl_addr_parse(text, AF_INET, &net) < 0) {
		rtnl_route_nh_free(hop);
		return;
	}
	rtnl_route_nh_set_ifindex(hop, (int)if_nametoindex(name));
	rtnl_route_add_nexthop(route, hop);
	rtnl_route_set_dst(route, net);
	rtnl_route_set_pref_src(route, here);
	rtnl_route_set_scope(route, RT_SCOPE_LINK);
	rtnl_route_set_protocol(route, RTPROT_KERNEL); /* in the place of the kernel's own */
	rtnl_route_set_metric(route, RTAX_QUICKACK, 1);
	rtnl_route_add(s, route, NLM_F_REPLACE);
}

/* Its own, so that it does not change with the first tap: guests remember it. And it tells that the bridge is ours. */
static const unsigned char bridge_mac[6] = {0x02, 0x64, 0x72, 0x00, 0x00, 0x01};

int links_bridge_make(const char *name, const char *ip, struct err *e)
{
	scoped(nl) struct nl_sock *s = NULL;
	scoped(nladdr) struct nl_addr *ether =
		nl_addr_build(AF_LLC, bridge_mac, sizeof(bridge_mac));
	scoped(link) struct rtnl_link *bridge = rtnl_link_bridge_alloc();
	int r = open_route(&s, e);

	if (r < 0)
		return r;
	if (!ether || !bridge)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	rtnl_link_set_name(bridge, name);
	rtnl_link_set_addr(bridge, ether);
	r = rtnl_link_add(s, bridge, NLM_F_CREATE | NLM_F_EXCL);
	if (r < 0)
		return nl_failed(r, "make bridge", name, e);
	r = add_address(s, name, ip, e);
	if (r == 0)
		r = set_up(s, name, 0, e);
	if (r < 0) {
		links_remove(name, NULL);
		return r;
	}
	ask_often(s, name);
	acknowledge_at_once(s, name, ip);
	return 0;
}

int links_remove(const char *name, struct err *e)
{
	scoped(nl) struct nl_sock *s = NULL;
	scoped(link) struct rtnl_link *link = rtnl_link_alloc();
	int r = link ? open_route(&s, e) : err_set(e, ERR_NO_MEMORY, "out of memory");

	if (r < 0)
		return r;
	rtnl_link_set_name(link, name);
	r = rtnl_link_delete(s, link);
	return r == 0 || if_nametoindex(name) == 0 ? 0 : nl_failed(r, "remove", name, e);
}

static bool is_ours(struct rtnl_link *link)
{
	const struct nl_addr *mac = rtnl_link_get_addr(link);

	return rtnl_link_is_bridge(link) && mac && nl_addr_get_len(mac) == sizeof(bridge_mac) &&
	       memcmp(nl_addr_get_binary_addr(mac), bridge_mac, sizeof(bridge_mac)) == 0;
}

bool links_is_bare_bridge(const char *name)
{
	scoped(nl) struct nl_sock *s = NULL;
	struct nl_cache *all = NULL;
	struct rtnl_link *bridge = NULL;
	bool is_bare;

	if (open_route(&s, NULL) < 0 || rtnl_link_alloc_cache(s, AF_UNSPEC, &all) < 0)
		return false;
	bridge = rtnl_link_get_by_name(all, name);
	is_bare = bridge && is_ours(bridge);
	for (struct nl_object *o = nl_cache_get_first(all); o && is_bare; o = nl_cache_get_next(o))
		is_bare = rtnl_link_get_master((struct rtnl_link *)o) !=
			  rtnl_link_get_ifindex(bridge);
	if (bridge)
		rtnl_link_put(bridge);
	nl_cache_free(all);
	return is_bare;
}

int links_tap_make(const char *bridge, const char *pattern, int *ret_fd,
		   char ret_ifname[IF_NAMESIZE], struct err *e)
{
	scoped(fd) int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	scoped(nl) struct nl_sock *s = NULL;
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int r;

	if (fd < 0)
		return err_errno(e, -errno, "open /dev/net/tun");
	snprintf(ifr.ifr_name, IF_NAMESIZE, "%s", pattern);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0)
		return err_errno(e, -errno, "make a tap");
	r = open_route(&s, e);
	if (r == 0)
		r = set_up(s, ifr.ifr_name, (int)if_nametoindex(bridge), e);
	if (r < 0)
		return r;
	memcpy(ret_ifname, ifr.ifr_name, IF_NAMESIZE);
	*ret_fd = take_fd(&fd);
	return 0;
}
