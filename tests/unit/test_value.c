/* SPDX-License-Identifier: MIT */
#include "check.h"

#include "base/err.h"
#include "base/str.h"
#include "wire/json.h"
#include "wire/names.h"
#include "wire/value.h"

#include <string.h>

static void expect_text(const char *text, const char *key, const char *want)
{
	struct value_tree tree;
	const char *got = NULL;

	assert_int_equal(value_tree_parse(text, strlen(text), &tree, NULL), 0);
	assert_int_equal(value_string(tree.values, key, &got, NULL), 0);
	assert_string_equal(got, want);
	value_tree_done(&tree);
}

static void expect_refusal(const char *text, size_t len, const char *why)
{
	struct err e = ERR_INIT;
	struct value_tree tree;

	assert_true(value_tree_parse(text, len, &tree, &e) < 0);
	assert_int_equal(e.code, ERR_BAD_REQUEST);
	assert_string_equal(e.msg, why);
	value_tree_done(&tree);
}

static void keys_match_in_any_case_and_the_last_wins(void **state)
{
	expect_text("{\"CMD\":\"a\"}", "cmd", "a");
	expect_text("{\"cmd\":\"a\",\"cmd\":\"b\"}", "cmd", "b");
	expect_text("{\"cmd\":\"a\",\"Cmd\":\"b\",\"x\":[{\"cmd\":\"c\"}]}", "cmd", "b");
	expect_text("{\"cmd\":\"a\",\"Cmd\":null}", "cmd", "a");
}

