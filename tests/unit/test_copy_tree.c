/* SPDX-License-Identifier: MIT */
#include "check.h"

#include "base/err.h"
#include "base/files.h"
#include "client/copy_tree.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

static char home[64];
static char path[4][128];

static int make_home(void **state)
{
	snprintf(home, sizeof(home), "/tmp/drover-copy-XXXXXX");
	assert_non_null(mkdtemp(home));
	return check_setup(state);
}

static int remove_home(void **state)
{
	assert_int_equal(files_remove_tree(home), 0);
	return check_teardown(state);
}

#define HOME_TEST(name) cmocka_unit_test_setup_teardown(name, make_home, remove_home)

/* @name in the test's folder; four of them at a time. */
static const char *at(const char *name)
{
	static unsigned next;
	char *ret = path[next++ % 4];

	snprintf(ret, sizeof(path[0]), "%s/%s", home, name);
	return ret;
}

static void make_file(const char *name, const char *text, mode_t mode)
{
	assert_int_equal(files_replace(at(name), text, strlen(text), mode), 0);
	assert_int_equal(chmod(at(name), mode), 0);
}

static void assert_file(const char *name, const char *text, mode_t mode)
{
	char *data = NULL;
	size_t len;
	struct stat st;

	assert_int_equal(lstat(at(name), &st), 0);
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(st.st_mode & 07777, mode);
	assert_int_equal(files_read(at(name), 1 << 20, &data, &len), 0);
	assert_string_equal(data, text);
	free(data);
}

static bool is_there(const char *name)
{
	struct stat st;

	return lstat(at(name), &st) == 0;
}

