/* SPDX-License-Identifier: MIT */
/* What a library leaves alone in the program that it is part of: signals, output, directory, environment, descriptors. */
#include "client_home.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>

extern char **environ;

enum { SIGNALS = 65 };

struct manners {
	struct sigaction actions[SIGNALS];
	sigset_t mask;
	mode_t umask;
	char cwd[256];
	size_t variables;
};

static void is_left_alone(const struct manners *a, const struct manners *b)
{
	for (int i = 1; i < SIGNALS; i++) {
		assert_ptr_equal(a->actions[i].sa_handler, b->actions[i].sa_handler);
		assert_int_equal(a->actions[i].sa_flags, b->actions[i].sa_flags);
		assert_int_equal(sigismember(&a->mask, i), sigismember(&b->mask, i));
	}
	assert_int_equal(a->umask, b->umask);
	assert_string_equal(a->cwd, b->cwd);
	assert_int_equal(a->variables, b->variables);
}

static void look(struct manners *m)
{
	memset(m, 0, sizeof(*m));
	for (int i = 1; i < SIGNALS; i++)
		sigaction(i, NULL, &m->actions[i]);
	pthread_sigmask(SIG_SETMASK, NULL, &m->mask);
	m->umask = umask(0);
	umask(m->umask);
	assert_non_null(getcwd(m->cwd, sizeof(m->cwd)));
	while (environ[m->variables])
		m->variables++;
}

/* Nothing is asserted here, for that would print: the first call that did not do as it should, or NULL. */
static const char *use_it_all(struct drover_cluster *c)
{
	struct drover_vm *vm = drover_cluster_vm(c, 0);
	struct drover_point *points = NULL;
	struct drover_check *checks = NULL;
	struct drover_image *images = NULL;
	struct drover_thing *things = NULL;
	struct drover_wait w = DROVER_WAIT_INIT;
	const char *failed = NULL;
	struct drover_error e;
	int fd = drover_vm_dial(vm, 80, NULL, &e);

	if (fd < 0)
		failed = "dial";
	close(fd);
	w.port = 80;
	if (drover_vm_wait_for(vm, &w, &e) < 0)
		failed = "wait";
	if (drover_vm_pause(vm, NULL, &e) < 0 || drover_vm_resume(vm, NULL, &e) < 0)
		failed = "pause and resume";
	if (drover_cluster_snapshot_save(c, "p", NULL, &e) < 0 ||
	    drover_cluster_reset(c, NULL, &e) < 0 ||
	    drover_cluster_snapshot_list(c, NULL, &points, &e) != 1)
		failed = "a point";
	if (drover_doctor(home, NULL, &checks, &e) < 1)
		failed = "doctor";
	if (drover_image_list(home, &images, &e) < 0)
		failed = "images";
	if (drover_audit(home, NULL, &things, &e) < 1)
		failed = "audit";
	if (drover_vm_pause(vm, &(struct drover_call){0}, &e) >= 0)
		failed = "a refusal"; /* which is silent too */
	free(points);
	free(checks);
	free(images);
	free(things);
	return failed;
}

/* Both outputs into a file; back again, and how much came. */
struct capture {
	FILE *file;
	int before[2];
};

static void capture_begin(struct capture *c)
{
	fflush(stdout);
	fflush(stderr);
	c->file = tmpfile();
	assert_non_null(c->file);
	for (int i = 0; i < 2; i++) {
		c->before[i] = dup(i + 1);
		dup2(fileno(c->file), i + 1);
	}
}

static off_t capture_end(struct capture *c)
{
	struct stat st = {.st_size = -1};

	fflush(stdout);
	fflush(stderr);
	for (int i = 0; i < 2; i++) {
		dup2(c->before[i], i + 1);
		close(c->before[i]);
	}
	fstat(fileno(c->file), &st);
	fclose(c->file);
	return st.st_size;
}

static void test_nothing_is_printed_and_the_process_stays_as_it_is(void **state)
{
	struct drover_options o = fake_options();
	struct capture output;
	struct drover_cluster *c = NULL;
	struct manners before;
	struct manners after;
	struct drover_error e = {.sentence = ""};
	const char *failed = "start";
	off_t printed;

	look(&before);
	capture_begin(&output);
	if (drover_cluster_start(pair, 2, &o, &c, &e) == 0) {
		failed = use_it_all(c);
		if (drover_cluster_destroy(c, NULL, &e) < 0)
			failed = "destroy";
	}
	printed = capture_end(&output);
	look(&after);
	if (failed)
		fail_msg("%s failed", failed);
	assert_int_equal(printed, 0);
	is_left_alone(&before, &after);
}

