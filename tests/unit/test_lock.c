/* SPDX-License-Identifier: MIT */
#include "check.h"

#include "base/giveup.h"
#include "base/lock.h"
#include "base/scoped.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

static char path[64];

/* Another open file each time, as another process has it. */
static int open_lock(void)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

static bool is_free(void)
{
	int fd = open_lock();
	bool free = flock(fd, LOCK_EX | LOCK_NB) == 0;

	unlock_fd(&fd);
	return free;
}

static void a_free_lock_is_taken_at_once(void **state)
{
	const struct giveup g = {.cancel_fd = -1, .end_ms = clock_ms()};
	int fd = open_lock();

	assert_int_equal(lock_take(fd, &g), 0);
	assert_false(is_free());
	unlock_fd(&fd);
	assert_true(is_free());
}

/* A process that holds the lock until its stdin ends. */
static pid_t hold(int *ret_end)
{
	int in[2];
	int told[2];
	char c;
	pid_t pid;

	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(told, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		int fd = open(path, O_RDWR | O_CLOEXEC);

		close(in[1]);
		if (flock(fd, LOCK_EX) < 0 || write(told[1], "x", 1) != 1)
			_exit(1);
		_exit(read(in[0], &c, 1) != 0);
	}
	close(in[0]);
	close(told[1]);
	assert_int_equal(read(told[0], &c, 1), 1);
	close(told[0]);
	*ret_end = in[1];
	return pid;
}

static void *end_holder(void *arg)
{
	int *end = arg;

	close(*end);
	return NULL;
}

static void a_lock_is_taken_when_its_holder_ends(void **state)
{
	const struct giveup never = GIVEUP_NEVER;
	int fd = open_lock();
	int end;
	pid_t holder = hold(&end);
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, end_holder, &end), 0);
	assert_int_equal(lock_take(fd, &never), 0);
	pthread_join(thread, NULL);
	assert_false(is_free());
	unlock_fd(&fd);
	assert_int_equal(waitpid(holder, NULL, 0), holder);
}

static void *cancel(void *arg)
{
	int *event = arg;

	eventfd_write(*event, 1);
	return NULL;
}

static void a_wait_that_is_canceled_leaves_the_lock_to_others(void **state)
{
	struct giveup g = {.cancel_fd = eventfd(0, EFD_CLOEXEC)};
	int fd = open_lock();
	int end;
	pid_t holder = hold(&end);
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, cancel, &g.cancel_fd), 0);
	assert_int_equal(lock_take(fd, &g), -ECANCELED);
	pthread_join(thread, NULL);
	close(end);
	assert_int_equal(waitpid(holder, NULL, 0), holder);
	assert_true(is_free()); /* although the file that waited is open */
	close(fd);
	close(g.cancel_fd);
}

static void a_wait_ends_at_its_deadline(void **state)
{
	const struct giveup g = {.cancel_fd = -1, .end_ms = clock_ms() + 20};
	int fd = open_lock();
	int end;
	pid_t holder = hold(&end);

	assert_int_equal(lock_take(fd, &g), -ETIMEDOUT);
	close(end);
	assert_int_equal(waitpid(holder, NULL, 0), holder);
	close(fd);
}

static void a_file_that_was_removed_is_the_lock_no_more(void **state)
{
	int fd = open_lock();
	int next;

	assert_true(lock_is_current(fd, path));
	assert_int_equal(unlink(path), 0);
	assert_false(lock_is_current(fd, path));
	next = open_lock();
	assert_false(lock_is_current(fd, path));
	assert_true(lock_is_current(next, path));
	close(fd);
	close(next);
}

static void each_byte_is_a_lock_of_its_own(void **state)
{
	const struct giveup now = {.cancel_fd = -1, .end_ms = clock_ms()};
	const off_t far = (off_t)1 << 61;
	int holder = open_lock();
	int other = open_lock();

	assert_int_equal(lock_take_byte(holder, far, &now), 0);
	assert_int_equal(lock_take_byte(other, far + 1, &now), 0);
	assert_int_equal(lock_take_byte(other, far, &now), -ETIMEDOUT);
	close(holder);
	assert_int_equal(lock_take_byte(other, far, NULL), 0);
	assert_true(is_free()); /* of the file as a whole it is none */
	close(other);
}

static void a_wait_for_a_byte_that_is_canceled_leaves_it_to_others(void **state)
{
	struct giveup g = {.cancel_fd = eventfd(0, EFD_CLOEXEC)};
	int holder = open_lock();
	int waiter = open_lock();
	int third = open_lock();
	pthread_t thread;

	assert_int_equal(lock_take_byte(holder, 7, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, cancel, &g.cancel_fd), 0);
	assert_int_equal(lock_take_byte(waiter, 7, &g), -ECANCELED);
	pthread_join(thread, NULL);
	close(holder);
	assert_int_equal(lock_take_byte(third, 7, NULL),
			 0); /* although the file that waited is open */
	close(waiter);
	close(third);
	close(g.cancel_fd);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_free_lock_is_taken_at_once),
		TEST(a_lock_is_taken_when_its_holder_ends),
		TEST(a_wait_that_is_canceled_leaves_the_lock_to_others),
		TEST(a_wait_ends_at_its_deadline),
		TEST(a_file_that_was_removed_is_the_lock_no_more),
		TEST(each_byte_is_a_lock_of_its_own),
		TEST(a_wait_for_a_byte_that_is_canceled_leaves_it_to_others),
	};
	int r;

	snprintf(path, sizeof(path), "/tmp/drover-lock-%d", (int)getpid());
	r = RUN_TESTS(tests);
	unlink(path);
	return r;
}