static void tree_comes_back_under_another_name(void **state)
{
	struct err e = ERR_INIT;
	struct stat st;
	char target[16] = "";
	int fds[2];

	assert_int_equal(files_mkdir_all(at("from/closed"), 0755), 0);
	make_file("from/run me", "#!", 0751);
	make_file("from/closed/secret", "s", 0400);
	assert_int_equal(symlink("run me", at("from/link")), 0);
	assert_int_equal(mkfifo(at("from/pipe"), 0600), 0);
	assert_int_equal(chmod(at("from/closed"), 0500), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(copy_tree_pack(fds[0], at("from"), "name", &e), 0);
	close(fds[0]);
	assert_int_equal(copy_tree_unpack(fds[1], at("to"), "name", &e), 0);
	close(fds[1]);
	assert_file("to/run me", "#!", 0751);
	assert_file("to/closed/secret", "s", 0400);
	assert_int_equal(stat(at("to/closed"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0500);
	assert_int_equal(readlink(at("to/link"), target, sizeof(target) - 1), 6);
	assert_string_equal(target, "run me");
	assert_false(is_there("to/pipe"));
	chmod(at("from/closed"), 0700);
	chmod(at("to/closed"), 0700);
}

static void pack_ends_when_nobody_reads(void **state)
{
	struct err e = ERR_INIT;
	int fds[2];

	make_file("a", "text", 0644);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	close(fds[1]);
	assert_true(copy_tree_pack(fds[0], at("a"), "a", &e) < 0);
	assert_int_equal(e.code, ERR_STOPPED);
	close(fds[0]);
}

static void a_pipe_is_not_packed_without_a_word(void **state)
{
	struct err e = ERR_INIT;
	int fds[2];

	assert_int_equal(mkfifo(at("pipe"), 0600), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(copy_tree_pack(fds[0], at("pipe"), "a", &e), -EINVAL);
	assert_int_equal(e.code, ERR_INVALID);
	close(fds[0]);
	close(fds[1]);
}

/* One entry of an archive: a link when @link, else a file with the text "x". */
struct item {
	const char *name;
	const char *link;
	const char *hard;
	bool folder;
};

static void add_item(struct archive *a, const struct item *item)
{
	struct archive_entry *entry = archive_entry_new();

	archive_entry_set_pathname(entry, item->name);
	archive_entry_set_perm(entry, item->folder ? 0755 : 0644);
	archive_entry_set_filetype(entry, item->link     ? AE_IFLNK
					  : item->folder ? AE_IFDIR
							 : AE_IFREG);
	if (item->link)
		archive_entry_set_symlink(entry, item->link);
	if (item->hard)
		archive_entry_set_hardlink(entry, item->hard);
	if (!item->link && !item->hard && !item->folder)
		archive_entry_set_size(entry, 1);
	assert_int_equal(archive_write_header(a, entry), ARCHIVE_OK);
	if (!item->link && !item->hard && !item->folder)
		assert_int_equal(archive_write_data(a, "x", 1), 1);
	archive_entry_free(entry);
}

/* Unpacks what a guest might send as "top" to at("to"). */
static int unpack(const struct item *items, size_t n, struct err *e)
{
	struct archive *a = archive_write_new();
	int fds[2];
	int r;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	archive_write_set_format_gnutar(a);
	assert_int_equal(archive_write_open_fd(a, fds[0]), ARCHIVE_OK);
	for (size_t i = 0; i < n; i++)
		add_item(a, &items[i]);
	assert_int_equal(archive_write_close(a), ARCHIVE_OK);
	archive_write_free(a);
	close(fds[0]);
	r = copy_tree_unpack(fds[1], at("to"), "top", e);
	close(fds[1]);
	return r;
}

static void names_and_links_out_of_the_tree_are_refused(void **state)
{
	static const struct item bad[] = {
		{.name = "/top/x"},
		{.name = "other"},
		{.name = "topper"},
		{.name = "../top"},
		{.name = "top/../../x"},
		{.name = "top/a/../x"},
		{.name = "top/l", .link = "/etc/passwd"},
		{.name = "top/l", .link = ".."},
		{.name = "top/l", .link = "a/../../x"},
		{.name = "top/a/l", .link = "../../x"},
		{.name = "top", .link = "x"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err e = ERR_INIT;

		if (unpack(&bad[i], 1, &e) >= 0 || e.code != ERR_DENIED)
			fail_msg("%s -> %s: %s", bad[i].name, bad[i].link ? bad[i].link : "",
				 e.msg);
		assert_false(is_there("x"));
		assert_false(is_there("to/x"));
	}
}

static void nothing_is_written_through_a_link(void **state)
{
	static const struct item items[] = {
		{.name = "top", .folder = true},
		{.name = "top/real", .folder = true},
		{.name = "top/l", .link = "real"},
		{.name = "top/l/x"},
	};
	struct err e = ERR_INIT;

	assert_true(unpack(items, 4, &e) < 0);
	assert_false(is_there("to/real/x"));
}

static void a_link_in_the_place_of_a_file_is_replaced(void **state)
{
	static const struct item items[] = {{.name = "top", .folder = true}, {.name = "top/x"}};
	struct err e = ERR_INIT;

	make_file("precious", "mine", 0644);
	assert_int_equal(mkdir(at("to"), 0755), 0);
	assert_int_equal(symlink("../precious", at("to/x")), 0);
	assert_int_equal(unpack(items, 2, &e), 0);
	assert_file("precious", "mine", 0644);
	assert_file("to/x", "x", 0644);
}

static void hard_links_are_left_out(void **state)
{
	static const struct item items[] = {
		{.name = "top", .folder = true},
		{.name = "top/h", .hard = "/etc/passwd"},
		{.name = "top/l", .link = "./x"},
		{.name = "top/x"},
	};
	struct err e = ERR_INIT;

	assert_int_equal(unpack(items, 4, &e), 0);
	assert_false(is_there("to/h"));
	assert_true(is_there("to/l"));
	assert_file("to/x", "x", 0644);
}

static void an_archive_of_nothing_is_told(void **state)
{
	struct err e = ERR_INIT;

	assert_true(unpack(NULL, 0, &e) < 0);
	assert_int_equal(e.code, ERR_NOT_FOUND);
	assert_non_null(strstr(e.msg, "is no file, folder or link: nothing else is copied"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HOME_TEST(tree_comes_back_under_another_name),
		HOME_TEST(pack_ends_when_nobody_reads),
		HOME_TEST(a_pipe_is_not_packed_without_a_word),
		HOME_TEST(names_and_links_out_of_the_tree_are_refused),
		HOME_TEST(nothing_is_written_through_a_link),
		HOME_TEST(a_link_in_the_place_of_a_file_is_replaced),
		HOME_TEST(hard_links_are_left_out),
		HOME_TEST(an_archive_of_nothing_is_told),
	};

	return RUN_TESTS(tests);
}
