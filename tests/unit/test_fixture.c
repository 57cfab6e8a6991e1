/* SPDX-License-Identifier: MIT */
/* What the image of a fixture holds, read back by e2fsprogs. */
#include "check.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/files.h"
#include "base/giveup.h"
#include "base/scoped.h"
#include "base/str.h"
#include "guest/guest.h"
#include "guest/run.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

enum { MIB = 1 << 20, BIG_MIB = 96, ALLOWED_MIB = 48, MANY_FILES = 4000 };

static char home[256];

static char *at(const char *file)
{
	static char paths[8][512];
	static unsigned next;
	char *path = paths[next++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", home, file);
	return path;
}

static void put(const char *path, const char *text, mode_t mode)
{
	assert_int_equal(files_publish(path, text, strlen(text), mode), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static int setup(void **state)
{
	snprintf(home, sizeof(home), "/tmp/drover-fixture.XXXXXX");
	if (!mkdtemp(home) || mkdir(at("tree"), 0755) < 0)
		return -1;
	return check_setup(state);
}

static int teardown(void **state)
{
	int r = check_teardown(state);

	return files_remove_tree(home) < 0 ? -1 : r;
}

static void on_line(void *arg, const char *line)
{
	buf_addf(arg, "%s\n", line);
}

/* What debugfs says of the image; heap. */
static char *ask(const char *request)
{
	scoped(buf) struct buf tail = BUF_INIT;
	struct buf out = BUF_INIT;
	struct err e = ERR_INIT;
	const char *argv[] = {"debugfs", "-R", request, at("img"), NULL};

	assert_int_equal(run_program(argv, NULL, on_line, &out, &tail, &e), 0);
	assert_non_null(out.data);
	return out.data;
}

static void expect_in(const char *request, const char *text)
{
	scoped(mem) char *said = ask(request);

	if (!strstr(said, text))
		fail_msg("no '%s' in: %s", text, said);
}

static void build(void)
{
	struct err e = ERR_INIT;

	if (fixture_build(at("tree"), "drover-share00", at("img"), FIXTURE_MAX_BYTES, NULL, &e) < 0)
		fail_msg("%s", e.msg);
}

static void keeps_what_a_directory_holds(void **state)
{
	scoped(buf) struct buf tail = BUF_INIT;
	struct err e = ERR_INIT;
	const char *check[] = {"e2fsck", "-fn", NULL, NULL};
	char text[64];
	scoped(mem) char *top = NULL;

	put(at("tree/a b"), "hello\n", 0640);
	put(at("tree/run"), "#!/bin/sh\n", 04755);
	assert_int_equal(symlink("../nowhere", at("tree/link")), 0);
	assert_int_equal(mkdir(at("tree/sub"), 0700), 0);
	put(at("tree/sub/deep"), "deep\n", 0400);
	assert_int_equal(link(at("tree/a b"), at("tree/hard")), 0);
	assert_int_equal(chmod(at("tree"), 02751), 0);
	build();
	check[2] = at("img");
	assert_int_equal(run_program(check, NULL, NULL, NULL, &tail, &e), 0);
	expect_in("stats", "drover-share00");
	expect_in("cat \"/a b\"", "hello\n");
	expect_in("cat /sub/deep", "deep\n");
	expect_in("stat \"/a b\"", "Mode:  0640");
	expect_in("stat \"/a b\"", "Links: 2");
	expect_in("stat /run", "Mode:  04755");
	expect_in("stat /link", "Fast link dest: \"../nowhere\"");
	expect_in("stat /sub", "Mode:  0700");
	expect_in("stat /sub/deep", "Mode:  0400");
	expect_in("stat /", "Mode:  02751");
	snprintf(text, sizeof(text), "User: %5u", (unsigned)getuid());
	expect_in("stat /sub", text);
	top = ask("ls /");
	assert_null(strstr(top, "lost+found"));
}

static void is_built_anew_each_time(void **state)
{
	put(at("tree/f"), "one\n", 0644);
	build();
	expect_in("cat /f", "one\n");
	put(at("tree/f"), "two\n", 0644);
	build();
	expect_in("cat /f", "two\n");
}

static void a_hole_takes_no_room(void **state)
{
	struct stat st;
	int fd = open(at("tree/sparse"), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 20LL << 30), 0);
	assert_int_equal(pwrite(fd, "end", 3, (20LL << 30) - 3), 3);
	close(fd);
	build();
	expect_in("stat /sparse", "Size: 21474836480");
	assert_int_equal(stat(at("img"), &st), 0);
	assert_true(st.st_size < 64LL * MIB);
	assert_true(st.st_blocks * 512 < 8LL * MIB);
}

/* This process and mke2fs get less memory than the file is long. */
static void a_file_is_not_read_into_memory(void **state)
{
	scoped(mem) char *data = calloc(1, MIB);
	int fd = open(at("tree/big"), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	struct rlimit before;
	struct stat st;

	assert_non_null(data);
	memset(data, 'x', MIB);
	for (int i = 0; i < BIG_MIB; i++)
		assert_int_equal(files_write_all(fd, data, MIB), 0);
	close(fd);
#ifndef __SANITIZE_ADDRESS__ /* which needs more than any such limit */
	getrlimit(RLIMIT_DATA, &before);
	setrlimit(RLIMIT_DATA, &(struct rlimit){(rlim_t)ALLOWED_MIB * MIB, before.rlim_max});
	build();
	setrlimit(RLIMIT_DATA, &before);
#else
	(void)before;
	build();
#endif
	assert_int_equal(stat(at("img"), &st), 0);
	assert_true(st.st_blocks * 512 > (int64_t)BIG_MIB * MIB);
}

static void refuses(uint64_t max, enum err_code code, const char *text)
{
	struct err e = ERR_INIT;

	assert_true(fixture_build(at("tree"), "l", at("img"), max, NULL, &e) < 0);
	if (e.code != code || !strstr(e.msg, text))
		fail_msg("%s", e.msg);
	assert_false(files_exist(at("img")));
	assert_false(files_exist(at("img.new")));
}

static void refuses_what_it_cannot_take_and_names_it(void **state)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", at("tree/sock"));
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	close(fd);
	refuses(FIXTURE_MAX_BYTES, ERR_INVALID,
		"tree/sock: it is neither file, directory nor link");
	unlink(at("tree/sock"));
	put(at("tree/secret"), "x", 0000);
	if (geteuid() != 0)
		refuses(FIXTURE_MAX_BYTES, ERR_DENIED, "tree/secret: Permission denied");
	unlink(at("tree/secret"));
	put(at("tree/f"), "x", 0644);
	refuses(4096, ERR_TOO_LARGE, "tree has more than 0 MiB: too large");
	assert_int_equal(files_remove_tree(at("tree")), 0);
	put(at("tree"), "a file", 0644);
	refuses(FIXTURE_MAX_BYTES, ERR_INVALID, "tree is not a directory");
	unlink(at("tree"));
	refuses(FIXTURE_MAX_BYTES, ERR_NOT_FOUND, "tree: No such file or directory");
}

static void a_canceled_build_leaves_nothing(void **state)
{
	struct giveup g = {.cancel_fd = eventfd(1, EFD_CLOEXEC)};
	struct err e = ERR_INIT;

	put(at("tree/f"), "x", 0644);
	assert_true(fixture_build(at("tree"), "l", at("img"), FIXTURE_MAX_BYTES, &g, &e) < 0);
	close(g.cancel_fd);
	assert_int_equal(e.code, ERR_CANCELED);
	assert_false(files_exist(at("img")));
	assert_false(files_exist(at("img.new")));
}

/* Reads events until @file was opened @times times. */
static void wait_opened(int inotify, const char *file, int times)
{
	char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));

	while (times > 0) {
		ssize_t n = read(inotify, events, sizeof(events));

		assert_true(n > 0);
		for (char *p = events; p < events + n;) {
			struct inotify_event *event = (struct inotify_event *)p;

			times -= event->len > 0 && strcmp(event->name, file) == 0;
			p += sizeof(*event) + event->len;
		}
	}
}

