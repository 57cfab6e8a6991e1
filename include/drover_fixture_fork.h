/* SPDX-License-Identifier: MIT */
/*
 * A cluster that is set up once, and each test on a copy of it. drover_fixture.h includes this.
 *
 * DROVER_FIXTURE_BASE(NAME, MEMBERS, .image = "...", ...) { set-up, with struct drover_fixture *fixture; return 0; }
 *
 * A cluster that is booted and set up once, by the first test that needs it, and captured as it is then: memory, processes,
 * disks. Each test on it (DROVER_CMOCKA_FORK_TEST and so on) gets a copy of its own, which costs neither boot nor set-up,
 * and is destroyed with the test. In a copy members have the names and addresses of the set-up, drover_fixture_inside.
 *
 * Where tests run in child processes of the program (Check), main calls drover_fixture_prepare(&NAME, NULL) first, so that
 * they have one. Where each is a program of its own (Criterion) there is nothing to share.
 */
#ifndef DROVER_FIXTURE_FORK_H
#define DROVER_FIXTURE_FORK_H

#include <drover_fixture.h>

#include <errno.h>
#include <sys/wait.h>

struct drover_fixture_base {
	const char *name;
	size_t members;
	const struct drover_options *(*options)(void);
	int (*set_up)(
		struct drover_fixture *fixture); /* or NULL: it is there, as @cluster and @point */
	const char *cluster;
	const char *point;
	struct drover_capture *capture;
	pid_t owner; /* the process that removes it */
	bool tried;
	int result; /* of that: as drover_fixture_start */
	struct drover_error error;
	char inside[DROVER_FIXTURE_MEMBERS][80];
};

#define DROVER_FIXTURE_BASE_OPTIONS(base, ...)                                                   \
	static const struct drover_options *base##_options(void)                                 \
	{                                                                                        \
		static struct drover_options o;                                                  \
                                                                                                 \
		o = (struct drover_options){.size = sizeof(struct drover_options), __VA_ARGS__}; \
		return &o;                                                                       \
	}

