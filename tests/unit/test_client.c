/* SPDX-License-Identifier: MIT */
/* libdrover in front of a real helper that runs the fake backend. */
#include "client_home.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int count_members(int *ret_running)
{
	struct drover_member *members = NULL;
	struct drover_error e = {.sentence = ""};
	int n = drover_list(home, NULL, &members, &e);

	*ret_running = 0;
	for (int i = 0; i < n; i++)
		*ret_running += members[i].pid != 0;
	free(members);
	return n;
}

/* The life of @name's helper, which runs: poll tells its end. */
static struct pollfd helper_of(const char *name)
{
	struct pollfd life = {.fd = -1, .events = POLLIN};
	struct drover_member *members = NULL;
	struct drover_error e;
	int n = drover_list(home, NULL, &members, &e);

	for (int i = 0; i < n; i++)
		if (strcmp(members[i].name, name) == 0)
			life.fd = (int)syscall(SYS_pidfd_open, members[i].pid, 0);
	free(members);
	assert_true(life.fd >= 0);
	return life;
}

static void test_a_cluster_starts_is_listed_and_is_destroyed(void **state)
{
	struct drover_options o = fake_options();
	struct drover_cluster *c = start_pair(&o);
	struct drover_error e;
	int running;

	assert_int_equal(drover_cluster_size(c), 2);
	assert_string_equal(drover_vm_name(drover_cluster_vm(c, 1)), "web-2");
	assert_non_null(strstr(drover_vm_address(drover_cluster_vm(c, 0)), "203.0.113."));
	assert_string_equal(drover_vm_state(drover_cluster_vm(c, 0)), "running");
	assert_int_equal(count_members(&running), 2);
	assert_int_equal(running, 2);
	assert_int_equal(drover_cluster_destroy(c, NULL, &e), 0);
	assert_int_equal(count_members(&running), 0);
}

static void test_a_stopped_cluster_keeps_its_members(void **state)
{
	struct drover_options o = fake_options();
	struct drover_cluster *c = start_pair(&o);
	struct drover_error e;
	int running;

	assert_int_equal(drover_cluster_stop(c, NULL, &e), 0);
	assert_string_equal(drover_vm_state(drover_cluster_vm(c, 0)), "stopped");
	drover_cluster_close(c);
	assert_int_equal(count_members(&running), 2);
	assert_int_equal(running, 0);
	c = start_pair(&o); /* and they boot again */
	assert_int_equal(drover_cluster_destroy(c, NULL, &e), 0);
}

static void test_a_running_member_is_not_started_twice(void **state)
{
	struct drover_options o = fake_options();
	struct drover_cluster *c = start_pair(&o);
	struct drover_cluster *second = NULL;
	struct drover_error e;

	assert_true(drover_cluster_start(pair, 1, &o, &second, &e) < 0);
	assert_string_equal(e.code, "already_running");
	assert_null(second);
	assert_int_equal(drover_cluster_destroy(c, NULL, &e), 0);
}

static void test_a_detached_cluster_outlives_its_handle(void **state)
{
	struct drover_options o = fake_options();
	struct drover_cluster *c;
	struct drover_error e;
	struct pollfd helper;
	int running;

	o.detached = true;
	drover_cluster_close(start_pair(&o));
	assert_int_equal(count_members(&running), 2);
	assert_int_equal(running, 2);
	assert_int_equal(drover_cluster_open(home, "web-2", NULL, &c, &e), 0);
	assert_int_equal(drover_cluster_size(c), 2);
	assert_non_null(strstr(drover_vm_address(drover_cluster_find(c, "web-1")), "203.0.113."));
	helper = helper_of("web-2");
	assert_int_equal(drover_cluster_destroy(c, NULL, &e), 0);
	assert_int_equal(poll(&helper, 1, 0), 1); /* it has ended too */
	close(helper.fd);
	assert_int_equal(count_members(&running), 0);
}

static void test_a_member_joins_a_running_cluster(void **state)
{
	static const char *const name[] = {"web-3"};
	struct drover_options o = fake_options();
	struct drover_cluster *c = start_pair(&o);
	struct drover_vm *third;
	struct drover_error e = {.sentence = ""};
	int running;

	if (drover_cluster_add(c, name, 1, &o, &e) < 0)
		print_error("add: %s\n", e.sentence);
	third = drover_cluster_find(c, "web-3");
	assert_non_null(third);
	assert_string_equal(drover_vm_state(third), "running");
	assert_int_equal(drover_vm_pause(third, NULL, &e), 0);
	assert_string_equal(drover_vm_state(third), "paused");
	assert_int_equal(drover_vm_resume(third, NULL, &e), 0);
	assert_int_equal(drover_vm_stop(third, NULL, &e), 0);
	assert_int_equal(drover_cluster_add(c, name, 1, &o, &e), 0);
	assert_ptr_equal(drover_cluster_find(c, "web-3"), third); /* in the handle once */
	assert_int_equal(drover_cluster_size(c), 3);
	assert_int_equal(drover_vm_destroy(third, NULL, &e), 0);
	assert_int_equal(drover_vm_destroy(third, NULL, &e), 0);
	assert_int_equal(count_members(&running), 2);
	assert_int_equal(drover_stop(home, "web-2", NULL, &e), 0);
	assert_int_equal(drover_remove(home, "web-2", NULL, &e), 0);
	assert_true(drover_remove(home, "web-2", NULL, &e) < 0);
	assert_string_equal(e.code, "not_found");
	assert_int_equal(drover_cluster_destroy(c, NULL, &e), 0);
}

