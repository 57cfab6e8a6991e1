/* SPDX-License-Identifier: MIT */
/* Events, figures and waits of libdrover, in front of a real helper that runs the fake backend. */
#include "client_home.h"

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SHORT_MS = 50 };

static struct drover_cluster *start(const char *const names[], size_t n)
{
	struct drover_options o = fake_options();

	return start_with(names, n, &o);
}

static const char *const other[] = {"db"};

/* What was heard, as "member kind state;", and what to do at which of it. */
struct heard {
	char text[2048];
	const char *at; /* when this is heard: act */
	void (*act)(void);
	const char *enough;
	int answer;
};

static int on_event(void *arg, const struct drover_event *ev)
{
	struct heard *h = arg;
	char one[256];

	assert_true(ev->time_ms > 1700000000000);
	snprintf(one, sizeof(one), "%s %s %s;", ev->member, ev->kind, ev->state);
	assert_true(strlen(h->text) + strlen(one) < sizeof(h->text));
	memcpy(h->text + strlen(h->text), one, strlen(one) + 1);
	if (h->at && !strcmp(one, h->at)) {
		h->at = NULL;
		h->act();
	}
	return h->enough && !strcmp(one, h->enough) ? h->answer : 0;
}

static struct drover_watch watch_for(struct heard *h)
{
	struct drover_watch w = DROVER_WATCH_INIT;

	w.on_event = on_event;
	w.arg = h;
	w.timeout_ms = HOME_DEADLINE_MS;
	return w;
}

static void stop_second(void)
{
	assert_int_equal(drover_stop(home, "web-2", NULL, NULL), 0);
}

static void kill_helper(void)
{
	struct drover_member *members = NULL;

	assert_int_equal(drover_list(home, NULL, &members, NULL), 2);
	assert_int_equal(kill(members[0].pid, SIGKILL), 0);
	free(members);
}

static struct drover_cluster *started;

static void start_other(void)
{
	started = start(other, 1);
}

static void test_a_cluster_tells_who_runs_and_who_stops(void **state)
{
	struct drover_cluster *c = start(pair, 2);
	struct heard h = {.at = "web-2 state running;",
			  .act = stop_second,
			  .enough = "web-2 gone ;",
			  .answer = 1};
	struct drover_watch w = watch_for(&h);
	struct drover_error e;

	assert_int_equal(drover_cluster_events(c, &w, &e), 1);
	assert_string_equal(h.text, "web-1 state running;web-2 state running;web-2 state stopping;"
				    "web-2 state stopped;web-2 gone ;");
	assert_int_equal(drover_cluster_destroy(c, NULL, &e), 0);
}

static void test_a_killed_helper_ends_the_events_with_each_member_gone(void **state)
{
	struct drover_cluster *c = start(pair, 2);
	struct heard h = {.at = "web-2 state running;", .act = kill_helper};
	struct drover_watch w = watch_for(&h);
	struct drover_error e;

	assert_int_equal(drover_cluster_events(c, &w, &e), 0);
	assert_non_null(strstr(h.text, "web-1 gone ;"));
	assert_non_null(strstr(h.text, "web-2 gone ;"));
	assert_int_equal(drover_cluster_events(c, &w, &e), 0);
	drover_cluster_destroy(c, NULL, &e);
}

/* --- A helper that is played --- */

static struct played {
	int listeners[2];
	const char *
		answer; /* to whoever asks; closing it with the request unread resets the connection */
	int stop[2];
} played;

static void *play(void *arg)
{
	struct pollfd p[3] = {{.fd = played.listeners[0], .events = POLLIN},
			      {.fd = played.listeners[1], .events = POLLIN},
			      {.fd = played.stop[0], .events = POLLIN}};

	while (poll(p, 3, -1) > 0 && !p[2].revents)
		for (int i = 0; i < 2; i++) {
			int fd = p[i].revents ? accept(p[i].fd, NULL, NULL) : -1;
			struct pollfd request = {.fd = fd, .events = POLLIN};

			if (fd < 0)
				continue;
			poll(&request, 1, HOME_DEADLINE_MS);
			send(fd, played.answer, strlen(played.answer), MSG_NOSIGNAL);
			close(fd);
		}
	return NULL;
}

