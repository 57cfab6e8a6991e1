/* SPDX-License-Identifier: MIT */
/*
 * The lock under which networks of the host are made, removed and judged: a flock of /run/drover/lock. Whoever lets go of
 * it when there is no record any more takes the directory along, so that nothing is left.
 */
#ifndef DROVER_NETWORK_HOST_LOCK_H
#define DROVER_NETWORK_HOST_LOCK_H

struct err;

/* Others hold it for milliseconds; some more for a busy host. */
enum { HOST_LOCK_MS = 10000 };

/* Waits for whoever holds it, at most @wait_ms: then @e (ERR_BUSY) names them. host_unlock(@ret_fd) lets go. */
int host_lock(int wait_ms, int *ret_fd, struct err *e);
void host_unlock(int *fd); /* *@fd < 0: does nothing */

static inline void scoped_host_lock(int *fd)
{
	host_unlock(fd);
}

#endif
