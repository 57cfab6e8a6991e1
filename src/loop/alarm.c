/* SPDX-License-Identifier: MIT */
#include "loop/alarm.h"

#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

struct alarm {
	uv_poll_t poll;
	int fd;
	uint64_t at;
	alarm_cb *cb;
	void *arg;
};

static void on_closed(uv_handle_t *h)
{
	free(h->data);
}

void alarm_close(struct alarm *a)
{
	if (!a)
		return;
	uv_close((uv_handle_t *)&a->poll, on_closed);
	close(a->fd); /* uv_close has taken it out of the poll set */
}

void alarm_set(struct alarm *a, uint64_t at)
{
	struct itimerspec when = {0};

	a->at = at;
	if (at != ALARM_NEVER) {
		at++; /* the loop's clock may be a tick behind the kernel's */
		when.it_value.tv_sec = (time_t)(at / 1000);
		when.it_value.tv_nsec = (long)(at % 1000) * 1000000;
	}
	timerfd_settime(a->fd, TFD_TIMER_ABSTIME, &when, NULL);
}

uint64_t alarm_time(const struct alarm *a)
{
	return a->at;
}

static void on_readable(uv_poll_t *h, int status, int events)
{
	struct alarm *a = h->data;

	alarm_set(a, ALARM_NEVER); /* which also makes it no longer readable */
	a->cb(a->arg);
}

int alarm_open(uv_loop_t *loop, alarm_cb *cb, void *arg, struct alarm **ret, struct err *e)
{
	struct alarm *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	a->fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	r = a->fd < 0 ? -errno : uv_poll_init(loop, &a->poll, a->fd);
	if (r < 0) {
		if (a->fd >= 0)
			close(a->fd);
		free(a);
		return err_errno(e, r, "make a timer");
	}
	a->poll.data = a;
	a->at = ALARM_NEVER;
	a->cb = cb;
	a->arg = arg;
	uv_poll_start(&a->poll, UV_READABLE, on_readable);
	*ret = a;
	return 0;
}
