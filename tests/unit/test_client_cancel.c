/* SPDX-License-Identifier: MIT */
/*
 * Every call of libdrover that may last, against a helper that answers nothing (it is frozen): the caller's cancel and the
 * caller's deadline end it at once, and afterwards the handle and the cluster are what they say they are.
 */
#include "client_home.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

enum { SHORT_MS = 50 };
#define LATE "within 0.05 s"

struct
try {
	const char *what;
	int (*call)(struct drover_cluster * c, const struct drover_call *o, struct drover_error *e);
	const char *late; /* what it says at its deadline */
};

static struct drover_vm *first_of(struct drover_cluster *c)
{
	return drover_cluster_vm(c, 0);
}

static int call_pause(struct drover_cluster *c, const struct drover_call *o, struct drover_error *e)
{
	return drover_vm_pause(first_of(c), o, e);
}

static int call_resume(struct drover_cluster *c, const struct drover_call *o,
		       struct drover_error *e)
{
	return drover_vm_resume(first_of(c), o, e);
}

static int call_kill(struct drover_cluster *c, const struct drover_call *o, struct drover_error *e)
{
	return drover_vm_kill(first_of(c), o, e);
}

static int call_stop(struct drover_cluster *c, const struct drover_call *o, struct drover_error *e)
{
	return drover_vm_stop(first_of(c), o, e);
}

static int call_destroy(struct drover_cluster *c, const struct drover_call *o,
			struct drover_error *e)
{
	return drover_vm_destroy(first_of(c), o, e);
}

static int call_dial(struct drover_cluster *c, const struct drover_call *o, struct drover_error *e)
{
	return drover_vm_dial(first_of(c), 80, o, e);
}

static int call_console(struct drover_cluster *c, const struct drover_call *o,
			struct drover_error *e)
{
	return drover_vm_console(first_of(c), o, e);
}

static int call_save(struct drover_cluster *c, const struct drover_call *o, struct drover_error *e)
{
	return drover_cluster_snapshot_save(c, "clean", o, e);
}

static int call_points(struct drover_cluster *c, const struct drover_call *o,
		       struct drover_error *e)
{
	struct drover_point *points = NULL;

	return drover_cluster_snapshot_list(c, o, &points, e);
}

static int call_points_by_name(struct drover_cluster *c, const struct drover_call *o,
			       struct drover_error *e)
{
	struct drover_point *points = NULL;

	return drover_points(home, "web-1", o, &points, e);
}

static int call_drop(struct drover_cluster *c, const struct drover_call *o, struct drover_error *e)
{
	return drover_cluster_snapshot_remove(c, "clean", o, e);
}

static int call_list(struct drover_cluster *c, const struct drover_call *o, struct drover_error *e)
{
	struct drover_member *members = NULL;

	return drover_list(home, o, &members, e);
}

static int call_stats(struct drover_cluster *c, const struct drover_call *o, struct drover_error *e)
{
	struct drover_stats *stats = NULL;

	return drover_stats(home, o, &stats, e);
}

static int call_cluster_stats(struct drover_cluster *c, const struct drover_call *o,
			      struct drover_error *e)
{
	struct drover_stats *stats = NULL;

	return drover_cluster_stats(c, o, &stats, e);
}

static int call_vm_stats(struct drover_cluster *c, const struct drover_call *o,
			 struct drover_error *e)
{
	struct drover_stats stats;

	return drover_vm_stats(first_of(c), o, &stats, e);
}

static int call_stop_all(struct drover_cluster *c, const struct drover_call *o,
			 struct drover_error *e)
{
	return drover_cluster_stop(c, o, e);
}

static int call_stop_by_name(struct drover_cluster *c, const struct drover_call *o,
			     struct drover_error *e)
{
	return drover_stop(home, "web-1", o, e);
}

static int call_remove_by_name(struct drover_cluster *c, const struct drover_call *o,
			       struct drover_error *e)
{
	return drover_remove(home, "web-1", o, e);
}

static int call_open(struct drover_cluster *c, const struct drover_call *o, struct drover_error *e)
{
	struct drover_cluster *other = NULL;

	return drover_cluster_open(home, "web-1", o, &other, e);
}

