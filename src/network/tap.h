/* SPDX-License-Identifier: MIT */
/* A tap for a program that wants its name and not a descriptor. */
#ifndef DROVER_NETWORK_TAP_H
#define DROVER_NETWORK_TAP_H

struct err;

/* The tap behind @fd outlives its descriptors, until links_remove. Close @fd before the program opens it. */
int tap_keep(int fd, struct err *e);

#endif
