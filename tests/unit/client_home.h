/* SPDX-License-Identifier: MIT */
/* What the tests of libdrover share: a state directory for each test, and clusters of the fake backend in it. */
#ifndef DROVER_TESTS_CLIENT_HOME_H
#define DROVER_TESTS_CLIENT_HOME_H

#include "check.h"

#include "drover.h"

#include <stdio.h>

enum { HOME_DEADLINE_MS = 60000 };

static char home[64];

static int make_home(void **state)
{
	snprintf(home, sizeof(home), "/tmp/drover-client-XXXXXX");
	assert_non_null(mkdtemp(home));
	return check_setup(state);
}

static int remove_home(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", home);
	assert_int_equal(system(command), 0);
	return check_teardown(state);
}

#define HOME_TEST(name) cmocka_unit_test_setup_teardown(name, make_home, remove_home)

static inline struct drover_options fake_options(void)
{
	struct drover_options o = DROVER_OPTIONS_INIT;

	o.home = home;
	o.backend = "fake";
	o.timeout_ms = HOME_DEADLINE_MS;
	return o;
}

static inline struct drover_cluster *start_with(const char *const names[], size_t n,
						const struct drover_options *o)
{
	struct drover_cluster *c = NULL;
	struct drover_error e = {.sentence = ""};

	if (drover_cluster_start(names, n, o, &c, &e) < 0)
		print_error("start: %s: %s\n", e.code, e.sentence);
	assert_non_null(c);
	return c;
}

static const char *const pair[] = {"web-1", "web-2"};

static inline struct drover_cluster *start_pair(const struct drover_options *o)
{
	return start_with(pair, 2, o);
}

/* libuv opens two descriptors of its own with the first loop, and keeps them. */
static inline void warm_up(void)
{
	struct drover_member *members = NULL;

	make_home(&(void *){NULL});
	drover_list(home, NULL, &members, NULL);
	free(members);
	remove_home(&(void *){(void *)(intptr_t)check_count_fds()});
}

#define RUN_HOME_TESTS(tests) (warm_up(), RUN_TESTS(tests))

#endif
