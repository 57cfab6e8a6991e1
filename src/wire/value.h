/* SPDX-License-Identifier: MIT */
/*
 * What a peer of the helper's sends, decoded: a tree of values in two allocations, or none when it is small. jansson's
 * tree takes a dozen for the shortest request, which was a fifth of the time of a call.
 *
 * How it works: the text is copied and cut up in place: the strings of the tree lie in it. Values stand in the order of the
 * text, each with the index of the next one on its level. The rules are wire_json_parse's, but for NUL bytes,
 * which are never taken; the fuzzer holds the two to each other.
 */
#ifndef DROVER_WIRE_VALUE_H
#define DROVER_WIRE_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

enum value_kind {
	VALUE_NULL,
	VALUE_BOOL,
	VALUE_INT,
	VALUE_REAL, /* its number is not kept: no request has one */
	VALUE_STRING,
	VALUE_LIST,
	VALUE_OBJECT,
};

struct value {
	enum value_kind kind;
	uint32_t next;   /* distance to the next value on this level; 0: the last one */
	uint32_t length; /* of a list or an object; what it holds begins right after it */
	const char *key; /* inside an object */
	union {
		const char *text; /* VALUE_STRING */
		int64_t number;   /* VALUE_INT, VALUE_BOOL */
	};
};

enum { VALUES_INSIDE = 8, SMALL_TEXT = 256 };

struct value_tree {
	struct value *values; /* the first is the object itself */
	size_t n;
	size_t size;
	char *text; /* where the strings are: @small, or owned */
	struct value inside[VALUES_INSIDE];
	char small[SMALL_TEXT];
};

/* Takes one object. 0, or < 0 with @e. value_tree_done in either case. */
int value_tree_parse(const char *text, size_t len, struct value_tree *ret, struct err *e);
void value_tree_done(struct value_tree *t);

/* The first value that a list or an object holds, and the one after @v; NULL: there is none. */
const struct value *value_first(const struct value *v);
const struct value *value_next(const struct value *v);

/* Field @key of @object: ASCII case is disregarded, null counts as absent, the last one counts. NULL: there is none. */
const struct value *value_get(const struct value *object, const char *key);

/* Optional fields: absent leaves *@ret alone; a wrong type is -EBADMSG with a sentence. Text is borrowed. */
int value_string(const struct value *object, const char *key, const char **ret, struct err *e);
int value_int(const struct value *object, const char *key, int64_t *ret, struct err *e);
int value_bool(const struct value *object, const char *key, bool *ret, struct err *e);

#endif
