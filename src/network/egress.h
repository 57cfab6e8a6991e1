/* SPDX-License-Identifier: MIT */
/*
 * The way out of a private network: slirp4netns, run in the host's network namespace by the egress launcher.
 *
 * How it works: an order goes to the launcher (launcher.h) with three descriptors: the network namespace, a pipe that
 * slirp4netns writes to when it is configured, and one whose end tells it to leave. The launcher answers with a pidfd; that
 * tells its death, whoever its parent is.
 */
#ifndef DROVER_NETWORK_EGRESS_H
#define DROVER_NETWORK_EGRESS_H

#include <stdbool.h>
#include <uv.h>

struct egress;
struct err;
struct keeper;
struct launcher;

struct egress_options {
	struct launcher *launcher; /* borrowed */
	struct keeper *keeper;     /* borrowed; one that an earlier helper left there goes on */
	const char *ifname;        /* its device inside; the addresses below are the device's */
	const char *cidr; /* "a.b.c.0/24": the device is .100, the host's gateway .2, its DNS .3 */
};

/* @ready: it stands. @ready false: it has ended (once, the last call unless egress_close came first). */
typedef void egress_cb(void *arg, bool ready);
typedef void egress_close_cb(void *arg);

int egress_open(uv_loop_t *loop, const struct egress_options *o, egress_cb *cb, void *arg,
		struct egress **ret, struct err *e);

/* Ends it; @done runs from the loop when it is gone. Not for one that has told its end: that has freed itself. */
void egress_close(struct egress *g, egress_close_cb *done, void *arg);

#endif
