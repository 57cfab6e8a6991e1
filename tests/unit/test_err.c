/* SPDX-License-Identifier: MIT */
#include "check.h"

#include "base/err.h"

#include <string.h>

static void every_code_has_a_word_of_its_own_and_a_negative_number(void **state)
{
	for (int i = 1; i < ERR_MAX; i++) {
		assert_true(err_code_number((enum err_code)i) < 0);
		assert_int_equal(err_code_from_name(err_code_name((enum err_code)i)), i);
	}
	assert_int_equal(err_code_number(ERR_NONE), 0);
	assert_string_equal(err_code_name((enum err_code)9999), "internal");
	assert_int_equal(err_code_from_name("no such word"), ERR_INTERNAL);
	assert_int_equal(err_code_from_name(NULL), ERR_INTERNAL);
}

static void an_error_is_set_prefixed_and_copied(void **state)
{
	struct err e = ERR_INIT;
	struct err copy = ERR_INIT;

	assert_int_equal(err_set(&e, ERR_BUSY, "%s is busy", "x"), -EBUSY);
	assert_int_equal(err_prefix(&e, "boot %d", 7), -EBUSY);
	assert_string_equal(e.msg, "boot 7: x is busy");
	assert_int_equal(err_copy(&copy, &e), -EBUSY);
	assert_string_equal(copy.msg, e.msg);
	assert_string_equal(copy.hint, "");
	assert_int_equal(err_set(NULL, ERR_BUSY, "nobody reads it"), -EBUSY);
	assert_int_equal(err_copy(NULL, NULL), 0);
}

static void a_name_that_ends_the_prefix_is_said_once(void **state)
{
	struct err e = ERR_INIT;

	err_set(&e, ERR_BOOT, "web-1: the guest did not begin to run");
	err_prefix(&e, "start %s", "web-1");
	assert_string_equal(e.msg, "start web-1: the guest did not begin to run");
	err_set(&e, ERR_BOOT, "web-10: no");
	err_prefix(&e, "start %s", "web-1");
	assert_string_equal(e.msg, "start web-1: web-10: no");
	err_set(&e, ERR_BOOT, "web-1: no");
	err_prefix(&e, "web-1");
	assert_string_equal(e.msg, "web-1: no");
	err_prefix(&e, "at ");
	assert_string_equal(e.msg, "at : web-1: no");
}

static void a_hint_stands_beside_the_sentence_until_the_next_error(void **state)
{
	struct err e = ERR_INIT;
	int r = err_hint(&e, err_set(&e, ERR_HOST, "no tun"), "run %s", "modprobe tun");

	assert_int_equal(r, err_code_number(ERR_HOST));
	assert_string_equal(e.msg, "no tun");
	assert_string_equal(e.hint, "run modprobe tun");
	err_prefix(&e, "start");
	assert_string_equal(e.msg, "start: no tun");
	assert_string_equal(e.hint, "run modprobe tun");
	err_set(&e, ERR_BUSY, "busy");
	assert_string_equal(e.hint, "");
	assert_int_equal(err_hint(NULL, -EBUSY, "nobody reads it"), -EBUSY);
}

static void errno_gives_code_and_reason(void **state)
{
	struct err e = ERR_INIT;

	assert_int_equal(err_errno(&e, -ENOSPC, "write %s", "f"), -ENOSPC);
	assert_int_equal(e.code, ERR_NO_SPACE);
	assert_string_equal(e.msg, "write f: No space left on device");
}

static void long_text_is_cut_and_stays_text(void **state)
{
	struct err e = ERR_INIT;
	char text[ERR_MSG_SIZE * 2];

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	err_set(&e, ERR_IO, "%s", text);
	assert_int_equal(strlen(e.msg), ERR_MSG_SIZE - 1);
	err_prefix(&e, "%s", text);
	assert_int_equal(strlen(e.msg), ERR_MSG_SIZE - 1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(every_code_has_a_word_of_its_own_and_a_negative_number),
		TEST(an_error_is_set_prefixed_and_copied),
		TEST(a_name_that_ends_the_prefix_is_said_once),
		TEST(a_hint_stands_beside_the_sentence_until_the_next_error),
		TEST(errno_gives_code_and_reason),
		TEST(long_text_is_cut_and_stays_text),
	};

	return RUN_TESTS(tests);
}
