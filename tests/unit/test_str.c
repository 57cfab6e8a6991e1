/* SPDX-License-Identifier: MIT */
#include "check.h"

#include "base/err.h"
#include "base/str.h"

#include <string.h>

static void a_name_is_an_rfc1123_label(void **state)
{
	char longest[80];

	memset(longest, 'a', sizeof(longest));
	longest[63] = '\0';
	assert_true(name_is_valid("web-1"));
	assert_true(name_is_valid("5"));
	assert_true(name_is_valid(longest));
	longest[63] = 'a';
	longest[64] = '\0';
	assert_false(name_is_valid(longest));
	assert_false(name_is_valid(""));
	assert_false(name_is_valid(NULL));
	assert_false(name_is_valid("-a"));
	assert_false(name_is_valid("a-"));
	assert_false(name_is_valid("a/b"));
	assert_false(name_is_valid("../../x"));
	assert_false(name_is_valid("a,b"));
	assert_false(name_is_valid("A"));
	assert_false(name_is_valid("a.b"));
	assert_false(name_is_valid("a\n"));
}

static void a_bad_name_is_named_and_made_printable(void **state)
{
	struct err e = ERR_INIT;

	assert_int_equal(name_check("a\x1b[2J", &e), -EINVAL);
	assert_string_equal(err_code_name(e.code), "invalid_name");
	assert_non_null(strstr(e.msg, "'a?[2J'"));
}

static void the_cluster_is_cut_at_the_last_dash_before_digits(void **state)
{
	/* The reference's vectors, those that are names and those that are not. */
	static const char *const rows[][2] = {
		{"web-3", "web"},      {"web-12", "web"}, {"web-01", "web"},
		{"dev", "dev"},        {"5", "5"},        {"web-1-2", "web-1"},
		{"node-2024", "node"}, {"web-", "web-"},  {"web-x", "web-x"},
		{"-5", "-5"},          {"", ""},          {"web--1", "web-"},
		{"--1", "-"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char cluster[NAME_SIZE];

		name_cluster(rows[i][0], cluster);
		assert_string_equal(cluster, rows[i][1]);
	}
}

static void socket_names_are_the_references(void **state)
{
	char key[SOCKET_KEY_LEN + 1];

	name_socket_key("solo", key);
	assert_string_equal(key, "5364f2f2fc4f54e9");
	name_socket_key("web-1", key);
	assert_string_equal(key, "c4719afa76fa448b");
}

static void macs_are_the_references_with_its_salt(void **state)
{
	static const char *const rows[][2] = {
		{"solo", "a2:da:71:da:e0:db"},
		{"web-1", "c2:e2:65:d7:2f:93"},
		{"a", "5a:db:eb:50:58:fe"},
		{"", "1a:92:3a:30:1e:e4"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char mac[MAC_SIZE];

		name_mac("fleetbox:", rows[i][0], mac);
		assert_string_equal(mac, rows[i][1]);
	}
}

static void numbers_are_whole_and_in_range(void **state)
{
	int64_t n = 7;

	assert_int_equal(str_to_int64("42", 0, 100, &n), 0);
	assert_int_equal(n, 42);
	assert_int_equal(str_to_int64("101", 0, 100, &n), -ERANGE);
	assert_int_equal(str_to_int64("4x", 0, 100, &n), -EINVAL);
	assert_int_equal(str_to_int64(" 4", 0, 100, &n), -EINVAL);
	assert_int_equal(str_to_int64("", 0, 100, &n), -EINVAL);
	assert_int_equal(str_to_int64("99999999999999999999", 0, 100, &n), -ERANGE);
	assert_int_equal(n, 42);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_name_is_an_rfc1123_label),
		TEST(a_bad_name_is_named_and_made_printable),
		TEST(the_cluster_is_cut_at_the_last_dash_before_digits),
		TEST(socket_names_are_the_references),
		TEST(macs_are_the_references_with_its_salt),
		TEST(numbers_are_whole_and_in_range),
	};

	return RUN_TESTS(tests);
}
