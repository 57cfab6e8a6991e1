/* SPDX-License-Identifier: MIT */
/* What ends with its scope. Never for libuv handles: those end in their close callback. */
#ifndef DROVER_BASE_SCOPED_H
#define DROVER_BASE_SCOPED_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#define scoped(kind) __attribute__((cleanup(scoped_##kind)))

static inline void scoped_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void scoped_mem(void *p)
{
	free(*(void **)p);
}

static inline void scoped_file(FILE **f)
{
	if (*f)
		fclose(*f);
}

static inline void scoped_dir(DIR **d)
{
	if (*d)
		closedir(*d);
}

static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

static inline void *take_ptr_(void **p)
{
	void *taken = *p;

	*p = NULL;
	return taken;
}
#define take_ptr(p) ((__typeof__(*(p)))take_ptr_((void **)(p)))

static inline void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* An flock(2) ends here, not only when a child that another thread is just starting has closed its copy too. */
static inline void unlock_fd(int *fd)
{
	if (*fd >= 0)
		flock(*fd, LOCK_UN);
	close_fd(fd);
}

static inline void scoped_lock(int *fd)
{
	unlock_fd(fd);
}

#endif