static void test_a_dialed_port_carries_bytes(void **state)
{
	struct drover_options o = fake_options();
	struct drover_cluster *c = start_pair(&o);
	struct drover_error e;
	char echo[5] = "";
	int fd = drover_vm_dial(drover_cluster_vm(c, 0), 80, NULL, &e);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "ping", 4), 4);
	assert_int_equal(read(fd, echo, 4), 4);
	assert_string_equal(echo, "ping");
	close(fd);
	assert_int_equal(drover_cluster_destroy(c, NULL, &e), 0);
}

static void test_a_failed_start_leaves_nothing(void **state)
{
	struct drover_options o = fake_options();
	struct drover_cluster *c = NULL;
	struct drover_error e;
	int running;

	setenv("DROVER_FAKE_FAIL_CREATE", "web-2", 1);
	assert_true(drover_cluster_start(pair, 2, &o, &c, &e) < 0);
	unsetenv("DROVER_FAKE_FAIL_CREATE");
	assert_string_equal(e.code, "boot_failed");
	assert_int_equal(count_members(&running), 0);
}

static void test_a_canceled_start_leaves_nothing(void **state)
{
	struct drover_options o = fake_options();
	struct drover_cluster *c = NULL;
	struct drover_error e;
	int running;

	o.cancel = drover_cancel_new();
	drover_cancel_now(o.cancel);
	setenv("DROVER_FAKE_BOOT_MS", "60000", 1);
	assert_true(drover_cluster_start(pair, 2, &o, &c, &e) < 0);
	unsetenv("DROVER_FAKE_BOOT_MS");
	assert_string_equal(e.code, "canceled");
	drover_cancel_free(o.cancel);
	assert_int_equal(count_members(&running), 0);
}

static void test_a_bound_cluster_dies_with_its_client(void **state)
{
	struct drover_options o = fake_options();
	struct drover_member *members = NULL;
	struct drover_error e;
	struct pollfd p = {.events = POLLIN};
	int pair_of_pipes[2];
	int running;
	char byte;
	pid_t child;

	assert_int_equal(pipe(pair_of_pipes), 0);
	child = fork();
	if (child == 0) {
		start_pair(&o);
		(void)!write(pair_of_pipes[1], "x", 1);
		pause();
		_exit(0);
	}
	assert_int_equal(read(pair_of_pipes[0], &byte, 1), 1);
	assert_int_equal(drover_list(home, NULL, &members, &e), 2);
	p.fd = (int)syscall(SYS_pidfd_open, members[0].pid, 0);
	assert_true(p.fd >= 0);
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_int_equal(poll(&p, 1, 10000), 1); /* the helper is gone */
	assert_int_equal(count_members(&running), 2);
	assert_int_equal(running, 0);
	assert_int_equal(drover_remove(home, "web-1", NULL, &e), 0);
	assert_int_equal(drover_remove(home, "web-2", NULL, &e), 0);
	free(members);
	close(p.fd);
	close(pair_of_pipes[0]);
	close(pair_of_pipes[1]);
}

static void expect_ended(struct drover_cluster *c, drover_progress_fn *on_progress, void *arg)
{
	struct drover_options o = fake_options();
	struct drover_error e = {.sentence = ""};

	o.on_progress = on_progress;
	o.progress_arg = arg;
	assert_true(drover_cluster_add(c, (const char *const[]){"web-3"}, 1, &o, &e) < 0);
	assert_string_equal(e.sentence, "the cluster is not running any more");
	assert_string_equal(e.code, "not_running");
}

/* It is one process where the backend is fake. */
static void kill_helper(void)
{
	struct pollfd life = helper_of("web-1");

	assert_int_equal(syscall(SYS_pidfd_send_signal, life.fd, SIGKILL, NULL, 0), 0);
	assert_int_equal(poll(&life, 1, 60000), 1);
	close(life.fd);
}

static void kill_at_first_event(void *arg, const struct drover_progress *p)
{
	bool *killed = arg;

	if (!*killed)
		kill_helper();
	*killed = true;
}

static void test_no_member_joins_a_cluster_that_has_ended(void **state)
{
	struct drover_options o = fake_options();
	struct drover_cluster *c = start_pair(&o);
	struct drover_cluster *opened = NULL;
	struct drover_member *members = NULL;
	struct drover_error e;
	bool killed = false;

	assert_int_equal(drover_cluster_open(home, "web-1", NULL, &opened, &e), 0);
	assert_int_equal(drover_cluster_stop(c, NULL, &e), 0);
	expect_ended(c, NULL, NULL);
	expect_ended(opened, NULL, NULL);
	drover_cluster_close(opened);
	assert_int_equal(drover_cluster_destroy(c, NULL, &e), 0);
	c = start_pair(&o);
	assert_int_equal(drover_cluster_open(home, "web-1", NULL, &opened, &e), 0);
	expect_ended(c, kill_at_first_event, &killed);
	assert_true(killed);
	expect_ended(c, NULL, NULL);
	expect_ended(opened, NULL, NULL);
	assert_int_equal(drover_list(home, NULL, &members, NULL), 2); /* none was made */
	free(members);
	drover_cluster_close(opened);
	assert_int_equal(drover_cluster_destroy(c, NULL, &e), 0);
}

