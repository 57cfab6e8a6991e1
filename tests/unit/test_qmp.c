/* SPDX-License-Identifier: MIT */
/* QMP over a connection that another process used until it was killed, at any byte. */
#include "check.h"

#include "backend/qemu/qmp.h"

#include <string.h>
#include <sys/socket.h>

struct heard {
	unsigned events;
	char last[32];
};

static void on_event(void *arg, const char *event, json_t *data)
{
	struct heard *h = arg;

	h->events++;
	snprintf(h->last, sizeof(h->last), "%s", event);
}

/* What an adopted connection hears of @said; the first bytes that it says itself go to @ret_sent. */
static struct heard hear(const char *said, char *ret_sent, size_t size)
{
	struct heard h = {0};
	struct qmp *q;
	uv_loop_t loop;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(write(pair[1], said, strlen(said)), strlen(said));
	uv_loop_init(&loop);
	assert_int_equal(qmp_adopt(&loop, pair[0], on_event, &h, &q), 0);
	assert_non_null(q);
	assert_true(recv(pair[1], ret_sent, size, MSG_DONTWAIT) > 0);
	uv_run(&loop, UV_RUN_NOWAIT);
	uv_run(&loop, UV_RUN_NOWAIT);
	qmp_close(q);
	close(pair[1]);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	return h;
}

static void the_rest_of_a_line_is_passed_over(void **state)
{
	char sent[64];
	struct heard h = hear("us\": \"running\"}, \"id\": 3}\r\n{\"event\": \"STOP\"}\r\n", sent,
			      sizeof(sent));

	assert_int_equal(h.events, 1);
	assert_string_equal(h.last, "STOP");
}

static void a_whole_first_line_is_heard(void **state)
{
	char sent[64];
	struct heard h = hear("{\"event\": \"SHUTDOWN\"}\r\n", sent, sizeof(sent));

	assert_int_equal(h.events, 1);
	assert_string_equal(h.last, "SHUTDOWN");
}

static void so_is_one_after_an_end_of_line(void **state)
{
	char sent[64];
	struct heard h = hear("\r\n{\"event\": \"RESUME\"}\r\n", sent, sizeof(sent));

	assert_int_equal(h.events, 1);
	assert_string_equal(h.last, "RESUME");
}

static void what_was_half_said_is_ended_first(void **state)
{
	char sent[64];

	hear("\r\n", sent, sizeof(sent));
	assert_int_equal((unsigned char)sent[0], 0xff);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(the_rest_of_a_line_is_passed_over),
		TEST(a_whole_first_line_is_heard),
		TEST(so_is_one_after_an_end_of_line),
		TEST(what_was_half_said_is_ended_first),
	};
	uv_loop_t loop;

	uv_loop_init(&loop); /* libuv keeps two descriptors from its first loop on */
	uv_loop_close(&loop);
	return RUN_TESTS(tests);
}
