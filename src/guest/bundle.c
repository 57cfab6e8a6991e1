/* SPDX-License-Identifier: MIT */
#include "guest/bundle.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/files.h"
#include "base/giveup.h"
#include "base/scoped.h"
#include "base/str.h"
#include "guest/image.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 1 << 20, TEXT_MAX = 1 << 20 };

static const char head_name[] = "drover-bundle";
static const char sums_name[] = "sums";

static inline void scoped_entry(struct archive_entry **entry)
{
	archive_entry_free(*entry);
}

/* A line of sums: the file at @path is named @name. */
static int add_sum(struct buf *sums, const char *name, int fd, const struct giveup *g)
{
	scoped(md) EVP_MD_CTX *md = image_digest_begin();
	char hex[SHA256_TEXT_SIZE];
	int64_t at = 0;
	int r;

	if (!md)
		return -ENOMEM;
	r = image_digest_add(md, fd, &at, g);
	if (r < 0)
		return r;
	image_digest_hex(md, hex);
	return buf_addf(sums, "%s  %s\n", hex, name);
}

/* --- Writing --------------------------------------------------------------------------------------------------- */

struct bundle {
	struct archive *archive;
	struct buf sums;
	const struct giveup *giveup;
	int fd;           /* borrowed */
	bool never_waits; /* it is a file */
};

static int cannot_write(const struct bundle *b, struct err *e)
{
	int number = archive_errno(b->archive);
	const char *why = archive_error_string(b->archive);
	int r = giveup_check(b->giveup, e);

	if (r < 0)
		return r;
	if (number == ENOSPC)
		return err_set(e, ERR_NO_SPACE, "no space left to write the file");
	return err_set(e, ERR_IO, "cannot write the file: %s", why ? why : strerror(EIO));
}

/* What poll promises of a pipe is room for PIPE_BUF bytes: more might block. */
static la_ssize_t on_written(struct archive *a, void *arg, const void *data, size_t len)
{
	const struct bundle *b = arg;
	ssize_t n;

	do {
		if (!b->never_waits && giveup_wait(b->giveup, b->fd, POLLOUT, -1, NULL) < 0) {
			archive_set_error(a, ECANCELED, "given up");
			return -1;
		}
		n = write(b->fd, data, b->never_waits || len < PIPE_BUF ? len : PIPE_BUF);
	} while (n < 0 && (errno == EINTR || errno == EAGAIN));
	if (n < 0)
		archive_set_error(a, errno, "%s", strerror(errno));
	return n;
}

static struct archive_entry *new_entry(const char *name, int64_t size)
{
	struct archive_entry *entry = archive_entry_new();

	if (!entry)
		return NULL;
	archive_entry_set_pathname(entry, name);
	archive_entry_set_filetype(entry, AE_IFREG);
	archive_entry_set_perm(entry, 0600);
	archive_entry_set_size(entry, size);
	archive_entry_set_mtime(entry, 0, 0);
	return entry;
}

static int add_text(struct bundle *b, const char *name, const char *text, size_t len, struct err *e)
{
	scoped(entry) struct archive_entry *entry = new_entry(name, (int64_t)len);

	if (!entry)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	if (archive_write_header(b->archive, entry) != ARCHIVE_OK ||
	    archive_write_data(b->archive, text, len) != (la_ssize_t)len)
		return cannot_write(b, e);
	return 0;
}

int bundle_begin(int fd, const char *head, const struct giveup *g, struct bundle **ret,
		 struct err *e)
{
	struct bundle *b = calloc(1, sizeof(*b));
	struct archive *a = archive_write_new();
	struct stat st;
	int r;

	if (!b || !a) {
		free(b);
		archive_write_free(a);
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	}
	*b = (struct bundle){.archive = a, .sums = BUF_INIT, .giveup = g, .fd = fd};
	b->never_waits = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
	*ret = b;
	/* Memory is mostly alike: more effort makes it slower by far more than smaller. */
	if (archive_write_set_format_pax(a) != ARCHIVE_OK ||
	    archive_write_add_filter_zstd(a) != ARCHIVE_OK ||
	    archive_write_set_options(a, "zstd:compression-level=1") != ARCHIVE_OK ||
	    archive_write_set_bytes_in_last_block(a, 1) != ARCHIVE_OK || /* no padding in a pipe */
	    archive_write_open(a, b, NULL, on_written, NULL) != ARCHIVE_OK)
		return cannot_write(b, e);
	r = add_text(b, head_name, head, strlen(head), e);
	return r;
}

