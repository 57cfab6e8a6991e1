/* SPDX-License-Identifier: MIT */
/* What this host can do for guests, asked of the host alone. */
#ifndef DROVER_BASE_HOST_H
#define DROVER_BASE_HOST_H

#include <stdbool.h>

/* Guests can run VMs themselves: on x86-64 always, since QEMU's own translator offers AMD's svm to the guest. */
bool host_nested_virt_supported(void);

/* Several VMs can share a network: on Linux always. */
bool host_clustering_supported(void);

#endif