static void test_more_members_than_a_network_has_addresses_are_refused_at_once(void **state)
{
	static char texts[254][8];
	const char *names[254];
	struct drover_options o = fake_options();
	struct drover_cluster *c = NULL;
	struct drover_member *members = NULL;
	struct drover_error e;

	for (size_t i = 0; i < 254; i++) {
		snprintf(texts[i], sizeof(texts[i]), "m-%zu", i + 1);
		names[i] = texts[i];
	}
	o.backend = "qemu";
	o.image = "/nowhere/at-all"; /* it is not looked for by then */
	assert_int_equal(drover_cluster_start(names, 254, &o, &c, &e), -EADDRNOTAVAIL);
	assert_string_equal(e.code, "no_free_address");
	assert_null(c);
	assert_int_equal(drover_cluster_start(names, 253, &o, &c, &e), -ENOENT);
	assert_string_equal(e.code, "not_found");
	assert_int_equal(drover_list(home, NULL, &members, NULL), 0);
	free(members);
}

static void test_more_cpus_than_a_member_can_have_are_refused_at_once(void **state)
{
	const char *names[] = {"m"};
	struct drover_options o = fake_options();
	struct drover_cluster *c = NULL;
	struct drover_error e;

	o.backend = "qemu";
	o.image = "/nowhere/at-all";
	o.cpus = 256;
	assert_int_equal(drover_cluster_start(names, 1, &o, &c, &e), -EINVAL);
	assert_string_equal(e.sentence, "256 CPUs: a member has at most 255");
	assert_non_null(strstr(e.hint, "this host has"));
	o.cpus = 255;
	assert_int_equal(drover_cluster_start(names, 1, &o, &c, &e), -ENOENT);
}

static void test_more_copies_than_there_can_be_are_refused_at_once(void **state)
{
	static struct drover_cluster *copies[1001];
	struct drover_options o = fake_options();
	struct drover_cluster *c = start_pair(&o);
	struct drover_error e;

	assert_int_equal(drover_cluster_fork(c, "copy", 1001, NULL, copies, &e), -EINVAL);
	assert_string_equal(e.sentence, "1001 forks: 1 to 1000 are possible at once");
	assert_int_equal(drover_cluster_fork(c, "copy", 0, NULL, copies, &e), -EINVAL);
	assert_string_equal(e.sentence, "0 forks: 1 to 1000 are possible at once");
	assert_int_equal(drover_cluster_destroy(c, NULL, &e), 0);
}

static void test_bad_arguments_are_named(void **state)
{
	struct drover_options o = fake_options();
	struct drover_cluster *c = NULL;
	struct drover_error e;
	const char *bad = "Web_1";
	const char *twice[] = {"a", "a"};

	assert_true(drover_cluster_start(&bad, 1, &o, &c, &e) < 0);
	assert_string_equal(e.code, "invalid_name");
	assert_true(drover_cluster_start(twice, 2, &o, &c, &e) < 0);
	assert_string_equal(e.code, "invalid_argument");
	assert_true(drover_cluster_start(NULL, 0, &o, &c, &e) < 0);
	o.backend = "nonsense";
	assert_true(drover_cluster_start(pair, 2, &o, &c, &e) < 0);
	assert_string_equal(e.code, "invalid_argument");
	assert_true(drover_cluster_open(home, "nobody", NULL, &c, &e) < 0);
	assert_string_equal(e.code, "not_found");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HOME_TEST(test_a_cluster_starts_is_listed_and_is_destroyed),
		HOME_TEST(test_a_stopped_cluster_keeps_its_members),
		HOME_TEST(test_a_running_member_is_not_started_twice),
		HOME_TEST(test_a_detached_cluster_outlives_its_handle),
		HOME_TEST(test_a_member_joins_a_running_cluster),
		HOME_TEST(test_a_dialed_port_carries_bytes),
		HOME_TEST(test_a_failed_start_leaves_nothing),
		HOME_TEST(test_a_canceled_start_leaves_nothing),
		HOME_TEST(test_a_bound_cluster_dies_with_its_client),
		HOME_TEST(test_no_member_joins_a_cluster_that_has_ended),
		HOME_TEST(test_more_members_than_a_network_has_addresses_are_refused_at_once),
		HOME_TEST(test_more_cpus_than_a_member_can_have_are_refused_at_once),
		HOME_TEST(test_more_copies_than_there_can_be_are_refused_at_once),
		HOME_TEST(test_bad_arguments_are_named),
	};

	return RUN_HOME_TESTS(tests);
}
