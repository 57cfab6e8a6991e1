/* SPDX-License-Identifier: MIT */
#include "wire/json.h"

#include "base/err.h"
#include "base/scoped.h"
#include "base/str.h"
#include "wire/names.h"

#include <string.h>
#include <strings.h>

/* Length of the well-formed UTF-8 sequence at @s, or 0. */
static size_t utf8_len(const unsigned char *s, size_t left)
{
	size_t n;
	unsigned char low = 0x80;
	unsigned char high = 0xbf;

	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf)
		n = 2;
	else if (s[0] >= 0xe0 && s[0] <= 0xef)
		n = 3;
	else if (s[0] >= 0xf0 && s[0] <= 0xf4)
		n = 4;
	else
		return 0;
	if (left < n)
		return 0;
	if (s[0] == 0xe0)
		low = 0xa0;
	else if (s[0] == 0xed)
		high = 0x9f;
	else if (s[0] == 0xf0)
		low = 0x90;
	else if (s[0] == 0xf4)
		high = 0x8f;
	if (s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++)
		if (s[i] < 0x80 || s[i] > 0xbf)
			return 0;
	return n;
}

long json_escape_value(const char *s, size_t left)
{
	long value = 0;

	if (left < 6 || s[0] != '\\' || s[1] != 'u')
		return -1;
	for (int i = 2; i < 6; i++) {
		char c = s[i];
		int digit = c >= '0' && c <= '9'   ? c - '0'
			    : c >= 'a' && c <= 'f' ? c - 'a' + 10
			    : c >= 'A' && c <= 'F' ? c - 'A' + 10
						   : -1;

		if (digit < 0)
			return -1;
		value = value * 16 + digit;
	}
	return value;
}

/* Copies one escape; a surrogate without its other half becomes U+FFFD. Returns bytes taken. */
static size_t clean_escape(const char *s, size_t left, struct buf *out, int *r)
{
	long high = json_escape_value(s, left);
	long low;

	if (high < 0xd800 || high > 0xdfff) {
		size_t n = left >= 2 ? 2 : left;

		*r = buf_add(out, s, n);
		return n;
	}
	low = high < 0xdc00 ? json_escape_value(s + 6, left - 6) : -1;
	if (low >= 0xdc00 && low <= 0xdfff) {
		*r = buf_add(out, s, 12);
		return 12;
	}
	*r = buf_addstr(out, "\\ufffd");
	return 6;
}

/* Without a way out of the loop, so that it takes many bytes at a time. */
bool json_is_plain(const char *text, size_t len)
{
	unsigned char odd = 0;

	for (size_t i = 0; i < len; i++)
		odd |= (unsigned char)((text[i] & 0x80) | (text[i] == '\\'));
	return !odd;
}

static int clean_text(const char *text, size_t len, struct buf *out)
{
	size_t i = 0;
	int r = 0;

	while (i < len && r == 0) {
		size_t n;

		if (text[i] == '\\') {
			i += clean_escape(text + i, len - i, out, &r);
			continue;
		}
		n = utf8_len((const unsigned char *)text + i, len - i);
		r = n ? buf_add(out, text + i, n) : buf_add(out, "\xef\xbf\xbd", 3);
		i += n ? n : 1;
	}
	return r;
}

char *json_clean_copy(const char *text, size_t len, size_t *ret_len)
{
	scoped(buf) struct buf clean = BUF_INIT;
	int r = json_is_plain(text, len) ? buf_add(&clean, text, len)
					 : clean_text(text, len, &clean);

	if (r < 0)
		return NULL;
	*ret_len = clean.len;
	return buf_take(&clean);
}

static int check_depth(const char *text, size_t len, struct err *e)
{
	unsigned depth = 0;
	bool in_string = false;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
		} else if (c == '"') {
			in_string = true;
		} else if (c == '{' || c == '[') {
			if (++depth > WIRE_MAX_DEPTH)
				return err_set(e, ERR_BAD_REQUEST,
					       "bad JSON: nested deeper than %d levels",
					       WIRE_MAX_DEPTH);
		} else if ((c == '}' || c == ']') && depth > 0) {
			depth--;
		}
	}
	return 0;
}

json_t *wire_json_parse(const char *text, size_t len, struct err *e)
{
	scoped(buf) struct buf clean = BUF_INIT;
	json_error_t why;
	json_t *value;

	if (check_depth(text, len, e) < 0)
		return NULL;
	if (!json_is_plain(text, len)) {
		if (clean_text(text, len, &clean) < 0) {
			err_set(e, ERR_NO_MEMORY, "out of memory");
			return NULL;
		}
		text = clean.data;
		len = clean.len;
	}
	value = json_loadb(text, len, JSON_DECODE_ANY, &why);
	if (!value) {
		err_set(e, ERR_BAD_REQUEST, "bad JSON: %.160s", why.text);
		return NULL;
	}
	if (!json_is_object(value)) {
		json_decref(value);
		err_set(e, ERR_BAD_REQUEST, "bad JSON: a request is an object");
		return NULL;
	}
	return value;
}

/* @key begins with a small letter. */
json_t *wire_json_get(json_t *object, const char *key)
{
	json_t *found = NULL;

	for (void *i = json_object_iter(object); i; i = json_object_iter_next(object, i)) {
		const char *name = json_object_iter_key(i);
		json_t *value = json_object_iter_value(i);

		if ((*name | 0x20) == *key && strcasecmp(name, key) == 0 && !json_is_null(value))
			found = value;
	}
	return found;
}