/* Those below have options of their own: @o's cancel is passed on, and their deadlines are other tests'. */
static int call_reset(struct drover_cluster *c, const struct drover_call *o, struct drover_error *e)
{
	struct drover_reset reset = DROVER_RESET_INIT;

	reset.cancel = o->cancel;
	return drover_cluster_reset(c, &reset, e);
}

static int call_wait_port(struct drover_cluster *c, const struct drover_call *o,
			  struct drover_error *e)
{
	struct drover_wait w = DROVER_WAIT_INIT;

	w.port = 80;
	w.timeout_ms = o->timeout_ms;
	w.cancel = o->cancel;
	return drover_vm_wait_for(first_of(c), &w, e);
}

static int call_wait_console(struct drover_cluster *c, const struct drover_call *o,
			     struct drover_error *e)
{
	struct drover_wait w = DROVER_WAIT_INIT;

	w.console = "login:";
	w.timeout_ms = o->timeout_ms;
	w.cancel = o->cancel;
	return drover_vm_wait_for(first_of(c), &w, e);
}

static int call_fork(struct drover_cluster *c, const struct drover_call *o, struct drover_error *e)
{
	struct drover_options options = fake_options();
	struct drover_cluster *copy = NULL;

	options.cancel = o->cancel;
	return drover_cluster_fork(c, "copy", 1, &options, &copy, e);
}

static int call_capture(struct drover_cluster *c, const struct drover_call *o,
			struct drover_error *e)
{
	struct drover_capture *capture = NULL;

	return drover_cluster_capture(c, o, &capture, e);
}

static int call_forward(struct drover_cluster *c, const struct drover_call *o,
			struct drover_error *e)
{
	struct drover_forward f = DROVER_FORWARD_INIT;

	f.port = 80;
	f.cancel = o->cancel;
	return drover_vm_forward(first_of(c), &f, e);
}

static const struct try with_call[] = {
	{"pause", call_pause, LATE},
	{"resume", call_resume, LATE},
	{"kill", call_kill, LATE},
	{"dial", call_dial, LATE},
	{"console", call_console, LATE},
	{"snapshot save", call_save, LATE},
	{"snapshot list", call_points, LATE},
	{"snapshot list by name", call_points_by_name, LATE},
	{"snapshot remove", call_drop, LATE},
	{"capture", call_capture, LATE},
	{"wait for a port", call_wait_port, "port 80 of web-1 was not open in time"},
	{"wait for the console", call_wait_console, "no line of the console of web-1 matched"},
	{"stop", call_stop, LATE},
	{"destroy", call_destroy, LATE},
	{"stop of all", call_stop_all, LATE},
	{"list", call_list, LATE},
	{"open", call_open, LATE},
	{"stats", call_stats, LATE},
	{"stats of a cluster", call_cluster_stats, LATE},
	{"stats of a member", call_vm_stats, LATE},
	{"stop by name", call_stop_by_name, LATE},
	{"remove by name", call_remove_by_name, LATE},
};
static const struct try with_cancel[] = {
	{"reset", call_reset, LATE}, {"forward", call_forward, LATE}, {"fork", call_fork, LATE}};

static pid_t helper_of(int n)
{
	struct drover_member *members = NULL;
	pid_t pid;

	assert_int_equal(drover_list(home, NULL, &members, NULL), n);
	pid = members[0].pid;
	free(members);
	return pid;
}

/* From another thread, while the call is under way: a little later, for a call tells nobody that it has begun. */
static void *cancel_soon(void *arg)
{
	poll(NULL, 0, SHORT_MS);
	drover_cancel_now(arg);
	return NULL;
}

/* On a frozen helper: fails with @code and @why. Another end than the caller's own has another of them. */
static void gives_up(const struct try *t, struct drover_cluster *c, const struct drover_call *o,
		     const char *code, const char *why)
{
	struct drover_error e = {.code = ""};
	int r = t->call(c, o, &e);

	if (r >= 0 || strcmp(e.code, code) != 0 || !strstr(e.sentence, why))
		fail_msg("%s: %d, '%s' instead of '%s': '%s' instead of '%s'", t->what, r, e.code,
			 code, e.sentence, why);
}

