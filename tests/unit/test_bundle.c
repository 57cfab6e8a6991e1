/* SPDX-License-Identifier: MIT */
#include "check.h"

#include "base/err.h"
#include "base/files.h"
#include "base/giveup.h"
#include "base/scoped.h"
#include "base/str.h"
#include "guest/bundle.h"

#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HOLE = 8 << 20, FILE_SIZE = HOLE + 5, PAGE = 4096, EXTENTS = 60 };

static char dir[64];

static char *in_dir(const char *name)
{
	return str_format("%s/%s", dir, name);
}

static void make_dir(void)
{
	strcpy(dir, "/tmp/drv-XXXXXX");
	assert_non_null(mkdtemp(dir));
}

/* "first", a hole, "last" and a hole. */
static void write_sparse(const char *name)
{
	scoped(mem) char *path = in_dir(name);
	scoped(fd) int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "first", 5, 0), 5);
	assert_int_equal(pwrite(fd, "last", 4, HOLE), 4);
	assert_int_equal(ftruncate(fd, FILE_SIZE + HOLE), 0);
}

/* Memory is like that: runs and holes of all lengths. */
static void write_scattered(const char *name)
{
	scoped(mem) char *path = in_dir(name);
	scoped(fd) int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	off_t at = 0;

	assert_true(fd >= 0);
	for (int i = 1; i <= EXTENTS; i++) {
		scoped(mem) char *run = malloc((size_t)i * PAGE);

		assert_non_null(run);
		memset(run, i, (size_t)i * PAGE);
		assert_int_equal(pwrite(fd, run, (size_t)i * PAGE, at), i * PAGE);
		at += (off_t)i * PAGE + (off_t)(i * 7 % 13 + 1) * PAGE;
	}
	assert_int_equal(ftruncate(fd, at), 0);
}

static void write_bundle(const char *name)
{
	scoped(mem) char *path = in_dir(name);
	scoped(mem) char *sparse = in_dir("sparse");
	scoped(mem) char *empty = in_dir("empty");
	scoped(mem) char *full = in_dir("full");
	scoped(fd) int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	struct bundle *b = NULL;
	struct err e = ERR_INIT;

	write_sparse("sparse");
	assert_int_equal(files_publish(empty, "", 0, 0600), 0);
	assert_int_equal(files_publish(full, "full", 4, 0600), 0);
	assert_int_equal(bundle_begin(fd, "{\"head\":1}", NULL, &b, &e), 0);
	assert_int_equal(bundle_add(b, "a/sparse", sparse, &e), 0);
	assert_int_equal(bundle_add(b, "a/full", full, &e), 0);
	assert_int_equal(bundle_add(b, "a/empty", empty, &e), 0);
	assert_int_equal(bundle_finish(b, &e), 0);
	bundle_free(b);
}

static int on_head(void *arg, const char *head, struct err *e)
{
	assert_string_equal(head, "{\"head\":1}");
	return 0;
}

static char *where(void *arg, const char *name, struct err *e)
{
	if (strncmp(name, "a/", 2) != 0) {
		err_set(e, ERR_INVALID, "'%s' is not wanted", name);
		return NULL;
	}
	return str_format("%s/out-%s", dir, name + 2);
}

static int read_bundle(const char *name, struct err *e)
{
	static const struct bundle_taker taker = {on_head, where, NULL};
	scoped(mem) char *path = in_dir(name);
	scoped(fd) int fd = open(path, O_RDONLY | O_CLOEXEC);

	*e = (struct err)ERR_INIT;
	return bundle_read(fd, &taker, NULL, e);
}

