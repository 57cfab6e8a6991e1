/* SPDX-License-Identifier: MIT */
/*
 * Framer, request and spec: the bytes of a peer. The first byte chooses how the rest is cut into reads. What decodes
 * must encode, decode again and encode to the same bytes.
 */
#include "fuzz/fuzz.h"

#include "wire/framer.h"
#include "wire/message.h"

#include <stdlib.h>
#include <string.h>

static void check_round_trip(const struct request *q)
{
	struct request again;
	struct buf first = BUF_INIT;
	struct buf second = BUF_INIT;

	if (request_encode(q, &first) < 0)
		abort();
	if (request_decode(first.data, first.len, &again, NULL) < 0)
		abort();
	if (request_encode(&again, &second) < 0)
		abort();
	if (first.len != second.len || memcmp(first.data, second.data, first.len) != 0)
		abort();
	request_done(&again);
	buf_done(&first);
	buf_done(&second);
}

static int take(struct framer *f)
{
	const char *text;
	size_t len;
	int r;

	while ((r = framer_next(f, &text, &len)) == 1) {
		struct request q;
		struct err e = ERR_INIT;

		r = request_decode(text, len, &q, &e);
		if ((r < 0) != (e.code != ERR_NONE))
			abort();
		if (r == 0)
			check_round_trip(&q);
		request_done(&q);
	}
	return r;
}

int fuzz_one(const uint8_t *data, size_t size)
{
	size_t step = size ? data[0] % 64 + 1 : 1;
	struct framer f;

	framer_init(&f, 4096);
	for (size_t at = 1; at < size; at += step) {
		size_t n = size - at < step ? size - at : step;

		if (framer_feed(&f, (const char *)data + at, n) < 0 || take(&f) < 0)
			break;
	}
	framer_done(&f);
	return 0;
}