static void is_canceled(const struct try *t, struct drover_cluster *c)
{
	struct drover_call o = DROVER_CALL_INIT;
	pthread_t thread;

	o.cancel = drover_cancel_new();
	assert_non_null(o.cancel);
	assert_int_equal(pthread_create(&thread, NULL, cancel_soon, o.cancel), 0);
	gives_up(t, c, &o, "canceled", "canceled");
	assert_int_equal(pthread_join(thread, NULL), 0);
	drover_cancel_free(o.cancel);
}

static void times_out(const struct try *t, struct drover_cluster *c)
{
	struct drover_call o = DROVER_CALL_INIT;

	o.timeout_ms = SHORT_MS;
	gives_up(t, c, &o, "timeout", t->late);
}

/*
 * After each call the helper goes on, and may have done what it was asked: the handles say so, a stop ends what runs, and
 * nothing is left.
 */
static void each(const struct try *tries, size_t n,
		 void (*ends)(const struct try *t, struct drover_cluster *c))
{
	struct drover_options o = fake_options();

	for (size_t i = 0; i < n; i++) {
		struct drover_cluster *c = start_pair(&o);
		pid_t helper = helper_of(2);
		struct drover_member *members = NULL;
		struct drover_error e;

		assert_int_equal(kill(helper, SIGSTOP), 0);
		ends(&tries[i], c);
		assert_int_equal(kill(helper, SIGCONT), 0);
		assert_int_equal(drover_list(home, NULL, &members, NULL),
				 2); /* nothing was removed */
		free(members);
		if (drover_cluster_stop(c, NULL, &e) < 0)
			fail_msg("stop after %s: %s", tries[i].what, e.sentence);
		assert_string_equal(drover_vm_state(first_of(c)), "stopped");
		assert_int_equal(drover_cluster_destroy(c, NULL, &e), 0);
		assert_int_equal(drover_list(home, NULL, &members, NULL), 0);
		free(members);
	}
}

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void test_another_thread_ends_each_call_that_waits_for_a_helper(void **state)
{
	each(with_call, COUNT(with_call), is_canceled);
	each(with_cancel, COUNT(with_cancel), is_canceled);
}

static void test_a_deadline_ends_each_call_that_waits_for_a_helper(void **state)
{
	each(with_call, COUNT(with_call), times_out);
}

/* It was asked of the helper, which does it when it can: the handle tells what is. */
static void test_a_pause_that_was_given_up_is_told_when_it_comes_true(void **state)
{
	struct drover_options o = fake_options();
	struct drover_cluster *c = start_pair(&o);
	struct drover_call limit = DROVER_CALL_INIT;
	pid_t helper = helper_of(2);
	struct drover_error e;

	limit.timeout_ms = 10 * SHORT_MS; /* of a deadline it is known that the call had begun */
	assert_int_equal(kill(helper, SIGSTOP), 0);
	gives_up(&(struct try){"pause", call_pause, LATE}, c, &limit, "timeout", "within 0.5 s");
	assert_int_equal(kill(helper, SIGCONT), 0);
	assert_string_equal(drover_vm_state(first_of(c)), "paused");
	assert_int_equal(drover_vm_resume(first_of(c), NULL, &e), 0);
	assert_int_equal(drover_cluster_destroy(c, NULL, &e), 0);
}

static void test_a_member_whose_helper_does_not_answer_is_unknown_until_it_does(void **state)
{
	struct drover_options o = fake_options();
	struct drover_cluster *c = start_pair(&o);
	pid_t helper = helper_of(2);
	struct drover_error e;

	assert_int_equal(kill(helper, SIGSTOP), 0);
	assert_string_equal(drover_vm_state(first_of(c)), "unknown");
	assert_int_equal(kill(helper, SIGCONT), 0);
	assert_string_equal(drover_vm_state(first_of(c)), "running");
	assert_int_equal(drover_cluster_destroy(c, NULL, &e), 0);
}