/* Puts a socket of ours where the real one was, which is kept beside it; or takes it away again. */
static void replace_socket(const char *dir, const char *name, int *listener)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	char kept[sizeof(a.sun_path)];

	snprintf(a.sun_path, sizeof(a.sun_path), "%.70s/%.30s", dir, name);
	snprintf(kept, sizeof(kept), "%.100s.kept", a.sun_path);
	if (*listener >= 0) {
		close(*listener);
		assert_int_equal(rename(kept, a.sun_path), 0);
		return;
	}
	assert_int_equal(rename(a.sun_path, kept), 0);
	*listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(*listener, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(*listener, 8), 0);
}

static int is_socket(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name);

	return len > 5 && strcmp(entry->d_name + len - 5, ".sock") == 0;
}

static void replace_sockets(void)
{
	struct dirent **entries = NULL;
	char dir[80];
	int n;

	snprintf(dir, sizeof(dir), "%s/run", home);
	n = scandir(dir, &entries, is_socket, alphasort);
	assert_int_equal(n, 2);
	for (int i = 0; i < n; i++) {
		replace_socket(dir, entries[i]->d_name, &played.listeners[i]);
		free(entries[i]);
	}
	free(entries);
}

/* What drover_cluster_events says of a helper that lives and answers so. */
static int events_of_one_that_answers(const char *answer, struct drover_error *e)
{
	struct drover_cluster *c = start(pair, 2);
	struct heard h = {.text = ""};
	struct drover_watch w = watch_for(&h);
	struct drover_error ignored;
	pthread_t thread;
	int r;

	played = (struct played){.listeners = {-1, -1}, .answer = answer};
	assert_int_equal(pipe(played.stop), 0);
	replace_sockets();
	assert_int_equal(pthread_create(&thread, NULL, play, NULL), 0);
	r = drover_cluster_events(c, &w, e);
	assert_int_equal(write(played.stop[1], "", 1), 1);
	pthread_join(thread, NULL);
	close(played.stop[0]);
	close(played.stop[1]);
	replace_sockets();
	assert_int_equal(drover_cluster_destroy(c, NULL, &ignored), 0);
	return r;
}

static void test_a_helper_that_knows_no_watch_is_told_of(void **state)
{
	struct drover_error e;

	assert_true(events_of_one_that_answers("{\"error\":\"unknown command\"}\n", &e) < 0);
	assert_string_equal(e.code, "unsupported");
}

/* A process that was killed closes its sockets a while before it is gone: it lives still when they have ended. */
static void test_a_connection_that_ends_without_a_word_ends_the_events(void **state)
{
	struct drover_error e;

	assert_int_equal(events_of_one_that_answers("", &e), 0);
}

static void test_a_store_tells_members_at_rest_and_clusters_that_start(void **state)
{
	struct drover_cluster *c = start(pair, 2);
	struct heard h = {.at = "web-2 state stopped;",
			  .act = start_other,
			  .enough = "db state running;",
			  .answer = 1};
	struct drover_watch w = watch_for(&h);
	struct drover_error e;

	assert_int_equal(drover_stop(home, "web-2", NULL, &e), 0);
	assert_int_equal(drover_events(home, &w, &e), 1);
	assert_true(h.text == strstr(h.text, "web-1 state running;web-2 state stopped;db state "));
	assert_int_equal(drover_cluster_destroy(started, NULL, &e), 0);
	assert_int_equal(drover_cluster_destroy(c, NULL, &e), 0);
}

static void test_watching_ends_by_time_by_cancel_and_by_who_listens(void **state)
{
	struct drover_cluster *c = start(pair, 2);
	struct heard h = {.enough = "web-1 state running;", .answer = -1};
	struct drover_watch w = watch_for(&h);
	struct drover_error e;

	assert_true(drover_cluster_events(c, &w, &e) < 0);
	assert_string_equal(e.code, "canceled");
	assert_true(drover_events(home, &w, &e) < 0);
	assert_string_equal(e.code, "canceled");
	h = (struct heard){.text = ""};
	w.timeout_ms = SHORT_MS;
	assert_true(drover_cluster_events(c, &w, &e) < 0);
	assert_string_equal(e.code, "timeout");
	assert_true(drover_events(home, &w, &e) < 0);
	assert_string_equal(e.code, "timeout");
	w.timeout_ms = 0;
	w.cancel = drover_cancel_new();
	drover_cancel_now(w.cancel);
	assert_true(drover_cluster_events(c, &w, &e) < 0);
	assert_string_equal(e.code, "canceled");
	drover_cancel_free(w.cancel);
	assert_int_equal(drover_cluster_destroy(c, NULL, &e), 0);
}

