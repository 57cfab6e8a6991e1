/* SPDX-License-Identifier: MIT */
/* The bytes of a helper, as a client reads them. */
#include "fuzz/fuzz.h"

#include "wire/message.h"

#include <stdlib.h>

int fuzz_one(const uint8_t *data, size_t size)
{
	struct reply p;
	struct err e = ERR_INIT;
	int r = reply_decode((const char *)data, size, &p, &e);

	if ((r < 0) != (e.code != ERR_NONE))
		abort();
	if (r == 0)
		reply_done(&p);
	return 0;
}