static void test_a_destroy_that_is_given_up_cuts_the_power_of_a_bound_cluster(void **state)
{
	struct drover_options o = fake_options();
	struct drover_cluster *c = start_pair(&o);
	struct drover_member *members = NULL;
	struct drover_call limit = DROVER_CALL_INIT;
	pid_t helper = helper_of(2);
	struct drover_error e;

	limit.timeout_ms = SHORT_MS;
	assert_int_equal(kill(helper, SIGSTOP), 0);
	assert_true(drover_cluster_destroy(c, &limit, &e) < 0);
	assert_string_equal(e.code, "timeout");
	assert_true(kill(helper, 0) < 0); /* it has ended, and was reaped */
	assert_int_equal(drover_list(home, NULL, &members, NULL), 2);
	assert_int_equal(members[0].pid, 0);
	assert_string_equal(members[0].state, "stopped");
	free(members);
	assert_int_equal(drover_remove(home, "web-1", NULL, &e), 0);
	assert_int_equal(drover_remove(home, "web-2", NULL, &e), 0);
}

static void test_another_thread_ends_a_start_and_nothing_is_left(void **state)
{
	struct drover_options o = fake_options();
	struct drover_cluster *c = NULL;
	struct drover_member *members = NULL;
	struct drover_error e;
	pthread_t thread;

	o.cancel = drover_cancel_new();
	setenv("DROVER_FAKE_BOOT_MS", "60000", 1);
	assert_int_equal(pthread_create(&thread, NULL, cancel_soon, o.cancel), 0);
	assert_true(drover_cluster_start(pair, 2, &o, &c, &e) < 0);
	unsetenv("DROVER_FAKE_BOOT_MS");
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_string_equal(e.code, "canceled");
	drover_cancel_free(o.cancel);
	assert_int_equal(drover_list(home, NULL, &members, NULL), 0);
	free(members);
}

struct moment {
	struct drover_cancel *cancel;
	long us;
};

static void *cancel_at(void *arg)
{
	const struct moment *m = arg;
	const struct timespec t = {.tv_nsec = m->us * 1000};

	nanosleep(&t, NULL);
	drover_cancel_now(m->cancel);
	return NULL;
}

/* 1: it was canceled; 0: it had started before, and was destroyed. */
static int start_canceled_at(long us)
{
	struct drover_options o = fake_options();
	struct moment m = {drover_cancel_new(), us};
	struct drover_cluster *c = NULL;
	struct drover_member *members = NULL;
	struct drover_error e;
	pthread_t thread;
	int r;

	o.cancel = m.cancel;
	assert_int_equal(pthread_create(&thread, NULL, cancel_at, &m), 0);
	r = drover_cluster_start(pair, 2, &o, &c, &e);
	assert_int_equal(pthread_join(thread, NULL), 0);
	drover_cancel_free(m.cancel);
	if (r < 0)
		assert_string_equal(e.code, "canceled");
	else
		assert_int_equal(drover_cluster_destroy(c, NULL, &e), 0);
	if (drover_list(home, NULL, &members, NULL) != 0)
		fail_msg("canceled after %ld us, %s is left", us, members[0].name);
	free(members);
	return r < 0;
}

static void test_a_start_that_is_canceled_at_any_moment_leaves_nothing(void **state)
{
	int canceled = 0;

	for (long us = 0; us < 20000; us += 400)
		canceled += start_canceled_at(us);
	assert_true(canceled > 0);
}

/* The helper is frozen before it makes the network, and dies a little later: it is the cancel that the start heard of. */
struct freezing {
	struct drover_cancel *cancel;
	pthread_t thread;
	pid_t helper;
};

static void *kill_soon(void *arg)
{
	const struct freezing *f = arg;

	poll(NULL, 0, SHORT_MS);
	kill(f->helper, SIGKILL);
	return NULL;
}

static void on_network(void *arg, const struct drover_progress *p)
{
	struct freezing *f = arg;

	if (strcmp(p->stage, "network") != 0)
		return;
	f->helper = helper_of(2);
	kill(f->helper, SIGSTOP);
	drover_cancel_now(f->cancel);
	pthread_create(&f->thread, NULL, kill_soon, f);
}

static void test_a_start_is_canceled_while_its_network_is_made(void **state)
{
	struct freezing f = {.cancel = drover_cancel_new()};
	struct drover_options o = fake_options();
	struct drover_cluster *c = NULL;
	struct drover_member *members = NULL;
	struct drover_error e;

	o.cancel = f.cancel;
	o.on_progress = on_network;
	o.progress_arg = &f;
	assert_true(drover_cluster_start(pair, 2, &o, &c, &e) < 0);
	assert_true(f.helper > 0);
	assert_int_equal(pthread_join(f.thread, NULL), 0);
	assert_string_equal(e.code, "canceled");
	drover_cancel_free(f.cancel);
	assert_int_equal(drover_list(home, NULL, &members, NULL), 0);
	free(members);
}

