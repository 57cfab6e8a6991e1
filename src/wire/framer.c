/* SPDX-License-Identifier: MIT */
#include "wire/framer.h"

#include <errno.h>

enum { KEPT_CAPACITY = 16384 };

void framer_init(struct framer *f, size_t max)
{
	*f = (struct framer){.in = BUF_INIT, .max = max};
}

void framer_done(struct framer *f)
{
	buf_done(&f->in);
	framer_init(f, f->max);
}

/* Forgets the object that was handed out; a buffer that one large object made is given back. */
static void drop_handed_out(struct framer *f)
{
	buf_consume(&f->in, f->handed_out);
	f->handed_out = 0;
	if (f->in.len == 0 && f->in.cap > KEPT_CAPACITY)
		buf_done(&f->in);
}

int framer_feed(struct framer *f, const char *data, size_t len)
{
	drop_handed_out(f);
	return buf_add(&f->in, data, len);
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The bytes that mean something outside a string, and inside one. */
static const bool is_mark[256] = {
	['"'] = true, ['{'] = true, ['}'] = true, ['['] = true, [']'] = true};
static const bool is_string_mark[256] = {['"'] = true, ['\\'] = true};

/* Moves on to the next byte that means something, at most to @end. */
static void skip_meaningless(struct framer *f, size_t end)
{
	const bool *mark = f->in_string ? is_string_mark : is_mark;

	if (f->escaped)
		return;
	while (f->scanned < end && !mark[(unsigned char)f->in.data[f->scanned]])
		f->scanned++;
}

/* Moves on by one byte; true when it closed the outermost object. */
static bool scan_byte(struct framer *f, char c)
{
	if (f->in_string) {
		if (f->escaped)
			f->escaped = false;
		else if (c == '\\')
			f->escaped = true;
		else if (c == '"')
			f->in_string = false;
		return false;
	}
	switch (c) {
	case '"':
		f->in_string = true;
		return false;
	case '{':
	case '[':
		f->depth++;
		return false;
	case '}':
	case ']':
		f->depth--;
		return f->depth == 0;
	default:
		return false;
	}
}

static int skip_space(struct framer *f)
{
	size_t skip = 0;

	while (skip < f->in.len && is_space(f->in.data[skip]))
		skip++;
	buf_consume(&f->in, skip);
	if (f->in.len == 0)
		return 0;
	return f->in.data[0] == '{' ? 1 : -EBADMSG;
}

int framer_next(struct framer *f, const char **ret, size_t *ret_len)
{
	drop_handed_out(f);
	if (f->scanned == 0) {
		int r = skip_space(f);

		if (r <= 0)
			return r;
	}
	while (f->scanned < f->in.len) {
		if (f->scanned >= f->max)
			return -EMSGSIZE;
		skip_meaningless(f, f->in.len < f->max ? f->in.len : f->max);
		if (f->scanned >= f->in.len || f->scanned >= f->max)
			continue;
		if (!scan_byte(f, f->in.data[f->scanned++]))
			continue;
		*ret = f->in.data;
		*ret_len = f->scanned;
		f->handed_out = f->scanned;
		f->scanned = 0;
		return 1;
	}
	return 0;
}

bool framer_is_idle(const struct framer *f)
{
	size_t i = f->handed_out;

	while (i < f->in.len && is_space(f->in.data[i]))
		i++;
	return i >= f->in.len;
}
