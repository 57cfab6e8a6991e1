/* SPDX-License-Identifier: MIT */
/*
 * Preloaded into a helper: the next process that its init forks has one call fail for want of a descriptor, the Nth of those
 * below, as the file SHORTAGE_FILE says ("N"), which it removes. Nothing fails while there is no such file.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

static long left; /* calls until the one that fails; 0: none does */

static void after_fork(void)
{
	const char *path = getenv("SHORTAGE_FILE");
	FILE *file = path ? fopen(path, "re") : NULL;

	left = 0;
	if (!file)
		return;
	if (fscanf(file, "%ld", &left) != 1 || unlink(path) < 0)
		left = 0;
	fclose(file);
}

static __attribute__((constructor)) void prepare(void)
{
	pthread_atfork(NULL, NULL, after_fork);
}

static int fails(const char *call)
{
	if (left == 0 || --left > 0)
		return 0;
	fprintf(stderr, "shortage: %s\n", call);
	errno = EMFILE;
	return 1;
}

/* clang-format off */
#define WRAP(name, parameters, arguments)                                                 \
	__attribute__((visibility("default"))) int name parameters                        \
	{                                                                                 \
		int(*next) parameters = (int(*) parameters)dlsym(RTLD_NEXT, #name);       \
                                                                                          \
		return fails(#name) ? -1 : next arguments;                                \
	}
/* clang-format on */

WRAP(epoll_create1, (int flags), (flags))
WRAP(eventfd, (unsigned int value, int flags), (value, flags))
WRAP(timerfd_create, (int clock, int flags), (clock, flags))
WRAP(inotify_init1, (int flags), (flags))
WRAP(pipe2, (int fds[2], int flags), (fds, flags))
WRAP(socketpair, (int domain, int type, int protocol, int fds[2]), (domain, type, protocol, fds))
WRAP(socket, (int domain, int type, int protocol), (domain, type, protocol))
WRAP(memfd_create, (const char *name, unsigned int flags), (name, flags))
WRAP(epoll_ctl, (int set, int what, int fd, struct epoll_event *event), (set, what, fd, event))
WRAP(listen, (int fd, int backlog), (fd, backlog))
