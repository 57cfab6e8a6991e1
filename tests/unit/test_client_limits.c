/* SPDX-License-Identifier: MIT */
/*
 * Calls of libdrover that may last and wait for no helper of a cluster: programs that do not answer, a server that sends
 * nothing, what is nobody's. The caller's cancel and the caller's deadline end them.
 */
#include "client_home.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { SOON_MS = 50 };

static void *cancel_soon(void *arg)
{
	poll(NULL, 0, SOON_MS);
	drover_cancel_now(arg);
	return NULL;
}

struct
try {
	int (*call)(const struct drover_call *o, const char *what, struct drover_error *e);
	const char *what;
};

/* Neither would end by itself within this test's time. */
static void is_given_up(const struct try *t)
{
	struct drover_call o = DROVER_CALL_INIT;
	struct drover_error e = {.code = ""};
	pthread_t thread;

	o.timeout_ms = SOON_MS;
	assert_true(t->call(&o, t->what, &e) < 0);
	assert_string_equal(e.code, "timeout");
	assert_non_null(strstr(e.sentence, "0.05 s"));
	o.timeout_ms = 0;
	o.cancel = drover_cancel_new();
	assert_int_equal(pthread_create(&thread, NULL, cancel_soon, o.cancel), 0);
	assert_true(t->call(&o, t->what, &e) < 0);
	assert_string_equal(e.code, "canceled");
	assert_int_equal(pthread_join(thread, NULL), 0);
	drover_cancel_free(o.cancel);
}

static int call_doctor(const struct drover_call *o, const char *what, struct drover_error *e)
{
	struct drover_check *checks = NULL;

	return drover_doctor(home, o, &checks, e);
}

/* A program that never answers stands for the helper, which is asked first. */
static void test_doctor_is_given_up(void **state)
{
	char *before = strdup(getenv("DROVER_HELPER"));
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/helper", home);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs("#!/bin/sh\nexec sleep 600\n", f);
	fclose(f);
	assert_int_equal(chmod(path, 0700), 0);
	setenv("DROVER_HELPER", path, 1);
	is_given_up(&(struct try){call_doctor, NULL});
	setenv("DROVER_HELPER", before, 1);
	free(before);
}

static struct drover_options options_of(const struct drover_call *call)
{
	struct drover_options o = DROVER_OPTIONS_INIT;

	o.home = home;
	o.timeout_ms = call->timeout_ms;
	o.cancel = call->cancel;
	return o;
}

static void test_a_path_is_of_a_name(void **state)
{
	char *dir = drover_path(home, "web-1", DROVER_PATH_DIR);
	char *key = drover_path(home, NULL, DROVER_PATH_KEY);

	assert_non_null(dir);
	assert_non_null(key);
	assert_null(drover_path(home, "../x", DROVER_PATH_DIR));
	assert_null(drover_path(home, "", DROVER_PATH_SOCKET));
	free(dir);
	free(key);
}

static void test_an_empty_home_is_none(void **state)
{
	char *with;
	char *without;

	setenv("DROVER_HOME", home, 1);
	with = drover_path(home, "web-1", DROVER_PATH_DIR);
	without = drover_path("", "web-1", DROVER_PATH_DIR);
	unsetenv("DROVER_HOME");
	assert_non_null(with);
	assert_non_null(without);
	assert_string_equal(without, with);
	free(with);
	free(without);
}

/* As soon as the wait begins: however late the other thread is, the network is not there yet. */
static void on_start(void *arg, const struct drover_progress *p)
{
	if (arg && strcmp(p->stage, "network") == 0)
		drover_cancel_now(arg);
}

static int call_start(const struct drover_call *call, const char *what, struct drover_error *e)
{
	struct drover_options o = options_of(call);
	const char *const names[] = {what};
	struct drover_cluster *c = NULL;

	o.backend = "fake";
	o.on_progress = on_start;
	o.progress_arg = call->cancel;
	return drover_cluster_start(names, 1, &o, &c, e);
}

static void test_a_start_is_given_up_while_it_waits_for_the_network(void **state)
{
	setenv("DROVER_FAKE_NETWORK_MS", "1000", 1);
	is_given_up(&(struct try){call_start, "web"});
	unsetenv("DROVER_FAKE_NETWORK_MS");
}

/*
 * This program in the helper's place: it never says that it is ready, or it does, and never answers who binds it. It ends with
 * the client.
 */
static int play_helper(const char *how)
{
	char *path = drover_path(getenv("DROVER_HOME"), "web", DROVER_PATH_SOCKET);
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (strcmp(how, "bound") == 0) {
		snprintf(a.sun_path, sizeof(a.sun_path), "%.*s.ctl",
			 (int)(strlen(path) - strlen(".sock")), path);
		unlink(a.sun_path);
		if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 1) < 0 ||
		    write(3, "ready\n", 6) != 6)
			return 1;
	}
	for (;;)
		pause();
}

