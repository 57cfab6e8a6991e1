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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

/* Weak, like the function below: a program of several files has one. */
__attribute__((weak)) char check_why[1024];

/* Ends the test, which this host cannot do, and says why. */
static inline void skip_for(const char *why)
{
	snprintf(check_why, sizeof(check_why), "%s", why);
	skip();
}

/* cmocka's own, but for skipped tests: 1.1.5 says "not ok" of them, and no version says why. */
__attribute__((weak, visibility("default"))) void print_message(const char *const format, ...)
{
	va_list args;
	unsigned number;

	va_start(args, format);
	if (strstr(format, "ok %u # SKIP %s")) {
		number = va_arg(args, unsigned);
		printf("ok %u - %s # SKIP %s\n", number, va_arg(args, const char *), check_why);
	} else {
		vprint_message(format, args);
	}
	va_end(args);
}

#define RUN_TESTS(tests) \
	(cmocka_set_message_output(CM_OUTPUT_TAP), cmocka_run_group_tests((tests), NULL, NULL))

#endif
