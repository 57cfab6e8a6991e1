/* SPDX-License-Identifier: MIT */
#include "wire/point.h"

#include <stdio.h>
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

static const struct point *find(const struct point_list *l, const char *kept_as)
{
	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->points[i].name, kept_as) == 0)
			return &l->points[i];
	return NULL;
}

/* Whether all of @lists have it; *@ret_bytes: what it takes there. */
static bool is_everywhere(const struct point_list lists[], size_t n, const char *kept_as,
			  int64_t *ret_bytes)
{
	int64_t bytes = 0;

	for (size_t i = 0; i < n; i++) {
		const struct point *p = find(&lists[i], kept_as);

		if (!p)
			return false;
		bytes += p->bytes;
	}
	*ret_bytes = bytes;
	return true;
}

const struct point *points_newest(const struct point_list lists[], size_t n, const char *name,
				  int64_t *ret_bytes)
{
	const struct point *best = NULL;

	for (size_t i = 0; n > 0 && i < lists[0].n; i++) {
		const struct point *p = &lists[0].points[i];
		int64_t bytes;

		if (!point_is_named(p, name) || !is_everywhere(lists, n, p->name, &bytes) ||
		    (best && point_number(p) < point_number(best)))
			continue;
		best = p;
		*ret_bytes = bytes;
	}
	return best;
}

size_t points_whole(struct point_list lists[], size_t n, struct point *ret)
{
	size_t count = 0;

	if (lists[0].n)
		qsort(lists[0].points, lists[0].n, sizeof(struct point), compare_points);
	for (size_t i = 0; i < lists[0].n; i++) {
		struct point p = lists[0].points[i];
		bool known = false;

		if (!is_everywhere(lists, n, p.name, &p.bytes))
			continue;
		p.name[strcspn(p.name, ".")] = '\0';
		for (size_t j = 0; j < count; j++)
			known = known || strcmp(ret[j].name, p.name) == 0;
		if (!known)
			ret[count++] = p;
	}
	return count;
}

int points_refuse(struct point_list lists[], size_t n, const char *who, const char *name,
		  struct err *e)
{
	struct point *whole = calloc(n && lists[0].n ? lists[0].n : 1, sizeof(*whole));
	char known[ERR_MSG_SIZE / 4] = "";
	size_t count = whole && n ? points_whole(lists, n, whole) : 0;
	size_t used = 0;

	for (size_t i = 0; i < count && used < sizeof(known); i++) {
		int len = snprintf(known + used, sizeof(known) - used, "%s%s", i ? ", " : "",
				   whole[i].name);

		used += len > 0 ? (size_t)len : 0;
	}
	free(whole);
	if (count == 0)
		return err_hint(
			e,
			err_set(e, ERR_NOT_FOUND, "%s has no point '%s', and no other", who, name),
			"save one: drover snapshot save CLUSTER POINT");
	return err_set(e, ERR_NOT_FOUND, "%s has no point '%s'; it has %s%s", who, name, known,
		       used >= sizeof(known) ? "..." : "");
}
