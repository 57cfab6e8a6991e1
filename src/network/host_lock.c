/* SPDX-License-Identifier: MIT */
#include "network/host_lock.h"

#include "base/err.h"
#include "base/files.h"
#include "base/giveup.h"
#include "base/lock.h"
#include "base/scoped.h"
#include "base/str.h"
#include "store/host_record.h"
#include "store/locks.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define LOCK_FILE HOST_LOCK_FILE

enum { COMMAND_MAX = 64 << 10 };

/* Everybody may look, whatever the umask. */
static int make_dir(const char *path)
{
	if (mkdir(path, 0755) == 0)
		return chmod(path, 0755) < 0 ? -errno : 0;
	return errno == EEXIST ? 0 : -errno;
}

static int say_holder(int wait_ms, struct err *e)
{
	struct held_list all;
	int r = held_list_read(&all);
	pid_t pid = r == 0 ? held_list_find(&all, LOCK_FILE) : 0;
	scoped(mem) char *path = str_format("/proc/%d/cmdline", (int)pid);
	scoped(mem) char *command = NULL;
	size_t len = 0;

	free(all.all);
	if (pid == 0)
		return err_set(e, ERR_BUSY,
			       LOCK_FILE " is held for more than %d s by a process that cannot be "
					 "seen from here; as root: fuser -v " LOCK_FILE,
			       wait_ms / 1000);
	if (path && files_read(path, COMMAND_MAX, &command, &len) == 0)
		for (size_t i = 0; i + 1 < len; i++)
			command[i] = command[i] ? command[i] : ' ';
	if (command)
		str_make_printable(command);
	return err_set(e, ERR_BUSY,
		       LOCK_FILE " is held for more than %d s by pid %d (%.60s); if that hangs: "
				 "kill %d, then try again",
		       wait_ms / 1000, (int)pid, command ? command : "?", (int)pid);
}

/* 1: @ret_fd has the lock; 0: it was the lock no more, again; < 0 and @e. */
static int try_lock(int wait_ms, int *ret_fd, struct err *e)
{
	int r = make_dir(HOST_RUN_DIR);
	scoped(fd) int fd = -1;

	if (r < 0)
		return err_errno(e, r, "make " HOST_RUN_DIR);
	fd = open(LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return errno == ENOENT ? 0 : err_errno(e, -errno, "open " LOCK_FILE);
	r = lock_take(fd, &(struct giveup){.cancel_fd = -1, .end_ms = clock_ms() + wait_ms});
	if (r < 0)
		return r == -ETIMEDOUT ? say_holder(wait_ms, e)
				       : err_errno(e, r, "lock " LOCK_FILE);
	if (!lock_is_current(fd, LOCK_FILE))
		return 0;
	r = make_dir(HOST_NETWORKS_DIR);
	if (r < 0) {
		host_unlock(&fd);
		return err_errno(e, r, "make " HOST_NETWORKS_DIR);
	}
	*ret_fd = take_fd(&fd);
	return 1;
}

int host_lock(int wait_ms, int *ret_fd, struct err *e)
{
	int r = 0;

	while (r == 0)
		r = try_lock(wait_ms, ret_fd, e);
	return r < 0 ? r : 0;
}

void host_unlock(int *fd)
{
	if (*fd >= 0 && (rmdir(HOST_NETWORKS_DIR) == 0 || errno == ENOENT)) {
		unlink(LOCK_FILE);
		rmdir(HOST_RUN_DIR);
	}
	close_fd(fd);
}
