/* SPDX-License-Identifier: MIT */
/*
 * The egress launcher: a process of the sandbox that lives in the host's network namespace, where nobody else inside can
 * go back to, and starts slirp4netns there when it is told to.
 *
 * How it works: init forks the first one before it leaves the host's network. Orders go over a socket, each with the
 * descriptors that slirp4netns is to have; the answer has a pidfd. A launcher that was killed takes its slirp4netns with
 * it. Whoever then finds its socket dead asks the supervisor, which is outside, for another: that goes back into the
 * sandbox's namespaces, its network aside, and is a child of the supervisor instead of init's.
 */
#ifndef DROVER_NETWORK_LAUNCHER_H
#define DROVER_NETWORK_LAUNCHER_H

#include "base/str.h"

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct keeper;
struct sandbox;

/* What slirp4netns inherits: its network namespace, a pipe that it writes to when it stands, one whose end ends it. */
enum { LAUNCHER_NETNS, LAUNCHER_READY, LAUNCHER_EXIT, LAUNCHER_N_FDS };

struct launcher_order {
	uint64_t number; /* set by launcher_order */
	char ifname[IF_NAMESIZE];
	char cidr[SUBNET_SIZE + 8];
};

/* --- For whoever gives orders ----------------------------------------------------------------------------------- */

struct launcher {
	int fd;                /* owned; -1: none */
	int supervisor_fd;     /* borrowed; -1: nobody starts another */
	struct keeper *keeper; /* borrowed */
};

/* The sandbox's launcher, or the one that an earlier helper had the supervisor start. launcher_done frees. */
void launcher_init(struct launcher *l, const struct sandbox *s);
void launcher_done(struct launcher *l);

/*
 * Has slirp4netns started; @fds are borrowed. When the launcher is dead another is started first. Blocks for some
 * milliseconds. 0 and its pidfd, the caller's, or -errno.
 */
int launcher_order(struct launcher *l, struct launcher_order *o, const int fds[LAUNCHER_N_FDS],
		   int *ret_pidfd);

/* --- For the sandbox -------------------------------------------------------------------------------------------- */

/* Forks one that lives where the caller lives. @ret_fd: the socket to it, the caller's. Its pid, or -errno. */
pid_t launcher_fork(int *ret_fd);

/*
 * For the supervisor: answers one request for another launcher on @sock. It lives in the namespaces of the sandbox's pid 1
 * @init, with the caller's network, and is the caller's child. false: nobody can ask any more.
 */
bool launcher_serve(int sock, pid_t init, bool is_user_ns);

#endif
