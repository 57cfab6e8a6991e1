/* SPDX-License-Identifier: MIT */
/* Descriptors that travel: one message and what comes beside it, over a connected unix socket. */
#ifndef DROVER_BASE_FDS_H
#define DROVER_BASE_FDS_H

#include <stddef.h>
#include <sys/types.h>

enum { FDS_MAX = 8 };

/* One message with @n (at most FDS_MAX) descriptors beside it, borrowed. Blocks as the socket does. 0 or -errno. */
int fds_send(int sock, const void *data, size_t len, const int *fds, size_t n);

/*
 * The other side: the message's length, 0 at the end, or -errno. @fds: @n (at most FDS_MAX) of them, the caller's,
 * O_CLOEXEC, -1 where none came; more than that are closed. @flags as for recvmsg.
 */
ssize_t fds_receive(int sock, void *data, size_t len, int *fds, size_t n, int flags);

/* Closes every descriptor above 2 but @fd. */
void fds_close_but(int fd);

#endif
