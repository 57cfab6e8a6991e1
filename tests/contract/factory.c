/* SPDX-License-Identifier: MIT */
#include "unit/check.h"

#include "contract/factory.h"

#include "backend/cloud-hypervisor/cloud_hypervisor.h"
#include "backend/fake/fake.h"
#include "backend/qemu/qemu.h"
#include "backend/remote/remote.h"
#include "base/files.h"
#include "base/str.h"
#include "guest/guest.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

#define ON_FAKE                                                  \
	.subnet = "", .address = "203.0.113.1", .bad = ERR_BOOT, \
	.bad_text = "forced Create failure", .deadline_ms = 60000
#define WITH_GUESTS                                                                                \
	.has_guests = true, .subnet = "10.83.0.0/24", .address = "10.83.0.", .bad = ERR_NOT_FOUND, \
	.bad_text = "the kernel of bad", .deadline_ms = 120000

static const struct factory_kind kinds[] = {
	{.name = "fake", ON_FAKE},
	{.name = "remote", .helper_backend = "fake", ON_FAKE},
	{.name = "qemu", .open = qemu_backend_new, WITH_GUESTS},
	{.name = "remote-qemu", .helper_backend = "qemu", WITH_GUESTS},
	{.name = "cloud-hypervisor",
	 .open = cloud_hypervisor_backend_new,
	 .no_points = true,
	 WITH_GUESTS},
	{.name = "remote-cloud-hypervisor",
	 .helper_backend = "cloud-hypervisor",
	 .no_points = true,
	 WITH_GUESTS},
};

static const struct sandbox *sandbox;

const struct factory_kind *factory_kind(const char *name)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(kinds[i].name, name) == 0)
			return &kinds[i];
	return NULL;
}

void factory_use_sandbox(const struct sandbox *s)
{
	sandbox = s;
}

static void set_number(const char *name, unsigned n)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", n);
	setenv(name, text, 1);
}

static void spawn_helper(struct factory *f)
{
	const char *argv[] = {getenv("DROVER_HELPER"), "--members",  "m1", "--backend",
			      f->kind->helper_backend, "--ready-fd", "3",  NULL};
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

static void open_store(struct factory *f)
{
	char home[] = "/tmp/drv-XXXXXX";
	struct err e = ERR_INIT;

	assert_non_null(mkdtemp(home));
	f->home = strdup(home);
	setenv("DROVER_HOME", home, 1);
	f->store = calloc(1, sizeof(struct store));
	assert_int_equal(store_open(home, f->store, &e), 0);
}

/* What a member of the image "tiny" boots from. */
static void find_guest(struct factory *f)
{
	struct image image = {0};
	struct err e = ERR_INIT;
	int r;

	f->spec.cpus = 1;
	f->spec.memory_bytes = 256 << 20;
	r = image_resolve(f->store, "tiny", NULL, NULL, NULL, &image, &e);
	if (r < 0)
		fail_msg("the image tiny: %s", e.msg);
	f->spec.kernel_path = strdup(image.kernel_path);
	/* A kernel that finds nothing to run stays where it is. */
	if (!f->never)
		f->spec.initrd_path = strdup(image.initrd_path);
	f->spec.cmdline = strdup(f->never ? "console=ttyS0" : image.cmdline);
	image_done(&image);
	f->spec.points_path = str_format("%s/points.qcow2", f->home);
	if (disk_create(f->spec.points_path, NULL, NULL, 1, &e) < 0)
		fail_msg("%s", e.msg);
}

struct vm_spec factory_spec(const struct factory *f, const char *name)
{
	struct vm_spec spec = f->spec;

	spec.name = (char *)name;
	if (f->kind->has_guests && strcmp(name, "bad") == 0)
		spec.kernel_path = (char *)"/nonexistent/vmlinuz";
	return spec;
}

static struct backend *open_direct(struct factory *f, uv_loop_t *loop, struct err *e)
{
	char dir[64];

	snprintf(dir, sizeof(dir), "%s/net", f->home);
	return f->kind->open(loop, sandbox, dir, e);
}

static struct backend *open_backend(struct factory *f, uv_loop_t *loop, struct err *e)
{
	struct remote_options o = {.loop = loop, .store = f->store, .primary = "m1"};

	if (factory_is_remote(f->kind)) {
		spawn_helper(f);
		return remote_backend_new(&o, e);
	}
	return f->kind->open ? open_direct(f, loop, e) : fake_backend_new(loop, e);
}

struct backend *factory_open(struct factory *f, const struct factory_kind *kind, uv_loop_t *loop,
			     unsigned boot_ms, unsigned stop_ms)
{
	struct err e = ERR_INIT;
	struct backend *b;

	*f = (struct factory){.kind = kind,
			      .never = boot_ms == FACTORY_NEVER_MS,
			      .spec = {.cpus = 1, .memory_bytes = 1 << 20}};
	set_number("DROVER_FAKE_BOOT_MS", boot_ms);
	set_number("DROVER_FAKE_STOP_MS", stop_ms);
	setenv("DROVER_FAKE_FAIL_CREATE", "bad", 1);
	if (factory_is_remote(kind) || kind->has_guests)
		open_store(f);
	if (kind->has_guests)
		find_guest(f);
	b = open_backend(f, loop, &e);
	if (!b)
		fail_msg("backend %s: %s", kind->name, e.msg);
	return b;
}

void factory_leave_socket(const struct factory *f, const char *name)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	char *path = store_socket_path(f->store, name, "sock");
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0 && path && strlen(path) < sizeof(a.sun_path));
	str_copy(a.sun_path, sizeof(a.sun_path), path);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	close(fd);
	free(path);
}

void factory_hold(struct factory *f)
{
	siginfo_t info;

	assert_int_equal(kill(f->helper_pid, SIGSTOP), 0);
	assert_int_equal(waitid(P_PID, (id_t)f->helper_pid, &info, WSTOPPED | WNOWAIT), 0);
}

void factory_go_on(struct factory *f)
{
	assert_int_equal(kill(f->helper_pid, SIGCONT), 0);
}

void factory_kill(struct factory *f)
{
	int status;

	assert_int_equal(kill(f->helper_pid, SIGKILL), 0);
	assert_int_equal(waitpid(f->helper_pid, &status, 0), f->helper_pid);
	f->helper_pid = 0;
}

static void end_helper(struct factory *f)
{
	int status = 0;

	if (!f->helper_pid)
		return;
	kill(f->helper_pid, SIGTERM);
	kill(f->helper_pid, SIGTERM); /* a test may have left a member that takes its time */
	assert_int_equal(waitpid(f->helper_pid, &status, 0), f->helper_pid);
	assert_int_equal(status, 0);
}

void factory_close(struct factory *f)
{
	end_helper(f);
	vm_spec_done(&f->spec);
	if (!f->store)
		return;
	store_close(f->store);
	free(f->store);
	files_remove_tree(f->home);
	free(f->home);
}
