/* SPDX-License-Identifier: MIT */
#include "backend/local/stats.h"

#include "backend/backend.h"
#include "base/files.h"
#include "base/scoped.h"

#include <string.h>

enum { PROC_MAX = 1 << 20 };

void stats_of_process(pid_t pid, struct vm_stats *s)
{
	scoped(mem) char *stat = NULL;
	scoped(mem) char *statm = NULL;
	unsigned long long user;
	unsigned long long system;
	unsigned long long pages;
	const char *rest;
	char path[64];
	size_t len;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	rest = files_read(path, PROC_MAX, &stat, &len) == 0 ? strrchr(stat, ')') : NULL;
	if (rest && sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user,
			   &system) == 2)
		s->cpu_ms = (int64_t)((user + system) * 1000 / (unsigned long)sysconf(_SC_CLK_TCK));
	snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	if (files_read(path, PROC_MAX, &statm, &len) == 0 && sscanf(statm, "%*u %llu", &pages) == 1)
		s->memory_bytes = (int64_t)pages * sysconf(_SC_PAGESIZE);
}

/* The tap's view is the guest's turned round. */
void stats_of_tap(const char *ifname, struct vm_stats *s)
{
	scoped(mem) char *text = NULL;
	long long received;
	long long sent;
	char *rest = NULL;
	char *line;
	size_t len;

	if (files_read("/proc/self/net/dev", PROC_MAX, &text, &len) < 0)
		return;
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		line += strspn(line, " ");
		len = strlen(ifname);
		if (strncmp(line, ifname, len) != 0 || line[len] != ':')
			continue;
		if (sscanf(line + len + 1, "%lld %*d %*d %*d %*d %*d %*d %*d %lld", &received,
			   &sent) == 2) {
			s->net_sent_bytes = received;
			s->net_received_bytes = sent;
		}
	}
}
