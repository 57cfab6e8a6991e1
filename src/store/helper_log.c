/* SPDX-License-Identifier: MIT */
/*
 * The helpers' logs: <root>/helper-NAME.log, by the first member that the helper was started for.
 *
 * Whoever may write to one holds a shared lock on it, which a helper has with its stderr. The logs of a cluster go with
 * its last member; one that is written then, because its helper has members of other names, goes with that helper. What
 * a helper wrote that did not come up stays: its member may never have been made, and somebody will want to know why.
 * For the same reason the console of a guest stays whose member is removed for a failed start: <root>/console-NAME.log.
 */
#include "base/err.h"
#include "base/lock.h"
#include "base/scoped.h"
#include "base/str.h"
#include "store/store.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX  "helper-"
#define SUFFIX  ".log"
#define CONSOLE "console-" /* of guests whose members went with their failed start */

char *store_log_path(const struct store *s, const char *first_name)
{
	return str_format("%s/" PREFIX "%s" SUFFIX, s->root, first_name);
}

static char *console_path(const struct store *s, const char *name)
{
	return str_format("%s/" CONSOLE "%s" SUFFIX, s->root, name);
}

char *store_console_keep(const struct store *s, const char *name)
{
	scoped(mem) char *from = store_member_path(s, name, MEMBER_SERIAL_LOG);
	scoped(mem) char *to = console_path(s, name);
	struct stat st;

	if (!from || !to || stat(from, &st) < 0 || st.st_size == 0 || rename(from, to) < 0)
		return NULL;
	return take_ptr(&to);
}

void store_console_forget(const struct store *s, const char *name)
{
	scoped(mem) char *path = console_path(s, name);

	if (path)
		unlink(path);
}

int store_log_open(const char *path)
{
	for (;;) {
		scoped(fd) int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_APPEND, 0600);

		if (fd < 0)
			return -errno;
		/* a remover holds it for a moment; where nothing can be locked, nothing is removed */
		flock(fd, LOCK_SH);
		if (!lock_is_current(fd, path))
			continue;
		if (ftruncate(fd, 0) < 0)
			return -errno;
		return take_fd(&fd);
	}
}

static bool has_members(const struct store *s, const char *cluster)
{
	scoped(mem) char *path = str_format("%s/clusters/%s", s->root, cluster);

	return !path || access(path, F_OK) == 0;
}

static void remove_unwritten(const char *path)
{
	scoped(fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && lock_is_current(fd, path))
		unlink(path);
}

/* Whose log @file is: false when it is none, of those that begin with @prefix. */
static bool read_name(const char *file, const char *prefix, char ret[NAME_SIZE])
{
	size_t len = strlen(file);
	size_t around = strlen(prefix) + strlen(SUFFIX);

	if (!str_starts(file, prefix) || !str_ends(file, SUFFIX) || len < around + 1 ||
	    len >= around + NAME_SIZE)
		return false;
	snprintf(ret, NAME_SIZE, "%.*s", (int)(len - around), file + strlen(prefix));
	return name_is_valid(ret);
}

void store_logs_remove(const struct store *s, const char *name)
{
	scoped(dir) DIR *dir = opendir(s->root);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		scoped(mem) char *path = NULL;
		char its[NAME_SIZE];
		char cluster[NAME_SIZE];

		if (!name && read_name(entry->d_name, CONSOLE, its))
			store_console_forget(s, its);
		if (!read_name(entry->d_name, PREFIX, its) ||
		    (name && !name_same_cluster(its, name)))
			continue;
		name_cluster(its, cluster);
		path = store_log_path(s, its);
		if (path && !has_members(s, cluster))
			remove_unwritten(path);
	}
}

void store_log_end(const struct store *s, const char *first_name)
{
	scoped(mem) char *path = store_log_path(s, first_name);

	if (!path || !lock_is_current(STDERR_FILENO, path))
		return;
	/* before the look at the members: who removes the last of them looks for the lock after that */
	flock(STDERR_FILENO, LOCK_UN);
	store_logs_remove(s, first_name);
}
