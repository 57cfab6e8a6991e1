/* SPDX-License-Identifier: MIT */
/* panic.c: what guests' serial lines have shown, and what they may. */
#include "check.h"

#include "backend/local/panic.h"

#include <string.h>

#define INIT_DIED "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100"

/* As debian-12 says it. */
static const char whole[] = "[    2.75] Run /init as init process\r\n"
			    "[    2.754503] " INIT_DIED "\r\n"
			    "[    2.757590] CPU: 0 PID: 1 Comm: busybox Not tainted\r\n"
			    "[    2.757590] ---[ end " INIT_DIED " ]---\r\n";

static enum panic_stage feed(struct panic *p, const char *text)
{
	return panic_feed(p, text, strlen(text));
}

static void a_panic_is_found_wherever_its_bytes_are_split(void **state)
{
	for (size_t at = 0; at < sizeof(whole); at++) {
		struct panic p = {0};

		panic_feed(&p, whole, at);
		assert_int_equal(panic_feed(&p, whole + at, sizeof(whole) - 1 - at), PANIC_OVER);
		assert_string_equal(panic_line(&p), INIT_DIED);
	}
}

static void a_panic_is_found_byte_by_byte_and_each_stage_is_told(void **state)
{
	struct panic p = {0};
	enum panic_stage last = PANIC_NONE;
	enum panic_stage now;

	for (size_t i = 0; i < sizeof(whole) - 1; i++) {
		now = panic_feed(&p, whole + i, 1);
		assert_true(now == last || now == last + 1);
		last = now;
	}
	assert_int_equal(last, PANIC_OVER);
	assert_string_equal(panic_line(&p), INIT_DIED);
}

static void letters_that_come_twice_do_not_hide_it(void **state)
{
	struct panic p = {0};

	assert_int_equal(feed(&p, "can[  2.7] KKernel  paanic - not syncingg: reason\r\n"),
			 PANIC_TRACE);
	assert_non_null(strstr(panic_line(&p), "Kernel panic - not syncing"));
	assert_non_null(strstr(panic_line(&p), ": reason"));
	assert_int_equal(feed(&p, "Rebooooting in 5 seconds..\r\n"), PANIC_OVER);
}

static void the_words_are_found_within_a_line(void **state)
{
	struct panic p = {0};

	assert_int_equal(feed(&p, "switch_root: caKernKernel panic - not syncing: x\n"),
			 PANIC_TRACE);
	assert_string_equal(panic_line(&p), "Kernel panic - not syncing: x");
}

static void less_than_the_words_is_no_panic(void **state)
{
	static const char *const texts[] = {
		"Kernel panic",
		"Kernel panic - ",
		"Kernel panic - not sync",
		"kernel panic - not syncing",
		"Kernel\r\npanic - not syncing",
		"Rebooting in 5 seconds..",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct panic p = {0};

		assert_int_equal(feed(&p, texts[i]), PANIC_NONE);
		assert_int_equal(feed(&p, "\r\n"), PANIC_NONE);
		assert_string_equal(panic_line(&p), "");
	}
}

static void a_line_that_is_cut_off_has_what_came_of_it(void **state)
{
	struct panic p = {0};

	assert_int_equal(feed(&p, "Kernel panic - not syncing: Fatal exc"), PANIC_LINE);
	assert_string_equal(panic_line(&p), "Kernel panic - not syncing: Fatal exc");
	assert_int_equal(feed(&p, "eption\n"), PANIC_TRACE);
	assert_string_equal(panic_line(&p), "Kernel panic - not syncing: Fatal exception");
}

static void what_cannot_be_shown_becomes_question_marks(void **state)
{
	struct panic p = {0};

	feed(&p, "Kernel panic - not syncing: \x1b[2J\xff\xc3\xa4\t.  \r\n");
	assert_string_equal(panic_line(&p), "Kernel panic - not syncing: ?[2J????.");
}

static void a_line_without_end_is_cut(void **state)
{
	struct panic p = {0};

	feed(&p, "Kernel panic - not syncing: ");
	for (int i = 0; i < 1000; i++)
		assert_int_equal(feed(&p, "long "), PANIC_LINE);
	assert_true(strlen(panic_line(&p)) < sizeof(p.line));
	assert_int_equal(feed(&p, "\n---[ end Kernel panic - not syncing"), PANIC_OVER);
}

static void a_guest_that_hangs_in_its_panic_is_known_by_its_silence(void **state)
{
	struct panic p = {0};

	for (size_t i = 0; i < sizeof(whole) - 1; i++)
		panic_follow(&p, whole + i, 1);
	assert_int_equal(p.stage, PANIC_OVER);
	assert_string_equal(panic_line(&p), INIT_DIED);
}

static void a_guest_that_says_more_has_not_panicked_or_has_rebooted(void **state)
{
	struct panic p = {0};

	panic_follow(&p, whole, sizeof(whole) - 1);
	panic_follow(&p, "# ", 2);
	assert_int_equal(p.stage, PANIC_NONE);
	assert_string_equal(panic_line(&p), "");
	panic_follow(&p, whole, sizeof(whole) - 1);
	assert_int_equal(p.stage, PANIC_OVER);
	panic_follow(&p, whole, sizeof(whole) - 1);
	assert_int_equal(p.stage, PANIC_OVER);
}

static void what_was_printed_before_does_not_hide_it(void **state)
{
	static const char printed[] = "Kernel panic - not syncing: no\n[ end Kernel\n";
	struct panic p = {0};

	panic_follow(&p, printed, sizeof(printed) - 1);
	assert_int_not_equal(p.stage, PANIC_OVER);
	panic_follow(&p, whole, sizeof(whole) - 1);
	assert_int_equal(p.stage, PANIC_OVER);
	assert_string_equal(panic_line(&p), INIT_DIED);
}

static void words_are_found_wherever_their_bytes_are_split_or_doubled(void **state)
{
	static const char alert[] = "ALERT!  x does not exist.  DDropping to aa shell!";
	size_t n;

	for (size_t at = 0; at < sizeof(alert) - 1; at++) {
		n = 0;
		assert_false(words_end("Dropping to a shell!", &n, alert, at));
		assert_true(
			words_end("Dropping to a shell!", &n, alert + at, sizeof(alert) - 1 - at));
	}
	n = 0;
	assert_false(words_end("Dropping to a shell!", &n, "Dropping to a shelf!", 20));
	assert_false(words_end("Dropping to a shell!", &n, "Spawning shell within", 21));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_panic_is_found_wherever_its_bytes_are_split),
		TEST(a_panic_is_found_byte_by_byte_and_each_stage_is_told),
		TEST(letters_that_come_twice_do_not_hide_it),
		TEST(the_words_are_found_within_a_line),
		TEST(less_than_the_words_is_no_panic),
		TEST(a_line_that_is_cut_off_has_what_came_of_it),
		TEST(what_cannot_be_shown_becomes_question_marks),
		TEST(a_line_without_end_is_cut),
		TEST(a_guest_that_hangs_in_its_panic_is_known_by_its_silence),
		TEST(a_guest_that_says_more_has_not_panicked_or_has_rebooted),
		TEST(what_was_printed_before_does_not_hide_it),
		TEST(words_are_found_wherever_their_bytes_are_split_or_doubled),
	};

	return RUN_TESTS(tests);
}
