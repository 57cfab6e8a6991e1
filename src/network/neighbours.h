/* SPDX-License-Identifier: MIT */
/* Who is where on a bridge of the calling process's network namespace: what the kernel is told of it, and what it tells. */
#ifndef DROVER_NETWORK_NEIGHBOURS_H
#define DROVER_NETWORK_NEIGHBOURS_H

#include <stdbool.h>

/*
 * That @ip is at @mac on @bridge: what is sent there goes at once, and asks nobody. The kernel drops it when it turns out to be
 * wrong. Best effort; blocks for less than a millisecond.
 */
void neighbours_tell(const char *bridge, const char *ip, const char *mac);

/* Becomes readable when a bridge hears of somebody whom it did not know. The caller's, who does not block on it; or -1. */
int neighbours_listen(void);

/* Reads what has come of it: whether the bridge with this interface's index has heard @mac. */
bool neighbours_have_heard(int fd, unsigned bridge, const char *mac);

#endif
