/* SPDX-License-Identifier: MIT */
#include "store/captures.h"

#include "base/err.h"
#include "base/files.h"
#include "base/lock.h"
#include "base/scoped.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>

/* The .lock in @dir, which is not locked yet. */
static int open_lock(const char *dir, struct err *e)
{
	scoped(mem) char *path = str_format("%s/.lock", dir);
	int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;

	return fd >= 0 ? fd : err_errno(e, path ? -errno : -ENOMEM, "open the lock of %s", dir);
}

int captures_lock(const struct store *s, const struct giveup *g, struct err *e)
{
	scoped(mem) char *all = str_format("%s/captures", s->root);
	scoped(fd) int fd = -1;
	int r = all ? files_mkdir_all(all, 0700) : -ENOMEM;

	if (r < 0)
		return err_errno(e, r, "make directory captures");
	fd = open_lock(all, e);
	if (fd < 0)
		return fd;
	r = lock_take(fd, g);
	if (r == 0)
		return take_fd(&fd);
	return giveup_is_why(g, r, e) ? r : err_errno(e, r, "lock %s", all);
}

/* Its maker's lock, of a directory that nobody else uses. */
static int lock_own(const char *dir, struct err *e)
{
	scoped(fd) int fd = open_lock(dir, e);

	if (fd < 0)
		return fd;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return err_errno(e, -errno, "lock %s", dir);
	return take_fd(&fd);
}

/* Under the lock of all: none is without its own that is still being made. */
static int sweep(const struct store *s, struct err *e)
{
	scoped(mem) char *all = str_format("%s/captures", s->root);
	scoped(dir) DIR *dir = all ? opendir(all) : NULL;
	const struct dirent *entry;
	int first = 0;

	while (dir && (entry = readdir(dir))) {
		scoped(mem) char *path = str_format("%s/%s", all, entry->d_name);
		scoped(lock) int lock = -1;
		int r;

		if (entry->d_name[0] == '.' || !path)
			continue;
		lock = lock_own(path, NULL);
		if (lock < 0)
			continue;
		r = files_remove_tree(path);
		if (r < 0 && first == 0)
			first = err_errno(e, r, "remove %s", path);
	}
	return first;
}

int captures_sweep(const struct store *s, const struct giveup *g, struct err *e)
{
	scoped(mem) char *all = str_format("%s/captures", s->root);
	scoped(lock) int making = -1;

	if (!all || !files_exist(all))
		return 0;
	making = captures_lock(s, g, e);
	return making < 0 ? making : sweep(s, e);
}

int captures_make(const struct store *s, const struct giveup *g, char **ret_dir, int *ret_lock,
		  struct err *e)
{
	scoped(mem) char *dir = str_format("%s/captures/XXXXXX", s->root);
	scoped(lock) int making = captures_lock(s, g, e);
	int lock;

	if (making < 0)
		return making;
	sweep(s, NULL);
	if (!dir || !mkdtemp(dir))
		return err_errno(e, dir ? -errno : -ENOMEM, "make a directory in captures");
	lock = lock_own(dir, e);
	if (lock < 0) {
		files_remove_tree(dir);
		return lock;
	}
	*ret_dir = take_ptr(&dir);
	*ret_lock = lock;
	return 0;
}