#define DROVER_FIXTURE_BASE(base, count, ...)                                \
	static int base##_set_up(struct drover_fixture *fixture);            \
	DROVER_FIXTURE_BASE_OPTIONS(base, __VA_ARGS__)                       \
	static struct drover_fixture_base base = {.name = #base,             \
						  .members = (count),        \
						  .options = base##_options, \
						  .set_up = base##_set_up};  \
	static int base##_set_up(struct drover_fixture *fixture)

/*
 * DROVER_FIXTURE_POINT(NAME, "web-1", "clean", .home = ...); a base that was set up by hand: the point "clean" of the cluster that has the
 * member web-1, whether that runs or not.
 */
#define DROVER_FIXTURE_POINT(base, of, saved, ...)     \
	DROVER_FIXTURE_BASE_OPTIONS(base, __VA_ARGS__) \
	static struct drover_fixture_base base = {     \
		.name = #base, .options = base##_options, .cluster = (of), .point = (saved)}

static struct drover_fixture_base *drover_fixture_bases[DROVER_FIXTURE_MEMBERS];

static inline void drover_fixture_release_all(void)
{
	for (size_t i = 0; i < DROVER_FIXTURE_MEMBERS && drover_fixture_bases[i]; i++)
		if (drover_fixture_bases[i]->owner == getpid())
			drover_capture_close(drover_fixture_bases[i]->capture);
}

/* At the program's end the captures go; should it be killed, the next one to be made takes them away. */
static inline void drover_fixture_note(struct drover_fixture_base *b)
{
	size_t i = 0;

	while (i < DROVER_FIXTURE_MEMBERS - 1 && drover_fixture_bases[i])
		i++;
	if (i == 0)
		atexit(drover_fixture_release_all);
	drover_fixture_bases[i] = b;
	b->owner = getpid();
}

static inline int drover_fixture_capture(struct drover_fixture_base *b, struct drover_fixture *f)
{
	int r = b->set_up(f);

	if (r != 0) {
		b->error = (struct drover_error){.code = "internal"};
		snprintf(b->error.sentence, sizeof(b->error.sentence), "the set-up %s failed",
			 b->name);
		return -1;
	}
	memcpy(b->inside, f->inside, sizeof(b->inside));
	r = drover_cluster_capture(f->cluster, NULL, &b->capture, &b->error);
	if (r >= 0)
		drover_fixture_note(b);
	return r < 0 ? r : 0;
}

static inline int drover_fixture_capture_point(struct drover_fixture_base *b)
{
	int r = drover_capture_point(b->options()->home, b->cluster, b->point, NULL, &b->capture,
				     &b->error);

	if (r < 0)
		return r;
	drover_fixture_note(b);
	for (size_t i = 0; i < DROVER_FIXTURE_MEMBERS; i++) {
		const char *inside = drover_capture_inside(b->capture, i);

		snprintf(b->inside[i], sizeof(b->inside[i]), "%s", inside ? inside : "");
	}
	return 0;
}

/* Boots, sets up and captures @b, or captures what is saved, once. Returns as drover_fixture_start; @e may be NULL. */
static inline int drover_fixture_prepare(struct drover_fixture_base *b, struct drover_error *e)
{
	static struct drover_fixture f;

	if (!b->tried && b->point) {
		b->tried = true;
		b->result = drover_fixture_capture_point(b);
	} else if (!b->tried) {
		b->tried = true;
		b->result = drover_fixture_start(&f, b->name, b->members, b->options(), &b->error);
		if (b->result == 0) {
			b->result = drover_fixture_capture(b, &f);
			drover_fixture_end(&f, b->result == 0);
		}
	}
	if (e)
		*e = b->error;
	return b->result;
}

/* Starts a copy of @b for @test. Returns as drover_fixture_start. */
static inline int drover_fixture_fork(struct drover_fixture *f, const char *test,
				      struct drover_fixture_base *b, struct drover_error *e)
{
	struct drover_options own = DROVER_OPTIONS_INIT;
	int r = drover_fixture_prepare(b, e);

	drover_fixture_init(f, test, b->options(), &own);
	if (r != 0)
		return r;
	memcpy(f->inside, b->inside, sizeof(f->inside));
	return drover_fixture_begin(
		f, drover_capture_start(b->capture, f->name, 1, &own, &f->cluster, e), e);
}

/* --- cmocka --------------------------------------------------------------------------------------------------- */

#ifdef CMOCKA_H_

/* DROVER_CMOCKA_FORK_TEST(NAME, BASE) { body }: on a copy of a DROVER_FIXTURE_BASE */
#define DROVER_CMOCKA_FORK_TEST(test, base)                                                  \
	static void test##_on_cluster(struct drover_fixture *fixture);                       \
	static void test(void **state)                                                       \
	{                                                                                    \
		struct drover_fixture *drover_f = drover_cmocka_fork(state, #test, &(base)); \
                                                                                             \
		test##_on_cluster(drover_f);                                                 \
		if (drover_fixture_end(drover_f, true) < 0)                                  \
			fail_msg("the cluster could not be ended");                          \
	}                                                                                    \
	static void test##_on_cluster(struct drover_fixture *fixture)

static inline struct drover_fixture *drover_cmocka_fork(void **state, const char *test,
							struct drover_fixture_base *b)
{
	struct drover_fixture *f = drover_cmocka_new(state);
	struct drover_error e;

	drover_cmocka_check(test, drover_fixture_fork(f, test, b, &e), &e);
	return f;
}

#endif

/* --- Check ---------------------------------------------------------------------------------------------------- */

#ifdef CHECK_H

/* DROVER_CHECK_FORK_TEST(NAME, BASE) { body }: on a copy of a DROVER_FIXTURE_BASE, which main has prepared */
#define DROVER_CHECK_FORK_TEST(test, base) \
	DROVER_CHECK_BODY(test, drover_fixture_fork(&drover_f, #test, &(base), &drover_e), )

#endif

/* --- TAP ------------------------------------------------------------------------------------------------------ */

/*
 * DROVER_TAP_FORK_TEST(NAME, BASE) { body that returns 0 when the test has passed }; then, in main,
 *
 *	drover_tap_fork_all(&ONE, &OTHER);
 *
 * runs them side by side, each in a process and on a copy of its own, and tells of them in that order.
 */
struct drover_tap_fork {
	const char *name;
	struct drover_fixture_base *base;
	int (*body)(struct drover_fixture *fixture);
};

#define DROVER_TAP_FORK_TEST(test, of)                                    \
	static int test##_on_cluster(struct drover_fixture *fixture);     \
	static const struct drover_tap_fork test = {                      \
		.name = #test, .base = &(of), .body = test##_on_cluster}; \
	static int test##_on_cluster(struct drover_fixture *fixture)

#define drover_tap_fork_all(...)                                                            \
	drover_tap_fork_list((const struct drover_tap_fork *const[]){__VA_ARGS__},          \
			     sizeof((const struct drover_tap_fork *const[]){__VA_ARGS__}) / \
				     sizeof(const struct drover_tap_fork *))

/* In the child: the status tells how it went. */
static inline int drover_tap_fork_one(const struct drover_tap_fork *t)
{
	struct drover_fixture f;
	struct drover_error e;
	int r = drover_fixture_fork(&f, t->name, t->base, &e);
	bool passed;

	if (r != 0) {
		drover_fixture_say("%s: %s%s%s", t->name, DROVER_FIXTURE_WHY(e));
		return r == DROVER_FIXTURE_SKIP ? 77 : 1;
	}
	passed = t->body(&f) == 0;
	return drover_fixture_end(&f, passed) == 0 && passed ? 0 : 1;
}

static inline void drover_tap_fork_list(const struct drover_tap_fork *const tests[], size_t n)
{
	pid_t *children = (pid_t *)calloc(n, sizeof(*children));

	for (size_t i = 0; i < n; i++)
		drover_fixture_prepare(tests[i]->base, NULL);
	fflush(NULL);
	for (size_t i = 0; children && i < n; i++) {
		children[i] = fork();
		if (children[i] == 0) {
			int status = drover_tap_fork_one(tests[i]);

			fflush(NULL);
			_exit(status);
		}
	}
	for (size_t i = 0; i < n; i++) {
		int status = -1;
		bool skipped;

		while (children && children[i] > 0 && waitpid(children[i], &status, 0) < 0 &&
		       errno == EINTR)
			;
		skipped = WIFEXITED(status) && WEXITSTATUS(status) == 77;
		drover_tap_count++;
		drover_tap_failures += status != 0 && !skipped;
		printf("%sok %u - %s%s\n", status == 0 || skipped ? "" : "not ", drover_tap_count,
		       tests[i]->name, skipped ? " # SKIP the host cannot" : "");
	}
	fflush(stdout);
	free(children);
}

#endif