static void is_given_up_while(const char *how)
{
	char *before = strdup(getenv("DROVER_HELPER"));

	setenv("PLAY_HELPER", how, 1);
	setenv("DROVER_HELPER", "/proc/self/exe", 1);
	is_given_up(&(struct try){call_start, "web"});
	setenv("DROVER_HELPER", before, 1);
	unsetenv("PLAY_HELPER");
	free(before);
}

static void test_a_start_is_given_up_while_its_helper_does_not_get_ready(void **state)
{
	is_given_up_while("started");
}

static void test_a_start_is_given_up_while_its_helper_does_not_answer_the_bind(void **state)
{
	is_given_up_while("bound");
}

static int call_get(const struct drover_call *call, const char *what, struct drover_error *e)
{
	struct drover_options o = options_of(call);

	return drover_image_get(what, &o, e);
}

static int call_import(const struct drover_call *call, const char *what, struct drover_error *e)
{
	struct drover_options o = options_of(call);

	return drover_image_import(what, "mine", NULL, &o, e);
}

/* It takes connections, as far as the kernel does that, and never a word. */
static int listen_silently(char *url, size_t size)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 16), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	snprintf(url, size, "http://127.0.0.1:%d/disk.qcow2", ntohs(a.sin_port));
	return fd;
}

static void test_a_download_is_given_up(void **state)
{
	char cache[128];
	char url[64];
	int fd = listen_silently(url, sizeof(url));

	snprintf(cache, sizeof(cache), "%s/images", home);
	setenv("DROVER_IMAGE_CACHE", cache, 1);
	unsetenv("http_proxy");
	is_given_up(&(struct try){call_get, url});
	is_given_up(&(struct try){call_import, url});
	unsetenv("DROVER_IMAGE_CACHE");
	close(fd);
}

/* Both are over before a call could be interrupted, so they are given up from the beginning. */
static void test_a_prune_that_is_given_up_has_removed_nothing(void **state)
{
	struct drover_call o = DROVER_CALL_INIT;
	struct drover_thing *things = NULL;
	struct drover_error e;
	char path[128];

	assert_true(drover_audit(home, NULL, &things, &e) >= 0); /* which makes the directories */
	free(things);
	snprintf(path, sizeof(path), "%s/run/0123456789abcdef.sock", home);
	fclose(fopen(path, "w"));
	o.cancel = drover_cancel_new();
	drover_cancel_now(o.cancel);
	assert_true(drover_audit(home, &o, &things, &e) < 0);
	assert_string_equal(e.code, "canceled");
	assert_true(drover_prune(home, &o, &e) < 0);
	assert_string_equal(e.code, "canceled");
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(drover_prune(home, NULL, &e), 0);
	assert_true(access(path, F_OK) < 0);
	drover_cancel_free(o.cancel);
}

/* What is not set in the next call's frame is not by chance 0. */
static __attribute__((noinline)) void soil_stack(void)
{
	volatile char frame[16384];

	for (size_t i = 0; i < sizeof(frame); i++)
		frame[i] = 0x5a;
}

static void test_options_that_nobody_initialised_are_refused(void **state)
{
	struct drover_options o = fake_options();
	struct drover_cluster *c = start_pair(&o);
	struct drover_vm *vm = drover_cluster_vm(c, 0);
	struct {
		struct drover_call call;
		int64_t newer;
	} larger = {.call.size = sizeof(larger)};
	struct drover_call call = {.size = 0};
	struct drover_error e;

	assert_true(drover_vm_pause(vm, &call, &e) < 0);
	assert_string_equal(e.code, "invalid_argument");
	assert_non_null(strstr(e.sentence, "DROVER_CALL_INIT"));
	memset(&call, 0x5a, sizeof(call));
	assert_true(drover_vm_pause(vm, &call, &e) < 0);
	assert_string_equal(e.code, "invalid_argument");
	memset(&o, 0x5a, sizeof(o));
	soil_stack();
	assert_true(drover_cluster_add(c, (const char *const[]){"web-3"}, 1, &o, &e) < 0);
	assert_string_equal(e.code, "invalid_argument");
	soil_stack();
	assert_true(drover_cluster_start((const char *const[]){"web-3"}, 1, &o, &c, &e) < 0);
	assert_string_equal(e.code, "invalid_argument");
	/* of a program that was built with a newer header: what it does not use is no matter */
	assert_int_equal(drover_vm_pause(vm, &larger.call, &e), 0);
	larger.newer = 1;
	assert_true(drover_vm_resume(vm, &larger.call, &e) < 0);
	assert_string_equal(e.code, "unsupported");
	/* and of one with an older header */
	call = (struct drover_call){.size = sizeof(size_t)};
	assert_int_equal(drover_vm_resume(vm, &call, &e), 0);
	assert_int_equal(drover_cluster_destroy(c, NULL, &e), 0);
}

