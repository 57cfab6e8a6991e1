/* SPDX-License-Identifier: MIT */
#include "check.h"

#include "base/files.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char dir[64];

static void make_dir(void)
{
	strcpy(dir, "/tmp/drv-XXXXXX");
	assert_non_null(mkdtemp(dir));
}

static char *in_dir(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static int count_entries(void)
{
	DIR *d = opendir(dir);
	int n = -2;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void a_file_is_replaced_whole_and_leaves_no_other(void **state)
{
	char *text = NULL;
	size_t len = 0;
	struct stat st;

	make_dir();
	assert_int_equal(files_replace(in_dir("f"), "old", 3, 0600), 0);
	assert_int_equal(files_replace(in_dir("f"), "newer", 5, 0640), 0);
	assert_int_equal(files_read(in_dir("f"), 100, &text, &len), 0);
	assert_string_equal(text, "newer");
	assert_int_equal(len, 5);
	free(text);
	assert_int_equal(stat(in_dir("f"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	assert_int_equal(count_entries(), 1);
	assert_int_equal(files_replace(in_dir("absent/f"), "x", 1, 0600), -ENOENT);
	files_remove_tree(dir);
}

/* Writers of two contents; a reader sees one or the other. */
static void a_reader_never_sees_a_mix(void **state)
{
	static char a[8192];
	static char b[8192];
	char path[128];
	int status;
	pid_t pid;

	memset(a, 'a', sizeof(a));
	memset(b, 'b', sizeof(b));
	make_dir();
	strcpy(path, in_dir("f"));
	assert_int_equal(files_publish(path, a, sizeof(a), 0600), 0);
	pid = fork();
	if (pid == 0) {
		for (int i = 0; i < 300; i++)
			files_publish(path, i % 2 ? a : b, sizeof(a), 0600);
		_exit(0);
	}
	while (waitpid(pid, &status, WNOHANG) == 0) {
		char *text = NULL;
		size_t len = 0;

		assert_int_equal(files_read(path, 10000, &text, &len), 0);
		assert_int_equal(len, sizeof(a));
		assert_memory_equal(text, text[0] == 'a' ? a : b, len);
		free(text);
	}
	files_remove_tree(dir);
}

static void a_read_has_a_limit(void **state)
{
	char *text = NULL;

	make_dir();
	assert_int_equal(files_replace(in_dir("f"), "12345", 5, 0600), 0);
	assert_int_equal(files_read(in_dir("f"), 4, &text, NULL), -EFBIG);
	assert_int_equal(files_read(in_dir("g"), 4, &text, NULL), -ENOENT);
	assert_null(text);
	files_remove_tree(dir);
}

static void a_tree_is_made_and_removed_and_links_are_not_followed(void **state)
{
	char outside[64] = "/tmp/drv-XXXXXX";
	char kept[80];

	assert_non_null(mkdtemp(outside));
	snprintf(kept, sizeof(kept), "%s/kept", outside);
	assert_int_equal(files_replace(kept, "x", 1, 0600), 0);
	make_dir();
	assert_int_equal(files_mkdir_all(in_dir("a/b/c"), 0700), 0);
	assert_int_equal(files_mkdir_all(in_dir("a/b/c"), 0700), 0);
	assert_int_equal(symlink(outside, in_dir("a/link")), 0);
	assert_int_equal(files_remove_tree(dir), 0);
	assert_false(files_exist(dir));
	assert_true(files_exist(kept));
	assert_int_equal(files_remove_tree(dir), 0);
	files_remove_tree(outside);
}

static void programs_are_found(void **state)
{
	char *path = files_find_program("sh");

	assert_non_null(path);
	assert_int_equal(access(path, X_OK), 0);
	free(path);
	assert_null(files_find_program("no-such-program-anywhere"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_file_is_replaced_whole_and_leaves_no_other),
		TEST(a_reader_never_sees_a_mix),
		TEST(a_read_has_a_limit),
		TEST(a_tree_is_made_and_removed_and_links_are_not_followed),
		TEST(programs_are_found),
	};

	return RUN_TESTS(tests);
}
