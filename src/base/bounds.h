/* SPDX-License-Identifier: MIT */
/* How much of something there can be: what command, library and helper all refuse beyond, with the same figure. */
#ifndef DROVER_BASE_BOUNDS_H
#define DROVER_BASE_BOUNDS_H

enum {
	VM_MAX_CPUS = 255,
	VM_MIN_MEMORY_MB = 32,
	CLUSTER_MAX_MEMBERS = 253, /* addresses of a /24 without the host's own */
	FORK_MAX_COPIES = 1000,    /* at once */
};

#endif
