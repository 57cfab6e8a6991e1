/* SPDX-License-Identifier: MIT */
#include "network/routes.h"

#include "base/err.h"

#include <arpa/inet.h>
#include <netlink/addr.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/route.h>
#include <stdlib.h>
#include <string.h>

/* A half of the Internet, as VPNs route it, is a default route in two parts. */
enum { WIDEST = 8 };

static int add_net(struct routes *r, struct nl_addr *a)
{
	struct route_net *nets;
	uint32_t address;

	if (!a || nl_addr_get_family(a) != AF_INET || nl_addr_get_len(a) != sizeof(address) ||
	    nl_addr_get_prefixlen(a) < WIDEST)
		return 0;
	nets = realloc(r->nets, (r->n + 1) * sizeof(*nets));
	if (!nets)
		return -NLE_NOMEM;
	memcpy(&address, nl_addr_get_binary_addr(a), sizeof(address));
	r->nets = nets;
	r->nets[r->n++] = (struct route_net){ntohl(address), nl_addr_get_prefixlen(a)};
	return 0;
}

static void add_uplink(struct routes *r, int ifindex)
{
	char name[IF_NAMESIZE];

	if (!if_indextoname((unsigned)ifindex, name))
		return;
	for (size_t i = 0; i < r->n_uplinks; i++)
		if (strcmp(r->uplinks[i], name) == 0)
			return;
	if (r->n_uplinks < ROUTES_MAX_UPLINKS)
		memcpy(r->uplinks[r->n_uplinks++], name, IF_NAMESIZE);
}

static void note_hop(struct rtnl_nexthop *hop, void *arg)
{
	add_uplink(arg, rtnl_route_nh_get_ifindex(hop));
}

static int read_routes(struct nl_sock *s, struct routes *r)
{
	struct nl_cache *all = NULL;
	int result = rtnl_route_alloc_cache(s, AF_INET, 0, &all);

	if (result < 0)
		return result;
	for (struct nl_object *o = nl_cache_get_first(all); o && result == 0;
	     o = nl_cache_get_next(o)) {
		struct rtnl_route *route = (struct rtnl_route *)o;
		struct nl_addr *to = rtnl_route_get_dst(route);

		if (to && nl_addr_get_prefixlen(to) < WIDEST &&
		    rtnl_route_get_type(route) == RTN_UNICAST)
			rtnl_route_foreach_nexthop(route, note_hop, r);
		result = add_net(r, to);
	}
	nl_cache_free(all);
	return result;
}

static int read_addresses(struct nl_sock *s, struct routes *r)
{
	struct nl_cache *all = NULL;
	int result = rtnl_addr_alloc_cache(s, &all);

	if (result < 0)
		return result;
	for (struct nl_object *o = nl_cache_get_first(all); o && result == 0;
	     o = nl_cache_get_next(o))
		result = add_net(r, rtnl_addr_get_local((struct rtnl_addr *)o));
	nl_cache_free(all);
	return result;
}

int routes_read(struct routes *ret, struct err *e)
{
	struct nl_sock *s = nl_socket_alloc();
	struct routes r = {0};
	int result = s ? nl_connect(s, NETLINK_ROUTE) : -NLE_NOMEM;

	if (result == 0)
		result = read_routes(s, &r);
	if (result == 0)
		result = read_addresses(s, &r);
	nl_socket_free(s);
	if (result < 0) {
		routes_done(&r);
		return err_set(e, ERR_IO, "read the host's routes: %s", nl_geterror(result));
	}
	*ret = r;
	return 0;
}

void routes_done(struct routes *r)
{
	free(r->nets);
	*r = (struct routes){0};
}

bool routes_overlap(const struct routes *r, uint32_t address, unsigned length)
{
	for (size_t i = 0; i < r->n; i++) {
		unsigned shorter = r->nets[i].length < length ? r->nets[i].length : length;
		uint32_t mask = shorter ? ~0U << (32 - shorter) : 0;

		if ((r->nets[i].address & mask) == (address & mask))
			return true;
	}
	return false;
}
