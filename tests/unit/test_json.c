/* SPDX-License-Identifier: MIT */
#include "check.h"

#include "base/err.h"
#include "wire/json.h"
#include "wire/names.h"

#include <string.h>

static json_t *parse(const char *text)
{
	struct err e = ERR_INIT;
	json_t *value = wire_json_parse(text, strlen(text), &e);

	assert_int_equal(value == NULL, e.code != ERR_NONE);
	return value;
}

static void expect_text(const char *text, const char *key, const char *want)
{
	const char *got = NULL;
	json_t *root = parse(text);

	assert_non_null(root);
	assert_int_equal(wire_json_string(root, key, &got, NULL), 0);
	assert_string_equal(got, want);
	json_decref(root);
}

static void keys_match_in_any_case_and_the_last_wins(void **state)
{
	expect_text("{\"CMD\":\"a\"}", "cmd", "a");
	expect_text("{\"cmd\":\"a\",\"cmd\":\"b\"}", "cmd", "b");
	expect_text("{\"cmd\":\"a\",\"Cmd\":\"b\"}", "cmd", "b");
	expect_text("{\"cmd\":\"a\",\"Cmd\":null}", "cmd", "a");
}

static void what_is_no_utf8_becomes_the_replacement_character(void **state)
{
	expect_text("{\"a\":\"\xff\"}", "a", "\xef\xbf\xbd");
	expect_text("{\"a\":\"\xc3\"}", "a", "\xef\xbf\xbd");
	expect_text("{\"a\":\"\xed\xa0\x80\"}", "a", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
	expect_text("{\"a\":\"\xc3\xa4\"}", "a", "\xc3\xa4");
	expect_text("{\"a\":\"\\ud800\"}", "a", "\xef\xbf\xbd");
	expect_text("{\"a\":\"\\udc00x\"}", "a", "\xef\xbf\xbdx");
	expect_text("{\"a\":\"\\ud83d\\ude00\"}", "a", "\xf0\x9f\x98\x80");
	expect_text("{\"a\":\"\\\\ud800\"}", "a", "\\ud800");
}

static void nesting_has_a_limit(void **state)
{
	char text[256];

	for (int depth = WIRE_MAX_DEPTH - 1; depth <= WIRE_MAX_DEPTH; depth++) {
		char *at = text + sprintf(text, "{\"a\":");
		json_t *root;

		memset(at, '[', (size_t)depth);
		memset(at + depth, ']', (size_t)depth);
		memcpy(at + 2 * depth, "}", 2);
		root = parse(text);
		assert_int_equal(root != NULL, depth < WIRE_MAX_DEPTH);
		json_decref(root);
	}
}

static void only_an_object_is_taken(void **state)
{
	static const char *const bad[] = {"",  "1",   "[]",       "\"a\"", "null",
					  "{", "{}}", "{\"a\":}", "{a:1}"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_null(parse(bad[i]));
}

static void a_wrong_type_is_told(void **state)
{
	json_t *root = parse("{\"s\":1,\"i\":\"x\",\"b\":0,\"f\":1.5}");
	const char *s = NULL;
	struct err e = ERR_INIT;
	int64_t i = 3;
	bool b = true;

	assert_int_equal(wire_json_string(root, "s", &s, &e), -EBADMSG);
	assert_int_equal(wire_json_int(root, "i", &i, &e), -EBADMSG);
	assert_int_equal(wire_json_int(root, "f", &i, &e), -EBADMSG);
	assert_int_equal(wire_json_bool(root, "b", &b, &e), -EBADMSG);
	assert_int_equal(wire_json_int(root, "absent", &i, &e), 0);
	assert_int_equal(i, 3);
	json_decref(root);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(keys_match_in_any_case_and_the_last_wins),
		TEST(what_is_no_utf8_becomes_the_replacement_character),
		TEST(nesting_has_a_limit),
		TEST(only_an_object_is_taken),
		TEST(a_wrong_type_is_told),
	};

	return RUN_TESTS(tests);
}
