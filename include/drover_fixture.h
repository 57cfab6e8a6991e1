/* SPDX-License-Identifier: MIT */
/*
 * A cluster for the time of one test, for cmocka, Check, Criterion and programs that print TAP themselves. Include it after
 * the framework's header:
 *
 *	#include <cmocka.h>
 *	#include <drover_fixture.h>
 *
 *	DROVER_CMOCKA_TEST(reaches_its_neighbour, 2, .image = "tiny")
 *	{
 *		assert_int_equal(drover_fixture_run(fixture, 0, "ping -c 1 %s", drover_fixture_name(fixture, 1)), 0);
 *	}
 *
 * What each of them gets:
 * - A name made of the test's, the process and a random number: tests of any number of processes run side by side.
 * - A bound cluster, started before the body and destroyed after it, passed or not. It dies with the process, however
 *   that dies.
 * - When the test fails: the tail of each member's console and journal on stderr, each line behind "# ".
 * - With DROVER_KEEP=1 in the environment the cluster of a test that fails runs on, and stderr says how to get in and
 *   how to end it.
 * - A host that cannot run guests skips the test, with the reason, as the framework skips. With DROVER_REQUIRE=1 that is
 *   a failure. Check cannot skip: there the test passes, and stderr has "# SKIP".
 *
 * Tests that need much set-up start from a copy of a cluster that was set up once: DROVER_FIXTURE_BASE.
 *
 * All is static: nothing to link but libdrover. One test at a time in a process.
 */
#ifndef DROVER_FIXTURE_H
#define DROVER_FIXTURE_H

#include <drover.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define DROVER_FIXTURE_MEMBERS 16    /* at most */
#define DROVER_FIXTURE_SKIP    1     /* what drover_fixture_start returns when the host cannot */
#define DROVER_FIXTURE_LINES   20    /* of each tail */
#define DROVER_FIXTURE_WAIT_MS 10000 /* for the journal of a member that may be in trouble */

struct drover_fixture {
	struct drover_cluster *cluster; /* the caller may use it, and not end it */
	char name[64];                  /* of the cluster; its members are NAME-1 and so on */
	const char *home;               /* borrowed from the options */
	bool keep;
	char inside[DROVER_FIXTURE_MEMBERS]
		   [80]; /* what the members call themselves and each other */
};

/* The fixture of the test that runs, for what a framework calls when a test fails. */
static struct drover_fixture *drover_fixture_current;

/* --- Parts, for other frameworks ------------------------------------------------------------------------------ */

