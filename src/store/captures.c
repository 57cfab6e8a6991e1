/* SPDX-License-Identifier: MIT */
#include "store/captures.h"

#include "base/err.h"
#include "base/files.h"
#include "base/scoped.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>

/* The .lock in @dir. @wait: for whoever has it. */
static int lock_directory(const char *dir, bool wait, struct err *e)
{
	scoped(mem) char *path = str_format("%s/.lock", dir);
	scoped(fd) int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
	int r = 0;

	if (!path)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	while (fd >= 0 && (r = flock(fd, wait ? LOCK_EX : LOCK_EX | LOCK_NB)) < 0 && errno == EINTR)
		;
	if (fd < 0 || r < 0)
		return err_errno(e, -errno, "lock %s", path);
	return take_fd(&fd);
}

int captures_lock(const struct store *s, struct err *e)
{
	scoped(mem) char *all = str_format("%s/captures", s->root);
	int r = all ? files_mkdir_all(all, 0700) : -ENOMEM;

	return r < 0 ? err_errno(e, r, "make directory captures") : lock_directory(all, true, e);
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
		scoped(fd) int lock = -1;
		int r;

		if (entry->d_name[0] == '.' || !path)
			continue;
		lock = lock_directory(path, false, NULL);
		if (lock < 0)
			continue;
		r = files_remove_tree(path);
		if (r < 0 && first == 0)
			first = err_errno(e, r, "remove %s", path);
	}
	return first;
}

int captures_sweep(const struct store *s, struct err *e)
{
	scoped(mem) char *all = str_format("%s/captures", s->root);
	scoped(fd) int making = -1;

	if (!all || !files_exist(all))
		return 0;
	making = captures_lock(s, e);
	return making < 0 ? making : sweep(s, e);
}

int captures_make(const struct store *s, char **ret_dir, int *ret_lock, struct err *e)
{
	scoped(mem) char *dir = str_format("%s/captures/XXXXXX", s->root);
	scoped(fd) int making = captures_lock(s, e);
	int lock;

	if (making < 0)
		return making;
	sweep(s, NULL);
	if (!dir || !mkdtemp(dir))
		return err_errno(e, dir ? -errno : -ENOMEM, "make a directory in captures");
	lock = lock_directory(dir, false, e);
	if (lock < 0) {
		files_remove_tree(dir);
		return lock;
	}
	*ret_dir = take_ptr(&dir);
	*ret_lock = lock;
	return 0;
}
