/* SPDX-License-Identifier: MIT */
#include "check.h"

#include "backend/waiter.h"

#include <string.h>

struct said {
	int calls;
	int r;
	enum err_code code;
	char ip[IP_SIZE];
	struct waiters *add_to; /* adds itself again */
};

static void on_done(void *arg, int r, const struct err *e)
{
	struct said *s = arg;
	struct waiters *set = s->add_to;

	s->calls++;
	s->r = r;
	s->code = e ? e->code : ERR_NONE;
	s->add_to = NULL;
	if (set)
		waiters_add(set, on_done, s, 0, "", NULL);
}

static void on_address(void *arg, int r, const char *ip, const struct err *e)
{
	on_done(arg, r, e);
	strcpy(((struct said *)arg)->ip, ip ? ip : "");
}

static void begin(uv_loop_t *loop, struct waiters *w)
{
	uv_loop_init(loop);
	waiters_init(w, loop);
}

static void end(uv_loop_t *loop)
{
	uv_run(loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(loop), 0);
}

static void what_ends_calls_back_from_the_loop_once(void **state)
{
	struct said a = {0};
	struct said b = {0};
	struct waiters w;
	uv_loop_t loop;

	begin(&loop, &w);
	waiters_add(&w, on_done, &a, 0, "", NULL);
	waiters_add_address(&w, on_address, &b, 1000, "late", NULL);
	waiters_end(&w, "10.0.0.2", NULL);
	waiters_end(&w, "10.0.0.3", NULL);
	assert_int_equal(a.calls + b.calls, 0);
	end(&loop);
	assert_int_equal(a.calls, 1);
	assert_int_equal(b.calls, 1);
	assert_string_equal(b.ip, "10.0.0.2");
}

static void a_deadline_ends_one_alone(void **state)
{
	struct said a = {0};
	struct said b = {0};
	struct waiters w;
	uv_loop_t loop;

	begin(&loop, &w);
	waiters_add(&w, on_done, &a, 1, "too late", NULL);
	waiters_add(&w, on_done, &b, 0, "", NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(a.code, ERR_TIMEOUT);
	assert_int_equal(a.r, -ETIMEDOUT);
	assert_int_equal(b.calls, 0);
	waiters_cancel(&w);
	assert_int_equal(b.code, ERR_CANCELED);
	end(&loop);
}

static void cancel_ends_all_at_once_and_the_due_with_their_result(void **state)
{
	struct err e = {.code = ERR_BOOT, .msg = "no"};
	struct said due = {0};
	struct said pending = {0};
	struct waiters w;
	uv_loop_t loop;

	begin(&loop, &w);
	waiters_add(&w, on_done, &due, 0, "", NULL);
	waiters_end(&w, NULL, &e);
	pending.add_to = &w; /* what a callback adds is canceled too */
	waiters_add(&w, on_done, &pending, 1000, "late", NULL);
	waiters_cancel(&w);
	assert_int_equal(due.code, ERR_BOOT);
	assert_int_equal(pending.calls, 2);
	assert_int_equal(pending.code, ERR_CANCELED);
	end(&loop);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(what_ends_calls_back_from_the_loop_once),
		TEST(a_deadline_ends_one_alone),
		TEST(cancel_ends_all_at_once_and_the_due_with_their_result),
	};
	uv_loop_t loop;

	uv_loop_init(&loop); /* libuv keeps two descriptors from its first loop on */
	uv_loop_close(&loop);
	return RUN_TESTS(tests);
}