/* A line on stderr behind "# ". */
static inline void drover_fixture_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static inline void drover_fixture_say(const char *fmt, ...)
{
	va_list ap;

	fputs("# ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

/* For "%s%s%s": why something failed, and what mends it. */
#define DROVER_FIXTURE_WHY(e) (e).sentence, *(e).hint ? ": " : "", (e).hint

/* True when the environment has @variable, neither empty nor "0". */
static inline bool drover_fixture_wants(const char *variable)
{
	const char *value = getenv(variable);

	return value && *value && strcmp(value, "0") != 0;
}

/* The cluster's name for @test: a label (RFC 1123) that no other test of this host has. */
static inline void drover_fixture_make_name(const char *test, char ret[64])
{
	unsigned short number = 0;
	size_t n = 0;

	for (; *test && n < 30; test++) {
		char ch = *test;

		if (ch >= 'A' && ch <= 'Z')
			ch = (char)(ch - 'A' + 'a');
		if ((ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9'))
			ret[n++] = ch;
		else if (n > 0 && ret[n - 1] != '-')
			ret[n++] = '-';
	}
	if (n > 0 && ret[n - 1] != '-')
		ret[n++] = '-';
	if (getrandom(&number, sizeof(number), 0) < 0)
		number = 0;
	snprintf(ret + n, 64 - n, "%dx%04x", (int)getpid(), number);
}

/* What @f is before its cluster starts; @own: the caller's options and what the fixture chooses. */
static inline void drover_fixture_init(struct drover_fixture *f, const char *test,
				       const struct drover_options *o, struct drover_options *own)
{
	memset(f, 0, sizeof(*f));
	if (o)
		memcpy(own, o, o->size < sizeof(*own) ? o->size : sizeof(*own));
	drover_fixture_make_name(test, f->name);
	f->home = own->home;
	f->keep = drover_fixture_wants("DROVER_KEEP");
	own->size = sizeof(*own);
	own->detached = f->keep;
	own->temporary = !f->keep;
}

/* What a start that returned @r is to a test. */
static inline int drover_fixture_begin(struct drover_fixture *f, int r,
				       const struct drover_error *e)
{
	if (r == 0) {
		drover_fixture_current = f;
		return 0;
	}
	f->cluster = NULL;
	if (!drover_fixture_wants("DROVER_REQUIRE") &&
	    (!strcmp(e->code, "missing_program") || !strcmp(e->code, "host_not_ready")))
		return DROVER_FIXTURE_SKIP;
	return r;
}

/*
 * Starts @members members for @test. @o may be NULL; its detached and temporary are the fixture's to choose. 0;
 * DROVER_FIXTURE_SKIP when this host cannot, and @e says why; < 0: failed. Blocks as drover_cluster_start.
 */
static inline int drover_fixture_start(struct drover_fixture *f, const char *test, size_t members,
				       const struct drover_options *o, struct drover_error *e)
{
	struct drover_options own = DROVER_OPTIONS_INIT;
	const char *names[DROVER_FIXTURE_MEMBERS];

	if (members > DROVER_FIXTURE_MEMBERS)
		members = DROVER_FIXTURE_MEMBERS;
	drover_fixture_init(f, test, o, &own);
	for (size_t i = 0; i < members; i++) {
		snprintf(f->inside[i], sizeof(f->inside[i]), "%s-%zu", f->name, i + 1);
		names[i] = f->inside[i];
	}
	return drover_fixture_begin(f, drover_cluster_start(names, members, &own, &f->cluster, e),
				    e);
}

/* The last lines of @text. */
static inline void drover_fixture_tail(const char *member, const char *what, const char *text)
{
	const char *from = text + strlen(text);
	int lines = 0;

	while (from > text && lines <= DROVER_FIXTURE_LINES)
		if (*--from == '\n' && from[1])
			lines++;
	if (lines > DROVER_FIXTURE_LINES)
		from += 1;
	drover_fixture_say("%s: the last of its %s:%s", member, what, *from ? "" : " nothing");
	while (*from) {
		int len = (int)strcspn(from, "\r\n");

		if (len > 0)
			drover_fixture_say("  %.*s", len, from);
		from += len;
		from += strspn(from, "\r\n");
	}
}

static inline void drover_fixture_show_console(const struct drover_fixture *f, const char *member)
{
	char *path = drover_path(f->home, member, DROVER_PATH_SERIAL_LOG);
	FILE *log = path ? fopen(path, "re") : NULL;
	char text[8192];
	size_t n = 0;

	if (log) {
		if (fseek(log, 1 - (long)sizeof(text), SEEK_END) < 0)
			rewind(log);
		n = fread(text, 1, sizeof(text) - 1, log);
		fclose(log);
	}
	text[n] = '\0';
	for (size_t i = 0; i < n; i++) /* a terminal is not to obey a guest */
		if ((unsigned char)text[i] < ' ' && text[i] != '\n' && text[i] != '\r')
			text[i] = '?';
	drover_fixture_tail(member, "console", text);
	free(path);
}

static inline void drover_fixture_show_journal(struct drover_vm *vm)
{
	struct drover_exec x = DROVER_EXEC_INIT;
	struct drover_result result;
	struct drover_error e;

	x.command =
		"if command -v journalctl >/dev/null; then sudo -n journalctl -b -n 20 --no-pager; "
		"else dmesg | tail -n 20; fi";
	x.timeout_ms = DROVER_FIXTURE_WAIT_MS;
	if (drover_vm_exec(vm, &x, &result, &e) < 0) {
		drover_fixture_say("%s: no journal: %s", drover_vm_name(vm), e.sentence);
		return;
	}
	drover_fixture_tail(drover_vm_name(vm), "journal", result.out);
	drover_result_done(&result);
}

/* "DROVER_HOME='...' " for a shell; "" when there is none to set. */
static inline void drover_fixture_home(const char *home, char *ret, size_t size)
{
	size_t used = (size_t)snprintf(ret, size, "%s", home ? "DROVER_HOME='" : "");

	for (; home && *home && used < size; home++)
		used += (size_t)snprintf(ret + used, size - used, *home == '\'' ? "'\\%c'" : "%c",
					 *home);
	if (home && used < size)
		snprintf(ret + used, size - used, "' ");
}

/* How to get into what is kept. */
static inline void drover_fixture_say_kept(const struct drover_fixture *f)
{
	char home[4096];

	drover_fixture_home(f->home ? f->home : getenv("DROVER_HOME"), home, sizeof(home));
	drover_fixture_say("DROVER_KEEP: the cluster runs on. To get in, and to end it:");
	for (size_t i = 0; i < drover_cluster_size(f->cluster); i++)
		drover_fixture_say("  %sdrover ssh %s", home,
				   drover_vm_name(drover_cluster_vm(f->cluster, i)));
	drover_fixture_say("  %sdrover rm -f %s", home, f->name);
}

/*
 * Ends the test's cluster: destroys it, or, failed and kept, tells about it and leaves it. Twice is harmless. < 0: it
 * could not be destroyed, stderr says why.
 */
static inline int drover_fixture_end(struct drover_fixture *f, bool passed)
{
	struct drover_error e;
	int r = 0;

	if (!f || !f->cluster)
		return 0;
	drover_fixture_current = NULL;
	for (size_t i = 0; !passed && i < drover_cluster_size(f->cluster); i++) {
		struct drover_vm *vm = drover_cluster_vm(f->cluster, i);

		drover_fixture_show_console(f, drover_vm_name(vm));
		drover_fixture_show_journal(vm);
	}
	if (!passed && f->keep) {
		drover_fixture_say_kept(f);
		drover_cluster_close(f->cluster);
	} else {
		r = drover_cluster_destroy(f->cluster, NULL, &e);
		if (r < 0)
			drover_fixture_say("cannot end %s: %s", f->name, e.sentence);
	}
	f->cluster = NULL;
	return r;
}

/* --- For the body of a test ----------------------------------------------------------------------------------- */

/* Member @i, from 0; NULL when there are fewer. */
static inline struct drover_vm *drover_fixture_vm(const struct drover_fixture *f, size_t i)
{
	return drover_cluster_vm(f->cluster, i);
}

static inline const char *drover_fixture_name(const struct drover_fixture *f, size_t i)
{
	return drover_vm_name(drover_fixture_vm(f, i));
}

/* What member @i is called inside of the cluster: in a fork the name that it was set up with. */
static inline const char *drover_fixture_inside(const struct drover_fixture *f, size_t i)
{
	return f->inside[i];
}

/*
 * Runs a line of shell in member @i: its exit status. When that is not 0, what it printed is on stderr; -1: it could not
 * be run, and stderr says why.
 */
static inline int drover_fixture_run(const struct drover_fixture *f, size_t i, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static inline int drover_fixture_run(const struct drover_fixture *f, size_t i, const char *fmt, ...)
{
	struct drover_exec x = DROVER_EXEC_INIT;
	struct drover_result result;
	struct drover_error e;
	char command[4096];
	va_list ap;
	int status;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	x.command = command;
	if (drover_vm_exec(drover_fixture_vm(f, i), &x, &result, &e) < 0) {
		drover_fixture_say("%s: '%s': %s", drover_fixture_name(f, i), command, e.sentence);
		return -1;
	}
	status = result.status;
	if (status != 0) {
		drover_fixture_say("%s: '%s' ended with %d", drover_fixture_name(f, i), command,
				   status);
		drover_fixture_tail(drover_fixture_name(f, i), "output", result.out);
		drover_fixture_tail(drover_fixture_name(f, i), "errors", result.err);
	}
	drover_result_done(&result);
	return status;
}

/* --- cmocka --------------------------------------------------------------------------------------------------- */

#ifdef CMOCKA_H_

/* DROVER_CMOCKA_TEST(NAME, MEMBERS, .image = "...", ...) { body, with struct drover_fixture *fixture } */
#define DROVER_CMOCKA_TEST(test, members, ...)                                                 \
	static void test##_on_cluster(struct drover_fixture *fixture);                         \
	static void test(void **state)                                                         \
	{                                                                                      \
		const struct drover_options drover_o = {.size = sizeof(struct drover_options), \
							__VA_ARGS__};                          \
		struct drover_fixture *drover_f =                                              \
			drover_cmocka_start(state, #test, (members), &drover_o);               \
                                                                                               \
		test##_on_cluster(drover_f);                                                   \
		if (drover_fixture_end(drover_f, true) < 0)                                    \
			fail_msg("the cluster could not be ended");                            \
	}                                                                                      \
	static void test##_on_cluster(struct drover_fixture *fixture)

/* Its entry in the list of tests. */
#define drover_cmocka_unit_test(test) cmocka_unit_test_teardown(test, drover_cmocka_teardown)

static inline struct drover_fixture *drover_cmocka_new(void **state)
{
	struct drover_fixture *f = (struct drover_fixture *)calloc(1, sizeof(*f));

	assert_non_null(f);
	*state = f; /* the teardown's */
	return f;
}

static inline void drover_cmocka_check(const char *test, int r, const struct drover_error *e)
{
	if (r == DROVER_FIXTURE_SKIP) {
		drover_fixture_say("SKIP %s: %s%s%s", test, DROVER_FIXTURE_WHY(*e));
		skip();
	}
	if (r < 0)
		fail_msg("%s: %s%s%s", test, DROVER_FIXTURE_WHY(*e));
}

static inline struct drover_fixture *drover_cmocka_start(void **state, const char *test,
							 size_t members,
							 const struct drover_options *o)
{
	struct drover_fixture *f = drover_cmocka_new(state);
	struct drover_error e;

	drover_cmocka_check(test, drover_fixture_start(f, test, members, o, &e), &e);
	return f;
}

static inline int drover_cmocka_teardown(void **state)
{
	struct drover_fixture *f = (struct drover_fixture *)*state;
	int r = drover_fixture_end(f, false); /* of a test that passed there is nothing left */

	free(f);
	*state = NULL;
	return r;
}

#endif

/* --- Check ---------------------------------------------------------------------------------------------------- */

#ifdef CHECK_H

/*
 * DROVER_CHECK_TEST(NAME, MEMBERS, ...) { body }; then tcase_add_test(tcase, NAME), and a tcase_set_timeout that is long
 * enough for a boot: Check's own is 4 seconds.
 */
#define DROVER_CHECK_TEST(test, members, ...)                                                      \
	DROVER_CHECK_BODY(test,                                                                    \
			  drover_fixture_start(&drover_f, #test, (members), &drover_o, &drover_e), \
			  __VA_ARGS__)

#define DROVER_CHECK_BODY(test, begin, ...)                                                    \
	static void test##_on_cluster(struct drover_fixture *fixture);                         \
	START_TEST(test)                                                                       \
	{                                                                                      \
		const struct drover_options drover_o = {.size = sizeof(struct drover_options), \
							__VA_ARGS__};                          \
		struct drover_fixture drover_f;                                                \
		struct drover_error drover_e;                                                  \
		int drover_r = (begin);                                                        \
                                                                                               \
		(void)drover_o;                                                                \
		if (drover_r == DROVER_FIXTURE_SKIP) {                                         \
			drover_fixture_say("SKIP %s: %s%s%s", #test,                           \
					   DROVER_FIXTURE_WHY(drover_e));                      \
			return;                                                                \
		}                                                                              \
		if (drover_r < 0)                                                              \
			ck_abort_msg("%s: %s%s%s", #test, DROVER_FIXTURE_WHY(drover_e));       \
		test##_on_cluster(&drover_f);                                                  \
		if (drover_fixture_end(&drover_f, true) < 0)                                   \
			ck_abort_msg("the cluster could not be ended");                        \
	}                                                                                      \
	END_TEST                                                                               \
	static void test##_on_cluster(struct drover_fixture *fixture)

/* A failed assertion ends the test's process at once, without its teardown: what is to be done is done before. */
#define _ck_assert_failed(...) \
	(drover_fixture_end(drover_fixture_current, false), (_ck_assert_failed)(__VA_ARGS__))

#endif

/* --- Criterion ------------------------------------------------------------------------------------------------ */

#ifdef CRITERION_H_

#ifndef DROVER_CRITERION_SUITE
#define DROVER_CRITERION_SUITE drover
#endif

static inline void drover_criterion_fini(void)
{
	drover_fixture_end(drover_fixture_current, false);
}

/* DROVER_CRITERION_TEST(NAME, MEMBERS, ...) { body }, in the suite that DROVER_CRITERION_SUITE names. */
#define DROVER_CRITERION_TEST(test, members, ...)                                                \
	static void test##_on_cluster(struct drover_fixture *fixture);                           \
	Test(DROVER_CRITERION_SUITE, test, .fini = drover_criterion_fini)                        \
	{                                                                                        \
		const struct drover_options drover_o = {.size = sizeof(struct drover_options),   \
							__VA_ARGS__};                            \
		static struct drover_fixture drover_f;                                           \
		struct drover_error drover_e;                                                    \
		int drover_r =                                                                   \
			drover_fixture_start(&drover_f, #test, (members), &drover_o, &drover_e); \
                                                                                                 \
		if (drover_r == DROVER_FIXTURE_SKIP)                                             \
			cr_skip_test("%s%s%s", DROVER_FIXTURE_WHY(drover_e));                    \
		if (drover_r < 0)                                                                \
			cr_assert_fail("%s: %s%s%s", #test, DROVER_FIXTURE_WHY(drover_e));       \
		test##_on_cluster(&drover_f);                                                    \
		cr_assert_eq(drover_fixture_end(&drover_f, true), 0);                            \
	}                                                                                        \
	static void test##_on_cluster(struct drover_fixture *fixture)

#endif

/* --- TAP ------------------------------------------------------------------------------------------------------ */

/*
 * DROVER_TAP_TEST(NAME, MEMBERS, ...) { body that returns 0 when the test has passed }; then, in main,
 *
 *	drover_tap_run(NAME);
 *	return drover_tap_done();
 */
#define DROVER_TAP_TEST(test, members, ...)                                                    \
	static int test##_on_cluster(struct drover_fixture *fixture);                          \
	static void test(void)                                                                 \
	{                                                                                      \
		const struct drover_options drover_o = {.size = sizeof(struct drover_options), \
							__VA_ARGS__};                          \
                                                                                               \
		drover_tap_test(#test, (members), &drover_o, test##_on_cluster);               \
	}                                                                                      \
	static int test##_on_cluster(struct drover_fixture *fixture)

#define drover_tap_run(test) test()

static unsigned drover_tap_count;
static unsigned drover_tap_failures;

static inline void drover_tap_test(const char *test, size_t members, const struct drover_options *o,
				   int (*body)(struct drover_fixture *fixture))
{
	struct drover_fixture f;
	struct drover_error e;
	int r = drover_fixture_start(&f, test, members, o, &e);
	bool passed;

	drover_tap_count++;
	if (r == DROVER_FIXTURE_SKIP) {
		printf("ok %u - %s # SKIP %s%s%s\n", drover_tap_count, test, DROVER_FIXTURE_WHY(e));
		return;
	}
	if (r < 0)
		drover_fixture_say("%s: %s%s%s", test, DROVER_FIXTURE_WHY(e));
	passed = r == 0 && body(&f) == 0;
	passed = drover_fixture_end(&f, passed) == 0 && passed;
	drover_tap_failures += !passed;
	printf("%sok %u - %s\n", passed ? "" : "not ", drover_tap_count, test);
	fflush(stdout);
}

/* The plan, at the end. Returns main's status: 0 when nothing failed. */
static inline int drover_tap_done(void)
{
	printf("1..%u\n", drover_tap_count);
	return drover_tap_failures > 0;
}

#include <drover_fixture_fork.h>

#endif
