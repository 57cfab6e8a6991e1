/* SPDX-License-Identifier: MIT */
#include "client/login.h"

#include "check.h"

enum { SECOND_MS = 1000, BEGIN = 1000, DEADLINE = BEGIN + 600 };

static bool at(struct login_tries *t, enum err_code code, unsigned second)
{
	return login_may_come(t, code, (int64_t)second * SECOND_MS, DEADLINE * SECOND_MS);
}

static void test_a_key_that_is_refused_for_long_is_refused_for_good(void **state)
{
	struct login_tries t = {0};

	assert_true(at(&t, ERR_DENIED, BEGIN));
	assert_true(at(&t, ERR_DENIED, BEGIN + LOGIN_REFUSED_S));
	assert_false(at(&t, ERR_DENIED, BEGIN + LOGIN_REFUSED_S + 1));
}

/* sshd that starts late, or again, has its own time; what was refused before counts from then on. */
static void test_the_time_counts_from_the_first_refusal(void **state)
{
	struct login_tries t = {0};

	assert_true(at(&t, ERR_UNREACHABLE, BEGIN));
	assert_true(at(&t, ERR_SSH, BEGIN + 200));
	assert_true(at(&t, ERR_DENIED, BEGIN + 300));
	assert_true(at(&t, ERR_TIMEOUT, BEGIN + 310));
	assert_true(at(&t, ERR_DENIED, BEGIN + 300 + LOGIN_REFUSED_S));
	assert_false(at(&t, ERR_DENIED, BEGIN + 301 + LOGIN_REFUSED_S));
}

static void test_nothing_is_tried_after_the_deadline(void **state)
{
	struct login_tries t = {0};

	assert_true(at(&t, ERR_UNREACHABLE, DEADLINE - 1));
	assert_false(at(&t, ERR_UNREACHABLE, DEADLINE));
	assert_false(at(&t, ERR_DENIED, DEADLINE));
}

static void test_what_no_time_mends_ends_it_at_once(void **state)
{
	struct login_tries t = {0};

	assert_false(at(&t, ERR_CANCELED, BEGIN));
	assert_false(at(&t, ERR_NO_MEMORY, BEGIN));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_key_that_is_refused_for_long_is_refused_for_good),
		TEST(test_the_time_counts_from_the_first_refusal),
		TEST(test_nothing_is_tried_after_the_deadline),
		TEST(test_what_no_time_mends_ends_it_at_once),
	};

	return RUN_TESTS(tests);
}
