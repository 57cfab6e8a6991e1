/* SPDX-License-Identifier: MIT */
#include "base/copy.h"

#include "base/files.h"
#include "base/scoped.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * What is compared at once: pages; where @to has a hole, more, lest it becomes a file of many small pieces.
 */
enum { CHUNK = 256 << 10, PAGE = 4096, PIECE = 64 << 10 };

struct copying {
	int from;
	int to;
	char *now;    /* CHUNK bytes of @from */
	char *before; /* and of @to */
};

/* What the file does not have is zero. */
static int read_at(int fd, char *data, size_t len, off_t at)
{
	while (len > 0) {
		ssize_t n = pread(fd, data, len, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0) {
			memset(data, 0, len);
			return 0;
		}
		data += n;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Where in @fd the next data begin at @at or after it, but not after @end; -errno. */
static off_t next_data(int fd, off_t at, off_t end)
{
	off_t start = lseek(fd, at, SEEK_DATA);

	if (start < 0 && errno != ENXIO)
		return -errno;
	return start < 0 || start > end ? end : start;
}

/* A hole of a file is not read: that would fill the cache with zeros. *@ret_block: what to compare at once. */
static int read_before(const struct copying *c, size_t len, off_t at, size_t *ret_block)
{
	off_t end = at + (off_t)len;
	off_t start = next_data(c->to, at, end);

	if (start < 0)
		return (int)start;
	*ret_block = start < end ? PAGE : PIECE;
	if (start < end)
		return read_at(c->to, c->before, len, at);
	memset(c->before, 0, len);
	return 0;
}

static bool differs(const struct copying *c, size_t at, size_t len, size_t block)
{
	size_t n = len - at < block ? len - at : block;

	return memcmp(c->now + at, c->before + at, n) != 0;
}

static int write_changes(const struct copying *c, size_t len, off_t start, size_t block)
{
	size_t at = 0;
	int r = 0;

	while (at < len && r == 0) {
		size_t begin;

		while (at < len && !differs(c, at, len, block))
			at += block;
		begin = at;
		while (at < len && differs(c, at, len, block))
			at += block;
		if (at > len)
			at = len;
		if (begin < at)
			r = files_write_at(c->to, c->now + begin, at - begin, start + (off_t)begin);
	}
	return r;
}

static int change_extent(const struct copying *c, off_t at, off_t end)
{
	size_t block = PAGE;
	int r = 0;

	while (at < end && r == 0) {
		size_t len = end - at < CHUNK ? (size_t)(end - at) : CHUNK;

		r = read_at(c->from, c->now, len, at);
		if (r == 0)
			r = read_before(c, len, at, &block);
		if (r == 0 && memcmp(c->now, c->before, len) != 0)
			r = write_changes(c, len, at, block);
		at += (off_t)len;
	}
	return r;
}

/* @from has a hole there. */
static int make_hole(const struct copying *c, off_t at, off_t end)
{
	off_t start = next_data(c->to, at, end);

	if (start < 0)
		return (int)start;
	if (start >= end ||
	    fallocate(c->to, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, start, end - start) == 0)
		return 0;
	return errno == EOPNOTSUPP ? change_extent(c, start, end) : -errno;
}

static int change_all(const struct copying *c, off_t size)
{
	off_t end = 0;
	int r = 0;

	while (end < size && r == 0) {
		off_t start = next_data(c->from, end, size);

		r = start < 0 ? (int)start : make_hole(c, end, start);
		if (r < 0 || start >= size)
			return r;
		end = lseek(c->from, start, SEEK_HOLE);
		if (end < 0 && errno != ENXIO)
			return -errno;
		if (end < 0 || end > size)
			end = size;
		r = change_extent(c, start, end);
	}
	return r;
}

int copy_changes(int from, int to, off_t size)
{
	scoped(mem) char *now = malloc(CHUNK);
	scoped(mem) char *before = malloc(CHUNK);

	if (!now || !before)
		return -ENOMEM;
	return change_all(&(struct copying){from, to, now, before}, size);
}
