/* SPDX-License-Identifier: MIT */
/* The kernel's flocks, and who holds one. To try a lock would be to hold it for a moment. */
#ifndef DROVER_STORE_LOCKS_H
#define DROVER_STORE_LOCKS_H

#include <stddef.h>
#include <sys/types.h>

struct held {
	unsigned major;
	unsigned minor;
	unsigned long long inode;
	pid_t pid;
};

struct held_list {
	struct held *all; /* owned */
	size_t n;
};

/* All that the caller's pid namespace can see; none where /proc does not tell. 0 or -ENOMEM. free(@ret->all) frees. */
int held_list_read(struct held_list *ret);

/* Who took the lock of @path, alive or not; 0: nobody that can be seen. */
pid_t held_list_find(const struct held_list *l, const char *path);

#endif
