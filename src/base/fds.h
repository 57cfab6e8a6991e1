/* SPDX-License-Identifier: MIT */
/* Descriptors that travel: one message and what comes beside it, over a connected unix socket. */
#ifndef DROVER_BASE_FDS_H
#define DROVER_BASE_FDS_H

#include <stddef.h>
#include <sys/types.h>

enum { FDS_MAX = 8 };

/*
 * One message with @n (at most FDS_MAX) descriptors beside it, borrowed. @flags as for sendmsg; no SIGPIPE. How many bytes
 * went (of a stream it may be less than all, with the descriptors), or -errno. Blocks as the socket and @flags do.
 */
ssize_t fds_send(int sock, const void *data, size_t len, const int *fds, size_t n, int flags);

/*
 * The other side: how many bytes came, 0 at the end, or -errno. @fds: @n (at most FDS_MAX) of them, the caller's,
 * O_CLOEXEC, -1 where none came; more than that are closed. @flags as for recvmsg.
 */
ssize_t fds_receive(int sock, void *data, size_t len, int *fds, size_t n, int flags);

/* Closes every descriptor above 2 but @fd. */
void fds_close_but(int fd);

#endif
