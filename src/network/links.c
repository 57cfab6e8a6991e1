/* SPDX-License-Identifier: MIT */
#include "network/links.h"

#include "base/err.h"
#include "base/files.h"
#include "base/scoped.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <netlink/addr.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/bridge.h>
#include <nftables/libnftables.h>
#include <string.h>
#include <sys/ioctl.h>

static inline void scoped_nl(struct nl_sock **s)
{
	nl_socket_free(*s);
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

static inline void scoped_nladdr(struct nl_addr **a)
{
	if (*a)
		nl_addr_put(*a);
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

int links_bridge_make(const char *name, const char *ip, struct err *e)
{
	/* Its own, so that it does not change with the first tap: guests remember it. */
	static const unsigned char mac[6] = {0x02, 0x64, 0x72, 0x00, 0x00, 0x01};
	scoped(nl) struct nl_sock *s = NULL;
	scoped(nladdr) struct nl_addr *ether = nl_addr_build(AF_LLC, mac, sizeof(mac));
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
	if (r < 0)
		links_bridge_remove(name);
	return r;
}

void links_bridge_remove(const char *name)
{
	scoped(nl) struct nl_sock *s = NULL;
	scoped(link) struct rtnl_link *bridge = rtnl_link_alloc();

	if (!bridge || open_route(&s, NULL) < 0)
		return;
	rtnl_link_set_name(bridge, name);
	rtnl_link_delete(s, bridge);
}

int links_tap_make(const char *bridge, int *ret_fd, char ret_ifname[IF_NAMESIZE], struct err *e)
{
	scoped(fd) int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	scoped(nl) struct nl_sock *s = NULL;
	struct ifreq ifr = {.ifr_name = "vm%d", .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int r;

	if (fd < 0)
		return err_errno(e, -errno, "open /dev/net/tun");
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

static int run_nft(const char *commands, struct err *e)
{
	struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);
	int r = 0;

	if (!nft)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	nft_ctx_buffer_output(nft);
	nft_ctx_buffer_error(nft);
	if (nft_run_cmd_from_buffer(nft, commands) != 0) {
		const char *text = nft_ctx_get_error_buffer(nft);

		r = err_set(e, ERR_HOST, "set up NAT with nftables: %.*s", (int)strcspn(text, "\n"),
			    text);
	}
	nft_ctx_free(nft);
	return r;
}

int links_nat_make(const char *subnet, const char *out, struct err *e)
{
	char commands[512];
	scoped(fd) int fd = open("/proc/sys/net/ipv4/ip_forward", O_WRONLY | O_CLOEXEC);
	int r = fd < 0 ? -errno : files_write_all(fd, "1", 1);

	if (r < 0)
		return err_errno(e, r, "turn on forwarding");
	snprintf(commands, sizeof(commands),
		 "add table ip drover\n"
		 "add chain ip drover nat { type nat hook postrouting priority 100; }\n"
		 "add rule ip drover nat ip saddr %s oifname \"%s\" masquerade\n",
		 subnet, out);
	return run_nft(commands, e);
}

void links_nat_remove(void)
{
	run_nft("delete table ip drover\n", NULL);
}
