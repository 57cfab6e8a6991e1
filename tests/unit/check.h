/* SPDX-License-Identifier: MIT */
/* What every cmocka test file includes, in the order cmocka wants; and the check that a test leaks no descriptor. */
#ifndef DROVER_TESTS_CHECK_H
#define DROVER_TESTS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka needs the four above first */
#include <cmocka.h>

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

static inline int check_count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

static inline int check_setup(void **state)
{
	*state = (void *)(intptr_t)check_count_fds();
	return 0;
}

static inline int check_teardown(void **state)
{
	int before = (int)(intptr_t)*state;
	int after = check_count_fds();

	if (after != before)
		print_error("%d descriptors before the test, %d after\n", before, after);
	return after == before ? 0 : -1;
}

/* A test that fails when it leaves a descriptor open. */
#define TEST(name) cmocka_unit_test_setup_teardown(name, check_setup, check_teardown)

#define RUN_TESTS(tests) \
	(cmocka_set_message_output(CM_OUTPUT_TAP), cmocka_run_group_tests((tests), NULL, NULL))

#endif