/* SIGPIPE as a program begins with it: whoever writes to what is gone would die. */
static void test_a_helper_that_is_gone_is_an_error_and_no_death(void **state)
{
	struct drover_options o = fake_options();
	struct drover_cluster *c = start_pair(&o);
	struct drover_vm *vm = drover_cluster_vm(c, 0);
	struct drover_member *members = NULL;
	struct drover_error e;

	signal(SIGPIPE, SIG_DFL);
	assert_int_equal(drover_list(home, NULL, &members, NULL), 2);
	assert_int_equal(kill(members[0].pid, SIGKILL), 0);
	free(members);
	assert_true(drover_vm_pause(vm, NULL, &e) < 0);
	assert_true(drover_vm_dial(vm, 80, NULL, &e) < 0);
	assert_true(drover_cluster_snapshot_save(c, "p", NULL, &e) < 0);
	assert_string_equal(drover_vm_state(vm), "stopped");
	assert_int_equal(drover_cluster_destroy(c, NULL, &e), 0);
}

/* Some daemons have it so; libuv would abort when it closed one of its own that got such a number. */
static void test_a_program_without_standard_descriptors_is_served(void **state)
{
	struct drover_options o = fake_options();
	struct drover_cluster *c = NULL;
	struct drover_error e = {.sentence = ""};
	int before[3];
	int started;
	int ended = -1;

	fflush(stdout);
	fflush(stderr);
	for (int i = 0; i < 3; i++) {
		before[i] = fcntl(i, F_DUPFD_CLOEXEC, 20);
		close(i);
	}
	started = drover_cluster_start(pair, 2, &o, &c, &e);
	if (started == 0)
		ended = drover_cluster_destroy(c, NULL, &e);
	for (int i = 0; i < 3; i++) {
		dup2(before[i], i);
		close(before[i]);
	}
	assert_string_equal(e.sentence, "");
	assert_int_equal(started, 0);
	assert_int_equal(ended, 0);
}

static void on_tick(int number) {}

static int is_file(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static void has_nothing_in(const char *folder)
{
	struct dirent **found = NULL;
	char dir[96];
	int n;

	snprintf(dir, sizeof(dir), "%s/%s", home, folder);
	n = scandir(dir, &found, is_file, NULL);
	if (n > 0)
		print_error("%s has %s\n", dir, found[0]->d_name);
	for (int i = 0; i < n; i++)
		free(found[i]);
	free(found);
	assert_int_equal(n, 0);
}

/* A profiler's, say: it interrupts whatever waits. The helper ends in order all the same, and leaves nothing. */
static void test_signals_of_the_program_cut_no_wait_short(void **state)
{
	const struct sigaction tick = {.sa_handler = on_tick};
	const struct itimerval often = {{0, 300}, {0, 300}};
	const struct itimerval never = {{0, 0}, {0, 0}};
	struct drover_options o = fake_options();
	struct sigaction before;

	assert_int_equal(sigaction(SIGALRM, &tick, &before), 0);
	for (int i = 0; i < 20; i++) {
		struct drover_cluster *c = NULL;
		struct drover_error e = {.sentence = ""};
		int r;

		if (i % 2)
			setenv("DROVER_FAKE_FAIL_CREATE", "web-1", 1);
		setitimer(ITIMER_REAL, &often, NULL);
		r = drover_cluster_start(pair, 2, &o, &c, &e);
		if (r == 0)
			r = drover_cluster_destroy(c, NULL, &e);
		setitimer(ITIMER_REAL, &never, NULL);
		unsetenv("DROVER_FAKE_FAIL_CREATE");
		assert_string_equal(
			e.sentence,
			i % 2 ? "create web-1: fake backend: forced Create failure for \"web-1\""
			      : "");
		has_nothing_in("run");
		has_nothing_in("clusters");
	}
	sigaction(SIGALRM, &before, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HOME_TEST(test_signals_of_the_program_cut_no_wait_short),
		HOME_TEST(test_nothing_is_printed_and_the_process_stays_as_it_is),
		HOME_TEST(test_a_helper_that_is_gone_is_an_error_and_no_death),
		HOME_TEST(test_a_program_without_standard_descriptors_is_served),
	};

	return RUN_HOME_TESTS(tests);
}