int json_wrong_type(const char *key, const char *want, struct err *e)
{
	return err_set(e, ERR_BAD_REQUEST, "wrong type: \"%s\" must be %s", key, want);
}

int wire_json_string(json_t *object, const char *key, const char **ret, struct err *e)
{
	json_t *value = wire_json_get(object, key);

	if (!value)
		return 0;
	if (!json_is_string(value))
		return json_wrong_type(key, "a string", e);
	*ret = json_string_value(value);
	return 0;
}

int wire_json_int(json_t *object, const char *key, int64_t *ret, struct err *e)
{
	json_t *value = wire_json_get(object, key);

	if (!value)
		return 0;
	if (!json_is_integer(value))
		return json_wrong_type(key, "a whole number", e);
	*ret = json_integer_value(value);
	return 0;
}

int wire_json_bool(json_t *object, const char *key, bool *ret, struct err *e)
{
	json_t *value = wire_json_get(object, key);

	if (!value)
		return 0;
	if (!json_is_boolean(value))
		return json_wrong_type(key, "true or false", e);
	*ret = json_is_true(value);
	return 0;
}

static void out_add(struct json_out *o, const char *s, size_t len)
{
	struct buf *b = o->b;

	if (b->cap - b->len <= len && o->r == 0)
		o->r = buf_reserve(b, len);
	if (o->r < 0)
		return;
	memcpy(b->data + b->len, s, len);
	b->len += len;
	b->data[b->len] = '\0';
}

static void out_str(struct json_out *o, const char *s)
{
	out_add(o, s, strlen(s));
}

/* What the reference escapes one byte at a time; NULL when @c stands for itself. */
static const char *short_escape(unsigned char c, char hex[8])
{
	switch (c) {
	case '"':
		return "\\\"";
	case '\\':
		return "\\\\";
	case '\n':
		return "\\n";
	case '\r':
		return "\\r";
	case '\t':
		return "\\t";
	default:
		break;
	}
	if (c >= 0x20 && c != '<' && c != '>' && c != '&')
		return NULL;
	snprintf(hex, 8, "\\u%04x", c);
	return hex;
}

/* How many bytes of @s stand for themselves. */
static size_t plain_len(const char *s)
{
	size_t n = 0;

	while ((unsigned char)s[n] >= 0x20 && (unsigned char)s[n] < 0x80 && s[n] != '"' &&
	       s[n] != '\\' && s[n] != '<' && s[n] != '>' && s[n] != '&')
		n++;
	return n;
}

static void out_escaped(struct json_out *o, const char *s)
{
	size_t left = strlen(s);
	size_t plain = 0; /* bytes before @s that are not written yet */

	while (left > 0) {
		char hex[8];
		size_t n = utf8_len((const unsigned char *)s, left);
		const char *escape = NULL;

		if (n == 1)
			escape = short_escape((unsigned char)*s, hex);
		else if (n == 0)
			escape = "\\ufffd";
		else if (n == 3 && memcmp(s, "\xe2\x80", 2) == 0 &&
			 ((unsigned char)s[2] | 1) == 0xa9)
			escape = (unsigned char)s[2] == 0xa8 ? "\\u2028" : "\\u2029";
		n = n ? n : 1;
		if (escape) {
			out_add(o, s - plain, plain);
			out_str(o, escape);
			plain = 0;
		} else {
			plain += n;
		}
		s += n;
		left -= n;
	}
	out_add(o, s - plain, plain);
}

static void out_quoted(struct json_out *o, const char *s)
{
	size_t plain = plain_len(s);

	out_add(o, "\"", 1);
	out_add(o, s, plain);
	if (s[plain])
		out_escaped(o, s + plain);
	out_add(o, "\"", 1);
}

static void out_key(struct json_out *o, const char *key)
{
	if (o->need_comma)
		out_add(o, ",", 1);
	o->need_comma = true;
	if (key) { /* it is one of ours, with nothing to escape */
		out_add(o, "\"", 1);
		out_str(o, key);
		out_add(o, "\":", 2);
	}
}

void json_out_begin(struct json_out *o, struct buf *b)
{
	*o = (struct json_out){.b = b};
	out_str(o, "{");
}

int json_out_end(struct json_out *o)
{
	out_str(o, "}\n");
	return o->r;
}

void json_out_string(struct json_out *o, const char *key, const char *value)
{
	out_key(o, key);
	out_quoted(o, value ? value : "");
}

void json_out_string_opt(struct json_out *o, const char *key, const char *value)
{
	if (value && *value)
		json_out_string(o, key, value);
}

void json_out_int(struct json_out *o, const char *key, int64_t value)
{
	char digits[INT_TEXT_SIZE];

	out_key(o, key);
	out_str(o, str_from_int(digits, value));
}

void json_out_bool(struct json_out *o, const char *key, bool value)
{
	out_key(o, key);
	out_str(o, value ? "true" : "false");
}

void json_out_strings_opt(struct json_out *o, const char *key, char *const *values, size_t n)
{
	if (n == 0)
		return;
	json_out_open(o, key, '[');
	for (size_t i = 0; i < n; i++)
		json_out_string(o, NULL, values[i]);
	json_out_close(o, ']');
}

void json_out_raw(struct json_out *o, const char *key, const char *json)
{
	out_key(o, key);
	out_str(o, json);
}

void json_out_open(struct json_out *o, const char *key, char bracket)
{
	out_key(o, key);
	out_add(o, &bracket, 1);
	o->need_comma = false;
}

void json_out_close(struct json_out *o, char bracket)
{
	out_add(o, &bracket, 1);
	o->need_comma = true;
}
