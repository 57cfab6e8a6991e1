/* SPDX-License-Identifier: MIT */
#include "base/giveup.h"

#include "base/err.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>

uint64_t giveup_left_ms(const struct giveup *g)
{
	return g && g->end_ms ? clock_left_ms(g->end_ms) : 0;
}

int giveup_check(const struct giveup *g, struct err *e)
{
	struct pollfd p = {.fd = g ? g->cancel_fd : -1, .events = POLLIN};

	if (poll(&p, 1, 0) > 0)
		return err_set(e, ERR_CANCELED, "canceled");
	if (g && g->end_ms && clock_ms() >= g->end_ms)
		return err_set(e, ERR_TIMEOUT, "not done within %g s", g->limit_s);
	return 0;
}

bool giveup_is_why(const struct giveup *g, int r, struct err *e)
{
	return (r == -ECANCELED || r == -ETIMEDOUT) && giveup_check(g, e) < 0;
}

int giveup_poll_ms(const struct giveup *g, int64_t step_ms)
{
	int64_t left = (int64_t)giveup_left_ms(g);

	if (left && (step_ms < 0 || left < step_ms))
		step_ms = left;
	return step_ms < INT_MAX ? (int)step_ms : INT_MAX;
}

int giveup_wait(const struct giveup *g, int fd, short events, int64_t step_ms, struct err *e)
{
	int64_t step_end = clock_ms() + step_ms;

	for (;;) {
		struct pollfd p[] = {{.fd = fd, .events = events},
				     {.fd = g ? g->cancel_fd : -1, .events = POLLIN}};
		int64_t left = step_end - clock_ms();
		int r = poll(p, 2, giveup_poll_ms(g, step_ms < 0 ? -1 : left > 0 ? left : 0));

		if (r > 0 && p[0].revents)
			return 1;
		r = giveup_check(g, e);
		if (r < 0)
			return r;
		if (step_ms >= 0 && clock_ms() >= step_end)
			return 0;
	}
}