void bundle_free(struct bundle *b)
{
	if (!b)
		return;
	archive_write_free(b->archive);
	buf_done(&b->sums);
	free(b);
}

/* Where @fd has data. */
static int add_extents(struct archive_entry *entry, int fd, int64_t size)
{
	bool is_empty = true;
	off_t end = 0;

	while (end < size) {
		off_t start = lseek(fd, end, SEEK_DATA);

		if (start < 0 && errno == ENXIO)
			break;
		end = start < 0 ? -1 : lseek(fd, start, SEEK_HOLE);
		if (end < 0)
			return -errno;
		archive_entry_sparse_add_entry(entry, start, end - start);
		is_empty = false;
	}
	if (is_empty && size > 0) /* one hole */
		archive_entry_sparse_add_entry(entry, size, 0);
	return 0;
}

static int write_file(struct bundle *b, int fd, int64_t size, const char *path, struct err *e)
{
	scoped(mem) char *data = malloc(CHUNK);

	if (!data)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	for (int64_t at = 0; at < size;) {
		ssize_t n = pread(fd, data, CHUNK, at);
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_errno(e, n < 0 ? -errno : -EIO, "read %s", path);
		r = giveup_check(b->giveup, e);
		if (r < 0)
			return r;
		if (archive_write_data(b->archive, data, (size_t)n) < 0)
			return cannot_write(b, e);
		at += n;
	}
	return 0;
}

int bundle_add(struct bundle *b, const char *name, const char *path, struct err *e)
{
	scoped(fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	scoped(entry) struct archive_entry *entry = NULL;
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_errno(e, -errno, "read %s", path);
	entry = new_entry(name, st.st_size);
	r = entry ? add_extents(entry, fd, st.st_size) : -ENOMEM;
	if (r == 0)
		r = add_sum(&b->sums, name, fd, b->giveup);
	if (giveup_is_why(b->giveup, r, e))
		return r;
	if (r < 0)
		return err_errno(e, r, "read %s", path);
	if (archive_write_header(b->archive, entry) != ARCHIVE_OK)
		return cannot_write(b, e);
	return write_file(b, fd, st.st_size, path, e);
}

int bundle_finish(struct bundle *b, struct err *e)
{
	int r = add_text(b, sums_name, b->sums.data ? b->sums.data : "", b->sums.len, e);

	if (r == 0 && archive_write_close(b->archive) != ARCHIVE_OK)
		r = cannot_write(b, e);
	return r;
}

/* --- Reading --------------------------------------------------------------------------------------------------- */

struct reading {
	struct archive *archive;
	const struct bundle_taker *taker;
	struct buf sums; /* of what was written */
	int fd;          /* borrowed */
	const struct giveup *giveup;
	char *chunk;    /* what was read last: owned */
	struct err why; /* it was given up */
};

static inline void scoped_reading(struct reading *rd)
{
	archive_read_free(rd->archive);
	free(rd->chunk);
	buf_done(&rd->sums);
}

static int is_damaged(const struct reading *rd, struct err *e)
{
	const char *why = archive_error_string(rd->archive);

	return err_set(e, ERR_INVALID, "the file is cut off or damaged: %s",
		       why ? why : "it ends too early");
}

/* The next entry, which is to be a plain file; NULL: < 0, with @e. */
static int next_entry(struct reading *rd, struct archive_entry **ret, struct err *e)
{
	int r = archive_read_next_header(rd->archive, ret);

	if (r != ARCHIVE_OK)
		return is_damaged(rd, e);
	if (!archive_entry_pathname(*ret) || archive_entry_filetype(*ret) != AE_IFREG ||
	    archive_entry_hardlink(*ret))
		return err_set(e, ERR_INVALID, "the file has something in it that is no file");
	return 0;
}

static int read_text(struct reading *rd, struct archive_entry *entry, struct buf *ret,
		     struct err *e)
{
	char data[4096];
	la_ssize_t n;

	if (archive_entry_size(entry) > TEXT_MAX)
		return err_set(e, ERR_INVALID, "the file is damaged: %s is too long",
			       archive_entry_pathname(entry));
	while ((n = archive_read_data(rd->archive, data, sizeof(data))) > 0)
		if (buf_add(ret, data, (size_t)n) < 0)
			return err_set(e, ERR_NO_MEMORY, "out of memory");
	return n < 0 ? is_damaged(rd, e) : 0;
}

static int unpack(struct reading *rd, struct archive_entry *entry, int fd, const char *path,
		  struct err *e)
{
	const void *data;
	size_t len;
	la_int64_t at;
	int r;

	if (ftruncate(fd, archive_entry_size(entry)) < 0)
		return err_errno(e, -errno, "write %s", path);
	while ((r = archive_read_data_block(rd->archive, &data, &len, &at)) == ARCHIVE_OK) {
		r = giveup_check(rd->giveup, e);
		if (r < 0)
			return r;
		r = files_write_at(fd, data, len, at);
		if (r < 0)
			return err_errno(e, r, "write %s", path);
	}
	return r == ARCHIVE_EOF ? 0 : is_damaged(rd, e);
}

static int take_file(struct reading *rd, struct archive_entry *entry, struct err *e)
{
	scoped(mem) char *name = strdup(archive_entry_pathname(entry));
	scoped(mem) char *path = name ? rd->taker->where(rd->taker->arg, name, e) : NULL;
	scoped(fd) int fd = -1;
	int r;

	if (!name)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	if (!path)
		return err_code_number(e->code);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 && errno == EEXIST)
		return err_set(e, ERR_INVALID, "the file has %s twice", name);
	if (fd < 0)
		return err_errno(e, -errno, "write %s", path);
	r = unpack(rd, entry, fd, path, e);
	if (r < 0)
		return r;
	r = add_sum(&rd->sums, name, fd, rd->giveup);
	if (giveup_is_why(rd->giveup, r, e))
		return r;
	return r < 0 ? err_errno(e, r, "read %s", path) : 0;
}

