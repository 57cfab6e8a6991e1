/* SPDX-License-Identifier: MIT */
#include "base/files.h"

#include "base/buf.h"
#include "base/scoped.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int files_write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int files_write_into(const char *path, const char *text)
{
	scoped(fd) int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd < 0 ? -errno : files_write_all(fd, text, strlen(text));
}

int files_write_at(int fd, const void *data, size_t len, off_t at)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = pwrite(fd, p, len, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		p += n;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

int files_read(const char *path, size_t max, char **ret_data, size_t *ret_len)
{
	scoped(fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	scoped(buf) struct buf b = BUF_INIT;

	if (fd < 0)
		return -errno;
	for (;;) {
		ssize_t n;

		if (buf_reserve(&b, 16384) < 0)
			return -ENOMEM;
		n = read(fd, b.data + b.len, b.cap - b.len - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		b.len += (size_t)n;
		b.data[b.len] = '\0';
		if (b.len > max)
			return -EFBIG;
	}
	if (ret_len)
		*ret_len = b.len;
	*ret_data = buf_take(&b);
	return *ret_data ? 0 : -ENOMEM;
}

int files_sync_parent(const char *path)
{
	scoped(mem) char *dir = strdup(path);
	scoped(fd) int fd = -1;
	char *slash;

	if (!dir)
		return -ENOMEM;
	slash = strrchr(dir, '/');
	if (slash)
		slash[slash == dir ? 1 : 0] = '\0';
	fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return fsync(fd) < 0 ? -errno : 0;
}

static int replace(const char *path, const void *data, size_t len, mode_t mode, bool durable)
{
	scoped(mem) char *tmp = str_format("%s.XXXXXX", path);
	scoped(fd) int fd = -1;
	int r;

	if (!tmp)
		return -ENOMEM;
	fd = mkostemp(tmp, O_CLOEXEC); /* its mode is 0600 */
	if (fd < 0)
		return -errno;
	r = files_write_all(fd, data, len);
	if (r == 0 && ((mode != 0600 && fchmod(fd, mode) < 0) || (durable && fsync(fd) < 0) ||
		       rename(tmp, path) < 0))
		r = -errno;
	if (r < 0) {
		unlink(tmp);
		return r;
	}
	return durable ? files_sync_parent(path) : 0;
}

int files_replace(const char *path, const void *data, size_t len, mode_t mode)
{
	return replace(path, data, len, mode, true);
}

int files_publish(const char *path, const void *data, size_t len, mode_t mode)
{
	return replace(path, data, len, mode, false);
}

static int make_dir(const char *path, mode_t mode)
{
	return mkdir(path, mode) < 0 && errno != EEXIST ? -errno : 0;
}

/* The last one first: most often its parents are there. */
int files_mkdir_all(const char *path, mode_t mode)
{
	scoped(mem) char *copy = strdup(path);
	int r;

	if (!copy)
		return -ENOMEM;
	r = make_dir(copy, mode);
	if (r != -ENOENT)
		return r;
	for (char *p = copy + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		r = make_dir(copy, mode);
		if (r < 0)
			return r;
		*p = '/';
	}
	return make_dir(copy, mode);
}

static int remove_tree_at(int dirfd, const char *name);

static int remove_children(int fd)
{
	scoped(dir) DIR *dir = fdopendir(fd);
	struct dirent *entry;
	int r = 0;

	if (!dir) {
		close(fd);
		return -errno;
	}
	while ((entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		r = remove_tree_at(dirfd(dir), entry->d_name);
		if (r < 0)
			break;
	}
	return r;
}

static int remove_tree_at(int dirfd, const char *name)
{
	int fd;
	int r;

	if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = remove_children(fd);
	if (r < 0)
		return r;
	if (unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return -errno;
	return 0;
}

int files_remove_tree(const char *path)
{
	return remove_tree_at(AT_FDCWD, path);
}

char *files_absolute(const char *path)
{
	scoped(mem) char *cwd = NULL;

	if (path[0] == '/')
		return strdup(path);
	while (str_starts(path, "./"))
		path += 2;
	cwd = getcwd(NULL, 0);
	return cwd ? str_format("%s/%s", cwd, path) : NULL;
}

bool files_exist(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0;
}

static char *find_in(const char *dirs, const char *program)
{
	scoped(mem) char *copy = strdup(dirs);
	char *save = NULL;

	for (char *dir = copy ? strtok_r(copy, ":", &save) : NULL; dir;
	     dir = strtok_r(NULL, ":", &save)) {
		char *path = str_format("%s/%s", dir, program);
		struct stat st;

		if (path && access(path, X_OK) == 0 && stat(path, &st) == 0 && S_ISREG(st.st_mode))
			return path;
		free(path);
	}
	return NULL;
}

char *files_find_program(const char *program)
{
	const char *path = getenv("PATH");
	char *found;

	if (strchr(program, '/'))
		return access(program, X_OK) == 0 ? strdup(program) : NULL;
	found = path ? find_in(path, program) : NULL;
	return found ? found : find_in("/usr/sbin:/sbin", program);
}