/* Its options are those of a start, and taken by the same rules. */
static void test_a_fork_refuses_options_that_it_does_not_know(void **state)
{
	struct drover_options o = fake_options();
	struct drover_cluster *c = start_pair(&o);
	struct drover_cluster *copy = NULL;
	struct {
		struct drover_options options;
		int64_t newer;
	} larger = {.options.size = sizeof(larger), .newer = 1};
	struct drover_error e;

	assert_true(drover_cluster_fork(c, "copy", 1, &larger.options, &copy, &e) < 0);
	assert_string_equal(e.code, "unsupported");
	assert_non_null(strstr(e.sentence, "does not know"));
	memset(&o, 0x5a, sizeof(o));
	assert_true(drover_cluster_fork(c, "copy", 1, &o, &copy, &e) < 0);
	assert_string_equal(e.code, "invalid_argument");
	assert_int_equal(drover_cluster_destroy(c, NULL, &e), 0);
}

static struct drover_cluster *running;

static int call_capture(const struct drover_call *call, const char *what, struct drover_error *e)
{
	struct drover_capture *capture = NULL;

	return drover_cluster_capture(running, call, &capture, e);
}

static int call_capture_import(const struct drover_call *call, const char *what,
			       struct drover_error *e)
{
	struct drover_capture *capture = NULL;

	return drover_capture_import(home, STDIN_FILENO, call, &capture, e);
}

/* One capture is made at a time, and that of a large cluster takes minutes. */
static void test_the_wait_for_another_capture_is_given_up(void **state)
{
	struct drover_options o = fake_options();
	struct drover_error e;
	char path[128];
	int lock;

	running = start_pair(&o);
	snprintf(path, sizeof(path), "%s/captures", home);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/captures/.lock", home);
	lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(lock >= 0);
	assert_int_equal(flock(lock, LOCK_EX), 0);
	is_given_up(&(struct try){call_capture, NULL});
	is_given_up(&(struct try){call_capture_import, NULL});
	close(lock);
	assert_int_equal(drover_cluster_destroy(running, NULL, &e), 0);
}

static void is_canceled(int r, const struct drover_error *e)
{
	assert_int_equal(r, -ECANCELED);
	assert_string_equal(e->code, "canceled");
}

/* Each would leave a trace; a destroy frees the handle all the same. */
static void test_a_call_that_is_canceled_before_it_begins_asks_for_nothing(void **state)
{
	struct drover_options o = fake_options();
	struct drover_cluster *c = start_pair(&o);
	struct drover_vm *vm = drover_cluster_vm(c, 0);
	struct drover_call call = DROVER_CALL_INIT;
	struct drover_reset reset = DROVER_RESET_INIT;
	struct drover_point *points = NULL;
	struct drover_error e;

	call.cancel = reset.cancel = drover_cancel_new();
	drover_cancel_now(call.cancel);
	for (int i = 0; i < 20; i++) { /* each may have been quicker than its cancel */
		is_canceled(drover_vm_pause(vm, &call, &e), &e);
		assert_string_equal(drover_vm_state(vm), "running");
		is_canceled(drover_cluster_snapshot_save(c, "clean", &call, &e), &e);
		assert_int_equal(drover_cluster_snapshot_list(c, NULL, &points, &e), 0);
		free(points);
		is_canceled(drover_cluster_reset(c, &reset, &e), &e);
	}
	is_canceled(drover_cluster_destroy(c, &call, &e), &e);
	drover_cancel_free(call.cancel);
	assert_int_equal(drover_remove(home, "web-1", NULL, &e), 0);
	assert_int_equal(drover_remove(home, "web-2", NULL, &e), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HOME_TEST(test_doctor_is_given_up),
		HOME_TEST(test_a_path_is_of_a_name),
		HOME_TEST(test_an_empty_home_is_none),
		HOME_TEST(test_a_start_is_given_up_while_it_waits_for_the_network),
		HOME_TEST(test_a_start_is_given_up_while_its_helper_does_not_get_ready),
		HOME_TEST(test_a_start_is_given_up_while_its_helper_does_not_answer_the_bind),
		HOME_TEST(test_a_download_is_given_up),
		HOME_TEST(test_a_prune_that_is_given_up_has_removed_nothing),
		HOME_TEST(test_options_that_nobody_initialised_are_refused),
		HOME_TEST(test_a_fork_refuses_options_that_it_does_not_know),
		HOME_TEST(test_a_call_that_is_canceled_before_it_begins_asks_for_nothing),
		HOME_TEST(test_the_wait_for_another_capture_is_given_up),
	};

	if (getenv("PLAY_HELPER"))
		return play_helper(getenv("PLAY_HELPER"));
	return RUN_HOME_TESTS(tests);
}