/*
 * The helper is frozen at @stage of a start, with the cancel, and stays so: what the start made is taken back within the
 * bound of the header. The limit of this whole program is shorter than what two of them took that heard of no bound.
 */
struct standstill {
	const char *stage;
	struct drover_cancel *cancel;
	pid_t helper;
};

static void on_stage(void *arg, const struct drover_progress *p)
{
	struct standstill *s = arg;

	if (s->helper || strcmp(p->stage, s->stage) != 0)
		return;
	s->helper = helper_of(2);
	kill(s->helper, SIGSTOP);
	drover_cancel_now(s->cancel);
}

static void freeze_at(const char *stage, bool detached)
{
	struct standstill s = {.stage = stage, .cancel = drover_cancel_new()};
	struct drover_options o = fake_options();
	struct drover_cluster *c = NULL;
	struct drover_member *members = NULL;
	struct drover_error e;

	o.detached = detached;
	o.cancel = s.cancel;
	o.on_progress = on_stage;
	o.progress_arg = &s;
	assert_true(drover_cluster_start(pair, 2, &o, &c, &e) < 0);
	assert_string_equal(e.code, "canceled");
	assert_true(kill(s.helper, 0) < 0);
	drover_cancel_free(s.cancel);
	assert_int_equal(drover_list(home, NULL, &members, NULL), 0);
	free(members);
}

static void test_a_start_whose_helper_stands_still_is_taken_back_in_time(void **state)
{
	setenv("DROVER_FAKE_BOOT_MS", "60000", 1);
	freeze_at("start", false);
	freeze_at("prepare", true);
	unsetenv("DROVER_FAKE_BOOT_MS");
}

/* As the program's handler of a signal does it; poll and its kin are interrupted beside it. */
static struct drover_cancel *by_signal;

static void on_alarm(int number)
{
	drover_cancel_now(by_signal);
}

static void test_a_signal_handler_ends_a_call(void **state)
{
	struct drover_options o = fake_options();
	struct drover_cluster *c = start_pair(&o);
	struct sigaction action = {.sa_handler = on_alarm};
	struct drover_call call = DROVER_CALL_INIT;
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
	struct itimerspec soon = {.it_value.tv_nsec = SHORT_MS * 1000000};
	pid_t helper = helper_of(2);
	struct drover_error e;
	timer_t timer;

	by_signal = call.cancel = drover_cancel_new();
	assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
	assert_int_equal(kill(helper, SIGSTOP), 0);
	assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	assert_int_equal(timer_settime(timer, 0, &soon, NULL), 0);
	assert_true(drover_vm_pause(first_of(c), &call, &e) < 0);
	assert_string_equal(e.code, "canceled");
	assert_int_equal(kill(helper, SIGCONT), 0);
	timer_delete(timer);
	signal(SIGALRM, SIG_DFL);
	drover_cancel_free(call.cancel);
	assert_int_equal(drover_cluster_destroy(c, NULL, &e), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HOME_TEST(test_another_thread_ends_each_call_that_waits_for_a_helper),
		HOME_TEST(test_a_deadline_ends_each_call_that_waits_for_a_helper),
		HOME_TEST(test_a_pause_that_was_given_up_is_told_when_it_comes_true),
		HOME_TEST(test_a_member_whose_helper_does_not_answer_is_unknown_until_it_does),
		HOME_TEST(test_a_destroy_that_is_given_up_cuts_the_power_of_a_bound_cluster),
		HOME_TEST(test_another_thread_ends_a_start_and_nothing_is_left),
		HOME_TEST(test_a_start_that_is_canceled_at_any_moment_leaves_nothing),
		HOME_TEST(test_a_start_is_canceled_while_its_network_is_made),
		HOME_TEST(test_a_start_whose_helper_stands_still_is_taken_back_in_time),
		HOME_TEST(test_a_signal_handler_ends_a_call),
	};

	return RUN_HOME_TESTS(tests);
}
