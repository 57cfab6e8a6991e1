/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "base/files.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/commands.h"

enum { CHUNK = 65536, FOLLOWED = IN_MODIFY | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF };

struct logs_settings {
	bool follow;
	bool helper;
	bool previous;
};

static const struct option_row logs_options[] = {
	{"follow", 'f', OPTION_FLAG, offsetof(struct logs_settings, follow), NULL,
	 "keep printing as the log grows, until it is removed"},
	{"previous", 'p', OPTION_FLAG, offsetof(struct logs_settings, previous), NULL,
	 "the log of the boot before the latest"},
	{"helper", 0, OPTION_FLAG, offsetof(struct logs_settings, helper), NULL,
	 "the helper's log instead of the serial console's"},
	{0},
};

static int cannot_show(const char *path, int r)
{
	return say_error("cannot show %s: %s", path, strerror(-r));
}

/* Prints what stands between the file's position and its end: CLI_OK, or another status when said. */
static int copy_rest(int fd, const char *path)
{
	char chunk[CHUNK];
	struct stat st;
	ssize_t n;

	/* a helper's log is written anew */
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size < lseek(fd, 0, SEEK_CUR))
		lseek(fd, 0, SEEK_SET);
	while ((n = read(fd, chunk, sizeof(chunk))) != 0) {
		int r;

		if (n < 0)
			return cannot_show(path, -errno);
		r = files_write_all(STDOUT_FILENO, chunk, (size_t)n);
		if (r < 0)
			return say_not_written(-r);
	}
	return CLI_OK;
}

/* Waits for the next change: > 0, 0 when the file is gone, or -errno. */
static int wait_change(int watch)
{
	char events[sizeof(struct inotify_event) + NAME_MAX + 1]
		__attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t n;

	n = read(watch, events, sizeof(events));
	if (n < 0)
		return errno == EINTR ? 1 : -errno;
	for (char *p = events; p < events + n;) {
		const struct inotify_event *ev = (const struct inotify_event *)p;

		if (ev->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED))
			return 0;
		p += sizeof(*ev) + ev->len;
	}
	return 1;
}

/* Whether another file, or none, is by now where @fd was opened. */
static bool is_replaced(int fd, const char *path)
{
	struct stat ours;
	struct stat there;

	return fstat(fd, &ours) < 0 || stat(path, &there) < 0 || ours.st_ino != there.st_ino ||
	       ours.st_dev != there.st_dev;
}

/*
 * Prints @fd until it is replaced: the descriptor of what is there then, -1 when nothing is; *@ret_status is another one than
 * CLI_OK when that was said. Our own descriptor holds the file: its removal shows as a changed link count (IN_ATTRIB).
 */
static int follow_one(int fd, const char *path, int *ret_status)
{
	scoped(fd) int watch = inotify_init1(IN_CLOEXEC);
	int changed = 1;
	bool replaced = false;

	if (watch < 0 || inotify_add_watch(watch, path, FOLLOWED) < 0) {
		*ret_status = errno == ENOENT ? copy_rest(fd, path) : cannot_show(path, -errno);
		return -1;
	}
	while (!replaced && changed > 0) {
		/* asked first: what was written before is then read */
		replaced = is_replaced(fd, path);
		*ret_status = copy_rest(fd, path);
		if (*ret_status != CLI_OK)
			return -1;
		if (!replaced)
			changed = wait_change(watch);
	}
	if (changed < 0)
		*ret_status = cannot_show(path, changed);
	else
		*ret_status = copy_rest(fd, path);
	return *ret_status == CLI_OK ? open(path, O_RDONLY | O_CLOEXEC) : -1;
}

/* Through the boots to come, which each begin another file. */
static int follow(int fd, const char *path)
{
	int status = CLI_OK;
	int next = dup(fd);

	while (next >= 0 && status == CLI_OK) {
		scoped(fd) int now = next;

		next = follow_one(now, path, &status);
	}
	return status;
}

/* Heap; NULL: out of memory. */
static char *log_path(const char *name, const struct logs_settings *s)
{
	scoped(mem) char *path = drover_path(
		NULL, name, s->helper ? DROVER_PATH_HELPER_LOG : DROVER_PATH_SERIAL_LOG);

	if (path && s->previous)
		return str_format("%s.1", path);
	return take_ptr(&path);
}

static int run_logs(const struct command *self, const void *settings, const struct args *a)
{
	const struct logs_settings *s = settings;
	scoped(targets) struct targets t = {0};
	const struct drover_member *m;
	scoped(mem) char *path = NULL;
	scoped(fd) int fd = -1;
	int r;

	if (a->count != 1)
		return say_usage(self, "logs needs the name of a member");
	if (s->previous && (s->helper || s->follow))
		return say_usage(self, "--previous goes with neither --helper nor --follow");
	r = targets_find_member(a->names[0], &t, &m);
	if (r != CLI_OK)
		return r;
	path = log_path(a->names[0], s);
	if (!path)
		return say_error("out of memory");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return say_error("'%s' has no %s yet", a->names[0],
				 s->helper     ? "helper log"
				 : s->previous ? "log of a boot before the latest"
					       : "serial log");
	if (fd < 0)
		return say_error("cannot open %s: %s", path, strerror(errno));
	return s->follow ? follow(fd, path) : copy_rest(fd, path);
}

const struct command command_logs = {
	.name = "logs",
	.usage = "[OPTIONS] NAME",
	.summary = "Show what a member wrote to its serial console",
	.options = logs_options,
	.settings_size = sizeof(struct logs_settings),
	.run = run_logs,
};
