/* SPDX-License-Identifier: MIT */
/* A growable run of bytes, always followed by a NUL that is not counted. */
#ifndef DROVER_BASE_BUF_H
#define DROVER_BASE_BUF_H

#include <stddef.h>

struct buf {
	char *data; /* owned; NULL while empty */
	size_t len;
	size_t cap;
};

#define BUF_INIT           \
	{                  \
		NULL, 0, 0 \
	}

/* All return 0 or -ENOMEM; on failure the buffer is as before. */
int buf_reserve(struct buf *b, size_t more);
int buf_add(struct buf *b, const void *data, size_t len);
int buf_addstr(struct buf *b, const char *s);
int buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Drops @len bytes from the front; memory stays allocated. */
void buf_consume(struct buf *b, size_t len);

/* Returns the bytes (heap, caller frees; never NULL unless out of memory) and empties the buffer. */
char *buf_take(struct buf *b);

/* Frees the memory; the buffer is empty and usable again. */
void buf_done(struct buf *b);

static inline void scoped_buf(struct buf *b)
{
	buf_done(b);
}

#endif
