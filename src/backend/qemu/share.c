/* SPDX-License-Identifier: MIT */
/*
 * Live directories of the host: one virtiofsd for each.
 *
 * How it works: virtiofsd gets two descriptors, a listening socket that has no name outside of this network namespace and
 * the directory, and QEMU the connected end of the socket. The directory is a detached copy of its mount, read-only where
 * it is asked for: virtiofsd itself cannot refuse writes. It is in no tree of mounts, so nothing is left of it when the
 * last descriptor is closed, and nothing that walks the store can come into it. virtiofsd locks itself into it (chroot),
 * drops what it does not need and ends when QEMU hangs up.
 */
#include "backend/qemu/vm.h"

#include "base/files.h"
#include "base/scoped.h"
#include "base/str.h"
#include "loop/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#define VIRTIOFSD_PROGRAM "/usr/lib/qemu/virtiofsd"

enum {
	FD_LISTEN = 3,
	FD_TREE = 4,
	MAX_FILES = 1000000,
	/* QEMU's hang-up may reach a server, and the server's end this loop, before QEMU's own end does. */
	HANG_UP_MS = 2000
};

struct share_server {
	struct qemu_vm *vm;
	struct child *child;
	const char *host; /* borrowed from the spec */
};

struct share_servers {
	struct timer *orphaned;
	const char *lost; /* whose server has ended */
	size_t n;
	struct share_server of[];
};

static size_t count(const struct vm_spec *s)
{
	return s->n_mount_paths + s->n_mount_rw_paths;
}

static const char *path_of(const struct vm_spec *s, size_t i)
{
	return i < s->n_mount_paths ? s->mount_paths[i] : s->mount_rw_paths[i - s->n_mount_paths];
}

int shares_check(const struct vm_spec *s, struct err *e)
{
	if (count(s) > MAX_MOUNTS)
		return err_set(e, ERR_INVALID, "%s wants %zu mounts: at most %d", s->name, count(s),
			       MAX_MOUNTS);
	for (size_t i = 0; i < count(s); i++) {
		scoped(fd) int fd = open(path_of(s, i), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (fd < 0)
			return err_errno(e, -errno, "the mount of %s: %s", s->name, path_of(s, i));
	}
	if (count(s) > 0 && !files_exist(VIRTIOFSD_PROGRAM))
		return err_hint(e,
				err_set(e, ERR_MISSING_PROGRAM,
					"mounts need " VIRTIOFSD_PROGRAM ", of QEMU 7.2"),
				"apt-get install qemu-system-common");
	return 0;
}

/* @ret: the directory @path as the top of a mount of its own. */
static int open_directory(const char *path, bool writable, int *ret, struct err *e)
{
	struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
	scoped(fd) int fd =
		open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);

	if (fd < 0)
		return err_errno(e, -errno, "open %s for a mount", path);
	if (!writable &&
	    mount_setattr(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &read_only, sizeof(read_only)) < 0)
		return err_errno(e, -errno, "make a read-only mount of %s (Linux 5.12 can)", path);
	*ret = take_fd(&fd);
	return 0;
}

/* A listening socket under a name that the kernel picks, and a connection to it. */
static int make_line(int *ret_listen, int *ret_connected)
{
	scoped(fd) int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	scoped(fd) int connected = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	socklen_t len = sizeof(a.sun_family);

	if (listening < 0 || connected < 0 || bind(listening, (struct sockaddr *)&a, len) < 0 ||
	    listen(listening, 1) < 0)
		return -errno;
	len = sizeof(a);
	if (getsockname(listening, (struct sockaddr *)&a, &len) < 0 ||
	    connect(connected, (struct sockaddr *)&a, len) < 0)
		return -errno;
	*ret_listen = take_fd(&listening);
	*ret_connected = take_fd(&connected);
	return 0;
}

static void on_orphaned(void *arg)
{
	struct qemu_vm *vm = arg;
	scoped(mem) char *text =
		str_format("the server of the mount %s ended; its words are in the helper's log",
			   vm->shares->lost);

	vm_end_with(local_vm_of(&vm->base), ERR_IO, text ? text : "the server of a mount ended");
}

/* In the table of init: the server is one of its processes when this helper is gone. */
struct share_key {
	char name[KEPT_NAME_SIZE];
};

static struct share_key key_of(const struct share_server *s)
{
	struct share_key key;

	snprintf(key.name, sizeof(key.name), "share/%s/%zu", s->vm->spec.name,
		 (size_t)(s - s->vm->shares->of));
	return key;
}

static int keep(const struct share_server *s, struct err *e)
{
	const int pidfd = child_pidfd(s->child);
	int r = keeper_put(local_keeper(s->vm->base.backend), key_of(s).name, child_pid(s->child),
			   &pidfd, 1, NULL);

	return r < 0 ? err_errno(e, r, "tell init of the mount %s", s->host) : 0;
}

