/* SPDX-License-Identifier: MIT */
/*
 * Framer, request and spec: the bytes of a peer. The first byte chooses how the rest is cut into reads. What decodes
 * must encode, decode again and encode to the same bytes. The requests' own parser must say the same as jansson.
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

static void compare(json_t *want, const struct value *got);

static void compare_members(json_t *want, const struct value *got)
{
	for (const struct value *v = value_first(got); v; v = value_next(v)) {
		const struct value *last = v; /* of those with this very key */

		for (const struct value *w = value_next(v); w; w = value_next(w))
			if (strcmp(w->key, v->key) == 0)
				last = w;
		compare(json_object_get(want, v->key), last);
	}
	for (void *i = json_object_iter(want); i; i = json_object_iter_next(want, i)) {
		const struct value *v = value_first(got);

		while (v && strcmp(v->key, json_object_iter_key(i)) != 0)
			v = value_next(v);
		if (!v)
			abort();
	}
}

static void compare_elements(json_t *want, const struct value *got)
{
	size_t i = 0;

	for (const struct value *v = value_first(got); v; v = value_next(v))
		compare(json_array_get(want, i++), v);
	if (i != json_array_size(want) || i != got->length)
		abort();
}

static void compare(json_t *want, const struct value *got)
{
	static const enum value_kind kinds[] = {
		[JSON_OBJECT] = VALUE_OBJECT, [JSON_ARRAY] = VALUE_LIST,
		[JSON_STRING] = VALUE_STRING, [JSON_INTEGER] = VALUE_INT,
		[JSON_REAL] = VALUE_REAL,     [JSON_TRUE] = VALUE_BOOL,
		[JSON_FALSE] = VALUE_BOOL,    [JSON_NULL] = VALUE_NULL};

	if (!want || kinds[json_typeof(want)] != got->kind)
		abort();
	if (got->kind == VALUE_STRING && strcmp(json_string_value(want), got->text) != 0)
		abort();
	if (got->kind == VALUE_INT && json_integer_value(want) != got->number)
		abort();
	if (got->kind == VALUE_BOOL && json_is_true(want) != got->number)
		abort();
	if (got->kind == VALUE_OBJECT)
		compare_members(want, got);
	if (got->kind == VALUE_LIST)
		compare_elements(want, got);
}

static void check_parsers_agree(const char *text, size_t len)
{
	json_t *want = wire_json_parse(text, len, NULL);
	struct value_tree tree;
	int r = value_tree_parse(text, len, &tree, NULL);

	if (memchr(text, '\0', len) ? r == 0 : (want == NULL) != (r < 0))
		abort();
	if (r == 0)
		compare(want, tree.values);
	value_tree_done(&tree);
	json_decref(want);
}

static int take(struct framer *f)
{
	const char *text;
	size_t len;
	int r;

	while ((r = framer_next(f, &text, &len)) == 1) {
		struct request q;
		struct err e = ERR_INIT;

		check_parsers_agree(text, len);
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
