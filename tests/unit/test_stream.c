/* SPDX-License-Identifier: MIT */
#include "check.h"

#include "loop/stream.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

struct side {
	uv_loop_t loop;
	struct stream *stream;
	int peer; /* the other end, which blocks */
	char got[65536];
	size_t len;
	int reads;
	bool ended;
	bool answers; /* each read, at once */
	bool holds;   /* after each read */
	bool closes;
	int writable; /* an edge-triggered epoll that @peer is in, or -1 */
	int woken;    /* how often @peer became writable by the time of a read */
};

/* How many times the peer was told, since the last question, that there is more room in its socket. */
static int count_wakes(int epoll)
{
	struct epoll_event event;

	return epoll < 0 ? 0 : epoll_wait(epoll, &event, 1, 0);
}

static void on_read(void *arg, const char *data, ssize_t len, int fd)
{
	struct side *s = arg;

	if (len <= 0) {
		s->ended = true;
		return;
	}
	assert_true(s->len + (size_t)len <= sizeof(s->got));
	memcpy(s->got + s->len, data, (size_t)len);
	s->len += (size_t)len;
	s->reads++;
	s->woken += count_wakes(s->writable);
	if (s->answers)
		stream_write(s->stream, "ok\n", 3);
	if (s->holds)
		stream_hold(s->stream, true);
	if (s->closes) {
		stream_close(s->stream);
		s->stream = NULL;
	}
}

static void begin(struct side *s)
{
	int pair[2];

	memset(s, 0, sizeof(*s));
	s->writable = -1;
	uv_loop_init(&s->loop);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	s->peer = pair[1];
	s->stream = stream_open_fresh(&s->loop, pair[0], on_read, s);
	assert_non_null(s->stream);
}

static void watch_peer(struct side *s)
{
	struct epoll_event event = {.events = EPOLLOUT | EPOLLET};

	s->writable = epoll_create1(EPOLL_CLOEXEC);
	assert_int_equal(epoll_ctl(s->writable, EPOLL_CTL_ADD, s->peer, &event), 0);
	assert_int_equal(count_wakes(s->writable), 1); /* as it begins */
}

static void end(struct side *s)
{
	stream_close(s->stream);
	uv_run(&s->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&s->loop), 0);
	if (s->writable >= 0)
		close(s->writable);
	close(s->peer);
}

static void say(struct side *s, const char *text)
{
	assert_int_equal(write(s->peer, text, strlen(text)), strlen(text));
}

static void a_client_that_waits_is_not_woken_before_its_reply(void **state)
{
	struct side s;

	begin(&s);
	watch_peer(&s);
	s.answers = true;
	say(&s, "one");
	stream_kick(s.stream);
	assert_int_equal(count_wakes(s.writable), 1); /* it was taken after the reply */
	say(&s, "two");
	uv_run(&s.loop, UV_RUN_NOWAIT);
	assert_int_equal(s.reads, 2);
	assert_int_equal(s.woken, 0);
	assert_int_equal(count_wakes(s.writable), 1);
	end(&s);
}

static void what_was_looked_at_is_not_read_again(void **state)
{
	struct side s;

	begin(&s);
	say(&s, "one,");
	stream_kick(s.stream);
	for (int i = 0; i < 20; i++) {
		say(&s, "more,");
		if (i % 3 == 0)
			uv_run(&s.loop, UV_RUN_NOWAIT);
	}
	uv_run(&s.loop, UV_RUN_NOWAIT);
	uv_run(&s.loop, UV_RUN_NOWAIT);
	s.got[s.len] = '\0';
	assert_int_equal(s.len, 4 + 20 * 5);
	assert_memory_equal(s.got, "one,more,more,", 14);
	assert_string_equal(s.got + s.len - 10, "more,more,");
	end(&s);
}

static void requests_that_come_while_one_is_answered_are_read_in_the_same_turn(void **state)
{
	struct side s;

	begin(&s);
	s.answers = true;
	say(&s, "a");
	stream_kick(s.stream);
	s.len = 0;
	say(&s, "b");
	uv_run(&s.loop, UV_RUN_NOWAIT);
	say(&s, "c");
	uv_run(&s.loop, UV_RUN_NOWAIT);
	assert_memory_equal(s.got, "bc", 2);
	assert_int_equal(s.len, 2);
	end(&s);
}

