/* SPDX-License-Identifier: MIT */
#include "check.h"

#include "base/fds.h"

#include <fcntl.h>
#include <sys/socket.h>

struct ends {
	int sock[2];
	int passed[3];
};

static struct ends begin(void)
{
	struct ends s;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s.sock), 0);
	for (int i = 0; i < 3; i++) {
		s.passed[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
		assert_true(s.passed[i] >= 0);
	}
	return s;
}

static void end(const struct ends *s)
{
	for (int i = 0; i < 3; i++)
		close(s->passed[i]);
	close(s->sock[0]);
	close(s->sock[1]);
}

static void a_message_comes_with_its_descriptors(void **state)
{
	struct ends s = begin();
	char text[8];
	int fds[3];

	assert_int_equal(fds_send(s.sock[0], "ab", 2, s.passed, 2, 0), 2);
	assert_int_equal(fds_receive(s.sock[1], text, sizeof(text), fds, 3, 0), 2);
	assert_memory_equal(text, "ab", 2);
	assert_true(fds[0] >= 0 && fds[1] >= 0);
	assert_int_equal(fds[2], -1);
	assert_int_equal(fcntl(fds[0], F_GETFD), FD_CLOEXEC);
	close(fds[0]);
	close(fds[1]);
	end(&s);
}

/* The kernel rounds the room for them up: what nobody asked for would stay open. */
static void descriptors_beyond_those_asked_for_are_closed(void **state)
{
	for (size_t room = 0; room < 3; room++) {
		struct ends s = begin();
		char text[8];
		int fds[3];

		assert_int_equal(fds_send(s.sock[0], "a", 1, s.passed, 3, 0), 1);
		assert_int_equal(fds_receive(s.sock[1], text, sizeof(text), fds, room, 0), 1);
		for (size_t i = 0; i < room; i++) {
			assert_true(fds[i] >= 0);
			close(fds[i]);
		}
		end(&s);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_message_comes_with_its_descriptors),
		TEST(descriptors_beyond_those_asked_for_are_closed),
	};

	return RUN_TESTS(tests);
}
