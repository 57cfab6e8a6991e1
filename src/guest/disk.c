/* SPDX-License-Identifier: MIT */
#include "base/buf.h"
#include "base/err.h"
#include "base/files.h"
#include "base/scoped.h"
#include "guest/image.h"
#include "guest/run.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
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

/* Runs @argv, which makes @tmp, and gives that its name. */
static int make(const char *const argv[], const char *tmp, const char *path, const char *base,
		const struct giveup *g, struct err *e)
{
	scoped(buf) struct buf tail = BUF_INIT;
	scoped(fd) int fd = -1;
	int r = run_program(argv, g, NULL, NULL, &tail, e);

	if (r != 0)
		return r < 0 ? r : create_failed(path, base, &tail, e);
	fd = open(tmp, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0 || rename(tmp, path) < 0)
		return err_errno(e, -errno, "cannot make the disk %s", path);
	r = files_sync_parent(path);
	return r < 0 ? err_errno(e, r, "cannot make the disk %s", path) : 0;
}

static int create(const char *tmp, const char *path, const char *base, const char *format,
		  uint64_t bytes, struct err *e)
{
	char size[32];
	const char *with_base[] = {"qemu-img", "create", "-q",   "-f", "qcow2", "-b",
				   base,       "-F",     format, tmp,  size,    NULL};
	const char *blank[] = {"qemu-img", "create", "-q", "-f", "qcow2", tmp, size, NULL};

	snprintf(size, sizeof(size), "%llu", (unsigned long long)bytes);
	return make(base ? with_base : blank, tmp, path, base, NULL, e);
}

/* An empty file beside @full for what shall become it; the name is heap. */
static int make_tmp(const char *full, char **ret, struct err *e)
{
	scoped(mem) char *tmp = str_format("%s.XXXXXX", full);
	int fd = tmp ? mkostemp(tmp, O_CLOEXEC) : -1;

	if (fd < 0)
		return err_errno(e, tmp ? -errno : -ENOMEM, "cannot make the disk %s", full);
	close(fd);
	*ret = take_ptr(&tmp);
	return 0;
}

int disk_copy_file(const char *from, const char *to, struct err *e)
{
	const char *argv[] = {"cp", "--reflink=auto", "--sparse=always", "-p", "--", from, to,
			      NULL};
	scoped(buf) struct buf tail = BUF_INIT;
	int r = run_program(argv, NULL, NULL, NULL, &tail, e);

	return r > 0 ? err_set(e, ERR_IO, "copy %s: %s", from, run_last_line(&tail)) : r;
}

int disk_copy(const char *from, const char *format, const char *path, const struct giveup *g,
	      struct err *e)
{
	const char *argv[] = {"qemu-img", "convert", "-f", format, "-O", "qcow2", from, NULL, NULL};
	scoped(mem) char *tmp = NULL;
	int r = make_tmp(path, &tmp, e);

	if (!tmp)
		return r;
	argv[7] = tmp;
	r = make(argv, tmp, path, from, g, e);
	if (r < 0)
		unlink(tmp);
	return r;
}

/* "count" blocks of 512 bytes; a shorter disk is filled up with zeros. */
static int unpack_head(const char *disk, const char *format, size_t size, const char *tmp,
		       struct err *e)
{
	scoped(mem) char *count = str_format("count=%zu", size / 512);
	scoped(mem) char *in = str_format("if=%s", disk);
	scoped(mem) char *out = str_format("of=%s", tmp);
	const char *argv[] = {"qemu-img", "dd",  "-f", format, "-O", "raw",
			      "bs=512",   count, in,   out,    NULL};
	scoped(buf) struct buf tail = BUF_INIT;
	int r;

	if (!count || !in || !out)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	r = run_program(argv, NULL, NULL, NULL, &tail, e);
	return r > 0 ? err_set(e, ERR_IMAGE, "cannot read the image %s: %s", disk,
			       run_last_line(&tail))
		     : r;
}

int disk_read_head(const char *disk, const char *format, const char *near, uint8_t *ret,
		   size_t size, struct err *e)
{
	scoped(mem) char *tmp = NULL;
	scoped(fd) int fd = -1;
	int r = 0;

	memset(ret, 0, size);
	if (strcmp(format, "raw") != 0) {
		r = make_tmp(near, &tmp, e);
		if (r == 0)
			r = unpack_head(disk, format, size, tmp, e);
	}
	if (r == 0) {
		fd = open(tmp ? tmp : disk, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || read(fd, ret, size) < 0)
			r = err_errno(e, -errno, "cannot read the image %s", disk);
	}
	if (tmp)
		unlink(tmp);
	return r;
}

int64_t disk_create(const char *path, const char *base, const char *base_format, uint64_t size_mb,
		    struct err *e)
{
	uint64_t bytes = size_mb << 20;
	uint64_t base_bytes = 0;
	char full[PATH_MAX];
	scoped(mem) char *full_base = NULL;
	scoped(mem) char *tmp = NULL;
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
	r = make_tmp(full, &tmp, e);
	if (!tmp)
		return r;
	r = create(tmp, full, full_base, base_format, bytes, e);
	if (r < 0) {
		unlink(tmp);
		return r;
	}
	return (int64_t)((bytes + (1 << 20) - 1) >> 20);
}

int disk_grow(const char *path, uint64_t size_mb, struct err *e)
{
	char full[PATH_MAX];
	char size[32];
	const char *argv[] = {"qemu-img", "resize", "-q", "-f", "qcow2", full, size, NULL};
	scoped(buf) struct buf tail = BUF_INIT;
	int r = absolute(path, full);

	if (r < 0)
		return err_errno(e, r, "cannot grow the disk %s", path);
	snprintf(size, sizeof(size), "%" PRIu64, size_mb << 20);
	r = run_program(argv, NULL, NULL, NULL, &tail, e);
	return r > 0 ? err_set(e, ERR_IO, "cannot grow the disk %s: %s", path, run_last_line(&tail))
		     : r;
}