static void unkeep(const struct share_server *s)
{
	keeper_drop(local_keeper(s->vm->base.backend), key_of(s).name);
}

static void on_server_exit(void *arg, int status)
{
	struct share_server *s = arg;
	struct share_servers *all = s->vm->shares;

	s->child = NULL;
	unkeep(s);
	all->lost = s->host;
	if (!all->orphaned)
		timer_start(s->vm->base.backend->loop, HANG_UP_MS, on_orphaned, s->vm,
			    &all->orphaned);
}

/* virtiofsd holds a descriptor for each file that the guest knows. */
static char *files_option(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) < 0 || l.rlim_max > MAX_FILES)
		l.rlim_max = MAX_FILES;
	return str_format("--rlimit-nofile=%llu", (unsigned long long)l.rlim_max);
}

static int spawn_server(struct share_server *s, int listening, int tree, struct err *e)
{
	scoped(mem) char *files = files_option();
	/* nothing is remembered in the guest: a change on the host is seen at once; no device files for a guest */
	const char *const argv[] = {VIRTIOFSD_PROGRAM,
				    "--fd=3",
				    "-f",
				    "-o",
				    "source=/proc/self/fd/4/.",
				    "-o",
				    "sandbox=chroot,cache=none,log_level=err,modcaps=-mknod",
				    files,
				    NULL};
	const struct child_options o = {
		.file = VIRTIOFSD_PROGRAM,
		.argv = (char *const *)argv,
		.fds = {{STDERR_FILENO, 1},
			{STDERR_FILENO, 2},
			{listening, FD_LISTEN},
			{tree, FD_TREE}},
		.n_fds = 4,
		.new_session = true,
	};

	if (!files)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	return child_spawn(s->vm->base.backend->loop, &o, on_server_exit, s, &s->child, e);
}

static int start_server(struct share_server *s, bool writable, int *ret_fd, struct err *e)
{
	scoped(fd) int listening = -1;
	scoped(fd) int connected = -1;
	scoped(fd) int tree = -1;
	int r = open_directory(s->host, writable, &tree, e);

	if (r < 0)
		return r;
	r = make_line(&listening, &connected);
	if (r < 0)
		return err_errno(e, r, "make a socket for the mount %s", s->host);
	r = spawn_server(s, listening, tree, e);
	if (r == 0)
		*ret_fd = take_fd(&connected);
	return r;
}

int shares_start(struct qemu_vm *vm, int ret_fds[], struct err *e)
{
	size_t n = count(&vm->spec);
	struct share_servers *all;

	if (n == 0)
		return 0;
	all = calloc(1, sizeof(*all) + n * sizeof(all->of[0]));
	if (!all)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	vm->shares = all;
	for (size_t i = 0; i < n; i++) {
		int r;

		ret_fds[i] = -1;
		all->of[i] = (struct share_server){.vm = vm, .host = path_of(&vm->spec, i)};
		r = start_server(&all->of[i], i >= vm->spec.n_mount_paths, &ret_fds[i], e);
		all->n = i + 1; /* one that failed is ended too */
		if (r == 0)
			r = keep(&all->of[i], e);
		if (r < 0) {
			for (size_t j = 0; j <= i; j++)
				close_fd(&ret_fds[j]);
			shares_end(vm);
			return r;
		}
	}
	return (int)n;
}

static int adopt_server(struct share_server *s, struct err *e)
{
	struct keeper *k = local_keeper(s->vm->base.backend);
	struct kept *kept = keeper_take(k, key_of(s).name);

	if (!kept)
		return err_set(e, ERR_IO, "the server of the mount %s was lost", s->host);
	return child_adopt(s->vm->base.backend->loop, k, kept, on_server_exit, s, &s->child, e);
}

int shares_adopt(struct qemu_vm *vm, struct err *e)
{
	size_t n = count(&vm->spec);
	int r = 0;

	if (n == 0)
		return 0;
	vm->shares = calloc(1, sizeof(*vm->shares) + n * sizeof(vm->shares->of[0]));
	if (!vm->shares)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	for (size_t i = 0; i < n && r == 0; i++) {
		vm->shares->of[i] = (struct share_server){.vm = vm, .host = path_of(&vm->spec, i)};
		vm->shares->n = i + 1;
		r = adopt_server(&vm->shares->of[i], e);
	}
	return r;
}

void shares_end(struct qemu_vm *vm)
{
	struct share_servers *all = vm->shares;

	if (!all)
		return;
	timer_stop(&all->orphaned);
	for (size_t i = 0; i < all->n; i++)
		if (all->of[i].child) {
			child_kill(all->of[i].child, SIGKILL);
			child_detach(all->of[i].child);
			unkeep(&all->of[i]);
		}
	vm->shares = NULL;
	free(all);
}
