/* SPDX-License-Identifier: MIT */
/*
 * How long the helper keeps a connection. Nobody waits for that: the test stands in place of the loop, and of the alarm that
 * the helper sets; it moves the time at which a connection was last in use into the past, and has the helper look.
 */
#include "check.h"

#include "backend/fake/fake.h"
#include "helper/conn.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static const struct helper_options options = {.backend = "fake", .client_pidfd = -1};

/* A helper with a member that keeps it alive; its loop runs only when the test says so. */
struct desk {
	struct helper h;
	struct member member;
	int peer;
	struct conn *conn;
};

static void on_alarm(void *arg)
{
	conns_end_overdue(arg);
}

static void desk_open(struct desk *d)
{
	struct helper *h = &d->h;

	*d = (struct desk){.h = {.o = &options}};
	assert_int_equal(uv_loop_init(&h->loop), 0);
	list_init(&h->members);
	list_init(&h->reserved);
	list_init(&h->conns);
	list_init(&h->network_calls);
	list_init(&h->calls);
	member_init(&d->member, h, "solo");
	h->backend = fake_backend_new(&h->loop, NULL);
	assert_non_null(h->backend);
	assert_int_equal(alarm_open(&h->loop, on_alarm, h, &h->overdue, NULL), 0);
}

/* A client comes, and has sent @text by then. */
static void desk_connect(struct desk *d, const char *text)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
			 0);
	d->peer = pair[0];
	assert_int_equal(send(d->peer, text, strlen(text), 0), strlen(text));
	conn_accept(&d->h, NULL, pair[1], geteuid());
	assert_int_equal(d->h.n_conns, 1);
	d->conn = list_entry(d->h.conns.next, struct conn, link);
}

/* What the helper has sent meanwhile. */
static const char *heard(const struct desk *d)
{
	static char text[4096];
	ssize_t n = recv(d->peer, text, sizeof(text) - 1, 0);

	text[n < 0 ? 0 : n] = '\0';
	return text;
}

static bool is_closed(const struct desk *d)
{
	char byte;

	if (d->h.n_conns > 0)
		return false;
	heard(d); /* what came before its end */
	assert_int_equal(recv(d->peer, &byte, 1, 0), 0);
	return true;
}

/* Nothing has happened on the connection for @ms; the helper looks. */
static void after(struct desk *d, uint64_t ms)
{
	d->conn->since = uv_now(&d->h.loop) - ms;
	conns_end_overdue(&d->h);
}

static void turn(struct desk *d)
{
	uv_run(&d->h.loop, UV_RUN_NOWAIT);
}

static void on_closed(void *arg, int r, const struct err *e)
{
	/* The loop ends when its last handle is closed. */
}

static void desk_close(struct desk *d)
{
	struct helper *h = &d->h;

	conns_close_all(h);
	alarm_close(h->overdue);
	if (h->network)
		backend_close_network(h->network, on_closed, NULL);
	uv_run(&h->loop, UV_RUN_DEFAULT);
	backend_free(h->backend);
	uv_run(&h->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&h->loop), 0);
	close(d->peer);
}

static void a_kept_connection_without_a_request_is_closed_after_600_s(void **state)
{
	struct desk d;

	desk_open(&d);
	desk_connect(&d, "{\"cmd\":\"hello\",\"id\":1}");
	assert_non_null(strstr(heard(&d), "\"protocol\""));
	assert_int_equal(alarm_time(d.h.overdue) - d.conn->since, WIRE_IDLE_MS);
	after(&d, WIRE_IDLE_MS - 1);
	assert_false(is_closed(&d));
	assert_int_equal(alarm_time(d.h.overdue), uv_now(&d.h.loop) + 1);
	after(&d, WIRE_IDLE_MS);
	assert_true(is_closed(&d)); /* without a word: it is no error */
	assert_int_equal(d.h.total_refusals, 0);
	desk_close(&d);
}

static void each_request_begins_its_time_anew(void **state)
{
	struct desk d;

	desk_open(&d);
	desk_connect(&d, "{\"cmd\":\"hello\",\"id\":1}");
	after(&d, WIRE_IDLE_MS - 1);
	heard(&d);
	assert_int_equal(send(d.peer, "{\"cmd\":\"hello\",\"id\":2}", 22, 0), 22);
	turn(&d);
	assert_non_null(strstr(heard(&d), "\"id\":2"));
	assert_int_equal(d.conn->since, uv_now(&d.h.loop));
	conns_end_overdue(&d.h);
	assert_false(is_closed(&d));
	desk_close(&d);
}

static void one_with_a_request_under_way_is_not_closed_before_its_answer(void **state)
{
	struct desk d;

	desk_open(&d);
	desk_connect(&d, "{\"cmd\":\"createnetwork\",\"id\":1}");
	assert_string_equal(heard(&d), "");
	after(&d, WIRE_IDLE_MS);
	assert_false(is_closed(&d));
	assert_true(alarm_time(d.h.overdue) == ALARM_NEVER);
	turn(&d);
	assert_string_equal(heard(&d), "{\"id\":1}\n");
	assert_int_equal(alarm_time(d.h.overdue) - d.conn->since, WIRE_IDLE_MS);
	after(&d, WIRE_IDLE_MS);
	assert_true(is_closed(&d));
	desk_close(&d);
}

static void a_watch_is_not_closed(void **state)
{
	static const char *const watches[] = {"{\"cmd\":\"watch\",\"id\":1}",
					      "{\"cmd\":\"watch\"}"};

	for (size_t i = 0; i < 2; i++) {
		struct desk d;

		desk_open(&d);
		desk_connect(&d, watches[i]);
		after(&d, WIRE_IDLE_MS);
		assert_false(is_closed(&d));
		assert_true(alarm_time(d.h.overdue) == ALARM_NEVER);
		desk_close(&d);
	}
}

static void half_a_request_on_a_kept_connection_has_the_time_of_a_request(void **state)
{
	struct desk d;

	desk_open(&d);
	desk_connect(&d, "{\"cmd\":\"hello\",\"id\":1} {\"cmd\":");
	heard(&d);
	assert_int_equal(alarm_time(d.h.overdue) - d.conn->since, WIRE_REQUEST_MS);
	after(&d, WIRE_REQUEST_MS - 1);
	assert_false(is_closed(&d));
	after(&d, WIRE_REQUEST_MS);
	assert_non_null(strstr(heard(&d), "\"code\":\"timeout\""));
	assert_true(is_closed(&d));
	desk_close(&d);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_kept_connection_without_a_request_is_closed_after_600_s),
		TEST(each_request_begins_its_time_anew),
		TEST(one_with_a_request_under_way_is_not_closed_before_its_answer),
		TEST(a_watch_is_not_closed),
		TEST(half_a_request_on_a_kept_connection_has_the_time_of_a_request),
	};
	uv_loop_t loop;

	uv_loop_init(&loop); /* libuv keeps two descriptors from its first loop on */
	uv_loop_close(&loop);
	return RUN_TESTS(tests);
}
