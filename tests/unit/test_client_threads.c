/* SPDX-License-Identifier: MIT */
/* Clusters side by side in threads of one process; tools/check builds it once more with ThreadSanitizer. */
#include "client_home.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

enum { THREADS = 4, ROUNDS = 3 };

struct user {
	pthread_t thread;
	int number;
	char failed[1024]; /* what, or "" */
};

static void note(struct user *u, const char *what, const struct drover_error *e)
{
	if (!*u->failed)
		snprintf(u->failed, sizeof(u->failed), "thread %d: %s: %s: %s", u->number, what,
			 e->code, e->sentence);
}

/* What one cluster can do on the fake backend; each call's failure is noted. */
static void use(struct user *u, struct drover_cluster *c)
{
	struct drover_vm *vm = drover_cluster_vm(c, 0);
	struct drover_point *points = NULL;
	struct drover_stats *stats = NULL;
	struct drover_wait w = DROVER_WAIT_INIT;
	struct drover_error e;
	int fd;

	w.port = 80;
	if (drover_vm_pause(vm, NULL, &e) < 0 || drover_vm_resume(vm, NULL, &e) < 0)
		note(u, "pause and resume", &e);
	if (drover_cluster_snapshot_save(c, "p", NULL, &e) < 0 ||
	    drover_cluster_snapshot_list(c, NULL, &points, &e) != 1 ||
	    drover_cluster_reset(c, NULL, &e) < 0)
		note(u, "a point", &e);
	if (drover_cluster_stats(c, NULL, &stats, &e) != 2)
		note(u, "stats", &e);
	if (drover_vm_wait_for(vm, &w, &e) < 0)
		note(u, "wait", &e);
	fd = drover_vm_dial(vm, 80, NULL, &e);
	if (fd < 0)
		note(u, "dial", &e);
	else
		close(fd);
	free(points);
	free(stats);
}

static void *user_main(void *arg)
{
	struct user *u = arg;
	char texts[2][16];
	const char *const names[] = {texts[0], texts[1]};
	struct drover_options o = fake_options();
	struct drover_error e;

	for (int i = 0; i < 2; i++)
		snprintf(texts[i], sizeof(texts[i]), "t%d-%d", u->number, i + 1);
	for (int round = 0; round < ROUNDS; round++) {
		struct drover_cluster *c = NULL;
		struct drover_member *members = NULL;

		if (drover_cluster_start(names, 2, &o, &c, &e) < 0) {
			note(u, "start", &e);
			return NULL;
		}
		use(u, c);
		if (drover_list(home, NULL, &members, &e) < 2)
			note(u, "list", &e);
		free(members);
		if (drover_cluster_destroy(c, NULL, &e) < 0)
			note(u, "destroy", &e);
	}
	return NULL;
}

struct watcher {
	pthread_t thread;
	struct drover_cancel *cancel;
	atomic_int heard;
};

static int on_event(void *arg, const struct drover_event *event)
{
	struct watcher *w = arg;

	atomic_fetch_add(&w->heard, 1);
	return 0;
}

static void *watcher_main(void *arg)
{
	struct watcher *w = arg;
	struct drover_watch o = DROVER_WATCH_INIT;

	o.on_event = on_event;
	o.arg = w;
	o.cancel = w->cancel;
	drover_events(home, &o, NULL);
	return NULL;
}

static void test_clusters_are_used_from_different_threads_at_once(void **state)
{
	struct user users[THREADS] = {{0}};
	struct watcher w = {.cancel = drover_cancel_new()};
	struct drover_member *members = NULL;

	assert_int_equal(pthread_create(&w.thread, NULL, watcher_main, &w), 0);
	for (int i = 0; i < THREADS; i++) {
		users[i].number = i;
		assert_int_equal(pthread_create(&users[i].thread, NULL, user_main, &users[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(users[i].thread, NULL), 0);
	drover_cancel_now(w.cancel);
	assert_int_equal(pthread_join(w.thread, NULL), 0);
	drover_cancel_free(w.cancel);
	for (int i = 0; i < THREADS; i++)
		assert_string_equal(users[i].failed, "");
	assert_true(w.heard > 0);
	assert_int_equal(drover_list(home, NULL, &members, NULL), 0);
	free(members);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HOME_TEST(test_clusters_are_used_from_different_threads_at_once),
	};

	return RUN_HOME_TESTS(tests);
}