static void test_figures_are_of_those_that_run(void **state)
{
	struct drover_cluster *c = start(pair, 2);
	struct drover_cluster *second = start(other, 1);
	struct drover_stats *all = NULL;
	struct drover_stats one;
	struct drover_error e;

	assert_int_equal(drover_cluster_stats(c, NULL, &all, &e), 2);
	assert_string_equal(all[1].member, "web-2");
	free(all);
	assert_int_equal(drover_stats(home, NULL, &all, &e), 3);
	free(all);
	assert_int_equal(drover_vm_stats(drover_cluster_vm(c, 1), NULL, &one, &e), 0);
	assert_string_equal(one.member, "web-2");
	assert_int_equal(one.cpu_ms, 0); /* the fake backend has used nothing */
	assert_int_equal(drover_vm_stop(drover_cluster_vm(c, 1), NULL, &e), 0);
	assert_true(drover_vm_stats(drover_cluster_vm(c, 1), NULL, &one, &e) < 0);
	assert_string_equal(e.code, "not_running");
	assert_int_equal(drover_cluster_stats(c, NULL, &all, &e), 1);
	free(all);
	assert_int_equal(drover_cluster_destroy(second, NULL, &e), 0);
	assert_int_equal(drover_cluster_destroy(c, NULL, &e), 0);
	assert_int_equal(drover_stats(home, NULL, &all, &e), 0);
	free(all);
}

static void refuses(struct drover_vm *vm, const struct drover_wait *w, const char *code)
{
	struct drover_error e = {.code = ""};

	assert_true(drover_vm_wait_for(vm, w, &e) < 0);
	assert_string_equal(e.code, code);
}

static void test_a_wait_is_for_one_thing_and_ends(void **state)
{
	struct drover_cluster *c = start(pair, 2);
	struct drover_vm *vm = drover_cluster_vm(c, 0);
	struct drover_wait w = DROVER_WAIT_INIT;
	struct drover_error e;

	refuses(vm, &w, "invalid_argument");
	w.port = 80;
	assert_int_equal(drover_vm_wait_for(vm, &w, &e), 0);
	w.command = "true";
	refuses(vm, &w, "invalid_argument");
	w.port = 0;
	refuses(vm, &w, "unsupported"); /* at once: the fake backend runs none, ever */
	w.command = NULL;
	w.console = "(";
	refuses(vm, &w, "invalid_argument");
	w.console = "login: $";
	w.timeout_ms = SHORT_MS;
	refuses(vm, &w, "timeout");
	w.timeout_ms = 0;
	w.cancel = drover_cancel_new();
	drover_cancel_now(w.cancel);
	refuses(vm, &w, "canceled");
	drover_cancel_free(w.cancel);
	assert_int_equal(drover_vm_stop(vm, NULL, &e), 0);
	w.cancel = NULL;
	refuses(vm, &w, "not_running");
	assert_int_equal(drover_cluster_destroy(c, NULL, &e), 0);
}

static void *stop_web_2(void *arg)
{
	return drover_stop(home, "web-2", NULL, NULL) < 0 ? arg : NULL;
}

static void test_a_wait_ends_with_its_member(void **state)
{
	struct drover_cluster *c = start(pair, 2);
	struct drover_wait w = DROVER_WAIT_INIT;
	struct drover_error e;
	void *failed = NULL;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, stop_web_2, c), 0);
	w.console = "login: $";
	w.timeout_ms = HOME_DEADLINE_MS;
	refuses(drover_cluster_vm(c, 1), &w, "not_running");
	assert_int_equal(pthread_join(thread, &failed), 0);
	assert_null(failed);
	assert_int_equal(drover_cluster_destroy(c, NULL, &e), 0);
}

static void *cancel_it(void *arg)
{
	drover_cancel_now(arg);
	return NULL;
}

