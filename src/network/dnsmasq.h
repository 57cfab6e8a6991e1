/* SPDX-License-Identifier: MIT */
/* dnsmasq on a bridge: fixed addresses by MAC, the members' names, and (with a server to ask) everybody else's. */
#ifndef DROVER_NETWORK_DNSMASQ_H
#define DROVER_NETWORK_DNSMASQ_H

#include <stdbool.h>
#include <uv.h>

struct dnsmasq;
struct err;
struct keeper;

struct dnsmasq_options {
	const char *dir;       /* exists; for its files */
	const char *ifname;    /* has @gateway already */
	const char *network;   /* "a.b.c" */
	const char *server;    /* the DNS server behind it, NULL: none */
	bool like_host;        /* ask those that the host asks (/etc/resolv.conf) */
	struct keeper *keeper; /* borrowed; a dnsmasq that an earlier helper left there goes on */
};

/*
 * @ready: it answers. @ready false: it has ended and will not be started again (once, the last call). An end after it
 * was ready is mended, but not the third within a minute.
 */
typedef void dnsmasq_cb(void *arg, bool ready);
typedef void dnsmasq_close_cb(void *arg);

int dnsmasq_open(uv_loop_t *loop, const struct dnsmasq_options *o, dnsmasq_cb *cb, void *arg,
		 struct dnsmasq **ret, struct err *e);

/* Tells it a member. It knows when this returns: it reads the change before the next packet. */
int dnsmasq_add(struct dnsmasq *d, const char *name, const char *mac, const char *ip,
		struct err *e);

/* Ends it; @done runs from the loop when it is gone. It is to be closed after it told its end, too. */
void dnsmasq_close(struct dnsmasq *d, dnsmasq_close_cb *done, void *arg);

#endif
