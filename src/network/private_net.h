/* SPDX-License-Identifier: MIT */
/*
 * A cluster's network: one bridge with a /24 (gateway .1), a tap per member, dnsmasq for DHCP (fixed address by MAC) and
 * names, and a way out. All on one loop. In a sandbox of its own it is private, and slirp4netns is the way out: nothing
 * of the host's network is touched. In a sandbox on the host it is one of the host's (host_net.h), and the way out is NAT.
 */
#ifndef DROVER_NETWORK_PRIVATE_NET_H
#define DROVER_NETWORK_PRIVATE_NET_H

#include "base/str.h"
#include "network/sandbox.h"

#include <net/if.h>
#include <stdbool.h>
#include <uv.h>

struct err;
struct private_net;

struct private_net_options {
	const struct sandbox *sandbox; /* borrowed for the network's life */
	bool egress;
	const char
		*subnet; /* wanted "a.b.c.0/24", NULL: chosen; on the host only when it is free */
	const char *
		dir; /* for dnsmasq's files: this helper's alone; emptied first, removed at the end */
};

/* @e is NULL if and only if @r >= 0; then @net is the callee's until private_net_close. Runs once, from the loop. */
typedef void private_net_open_cb(void *arg, int r, struct private_net *net, const struct err *e);

/*
 * Makes it, or takes over what an earlier helper left; done when DHCP answers and (with egress) the way out stands. < 0: @e is
 * set and @done never runs. What fails is undone, but not what is taken over: that is the next helper's, and this process ends.
 */
int private_net_open(uv_loop_t *loop, const struct private_net_options *o,
		     private_net_open_cb *done, void *arg, struct err *e);

/* As long as @n: */
const char *private_net_subnet(const struct private_net *n); /* "a.b.c.0/24" */
const char *private_net_bridge(const struct private_net *n); /* its name */

/*
 * The address of @name (MAC @mac): @ip_hint (may be NULL) when it fits and is free, else the lowest free from .2 on.
 * The same name gets the same answer for ever. dnsmasq knows it when this returns. ERR_NO_ADDRESS when all are taken.
 */
int private_net_reserve(struct private_net *n, const char *name, const char *mac,
			const char *ip_hint, char ret_ip[IP_SIZE], struct err *e);

/* A tap on the bridge, up, opened: @ret_fd (the caller's) is for -netdev tap,fd=. It vanishes with its last fd. */
int private_net_tap(struct private_net *n, int *ret_fd, char ret_ifname[IF_NAMESIZE],
		    struct err *e);

/*
 * All of @n is about to end by the end of its namespaces: the tap behind @fd (borrowed) then goes with them and not with its
 * last descriptor, which would wait for the kernel's readers of the network, one tap after the other. Nothing is done in
 * the host's network.
 */
void private_net_leave_tap(const struct private_net *n, int fd);

/* Ends dnsmasq and egress and removes the bridge; @done (may be NULL) runs from the loop when all is gone. */
typedef void private_net_close_cb(void *arg);
void private_net_close(struct private_net *n, private_net_close_cb *done, void *arg);

#endif