static int is_foreign(struct err *e)
{
	return err_set(e, ERR_INVALID,
		       "this is not a file of 'drover snapshot export', or not all of it");
}

static int read_head(struct reading *rd, struct err *e)
{
	scoped(buf) struct buf head = BUF_INIT;
	struct archive_entry *entry;
	int r;

	if (archive_read_next_header(rd->archive, &entry) != ARCHIVE_OK ||
	    !str_equal(archive_entry_pathname(entry), head_name))
		return is_foreign(e);
	r = read_text(rd, entry, &head, e);
	return r < 0 ? r : rd->taker->on_head(rd->taker->arg, head.data ? head.data : "", e);
}

static int read_files(struct reading *rd, struct err *e)
{
	scoped(buf) struct buf sums = BUF_INIT;
	struct archive_entry *entry;
	int r = next_entry(rd, &entry, e);

	while (r == 0 && strcmp(archive_entry_pathname(entry), sums_name) != 0) {
		r = take_file(rd, entry, e);
		if (r == 0)
			r = next_entry(rd, &entry, e);
	}
	if (r == 0)
		r = read_text(rd, entry, &sums, e);
	if (r < 0)
		return r;
	if (!str_equal(sums.data ? sums.data : "", rd->sums.data ? rd->sums.data : ""))
		return err_set(e, ERR_INVALID, "the file is damaged: its check sums are others");
	return 0;
}

static la_ssize_t on_wanted(struct archive *a, void *arg, const void **ret)
{
	struct reading *rd = arg;
	ssize_t n;

	if (giveup_wait(rd->giveup, rd->fd, POLLIN, -1, &rd->why) < 0) {
		archive_set_error(a, ECANCELED, "%s", rd->why.msg);
		return -1;
	}
	do {
		n = read(rd->fd, rd->chunk, CHUNK);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		archive_set_error(a, errno, "%s", strerror(errno));
	*ret = rd->chunk;
	return n;
}

int bundle_read(int fd, const struct bundle_taker *t, const struct giveup *g, struct err *e)
{
	scoped(reading) struct reading rd = {.archive = archive_read_new(),
					     .taker = t,
					     .sums = BUF_INIT,
					     .fd = fd,
					     .giveup = g,
					     .chunk = malloc(CHUNK),
					     .why = ERR_INIT};
	int r;

	if (!rd.archive || !rd.chunk)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	archive_read_support_format_tar(rd.archive);
	archive_read_support_filter_zstd(rd.archive);
	r = archive_read_open(rd.archive, &rd, NULL, on_wanted, NULL) == ARCHIVE_OK
		    ? read_head(&rd, e)
		    : is_foreign(e);
	if (r == 0)
		r = read_files(&rd, e);
	return r < 0 && rd.why.code != ERR_NONE ? err_copy(e, &rd.why) : r;
}
