/* SPDX-License-Identifier: MIT */
#include "check.h"

#include "base/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SIZE = 1 << 20, STAT_BLOCK = 512 };

static int from = -1;
static int to = -1;

static int open_new(const char *pattern)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s", pattern);
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(ftruncate(fd, SIZE), 0);
	return fd;
}

static int open_both(void **state)
{
	int r = check_setup(state);

	from = open_new("/dev/shm/drover-copy-XXXXXX");
	to = open_new("/tmp/drover-copy-XXXXXX");
	return r;
}

static int close_both(void **state)
{
	close(from);
	close(to);
	return check_teardown(state);
}

static void put(int fd, const char *text, off_t at)
{
	assert_int_equal(pwrite(fd, text, strlen(text), at), strlen(text));
}

static void assert_alike(void)
{
	static char left[SIZE];
	static char right[SIZE];

	assert_int_equal(pread(from, left, SIZE, 0), SIZE);
	assert_int_equal(pread(to, right, SIZE, 0), SIZE);
	assert_memory_equal(left, right, SIZE);
}

static off_t used(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_blocks * STAT_BLOCK;
}

static void an_empty_file_becomes_a_sparse_copy(void **unused)
{
	static const char zeros[256 << 10];

	put(from, "first", 0);
	put(from, "across", 65533);
	assert_int_equal(pwrite(from, zeros, sizeof(zeros), SIZE / 2), sizeof(zeros));
	put(from, "last", SIZE - 4);
	assert_int_equal(copy_changes(from, to, SIZE), 0);
	assert_alike();
	assert_true(used(to) <= SIZE / 4); /* neither holes nor zeros were written */
}

static void what_has_changed_is_changed_and_nothing_else_is_written(void **unused)
{
	struct stat before;
	struct stat after;

	put(from, "old", 5000);
	put(from, "same", 300000);
	assert_int_equal(copy_changes(from, to, SIZE), 0);
	assert_int_equal(fstat(to, &before), 0);
	assert_int_equal(copy_changes(from, to, SIZE), 0);
	assert_int_equal(fstat(to, &after), 0);
	assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof(before.st_mtim));
	put(from, "new", 5000);
	put(from, "where nothing was", SIZE - 100);
	put(from, "\0\0\0\0", 300000);
	assert_int_equal(copy_changes(from, to, SIZE), 0);
	assert_alike();
}

static void what_has_become_a_hole_becomes_one(void **unused)
{
	char text[5] = "";

	put(from, "gone", 200000);
	put(from, "kept", 900000);
	assert_int_equal(copy_changes(from, to, SIZE), 0);
	assert_int_equal(fallocate(from, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, SIZE / 2),
			 0);
	assert_int_equal(copy_changes(from, to, SIZE), 0);
	assert_alike();
	assert_int_equal(pread(to, text, 4, 900000), 4);
	assert_string_equal(text, "kept");
}

static void what_stands_behind_stays(void **unused)
{
	char text[7] = "";

	put(from, "memory", 0);
	put(to, "behind", SIZE);
	assert_int_equal(copy_changes(from, to, SIZE), 0);
	assert_alike();
	assert_int_equal(pread(to, text, 6, SIZE), 6);
	assert_string_equal(text, "behind");
}

static void a_shorter_file_is_zeros_behind_its_end(void **unused)
{
	put(to, "rest", SIZE - 4);
	put(from, "begin", 0);
	assert_int_equal(ftruncate(from, 10), 0);
	assert_int_equal(copy_changes(from, to, SIZE), 0);
	assert_int_equal(ftruncate(from, SIZE), 0);
	assert_alike();
}

static void a_file_that_cannot_be_written_is_told(void **unused)
{
	int only_read = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	put(from, "x", 0);
	assert_int_equal(copy_changes(from, only_read, SIZE), -EBADF);
	close(only_read);
}

#define COPY_TEST(name) cmocka_unit_test_setup_teardown(name, open_both, close_both)

int main(void)
{
	const struct CMUnitTest tests[] = {
		COPY_TEST(an_empty_file_becomes_a_sparse_copy),
		COPY_TEST(what_has_changed_is_changed_and_nothing_else_is_written),
		COPY_TEST(what_has_become_a_hole_becomes_one),
		COPY_TEST(what_stands_behind_stays),
		COPY_TEST(a_shorter_file_is_zeros_behind_its_end),
		COPY_TEST(a_file_that_cannot_be_written_is_told),
	};

	return RUN_TESTS(tests);
}
