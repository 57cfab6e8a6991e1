/* SPDX-License-Identifier: MIT */
#include "check.h"

#include "base/err.h"
#include "base/wait_status.h"
#include "loop/child.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

struct said {
	int calls;
	int status;
};

static void on_exit_(void *arg, int status)
{
	struct said *s = arg;

	s->calls++;
	s->status = status;
}

static void end(uv_loop_t *loop)
{
	uv_run(loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(loop), 0);
}

static void a_program_that_is_not_there_is_an_error(void **state)
{
	const char *argv[] = {"no-such-program-anywhere", NULL};
	struct child_options o = {.file = argv[0], .argv = (char **)argv};
	struct child *c = NULL;
	struct err e = ERR_INIT;
	uv_loop_t loop;

	uv_loop_init(&loop);
	assert_true(child_spawn(&loop, &o, on_exit_, NULL, &c, &e) < 0);
	assert_non_null(strstr(e.msg, "no-such-program-anywhere"));
	end(&loop);
}

static void a_lack_of_descriptors_is_told_as_such(void **state)
{
	const char *argv[] = {"true", NULL};
	struct child_options o = {.file = argv[0], .argv = (char **)argv};
	struct child *c = NULL;
	struct err e = ERR_INIT;
	struct rlimit before;
	struct rlimit none;
	uv_loop_t loop;

	uv_loop_init(&loop);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){.rlim_cur = 0, .rlim_max = before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_true(child_spawn(&loop, &o, on_exit_, NULL, &c, &e) < 0);
	setrlimit(RLIMIT_NOFILE, &before);
	assert_non_null(strstr(e.msg, strerror(EMFILE)));
	end(&loop);
}

static void a_child_that_ignores_sigterm_is_killed(void **state)
{
	const char *argv[] = {"sh", "-c", "trap '' TERM; echo; while read x; do :; done", NULL};
	int out[2];
	int in[2];
	struct said s = {0};
	struct child *c = NULL;
	struct err e = ERR_INIT;
	uv_loop_t loop;
	char byte;

	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	uv_loop_init(&loop);
	assert_int_equal(child_spawn(&loop,
				     &(struct child_options){.file = "sh",
							     .argv = (char **)argv,
							     .fds = {{in[0], 0}, {out[1], 1}},
							     .n_fds = 2},
				     on_exit_, &s, &c, &e),
			 0);
	assert_true(child_pid(c) > 0);
	assert_int_equal(read(out[0], &byte, 1), 1); /* its trap is set */
	child_terminate(c, 20);
	end(&loop);
	assert_int_equal(s.calls, 1);
	assert_true(WIFSIGNALED(s.status) && WTERMSIG(s.status) == SIGKILL);
	close(in[0]);
	close(in[1]);
	close(out[0]);
	close(out[1]);
}

static void an_end_is_told_in_words_and_as_an_exit_code(void **state)
{
	char text[64];

	wait_status_text(3 << 8, text, sizeof(text));
	assert_string_equal(text, "exit status 3");
	wait_status_text(9, text, sizeof(text));
	assert_string_equal(text, "signal 9 (Killed)");
	wait_status_text(-1, text, sizeof(text));
	assert_string_equal(text, "no exit status");
	assert_int_equal(wait_status_code(3 << 8), 3);
	assert_int_equal(wait_status_code(9), 137);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_program_that_is_not_there_is_an_error),
		TEST(a_lack_of_descriptors_is_told_as_such),
		TEST(a_child_that_ignores_sigterm_is_killed),
		TEST(an_end_is_told_in_words_and_as_an_exit_code),
	};
	uv_loop_t loop;

	uv_loop_init(&loop); /* libuv keeps two descriptors from its first loop on */
	uv_loop_close(&loop);
	return RUN_TESTS(tests);
}
