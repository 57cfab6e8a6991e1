/* SPDX-License-Identifier: MIT */
/*
 * Saved points of a cluster, out of those that its members have. A member has a point NAME as NAME.NUMBER; one of the
 * cluster is whole when all members have the same number.
 */
#ifndef DROVER_WIRE_POINT_H
#define DROVER_WIRE_POINT_H

#include "wire/message.h"

/* What one member has. */
struct point_list {
	struct point *points; /* owned by whoever filled it; free() */
	size_t n;
};

int point_number(const struct point *p);
bool point_is_named(const struct point *p, const char *name);

/*
 * The newest point @name that all of the @n members have, as the first one's (borrowed), or NULL. *@ret_bytes: of all
 * members together.
 */
const struct point *points_newest(const struct point_list lists[], size_t n, const char *name,
				  int64_t *ret_bytes);

/*
 * The whole ones: of each name the newest, under its name alone, into @ret, which has room for the first member's. Sorts that.
 * Returns their number; @n is not 0.
 */
size_t points_whole(struct point_list lists[], size_t n, struct point *ret);

/* ERR_NOT_FOUND: @who has no point @name, and which it has. Returns the error's number. */
int points_refuse(struct point_list lists[], size_t n, const char *who, const char *name,
		  struct err *e);

#endif
