/* SPDX-License-Identifier: MIT */
/*
 * JSON in and out. Reading is jansson's, behind a pass that makes text from outside acceptable to it the way
 * the reference's decoder is lenient. Writing is ours: the bytes must be those of the reference's encoder
 * (field order, omitted empties, HTML escaping).
 */
#ifndef DROVER_WIRE_JSON_H
#define DROVER_WIRE_JSON_H

#include "base/buf.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct err;

/*
 * Parses one object. Invalid UTF-8 and lone surrogates become U+FFFD, the last of duplicate keys wins,
 * nesting over WIRE_MAX_DEPTH is refused. Returns a new reference or NULL with @e set.
 */
json_t *wire_json_parse(const char *text, size_t len, struct err *e);

/*
 * Field @key of @object, compared without regard to ASCII case; null counts as absent.
 * Borrowed, or NULL.
 */
json_t *wire_json_get(json_t *object, const char *key);

/* Optional fields: absent leaves *@ret alone; a wrong type is -EBADMSG with a sentence. Text is borrowed. */
int wire_json_string(json_t *object, const char *key, const char **ret, struct err *e);
int wire_json_int(json_t *object, const char *key, int64_t *ret, struct err *e);
int wire_json_bool(json_t *object, const char *key, bool *ret, struct err *e);

/* The text at @key, exactly so spelled; "" when there is none. Borrowed. */
static inline const char *json_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

/* scoped(json) drops the reference. */
static inline void scoped_json(json_t **j)
{
	json_decref(*j);
}

/* For value.h, which reads by the same rules. */

/* A copy (heap, NUL after it) in which invalid UTF-8 and lone surrogates are replaced, as above. NULL: no memory. */
char *json_clean_copy(const char *text, size_t len, size_t *ret_len);
/* Whether that would be the same bytes, and there is nothing to unescape. */
bool json_is_plain(const char *text, size_t len);
/* The value of \uXXXX at @s, or -1. */
long json_escape_value(const char *s, size_t left);
int json_wrong_type(const char *key, const char *want, struct err *e); /* -EBADMSG */

/* The writer: an object is written field by field into a buffer; the first failed allocation sticks. */
struct json_out {
	struct buf *b;
	int r; /* 0, or the first error */
	bool need_comma;
};

void json_out_begin(struct json_out *o, struct buf *b);
int json_out_end(struct json_out *o); /* closes the object and adds '\n'; 0 or -ENOMEM */
void json_out_string(struct json_out *o, const char *key, const char *value);
/* Omitted when NULL or empty. */
void json_out_string_opt(struct json_out *o, const char *key, const char *value);
void json_out_int(struct json_out *o, const char *key, int64_t value);
void json_out_bool(struct json_out *o, const char *key, bool value);
/* A list of texts; omitted when @n is 0. */
void json_out_strings_opt(struct json_out *o, const char *key, char *const *values, size_t n);
/* Already encoded JSON. */
void json_out_raw(struct json_out *o, const char *key, const char *json);
/* An object or array inside: key may be NULL for an array's element. */
void json_out_open(struct json_out *o, const char *key, char bracket);
void json_out_close(struct json_out *o, char bracket);

#endif
