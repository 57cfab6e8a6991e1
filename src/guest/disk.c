/* SPDX-License-Identifier: MIT */
#include "base/buf.h"
#include "base/err.h"
#include "base/files.h"
#include "base/scoped.h"
#include "guest/image.h"
#include "guest/run.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

/* qemu-img takes "a:b" for a protocol; from '/' on a path is a path. */
static int absolute(const char *path, char ret[PATH_MAX])
{
	char cwd[PATH_MAX];
	int n;

	if (path[0] != '/' && !getcwd(cwd, sizeof(cwd)))
		return -errno;
	n = path[0] == '/' ? snprintf(ret, PATH_MAX, "%s", path)
			   : snprintf(ret, PATH_MAX, "%s/%s", cwd, path);
	return n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static int create_failed(const char *path, const char *base, const struct buf *tail, struct err *e)
{
	const char *why = run_last_line(tail);

	if (strstr(why, strerror(ENOSPC)) || strstr(why, "No space left"))
		return err_set(e, ERR_NO_SPACE, "no space left for the disk %s", path);
	if (base && strstr(why, base))
		return err_set(e, ERR_IMAGE, "the image %s cannot be used: %s", base, why);
	return err_set(e, ERR_IO, "cannot make the disk %s: %s", path,
		       *why ? why : "qemu-img failed");
}

static int create(const char *tmp, const char *path, const char *base, const char *format,
		  uint64_t bytes, struct err *e)
{
	char size[32];
	const char *with_base[] = {"qemu-img", "create", "-q",   "-f", "qcow2", "-b",
				   base,       "-F",     format, tmp,  size,    NULL};
	const char *blank[] = {"qemu-img", "create", "-q", "-f", "qcow2", tmp, size, NULL};
	scoped(buf) struct buf tail = BUF_INIT;
	scoped(fd) int fd = -1;
	int r;

	snprintf(size, sizeof(size), "%llu", (unsigned long long)bytes);
	r = run_program(base ? with_base : blank, NULL, NULL, NULL, &tail, e);
	if (r != 0)
		return r < 0 ? r : create_failed(path, base, &tail, e);
	fd = open(tmp, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0 || rename(tmp, path) < 0)
		return err_errno(e, -errno, "cannot make the disk %s", path);
	r = files_sync_parent(path);
	return r < 0 ? err_errno(e, r, "cannot make the disk %s", path) : 0;
}

int disk_create(const char *path, const char *base, const char *base_format, uint64_t size_mb,
		struct err *e)
{
	uint64_t bytes = size_mb << 20;
	uint64_t base_bytes = 0;
	char full[PATH_MAX];
	scoped(mem) char *full_base = NULL;
	scoped(mem) char *tmp = NULL;
	int fd;
	int r = absolute(path, full);

	if (r < 0)
		return err_errno(e, r, "cannot make the disk %s", path);
	if (base) {
		full_base = realpath(base, NULL);
		if (!full_base)
			return err_errno(e, -errno, "cannot open the image %s", base);
		r = image_file_check_as(full_base, base_format, &base_bytes, e);
		if (r < 0)
			return r;
	}
	if (bytes < base_bytes)
		bytes = base_bytes;
	if (bytes == 0)
		return err_set(e, ERR_INVALID, "a disk of no size cannot be made");
	tmp = str_format("%s.XXXXXX", full);
	fd = tmp ? mkostemp(tmp, O_CLOEXEC) : -1;
	if (fd < 0)
		return err_errno(e, tmp ? -errno : -ENOMEM, "cannot make the disk %s", path);
	close(fd);
	r = create(tmp, full, full_base, base_format, bytes, e);
	if (r < 0)
		unlink(tmp);
	return r;
}
