/* SPDX-License-Identifier: MIT */
/* What the host knows of a VM; what it cannot tell is left as it is. */
#ifndef DROVER_BACKEND_LOCAL_STATS_H
#define DROVER_BACKEND_LOCAL_STATS_H

#include <sys/types.h>

struct vm_stats;

void stats_of_process(pid_t pid, struct vm_stats *s);
void stats_of_tap(const char *ifname, struct vm_stats *s);

#endif
