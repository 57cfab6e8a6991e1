/* SPDX-License-Identifier: MIT */
/*
 * The helper's own namespaces: user (when not root), pid, network, mount.
 *
 * How it works: the process that the client spawned stays in the host's namespaces as the supervisor; its pid is the
 * one in the pidfiles. It clones pid 1 of a new pid namespace with an empty network, which becomes init (init.h). When
 * that dies, the kernel kills every VM, dnsmasq and slirp4netns in it and the network goes with the last process. When
 * the supervisor dies, PDEATHSIG kills pid 1. The supervisor waits, passes signals on, sweeps the store and exits with
 * pid 1's status.
 *
 * The way out needs a process in the host's network namespace, where nobody inside can go back to. So pid 1 forks the
 * egress launcher (launcher.h) before it leaves that namespace. When that was killed the supervisor starts another.
 */
#ifndef DROVER_NETWORK_SANDBOX_H
#define DROVER_NETWORK_SANDBOX_H

#include <stdbool.h>
#include <sys/types.h>

struct err;
struct keeper;

struct host_net_owner;

struct sandbox {
	pid_t supervisor; /* its pid in the host's pid namespace */
	pid_t launcher;   /* the egress launcher, pid 1's child; 0: none */
	/* Both owned by whoever called sandbox_enter, until sandbox_leave; -1: none. */
	int egress_fd;     /* to the egress launcher */
	int supervisor_fd; /* to the supervisor, which starts another launcher */
	bool is_user_ns;   /* made by an ordinary user: one uid, the caller's, is mapped, to 0 */
	bool on_host;      /* the network is the host's */
	const struct host_net_owner
		*owner;        /* on_host: for whom; the caller fills it in, borrowed */
	struct keeper *keeper; /* set by the caller once init has one; borrowed, NULL: none */
};

/* Whether this host lets us: 0, or < 0 with the sentence that says what to change (ERR_HOST). Blocks some ms. */
int sandbox_check(struct err *e);

/*
 * Splits the process in two. @on_host: for root, in the host's network; then only the pid and the mount namespace are new.
 * In pid 1 of the new namespaces: returns 0 and fills @ret; SIGTERM, SIGINT and SIGHUP are blocked there, so that none is
 * lost: the caller unblocks them when it has handlers. In the supervisor: returns 1 when pid 1 has ended, with its exit code
 * in *@ret_code (128 + N for signal N); every descriptor above 2 is closed there. < 0: failed, nothing has changed.
 * Single-threaded callers only.
 */
int sandbox_enter(bool on_host, struct sandbox *ret, int *ret_code, struct err *e);

/* Closes the descriptors. */
void sandbox_leave(struct sandbox *s);

#endif
