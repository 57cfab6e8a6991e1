/* SPDX-License-Identifier: MIT */
/* What a helper leaves with init, with the test in init's place. */
#include "check.h"

#include "base/crashes.h"
#include "base/err.h"
#include "base/fds.h"
#include "base/scoped.h"
#include "loop/child.h"
#include "loop/keeper.h"

#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

struct desk {
	int init;         /* the test's end of the socket */
	struct keeper *k; /* of a helper that follows one */
};

/* A helper that finds one entry, @kept (NULL: none). */
static struct desk desk_open(const struct kept *kept)
{
	struct kept *all = calloc(1, sizeof(*all));
	struct desk d;
	int pair[2];

	assert_non_null(all);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	if (kept)
		*all = *kept;
	d.init = pair[0];
	d.k = keeper_new(pair[1], all, kept ? 1 : 0, 1, "signal 9 (Killed)");
	assert_non_null(d.k);
	return d;
}

static void desk_close(struct desk *d)
{
	close(d->init);
	keeper_free(d->k);
}

/* A process of init's, and the entry that a helper made of it. */
static struct kept start_kept(const char *name)
{
	struct kept kept = {.text_fd = -1, .n_fds = 1};

	snprintf(kept.name, sizeof(kept.name), "%s", name);
	kept.pid = fork();
	if (kept.pid == 0) {
		pause();
		_exit(0);
	}
	kept.fds[0] = (int)syscall(SYS_pidfd_open, kept.pid, 0);
	assert_true(kept.fds[0] >= 0);
	return kept;
}

static void an_entry_comes_as_it_was_put(void **state)
{
	struct desk d = desk_open(NULL);
	struct keep_order o = {0};
	struct kept kept = {.n_fds = 1};
	scoped(mem) char *text = NULL;
	scoped(fd) int fd = dup(0);
	int fds[KEPT_MAX_FDS + 1];

	assert_int_equal(keeper_put(d.k, "vm/a", 42, &fd, 1, "{\"ready\":true}"), 0);
	assert_int_equal(fds_receive(d.init, &o, sizeof(o), fds, KEPT_MAX_FDS + 1, MSG_DONTWAIT),
			 sizeof(o));
	assert_int_equal(o.what, KEEP_PUT);
	assert_string_equal(o.name, "vm/a");
	assert_int_equal(o.pid, 42);
	assert_true(o.has_text);
	assert_int_equal(o.n_fds, 1);
	assert_true(fds[1] >= 0 && fds[2] < 0);
	kept.text_fd = fds[0];
	text = kept_text(&kept);
	assert_string_equal(text, "{\"ready\":true}");
	close(fds[0]);
	close(fds[1]);
	desk_close(&d);
}

static void without_init_nothing_is_kept_and_nothing_fails(void **state)
{
	assert_int_equal(keeper_put(NULL, "a", 0, NULL, 0, "{}"), 0);
	assert_null(keeper_take(NULL, "a"));
	assert_int_equal(keeper_restarts(NULL), 0);
	keeper_drop(NULL, "a");
	keeper_drop_rest(NULL);
	keeper_unwatch(NULL);
	keeper_free(NULL);
}

static void on_exit_(void *arg, int status)
{
	*(int *)arg = status;
}

/* Adopts @kept, lets init see its end (@reap: and say so), and gives the status that is told. */
static int adopt_and_kill(struct kept *kept, bool before, bool say)
{
	struct desk d = desk_open(kept);
	struct kept *taken = keeper_take(d.k, kept->name);
	struct child *child = NULL;
	struct err e = ERR_INIT;
	struct keep_end end = {.pid = kept->pid};
	int told = -2;
	uv_loop_t loop;

	uv_loop_init(&loop);
	assert_non_null(taken);
	assert_null(keeper_take(d.k, kept->name)); /* once */
	assert_int_equal(keeper_watch(d.k, &loop), 0);
	if (!before)
		assert_int_equal(child_adopt(&loop, d.k, taken, on_exit_, &told, &child, &e), 0);
	kill(kept->pid, SIGKILL);
	assert_int_equal(waitpid(kept->pid, &end.status, 0), kept->pid);
	if (say)
		assert_int_equal(send(d.init, &end, sizeof(end), 0), sizeof(end));
	if (before)
		assert_int_equal(child_adopt(&loop, d.k, taken, on_exit_, &told, &child, &e), 0);
	keeper_read(d.k);
	uv_run(&loop, UV_RUN_DEFAULT);
	keeper_unwatch(d.k);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	desk_close(&d);
	return told;
}

static void the_end_of_an_adopted_process_is_told_with_its_status(void **state)
{
	struct kept kept = start_kept("vm/a");

	assert_int_equal(adopt_and_kill(&kept, false, true), SIGKILL);
}

static void so_is_one_that_came_before_it_was_adopted(void **state)
{
	struct kept kept = start_kept("vm/a");

	assert_int_equal(adopt_and_kill(&kept, true, true), SIGKILL);
}

static void one_that_nobody_saw_is_told_without(void **state)
{
	struct kept kept = start_kept("vm/a");

	assert_int_equal(adopt_and_kill(&kept, true, false), -1);
}

static void what_nobody_takes_is_killed_and_dropped(void **state)
{
	struct kept kept = start_kept("dnsmasq");
	struct desk d = desk_open(&kept);
	struct keep_order o = {0};
	int status = 0;

	keeper_drop_rest(d.k);
	assert_int_equal(waitpid(kept.pid, &status, 0), kept.pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_int_equal(recv(d.init, &o, sizeof(o), MSG_DONTWAIT), sizeof(o));
	assert_int_equal(o.what, KEEP_DROP);
	assert_string_equal(o.name, "dnsmasq");
	desk_close(&d);
}

static void the_third_end_within_a_minute_is_one_too_many(void **state)
{
	struct crashes c = {0};

	assert_false(crashes_add(&c, 1000));
	assert_false(crashes_add(&c, 2000));
	assert_true(crashes_add(&c, 60999));
}

static void ends_further_apart_are_not(void **state)
{
	struct crashes c = {0};

	for (uint64_t at = 1; at < 1000000; at += 30000)
		assert_false(crashes_add(&c, at));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(an_entry_comes_as_it_was_put),
		TEST(without_init_nothing_is_kept_and_nothing_fails),
		TEST(the_end_of_an_adopted_process_is_told_with_its_status),
		TEST(so_is_one_that_came_before_it_was_adopted),
		TEST(one_that_nobody_saw_is_told_without),
		TEST(what_nobody_takes_is_killed_and_dropped),
		TEST(the_third_end_within_a_minute_is_one_too_many),
		TEST(ends_further_apart_are_not),
	};
	uv_loop_t loop;

	uv_loop_init(&loop); /* libuv keeps two descriptors from its first loop on */
	uv_loop_close(&loop);
	return RUN_TESTS(tests);
}
