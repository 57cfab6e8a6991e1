/* SPDX-License-Identifier: MIT */
/*
 * Cuts a byte stream into JSON objects.
 *
 * How it works: the reference's decoder takes an object as soon as its last brace has arrived: a newline
 * is customary, not needed, and is plain white space inside an object. So the framer tracks depth, strings
 * and escapes, nothing else; whether an object is good JSON is the decoder's business.
 *
 * Memory: at most @max bytes of one object and what one read brought beside it.
 */
#ifndef DROVER_WIRE_FRAMER_H
#define DROVER_WIRE_FRAMER_H

#include "base/buf.h"

#include <stdbool.h>

struct framer {
	struct buf in;
	size_t scanned; /* bytes of @in already looked at */
	size_t max;
	unsigned depth;
	bool in_string;
	bool escaped;
	size_t handed_out; /* length of the frame that the last framer_next returned */
};

void framer_init(struct framer *f, size_t max);
void framer_done(struct framer *f);

/* Takes bytes in. 0 or -ENOMEM. */
int framer_feed(struct framer *f, const char *data, size_t len);

/*
 * The next whole object: 1, *@ret (borrowed until the next call on @f, not NUL-terminated) and *@ret_len.
 * 0: more bytes are needed. -EBADMSG: the next byte begins no object. -EMSGSIZE: it is over @max.
 * After an error the stream is lost; close it.
 */
int framer_next(struct framer *f, const char **ret, size_t *ret_len);

/* True when no byte of an unfinished object is waiting. */
bool framer_is_idle(const struct framer *f);

#endif
