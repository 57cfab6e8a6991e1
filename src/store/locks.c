/* SPDX-License-Identifier: MIT */
#include "store/locks.h"

#include "base/files.h"
#include "base/scoped.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { LOCKS_MAX = 16 << 20 };

static int add(struct held_list *l, const struct held *h)
{
	struct held *all = realloc(l->all, (l->n + 1) * sizeof(*all));

	if (!all)
		return -ENOMEM;
	l->all = all;
	l->all[l->n++] = *h;
	return 0;
}

int held_list_read(struct held_list *ret)
{
	scoped(mem) char *text = NULL;
	char *save = NULL;
	int r = 0;

	*ret = (struct held_list){0};
	if (files_read("/proc/locks", LOCKS_MAX, &text, NULL) < 0)
		return 0;
	/* "1: FLOCK  ADVISORY  WRITE 1234 fe:01:5678 0 EOF" */
	for (char *line = strtok_r(text, "\n", &save); line && r == 0;
	     line = strtok_r(NULL, "\n", &save)) {
		struct held h = {0};

		if (sscanf(line, "%*d: FLOCK %*s %*s %d %x:%x:%llu", &h.pid, &h.major, &h.minor,
			   &h.inode) == 4)
			r = add(ret, &h);
	}
	return r;
}

pid_t held_list_find(const struct held_list *l, const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return 0;
	for (size_t i = 0; i < l->n; i++)
		if (l->all[i].inode == st.st_ino && l->all[i].major == major(st.st_dev) &&
		    l->all[i].minor == minor(st.st_dev))
			return l->all[i].pid;
	return 0;
}