/* Bytes of all sizes around what is only looked at and what is read at once. */
static void large_and_small_reads_keep_the_bytes_in_order(void **state)
{
	static const size_t sizes[] = {1, 4095, 4096, 4097, 3, 16384, 16385, 2, 10000};
	char sent[65536];
	size_t n = 0;
	struct side s;

	begin(&s);
	stream_kick(s.stream);
	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (char)(i * 7 + i / 251);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		assert_int_equal(write(s.peer, sent + n, sizes[i]), sizes[i]);
		n += sizes[i];
		if (i % 2)
			uv_run(&s.loop, UV_RUN_NOWAIT);
	}
	while (s.len < n)
		uv_run(&s.loop, UV_RUN_ONCE);
	assert_int_equal(s.len, n);
	assert_memory_equal(s.got, sent, n);
	end(&s);
}

static void a_held_stream_goes_on_behind_what_it_has_read(void **state)
{
	struct side s;

	begin(&s);
	s.holds = true;
	say(&s, "one");
	stream_kick(s.stream);
	say(&s, "two");
	uv_run(&s.loop, UV_RUN_NOWAIT);
	assert_int_equal(s.len, 3);
	stream_hold(s.stream, false);
	uv_run(&s.loop, UV_RUN_NOWAIT);
	assert_int_equal(s.len, 6);
	assert_memory_equal(s.got, "onetwo", 6);
	end(&s);
}

static void the_end_is_told_behind_the_last_bytes(void **state)
{
	struct side s;

	begin(&s);
	say(&s, "one");
	shutdown(s.peer, SHUT_WR);
	stream_kick(s.stream);
	while (!s.ended)
		uv_run(&s.loop, UV_RUN_ONCE);
	assert_int_equal(s.len, 3);
	end(&s);
}

static void a_peer_sees_its_reply_and_the_end_and_no_reset(void **state)
{
	char reply[16];
	struct side s;

	begin(&s);
	s.answers = s.closes = true;
	say(&s, "one");
	stream_kick(s.stream);
	assert_null(s.stream);
	assert_int_equal(read(s.peer, reply, sizeof(reply)), 3);
	assert_int_equal(read(s.peer, reply, sizeof(reply)), 0);
	end(&s);
}

static void passed_descriptors_are_closed_unseen(void **state)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	char text[] = "fd";
	struct iovec iov = {text, 2};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.space,
			     .msg_controllen = sizeof(control.space)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	int passed[2];
	struct side s;
	char byte;

	begin(&s);
	assert_int_equal(pipe(passed), 0);
	*c = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
	memcpy(CMSG_DATA(c), &passed[1], sizeof(int));
	say(&s, "a");
	assert_int_equal(sendmsg(s.peer, &msg, 0), 2);
	say(&s, "b");
	close(passed[1]);
	stream_kick(s.stream);
	while (s.len < 4)
		uv_run(&s.loop, UV_RUN_ONCE);
	assert_memory_equal(s.got, "afdb", 4);
	uv_run(&s.loop, UV_RUN_NOWAIT);
	assert_int_equal(read(passed[0], &byte, 1), 0); /* no copy of the other end is left */
	close(passed[0]);
	end(&s);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_client_that_waits_is_not_woken_before_its_reply),
		TEST(what_was_looked_at_is_not_read_again),
		TEST(requests_that_come_while_one_is_answered_are_read_in_the_same_turn),
		TEST(large_and_small_reads_keep_the_bytes_in_order),
		TEST(a_held_stream_goes_on_behind_what_it_has_read),
		TEST(the_end_is_told_behind_the_last_bytes),
		TEST(a_peer_sees_its_reply_and_the_end_and_no_reset),
		TEST(passed_descriptors_are_closed_unseen),
	};
	uv_loop_t loop;

	uv_loop_init(&loop); /* libuv keeps two descriptors from its first loop on */
	uv_loop_close(&loop);
	return RUN_TESTS(tests);
}