/* Whether the cancel comes before the call or during it: it ends. */
static void test_another_thread_ends_a_wait_and_a_watch(void **state)
{
	struct drover_cluster *c = start(pair, 2);
	struct drover_wait wait_for = DROVER_WAIT_INIT;
	struct heard h = {.text = ""};
	struct drover_watch watch = watch_for(&h);
	struct drover_error e;
	pthread_t thread;

	wait_for.console = "login: $";
	wait_for.cancel = drover_cancel_new();
	assert_int_equal(pthread_create(&thread, NULL, cancel_it, wait_for.cancel), 0);
	refuses(drover_cluster_vm(c, 0), &wait_for, "canceled");
	assert_int_equal(pthread_join(thread, NULL), 0);
	watch.cancel = wait_for.cancel;
	assert_true(drover_events(home, &watch, &e) < 0);
	assert_string_equal(e.code, "canceled");
	drover_cancel_free(wait_for.cancel);
	watch.cancel = drover_cancel_new();
	assert_int_equal(pthread_create(&thread, NULL, cancel_it, watch.cancel), 0);
	assert_true(drover_events(home, &watch, &e) < 0);
	assert_string_equal(e.code, "canceled");
	assert_int_equal(pthread_join(thread, NULL), 0);
	drover_cancel_free(watch.cancel);
	assert_int_equal(drover_cluster_destroy(c, NULL, &e), 0);
}

struct waiter {
	struct drover_wait w;
	int r;
	struct drover_error e;
};

static void *wait_for_other(void *arg)
{
	struct waiter *w = arg;

	w->r = drover_wait(home, other[0], &w->w, &w->e);
	return NULL;
}

static void test_a_member_is_waited_for_before_it_is_there(void **state)
{
	struct waiter running = {.w = DROVER_WAIT_INIT};
	struct waiter port = {.w = DROVER_WAIT_INIT};
	struct drover_cluster *c;
	pthread_t threads[2];
	struct drover_error e;

	port.w.port = 80;
	port.w.timeout_ms = running.w.timeout_ms = HOME_DEADLINE_MS;
	assert_int_equal(pthread_create(&threads[0], NULL, wait_for_other, &running), 0);
	assert_int_equal(pthread_create(&threads[1], NULL, wait_for_other, &port), 0);
	c = start(other, 1);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(running.r, 0);
	assert_int_equal(port.r, 0);
	assert_int_equal(drover_cluster_destroy(c, NULL, &e), 0);
}

static void test_a_wait_for_one_that_never_comes_ends_by_its_deadline(void **state)
{
	struct waiter never = {.w = DROVER_WAIT_INIT};
	struct drover_cluster *c = start(pair, 2); /* others are no matter */
	struct drover_error e;

	never.w.timeout_ms = SHORT_MS;
	wait_for_other(&never);
	assert_true(never.r < 0);
	assert_string_equal(never.e.code, "timeout");
	assert_string_equal(never.e.sentence, "db was not running in time");
	assert_true(drover_wait(home, "No_Name", NULL, &e) < 0);
	assert_string_equal(e.code, "invalid_name");
	assert_int_equal(drover_cluster_destroy(c, NULL, &e), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HOME_TEST(test_a_cluster_tells_who_runs_and_who_stops),
		HOME_TEST(test_a_killed_helper_ends_the_events_with_each_member_gone),
		HOME_TEST(test_a_helper_that_knows_no_watch_is_told_of),
		HOME_TEST(test_a_connection_that_ends_without_a_word_ends_the_events),
		HOME_TEST(test_a_store_tells_members_at_rest_and_clusters_that_start),
		HOME_TEST(test_watching_ends_by_time_by_cancel_and_by_who_listens),
		HOME_TEST(test_figures_are_of_those_that_run),
		HOME_TEST(test_a_wait_is_for_one_thing_and_ends),
		HOME_TEST(test_a_wait_ends_with_its_member),
		HOME_TEST(test_another_thread_ends_a_wait_and_a_watch),
		HOME_TEST(test_a_member_is_waited_for_before_it_is_there),
		HOME_TEST(test_a_wait_for_one_that_never_comes_ends_by_its_deadline),
	};

	return RUN_HOME_TESTS(tests);
}
