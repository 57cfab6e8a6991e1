/* SPDX-License-Identifier: MIT */
/* Bytes from a file into a new file, sparse where the source is, with their SHA-256. */
#include "base/buf.h"
#include "base/err.h"
#include "base/files.h"
#include "base/giveup.h"
#include "base/scoped.h"
#include "base/str.h"
#include "guest/image.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 1 << 20, KERNEL_CHUNK = 16 << 20 };

struct copy {
	const char *source;
	const char *path;
	int fd; /* the new file, @path */
	EVP_MD_CTX *md;
	const struct giveup *giveup;
	guest_progress_fn *progress;
	void *arg;
	int percent; /* last told */
};

bool image_is_url(const char *source)
{
	return strncasecmp(source, "http://", 7) == 0 || strncasecmp(source, "https://", 8) == 0 ||
	       strncasecmp(source, "file://", 7) == 0;
}

static void tell(struct copy *f, int64_t done, int64_t total)
{
	int percent = total > 0 ? (int)(done * 100 / total) : -1;

	if (!f->progress || percent == f->percent)
		return;
	f->percent = percent;
	f->progress(f->arg, percent, "copying");
}

/* One run of data, [@from, @to). copy_file_range shares blocks where the file system can. */
static int copy_run(struct copy *f, int in, off_t from, off_t to, off_t total, char *data)
{
	bool by_kernel = true;

	while (from < to) {
		size_t want = to - from < KERNEL_CHUNK ? (size_t)(to - from) : KERNEL_CHUNK;
		off_t out = from;
		off_t at = from;
		ssize_t n = giveup_check(f->giveup, NULL);

		if (n < 0)
			return (int)n;
		n = -1;
		if (by_kernel)
			n = copy_file_range(in, &at, f->fd, &out, want, 0);
		if (n < 0 && by_kernel && (errno == ENOSPC || errno == EDQUOT || errno == EIO))
			return -errno;
		if (n <= 0) {
			by_kernel = false;
			n = pread(in, data, want < CHUNK ? want : CHUNK, from);
			if (n > 0)
				n = pwrite(f->fd, data, (size_t)n, from);
			if (n < 0 && errno == EINTR)
				continue;
			if (n <= 0)
				return n < 0 ? -errno : -EIO; /* it shrank under us */
		}
		from += n;
		tell(f, from, total);
	}
	return 0;
}

static int copy_data(struct copy *f, int in, off_t total)
{
	scoped(mem) char *data = malloc(CHUNK);
	off_t from = 0;

	if (!data)
		return -ENOMEM;
	if (ioctl(f->fd, FICLONE, in) == 0)
		return 0;
	if (ftruncate(f->fd, total) < 0)
		return -errno;
	while (from < total) {
		off_t start = lseek(in, from, SEEK_DATA);
		off_t end;
		int r;

		if (start < 0 && errno == ENXIO)
			break; /* a hole up to the end */
		if (start < 0)
			start = from;
		end = lseek(in, start, SEEK_HOLE);
		if (end <= start || end > total)
			end = total;
		r = copy_run(f, in, start, end, total, data);
		if (r < 0)
			return r;
		from = end;
	}
	return 0;
}

static int copy(struct copy *f, char ret_sha256[SHA256_TEXT_SIZE], struct err *e)
{
	scoped(fd) int in = open(f->source, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	int64_t at = 0;
	int r;

	if (in < 0 && strstr(f->source, "://"))
		return err_set(e, ERR_INVALID,
			       "%s: images come from files and by http, https and file URLs",
			       f->source);
	if (in < 0 && errno == ENOENT)
		return err_set(e, ERR_NOT_FOUND, "there is no image file %s", f->source);
	if (in < 0 || fstat(in, &st) < 0)
		return err_errno(e, -errno, "cannot open the image %s", f->source);
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_IMAGE, "%s is not a regular file", f->source);
	r = copy_data(f, in, st.st_size);
	if (r == 0) /* of the copy, not of the source, which may change meanwhile */
		r = image_digest_add(f->md, f->fd, &at, f->giveup);
	if (giveup_is_why(f->giveup, r, e))
		return r;
	if (r == -ENOSPC || r == -EDQUOT)
		return err_set(e, ERR_NO_SPACE,
			       "cannot copy the image %s: the file system that holds %s is full",
			       f->source, f->path);
	if (r < 0)
		return err_errno(e, r, "cannot copy the image %s", f->source);
	image_digest_hex(f->md, ret_sha256);
	return 0;
}

int image_copy(const char *source, const char *path, char ret_sha256[SHA256_TEXT_SIZE],
	       const struct giveup *g, guest_progress_fn *progress, void *arg, struct err *e)
{
	scoped(md) EVP_MD_CTX *md = image_digest_begin();
	scoped(fd) int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	struct copy f = {source, path, fd, md, g, progress, arg, -2};

	if (fd < 0)
		return err_errno(e, -errno, "cannot make %s", path);
	if (!md)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	return copy(&f, ret_sha256, e);
}
