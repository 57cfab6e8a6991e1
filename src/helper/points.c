/* SPDX-License-Identifier: MIT */
#include "helper/helper.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_NUMBER = 999999999 };

int point_number(const struct point *p)
{
	const char *dot = strrchr(p->name, '.');
	int64_t number = 0;

	if (dot && str_to_int64(dot + 1, 0, MAX_NUMBER, &number) < 0)
		return 0;
	return (int)number;
}

bool point_is_named(const struct point *p, const char *name)
{
	size_t len = strcspn(p->name, ".");

	return strlen(name) == len && memcmp(p->name, name, len) == 0;
}

/* The newest first. */
static int compare_points(const void *a, const void *b)
{
	int left = point_number(a);
	int right = point_number(b);

	return (left < right) - (left > right);
}

void points_sort(struct point *points, size_t n)
{
	qsort(points, n, sizeof(*points), compare_points);
}
