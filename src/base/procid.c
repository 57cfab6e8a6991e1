/* SPDX-License-Identifier: MIT */
#include "base/procid.h"

#include "base/files.h"
#include "base/scoped.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * What /proc adds to start times for who reads them from a time namespace of its own: it must not make two identities of
 * one process. 0 where there are no such namespaces.
 */
static uint64_t added_ticks(void)
{
	scoped(mem) char *text = NULL;
	const char *line = NULL;
	long long seconds = 0;

	if (files_read("/proc/self/timens_offsets", 4096, &text, NULL) == 0)
		line = strstr(text, "boottime");
	if (line)
		sscanf(line, "boottime %lld", &seconds);
	return (uint64_t)(seconds * sysconf(_SC_CLK_TCK));
}

int procid_start_ticks(pid_t pid, uint64_t *ret)
{
	scoped(mem) char *stat = NULL;
	unsigned long long ticks = 0;
	char path[64];
	char state = '?';
	char *p;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	r = files_read(path, 4096, &stat, NULL);
	if (r < 0)
		return -ESRCH;
	p = strrchr(stat, ')'); /* the command may hold spaces and parentheses */
	if (!p || sscanf(p + 1,
			 " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
			 "%*s %llu",
			 &state, &ticks) != 2)
		return -ESRCH;
	if (state == 'Z' || state == 'X' || state == 'x')
		return -ESRCH;
	*ret = ticks - added_ticks();
	return 0;
}

int procid_boot_id(char ret[BOOT_ID_SIZE])
{
	scoped(mem) char *text = NULL;
	int r = files_read("/proc/sys/kernel/random/boot_id", 128, &text, NULL);

	if (r < 0)
		return r;
	text[strcspn(text, "\n")] = '\0';
	snprintf(ret, BOOT_ID_SIZE, "%.36s", text);
	return 0;
}

int procid_of(pid_t pid, struct procid *ret)
{
	struct procid id = {.pid = pid};
	int r;

	r = procid_start_ticks(pid, &id.start_ticks);
	if (r == 0)
		r = procid_boot_id(id.boot_id);
	if (r < 0)
		return r;
	*ret = id;
	return 0;
}

bool procid_equal(const struct procid *a, const struct procid *b)
{
	return a->pid == b->pid && a->start_ticks == b->start_ticks &&
	       strcmp(a->boot_id, b->boot_id) == 0;
}

bool procid_is_alive(const struct procid *id)
{
	struct procid now;

	return id->pid > 0 && procid_of(id->pid, &now) == 0 && procid_equal(&now, id);
}
