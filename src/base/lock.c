/* SPDX-License-Identifier: MIT */
/*
 * How it works: the kernel tells nobody that a lock has become free, it only lets one of those go on that sleep for it; and a
 * sleep in flock(2) ends by a signal or not at all. So where the wait may be given up, a thread sleeps in our place. glibc can
 * cancel that without a handler of ours in the program. What it has taken is ours too: we share the open file.
 */
#include "base/lock.h"

#include "base/giveup.h"
#include "base/scoped.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

struct sleeper {
	int lock;
	int done; /* an eventfd */
	int r;
};

static int take(int fd, int how)
{
	int r;

	do
		r = flock(fd, how);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

static void *sleep_for_lock(void *arg)
{
	struct sleeper *s = arg;
	const uint64_t one = 1;

	/* At any instruction, but only in here, where nothing is held. */
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	s->r = take(s->lock, LOCK_EX);
	pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, NULL);
	if (write(s->done, &one, sizeof(one)) < 0)
		s->r = -errno;
	return NULL;
}

/* Without the program's handlers of signals, which are not to run here. */
static int start(struct sleeper *s, pthread_t *ret)
{
	sigset_t all;
	sigset_t before;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	r = pthread_create(ret, NULL, sleep_for_lock, s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

static int take_until(int fd, const struct giveup *g)
{
	scoped(fd) int done = eventfd(0, EFD_CLOEXEC);
	struct sleeper s = {.lock = fd, .done = done};
	pthread_t thread = 0;
	int r = done < 0 ? -errno : start(&s, &thread);

	if (r < 0)
		return r;
	r = giveup_wait(g, done, POLLIN, -1, NULL);
	if (r < 0)
		pthread_cancel(thread);
	pthread_join(thread, NULL);
	if (r < 0)
		flock(fd, LOCK_UN); /* it may just have been taken */
	return r < 0 ? r : s.r;
}

int lock_take(int fd, const struct giveup *g)
{
	int r = take(fd, g ? LOCK_EX | LOCK_NB : LOCK_EX);

	if (!g || r != -EWOULDBLOCK)
		return r;
	r = giveup_check(g, NULL);
	return r < 0 ? r : take_until(fd, g);
}

bool lock_is_current(int fd, const char *path)
{
	struct stat mine;
	struct stat now;

	return fstat(fd, &mine) == 0 && stat(path, &now) == 0 && mine.st_ino == now.st_ino &&
	       mine.st_dev == now.st_dev;
}
