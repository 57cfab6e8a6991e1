/* SPDX-License-Identifier: MIT */
#include "unit/check.h"

#include "contract/factory.h"

#include "backend/fake/fake.h"
#include "backend/remote/remote.h"
#include "base/files.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

extern char **environ;

static void set_number(const char *name, unsigned n)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", n);
	setenv(name, text, 1);
}

static void spawn_helper(struct factory *f)
{
	const char *argv[] = {getenv("DROVER_HELPER"),
			      "--members",
			      "m1",
			      "--backend",
			      "fake",
			      "--ready-fd",
			      "3",
			      NULL};
	posix_spawn_file_actions_t actions;
	char line[512] = "";
	int ready[2];
	pid_t pid = -1;

	assert_non_null(argv[0]);
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	posix_spawn_file_actions_init(&actions);
	/* dup2 of a number onto itself would keep O_CLOEXEC: by a number that no pipe has */
	posix_spawn_file_actions_adddup2(&actions, ready[1], 100);
	posix_spawn_file_actions_adddup2(&actions, 100, 3);
	posix_spawn_file_actions_addclose(&actions, 100);
	assert_int_equal(posix_spawn(&pid, argv[0], &actions, NULL, (char **)argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	close(ready[1]);
	assert_true(read(ready[0], line, sizeof(line) - 1) > 0);
	close(ready[0]);
	assert_string_equal(line, "ready\n");
	f->helper_pid = pid;
}

static struct backend *open_remote(struct factory *f, uv_loop_t *loop)
{
	struct remote_options o = {.loop = loop, .primary = "m1", .connect_window_ms = 0};
	char home[] = "/tmp/drv-XXXXXX";
	struct err e = ERR_INIT;

	assert_non_null(mkdtemp(home));
	f->home = strdup(home);
	setenv("DROVER_HOME", home, 1);
	f->store = calloc(1, sizeof(struct store));
	assert_int_equal(store_open(home, f->store, &e), 0);
	spawn_helper(f);
	o.store = f->store;
	return remote_backend_new(&o, &e);
}

struct backend *factory_open(struct factory *f, enum factory_kind kind, uv_loop_t *loop,
			     unsigned boot_ms, unsigned stop_ms)
{
	struct err e = ERR_INIT;
	struct backend *b;

	*f = (struct factory){.kind = kind};
	set_number("DROVER_FAKE_BOOT_MS", boot_ms);
	set_number("DROVER_FAKE_STOP_MS", stop_ms);
	setenv("DROVER_FAKE_FAIL_CREATE", "bad", 1);
	b = kind == FACTORY_FAKE ? fake_backend_new(loop, &e) : open_remote(f, loop);
	assert_non_null(b);
	return b;
}

void factory_kill(struct factory *f)
{
	int status;

	assert_int_equal(kill(f->helper_pid, SIGKILL), 0);
	assert_int_equal(waitpid(f->helper_pid, &status, 0), f->helper_pid);
	f->helper_pid = 0;
}

void factory_close(struct factory *f)
{
	int status = 0;

	if (f->kind != FACTORY_REMOTE)
		return;
	if (f->helper_pid) {
		kill(f->helper_pid, SIGTERM);
		kill(f->helper_pid,
		     SIGTERM); /* a test may have left a member that takes its time */
		assert_int_equal(waitpid(f->helper_pid, &status, 0), f->helper_pid);
		assert_int_equal(status, 0);
	}
	store_close(f->store);
	free(f->store);
	files_remove_tree(f->home);
	free(f->home);
}