/* The second to open the image is mke2fs, which then has some seconds to do. */
static void mke2fs_ends_with_who_builds(void **state)
{
	int inotify = inotify_init1(IN_CLOEXEC);
	char name[256];
	pid_t builder;
	int status;

	for (int i = 0; i < MANY_FILES; i++) {
		snprintf(name, sizeof(name), "tree/%0200d", i);
		put(at(name), "", 0644);
	}
	prctl(PR_SET_CHILD_SUBREAPER, 1); /* mke2fs becomes this process's child */
	assert_true(inotify_add_watch(inotify, home, IN_OPEN) >= 0);
	builder = fork();
	if (builder == 0) {
		build();
		_exit(0);
	}
	wait_opened(inotify, "img.new", 2);
	assert_int_equal(kill(builder, SIGKILL), 0);
	assert_int_equal(waitpid(builder, &status, 0), builder);
	assert_true(waitpid(-1, &status, 0) > 0);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	close(inotify);
}

#define FIXTURE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(keeps_what_a_directory_holds),
		FIXTURE_TEST(is_built_anew_each_time),
		FIXTURE_TEST(a_hole_takes_no_room),
		FIXTURE_TEST(a_file_is_not_read_into_memory),
		FIXTURE_TEST(refuses_what_it_cannot_take_and_names_it),
		FIXTURE_TEST(a_canceled_build_leaves_nothing),
		FIXTURE_TEST(mke2fs_ends_with_who_builds),
	};

	return RUN_TESTS(tests);
}
