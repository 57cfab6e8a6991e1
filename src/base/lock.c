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
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

struct wanted {
	int fd;
	off_t byte; /* ALL: of the file, else of that byte */
};

enum { ALL = -1 };

struct sleeper {
	const struct wanted *lock;
	int done; /* an eventfd */
	int r;
};

static int set_byte(const struct wanted *w, short type, bool wait)
{
	struct flock range = {.l_type = type, .l_whence = SEEK_SET, .l_start = w->byte, .l_len = 1};

	return fcntl(w->fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &range);
}

static int take(const struct wanted *w, bool wait)
{
	int r;

	do
		r = w->byte == ALL ? flock(w->fd, wait ? LOCK_EX : LOCK_EX | LOCK_NB)
				   : set_byte(w, F_WRLCK, wait);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

static void let_go(const struct wanted *w)
{
	if (w->byte == ALL)
		flock(w->fd, LOCK_UN);
	else
		set_byte(w, F_UNLCK, false);
}

static void *sleep_for_lock(void *arg)
{
	struct sleeper *s = arg;
	const uint64_t one = 1;

	/* At any instruction, but only in here, where nothing is held. */
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	s->r = take(s->lock, true);
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

static int take_until(const struct wanted *w, const struct giveup *g)
{
	scoped(fd) int done = eventfd(0, EFD_CLOEXEC);
	struct sleeper s = {.lock = w, .done = done};
	pthread_t thread = 0;
	int r = done < 0 ? -errno : start(&s, &thread);

	if (r < 0)
		return r;
	r = giveup_wait(g, done, POLLIN, -1, NULL);
	if (r < 0)
		pthread_cancel(thread);
	pthread_join(thread, NULL);
	if (r < 0)
		let_go(w); /* it may just have been taken */
	return r < 0 ? r : s.r;
}

static int take_or_give_up(const struct wanted *w, const struct giveup *g)
{
	int r = take(w, !g);

	if (!g || r != -EWOULDBLOCK)
		return r;
	r = giveup_check(g, NULL);
	return r < 0 ? r : take_until(w, g);
}

int lock_take(int fd, const struct giveup *g)
{
	return take_or_give_up(&(struct wanted){fd, ALL}, g);
}

int lock_take_byte(int fd, off_t byte, const struct giveup *g)
{
	return take_or_give_up(&(struct wanted){fd, byte}, g);
}

bool lock_is_current(int fd, const char *path)
{
	struct stat mine;
	struct stat now;

	return fstat(fd, &mine) == 0 && stat(path, &now) == 0 && mine.st_ino == now.st_ino &&
	       mine.st_dev == now.st_dev;
}