static void escapes_mean_their_characters(void **state)
{
	expect_text("{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t.\"}", "a", "\"\\/\b\f\n\r\t.");
	expect_text("{\"a\":\"\\u0041\\u00e4\\u20AC\\ud83d\\ude00\"}", "a",
		    "A\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
	expect_text("{\"a\":\"\\udc00\\ud800x\"}", "a", "\xef\xbf\xbd\xef\xbf\xbdx");
	expect_text("{\"a\":\"\xff\"}", "a", "\xef\xbf\xbd");
	expect_text("{\"\\u0061\":\"b\"}", "a", "b");
}

static void whole_numbers_keep_their_64_bits(void **state)
{
	static const char text[] = "{\"a\":-9223372036854775808,\"b\":9223372036854775807,\"c\":-0,"
				   "\"d\":-999999999999999999,\"e\":1000000000000000000}";
	struct value_tree tree;
	int64_t n = 0;

	assert_int_equal(value_tree_parse(text, sizeof(text) - 1, &tree, NULL), 0);
	assert_int_equal(value_int(tree.values, "a", &n, NULL), 0);
	assert_true(n == INT64_MIN);
	assert_int_equal(value_int(tree.values, "b", &n, NULL), 0);
	assert_true(n == INT64_MAX);
	assert_int_equal(value_int(tree.values, "c", &n, NULL), 0);
	assert_true(n == 0);
	assert_int_equal(value_int(tree.values, "d", &n, NULL), 0);
	assert_true(n == -999999999999999999);
	assert_int_equal(value_int(tree.values, "e", &n, NULL), 0);
	assert_true(n == 1000000000000000000);
	value_tree_done(&tree);
}

static void more_values_than_fit_inside_are_all_there(void **state)
{
	struct buf text = BUF_INIT;
	struct value_tree tree;
	const struct value *v;
	int64_t i = 0;

	assert_int_equal(buf_addstr(&text, "{\"deep\":[[],{\"x\":[1]}],\"list\":[0"), 0);
	for (int n = 1; n < 100 * VALUES_INSIDE; n++)
		assert_int_equal(buf_addf(&text, " , %d", n), 0);
	assert_int_equal(buf_addstr(&text, "]}"), 0);
	assert_int_equal(value_tree_parse(text.data, text.len, &tree, NULL), 0);
	v = value_get(tree.values, "list");
	assert_int_equal(v->length, 100 * VALUES_INSIDE);
	for (v = value_first(v); v; v = value_next(v))
		assert_int_equal(v->number, i++);
	assert_int_equal(i, 100 * VALUES_INSIDE);
	value_tree_done(&tree);
	buf_done(&text);
}

static void what_is_no_request_is_refused_as_jansson_refuses_it(void **state)
{
	static const char *const bad[] = {"",
					  "1",
					  "[]",
					  "null",
					  "{",
					  "{}}",
					  "{\"a\":}",
					  "{a:1}",
					  "{\"a\":1,}",
					  "{\"a\":[1,]}",
					  "{\"a\":01}",
					  "{\"a\":+1}",
					  "{\"a\":1.}",
					  "{\"a\":.5}",
					  "{\"a\":1e}",
					  "{\"a\":-}",
					  "{\"a\":1e400}",
					  "{\"a\":9223372036854775808}",
					  "{\"a\":-9223372036854775809}",
					  "{\"a\":truex}",
					  "{\"a\":tru}",
					  "{\"a\":NaN}",
					  "{\"a\":\"\\x\"}",
					  "{\"a\":\"\\u12\"}",
					  "{\"a\":\"\\u0000\"}",
					  "{\"\\u0000\":1}",
					  "{\"a\":\"\n\"}",
					  "{\"a\":\"\x01\"}",
					  "{\"a\":\"",
					  "{\"a\" 1}",
					  "{\"a\":1 \"b\":2}",
					  "{1:2}"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err e = ERR_INIT;

		assert_null(wire_json_parse(bad[i], strlen(bad[i]), &e));
		expect_refusal(bad[i], strlen(bad[i]), e.msg);
	}
	expect_refusal("{\"a\":1\0}", 8, "bad JSON: it holds a NUL byte");
}

static void nesting_has_a_limit(void **state)
{
	char text[256];

	for (int depth = WIRE_MAX_DEPTH - 1; depth <= WIRE_MAX_DEPTH; depth++) {
		char *at = text + sprintf(text, "{\"a\":");
		struct value_tree tree;
		int r;

		memset(at, '[', (size_t)depth);
		memset(at + depth, ']', (size_t)depth);
		memcpy(at + 2 * depth, "}", 2);
		r = value_tree_parse(text, strlen(text), &tree, NULL);
		assert_int_equal(r == 0, depth < WIRE_MAX_DEPTH);
		value_tree_done(&tree);
	}
}

static void a_wrong_type_is_told(void **state)
{
	static const char text[] = "{\"s\":1,\"i\":\"x\",\"b\":0,\"f\":1.5}";
	struct err e = ERR_INIT;
	struct value_tree tree;
	const char *s = NULL;
	int64_t i = 3;
	bool b = true;

	assert_int_equal(value_tree_parse(text, sizeof(text) - 1, &tree, &e), 0);
	assert_int_equal(value_string(tree.values, "s", &s, &e), -EBADMSG);
	assert_int_equal(value_int(tree.values, "i", &i, &e), -EBADMSG);
	assert_int_equal(value_int(tree.values, "f", &i, &e), -EBADMSG);
	assert_string_equal(e.msg, "wrong type: \"f\" must be a whole number");
	assert_int_equal(value_bool(tree.values, "b", &b, &e), -EBADMSG);
	assert_int_equal(value_int(tree.values, "absent", &i, &e), 0);
	assert_int_equal(i, 3);
	value_tree_done(&tree);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(keys_match_in_any_case_and_the_last_wins),
		TEST(escapes_mean_their_characters),
		TEST(whole_numbers_keep_their_64_bits),
		TEST(more_values_than_fit_inside_are_all_there),
		TEST(what_is_no_request_is_refused_as_jansson_refuses_it),
		TEST(nesting_has_a_limit),
		TEST(a_wrong_type_is_told),
	};

	return RUN_TESTS(tests);
}
