/* SPDX-License-Identifier: MIT */
#include "backend/local/tail.h"

#include "base/str.h"

#include <string.h>

void tail_add(struct buf *b, const char *data, size_t len, size_t max)
{
	if (len > max) {
		data += len - max;
		len = max;
	}
	buf_add(b, data, len);
	if (b->len > 2 * max)
		buf_consume(b, b->len - max);
}

/* Where the line that ends before @end begins. */
static size_t line_start(const char *data, size_t end)
{
	while (end > 0 && data[end - 1] != '\n')
		end--;
	return end;
}

static bool is_space(char c)
{
	return c == '\n' || c == '\r' || c == ' ' || c == '\t';
}

void tail_text(const struct buf *b, char *ret, size_t size)
{
	size_t at = size - 1; /* filled from the end */
	size_t end = b->len;

	ret[at] = '\0';
	while (end > 0) {
		size_t start = line_start(b->data, end);
		size_t last = end;

		while (last > start && is_space(b->data[last - 1]))
			last--;
		end = start > 0 ? start - 1 : 0;
		if (last == start)
			continue;
		if (at < last - start + 3)
			break;
		if (ret[at]) {
			at -= 3;
			memcpy(ret + at, " | ", 3);
		}
		at -= last - start;
		memcpy(ret + at, b->data + start, last - start);
	}
	memmove(ret, ret + at, size - at);
	str_make_printable(ret);
}