static void a_bundle_gives_back_what_was_put_in_with_its_holes(void **state)
{
	scoped(mem) char *text = NULL;
	scoped(mem) char *out = NULL;
	struct err e;
	struct stat st;
	size_t len;

	make_dir();
	write_bundle("b");
	assert_int_equal(read_bundle("b", &e), 0);
	out = in_dir("out-sparse");
	assert_int_equal(files_read(out, 64 << 20, &text, &len), 0);
	assert_int_equal(len, FILE_SIZE + HOLE);
	assert_memory_equal(text, "first\0", 6);
	assert_memory_equal(text + HOLE, "last\0", 5);
	assert_int_equal(stat(out, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_true(st.st_blocks * 512 < HOLE);
	free(take_ptr(&out));
	free(take_ptr(&text));
	out = in_dir("out-full");
	assert_int_equal(files_read(out, 64, &text, &len), 0);
	assert_string_equal(text, "full");
	free(take_ptr(&out));
	out = in_dir("out-empty");
	assert_int_equal(stat(out, &st), 0);
	assert_int_equal(st.st_size, 0);
	files_remove_tree(dir);
}

static void one_that_is_cut_off_anywhere_is_refused(void **state)
{
	scoped(mem) char *path = NULL;
	scoped(mem) char *cut = NULL;
	scoped(mem) char *text = NULL;
	size_t len;
	struct err e;

	make_dir();
	write_bundle("b");
	path = in_dir("b");
	cut = in_dir("cut");
	assert_int_equal(files_read(path, 1 << 20, &text, &len), 0);
	for (size_t n = 0; n < len - 1; n++) {
		scoped(mem) char *sparse = in_dir("out-sparse");
		scoped(mem) char *empty = in_dir("out-empty");
		scoped(mem) char *full = in_dir("out-full");

		unlink(full);
		unlink(sparse);
		unlink(empty);
		assert_int_equal(files_publish(cut, text, n, 0600), 0);
		assert_true(read_bundle("cut", &e) < 0);
		assert_int_equal(e.code, ERR_INVALID);
	}
	files_remove_tree(dir);
}

static void runs_and_holes_of_all_lengths_come_back(void **state)
{
	scoped(mem) char *path = NULL;
	scoped(mem) char *scattered = NULL;
	scoped(mem) char *out = NULL;
	scoped(mem) char *was = NULL;
	scoped(mem) char *is = NULL;
	struct bundle *b = NULL;
	struct err e = ERR_INIT;
	size_t was_len;
	size_t is_len;
	int fd;

	make_dir();
	write_scattered("scattered");
	path = in_dir("b");
	scattered = in_dir("scattered");
	out = in_dir("out-scattered");
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_int_equal(bundle_begin(fd, "{\"head\":1}", NULL, &b, &e), 0);
	assert_int_equal(bundle_add(b, "a/scattered", scattered, &e), 0);
	assert_int_equal(bundle_finish(b, &e), 0);
	bundle_free(b);
	close(fd);
	assert_int_equal(read_bundle("b", &e), 0);
	assert_int_equal(files_read(scattered, 64 << 20, &was, &was_len), 0);
	assert_int_equal(files_read(out, 64 << 20, &is, &is_len), 0);
	assert_int_equal(was_len, is_len);
	assert_memory_equal(was, is, was_len);
	files_remove_tree(dir);
}

static void a_file_of_another_kind_is_refused(void **state)
{
	scoped(mem) char *path = NULL;
	struct err e;

	make_dir();
	path = in_dir("text");
	assert_int_equal(files_publish(path, "hello world\n", 12, 0600), 0);
	assert_true(read_bundle("text", &e) < 0);
	assert_int_equal(e.code, ERR_INVALID);
	assert_non_null(strstr(e.msg, "not a file of 'drover snapshot export'"));
	files_remove_tree(dir);
}

static void a_name_that_is_not_wanted_is_refused(void **state)
{
	scoped(mem) char *path = NULL;
	scoped(mem) char *empty = NULL;
	struct bundle *b = NULL;
	struct err e = ERR_INIT;
	int fd;

	make_dir();
	path = in_dir("b");
	empty = in_dir("empty");
	assert_int_equal(files_publish(empty, "", 0, 0600), 0);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_int_equal(bundle_begin(fd, "{\"head\":1}", NULL, &b, &e), 0);
	assert_int_equal(bundle_add(b, "../escaped", empty, &e), 0);
	assert_int_equal(bundle_finish(b, &e), 0);
	bundle_free(b);
	close(fd);
	assert_true(read_bundle("b", &e) < 0);
	assert_non_null(strstr(e.msg, "'../escaped' is not wanted"));
	files_remove_tree(dir);
}

/* The pipe holds less than the file has, and nobody reads it. */
static void a_writer_whose_reader_stands_still_is_given_up(void **state)
{
	enum { SOON_MS = 50, SIZE = 1 << 20 };
	scoped(mem) char *path = NULL;
	scoped(mem) char *noise = malloc(SIZE);
	struct giveup g = {.cancel_fd = -1, .limit_s = 0.05};
	struct bundle *b = NULL;
	struct err e = ERR_INIT;
	int fds[2];

	make_dir();
	path = in_dir("noise");
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	for (size_t at = 0; at < SIZE; at += 256)
		assert_int_equal(getrandom(noise + at, 256, 0), 256);
	assert_int_equal(files_publish(path, noise, SIZE, 0600), 0);
	assert_int_equal(bundle_begin(fds[1], "{}", &g, &b, &e), 0);
	g.end_ms = clock_ms() + SOON_MS; /* which is heeded from here on */
	assert_true(bundle_add(b, "a/noise", path, &e) < 0);
	assert_int_equal(e.code, ERR_TIMEOUT);
	bundle_free(b);
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(files_remove_tree(dir), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_bundle_gives_back_what_was_put_in_with_its_holes),
		TEST(one_that_is_cut_off_anywhere_is_refused),
		TEST(runs_and_holes_of_all_lengths_come_back),
		TEST(a_file_of_another_kind_is_refused),
		TEST(a_name_that_is_not_wanted_is_refused),
		TEST(a_writer_whose_reader_stands_still_is_given_up),
	};

	return RUN_TESTS(tests);
}
