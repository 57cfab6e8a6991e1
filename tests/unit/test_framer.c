/* SPDX-License-Identifier: MIT */
#include "check.h"

#include "wire/framer.h"

#include <errno.h>
#include <string.h>

static void expect_frame(struct framer *f, const char *want)
{
	const char *text = NULL;
	size_t len = 0;

	assert_int_equal(framer_next(f, &text, &len), 1);
	assert_int_equal(len, strlen(want));
	assert_memory_equal(text, want, len);
}

static int next(struct framer *f)
{
	const char *text;
	size_t len;

	return framer_next(f, &text, &len);
}

static int feed(struct framer *f, const char *text)
{
	return framer_feed(f, text, strlen(text));
}

static void an_object_split_at_every_place_is_joined(void **state)
{
	static const char object[] = "{\"a\":\"}\\\"{\",\"b\":[{}]}";

	for (size_t cut = 1; cut < sizeof(object) - 1; cut++) {
		struct framer f;

		framer_init(&f, 1000);
		framer_feed(&f, object, cut);
		assert_int_equal(next(&f), 0);
		assert_false(framer_is_idle(&f));
		framer_feed(&f, object + cut, sizeof(object) - 1 - cut);
		expect_frame(&f, object);
		assert_int_equal(next(&f), 0);
		assert_true(framer_is_idle(&f));
		framer_done(&f);
	}
}

static void several_objects_in_one_read_come_one_by_one(void **state)
{
	struct framer f;

	framer_init(&f, 1000);
	feed(&f, " {}\n\t{\"a\":1}{\"b\":2}\r\n");
	expect_frame(&f, "{}");
	expect_frame(&f, "{\"a\":1}");
	expect_frame(&f, "{\"b\":2}");
	assert_int_equal(next(&f), 0);
	framer_done(&f);
}

static void what_begins_no_object_is_refused(void **state)
{
	static const char *const bad[] = {"x", "[1]", "\"{}\"", "}", "1", "\x80"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct framer f;

		framer_init(&f, 1000);
		feed(&f, bad[i]);
		assert_int_equal(next(&f), -EBADMSG);
		framer_done(&f);
	}
}

static void the_limit_is_exact(void **state)
{
	struct framer f;

	framer_init(&f, 8);
	feed(&f, "{\"a\":12}");
	expect_frame(&f, "{\"a\":12}");
	feed(&f, "{\"a\":123}");
	assert_int_equal(next(&f), -EMSGSIZE);
	framer_done(&f);
}

static void a_large_object_gives_its_memory_back(void **state)
{
	char big[65536];
	struct framer f;

	memset(big, ' ', sizeof(big));
	big[0] = '{';
	big[sizeof(big) - 1] = '}';
	framer_init(&f, 1 << 20);
	framer_feed(&f, big, sizeof(big));
	assert_int_equal(next(&f), 1);
	assert_int_equal(next(&f), 0);
	assert_int_equal(f.in.cap, 0);
	framer_done(&f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(an_object_split_at_every_place_is_joined),
		TEST(several_objects_in_one_read_come_one_by_one),
		TEST(what_begins_no_object_is_refused),
		TEST(the_limit_is_exact),
		TEST(a_large_object_gives_its_memory_back),
	};

	return RUN_TESTS(tests);
}
