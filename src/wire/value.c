/* SPDX-License-Identifier: MIT */
#include "wire/value.h"

#include "base/err.h"
#include "wire/json.h"
#include "wire/names.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* So many digits fit into 64 bits, whatever they are. */
enum { SHORT_DIGITS = 18 };

/* @at walks through the text, which ends with a NUL that is no part of it: so no step needs to ask for the end. */
struct parser {
	struct value_tree *tree;
	char *at;
	unsigned depth;
};

static bool parse_value(struct parser *p, const char *key, size_t *ret);

static void skip_space(struct parser *p)
{
	while (*p->at == ' ' || *p->at == '\n' || *p->at == '\t' || *p->at == '\r')
		p->at++;
}

/* White space and @c: goes past them. */
static bool take(struct parser *p, char c)
{
	skip_space(p);
	if (*p->at != c)
		return false;
	p->at++;
	return true;
}

static bool take_word(struct parser *p, const char *word)
{
	size_t len = strlen(word);

	if (strncmp(p->at, word, len) != 0)
		return false;
	p->at += len;
	return true;
}

static bool grow(struct value_tree *t)
{
	size_t size = t->size * 2;
	bool moves = t->values == t->inside;
	struct value *values = realloc(moves ? NULL : t->values, size * sizeof(*values));

	if (!values)
		return false;
	if (moves)
		memcpy(values, t->inside, sizeof(t->inside));
	t->values = values;
	t->size = size;
	return true;
}

/* Values move when there are more: they are spoken of by index until all are there. */
static bool add(struct parser *p, const char *key, size_t *ret)
{
	struct value_tree *t = p->tree;

	if (t->n == t->size && !grow(t))
		return false;
	t->values[t->n] = (struct value){.key = key};
	*ret = t->n++;
	return true;
}

/* Encodes what a \u escape named; it needs no more room than the escape had. */
static char *put_utf8(char *to, unsigned long c)
{
	if (c < 0x80) {
		*to++ = (char)c;
		return to;
	}
	if (c < 0x800) {
		*to++ = (char)(0xc0 | c >> 6);
	} else {
		if (c < 0x10000) {
			*to++ = (char)(0xe0 | c >> 12);
		} else {
			*to++ = (char)(0xf0 | c >> 18);
			*to++ = (char)(0x80 | (c >> 12 & 0x3f));
		}
		*to++ = (char)(0x80 | (c >> 6 & 0x3f));
	}
	*to++ = (char)(0x80 | (c & 0x3f));
	return to;
}

/* At a backslash. The text was cleaned: a high surrogate has its other half. */
static bool unescape(struct parser *p, char **to)
{
	static const char names[] = "\"\\/bfnrt";
	static const char meanings[] = "\"\\/\b\f\n\r\t";
	const char *name = p->at[1] ? strchr(names, p->at[1]) : NULL;
	long c, low;

	if (name) {
		*(*to)++ = meanings[name - names];
		p->at += 2;
		return true;
	}
	c = json_escape_value(p->at, strnlen(p->at, 6));
	if (c <= 0)
		return false;
	p->at += 6;
	if (c >= 0xd800 && c <= 0xdbff) {
		low = json_escape_value(p->at, strnlen(p->at, 6));
		c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
		p->at += 6;
	}
	*to = put_utf8(*to, (unsigned long)c);
	return true;
}

/* Past the opening quote. *@ret lies in the text, and ends where its closing quote was or before. */
static bool parse_string(struct parser *p, const char **ret)
{
	char *to;

	*ret = p->at;
	while ((unsigned char)*p->at >= 0x20 && *p->at != '"' && *p->at != '\\')
		p->at++;
	to = p->at;
	while (*p->at != '"') {
		if ((unsigned char)*p->at < 0x20)
			return false;
		if (*p->at != '\\')
			*to++ = *p->at++;
		else if (!unescape(p, &to))
			return false;
	}
	p->at++;
	*to = '\0';
	return true;
}

static bool skip_digits(struct parser *p)
{
	const char *begin = p->at;

	while (*p->at >= '0' && *p->at <= '9')
		p->at++;
	return p->at > begin;
}

/* Of a whole number of so few digits that it fits. */
static int64_t short_number(const char *digits, const char *end)
{
	int64_t number = 0;

	while (digits < end)
		number = number * 10 + (*digits++ - '0');
	return number;
}

static bool parse_number(struct parser *p, struct value *v)
{
	const char *begin = p->at;
	const char *digits;

	p->at += *p->at == '-';
	digits = p->at;
	if (!skip_digits(p) || (*digits == '0' && p->at > digits + 1))
		return false;
	v->kind = VALUE_INT;
	if (*p->at == '.') {
		v->kind = VALUE_REAL;
		p->at++;
		if (!skip_digits(p))
			return false;
	}
	if (*p->at == 'e' || *p->at == 'E') {
		v->kind = VALUE_REAL;
		p->at++;
		p->at += *p->at == '+' || *p->at == '-';
		if (!skip_digits(p))
			return false;
	}
	if (v->kind == VALUE_INT && p->at - digits <= SHORT_DIGITS) {
		v->number = short_number(digits, p->at);
		v->number = digits > begin ? -v->number : v->number;
		return true;
	}
	errno = 0;
	if (v->kind == VALUE_REAL)
		return isfinite(strtod(begin, NULL));
	v->number = strtoll(begin, NULL, 10);
	return errno == 0;
}

/* The members of an object, or the elements of a list, up to @close. */
static bool parse_inside(struct parser *p, size_t outer, bool keys, char close)
{
	const char *key = NULL;
	size_t last = 0, here = 0;
	uint32_t length = 0;

	if (++p->depth > WIRE_MAX_DEPTH)
		return false;
	if (!take(p, close)) {
		do {
			if (keys && !(take(p, '"') && parse_string(p, &key) && take(p, ':')))
				return false;
			if (!parse_value(p, key, &here))
				return false;
			if (length++ > 0)
				p->tree->values[last].next = (uint32_t)(here - last);
			last = here;
		} while (take(p, ','));
		if (!take(p, close))
			return false;
	}
	p->depth--;
	p->tree->values[outer].kind = keys ? VALUE_OBJECT : VALUE_LIST;
	p->tree->values[outer].length = length;
	return true;
}

static bool parse_literal(struct parser *p, struct value *v)
{
	if (take_word(p, "null"))
		return true;
	v->kind = VALUE_BOOL;
	v->number = take_word(p, "true");
	return v->number || take_word(p, "false");
}

static bool parse_value(struct parser *p, const char *key, size_t *ret)
{
	struct value *v;

	if (!add(p, key, ret))
		return false;
	if (take(p, '{'))
		return parse_inside(p, *ret, true, '}');
	v = &p->tree->values[*ret];
	switch (*p->at) {
	case '[':
		p->at++;
		return parse_inside(p, *ret, false, ']');
	case '"':
		p->at++;
		v->kind = VALUE_STRING;
		return parse_string(p, &v->text);
	case '-':
	case '0' ... '9':
		return parse_number(p, v);
	default:
		return parse_literal(p, v);
	}
}

static bool parse(struct value_tree *t, size_t len)
{
	struct parser p = {.tree = t, .at = t->text};
	size_t root;

	if (!parse_value(&p, NULL, &root))
		return false;
	skip_space(&p);
	return p.at == t->text + len && t->values[root].kind == VALUE_OBJECT;
}

/* What was refused: jansson has the sentence, unless it passes over a NUL, as it does after a number. */
static int tell_why(const char *text, size_t len, struct err *e)
{
	json_t *value = wire_json_parse(text, len, e);

	if (!value)
		return -EBADMSG;
	json_decref(value);
	if (memchr(text, '\0', len))
		return err_set(e, ERR_BAD_REQUEST, "bad JSON: it holds a NUL byte");
	return err_set(e, ERR_NO_MEMORY, "out of memory");
}

int value_tree_parse(const char *text, size_t len, struct value_tree *ret, struct err *e)
{
	size_t clean_len = 0;

	ret->values = ret->inside;
	ret->n = 0;
	ret->size = VALUES_INSIDE;
	if (len < sizeof(ret->small) && json_is_plain(text, len)) {
		memcpy(ret->small, text, len);
		ret->small[len] = '\0';
		ret->text = ret->small;
		clean_len = len;
	} else {
		ret->text = json_clean_copy(text, len, &clean_len);
	}
	if (!ret->text)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	return parse(ret, clean_len) ? 0 : tell_why(text, len, e);
}

void value_tree_done(struct value_tree *t)
{
	if (t->text != t->small)
		free(t->text);
	if (t->values != t->inside)
		free(t->values);
}

const struct value *value_first(const struct value *v)
{
	return v->length ? v + 1 : NULL;
}

const struct value *value_next(const struct value *v)
{
	return v->next ? v + v->next : NULL;
}

const struct value *value_get(const struct value *object, const char *key)
{
	const struct value *found = NULL;

	if (object->kind != VALUE_OBJECT)
		return NULL;
	for (const struct value *v = value_first(object); v; v = value_next(v))
		if ((*v->key | 0x20) == *key && v->kind != VALUE_NULL &&
		    strcasecmp(v->key, key) == 0)
			found = v;
	return found;
}

/* The field if it has the right kind. NULL: it is absent, and 0 in *@r; or it is wrong. */
static const struct value *get_kind(const struct value *object, const char *key,
				    enum value_kind kind, const char *want, int *r, struct err *e)
{
	const struct value *v = value_get(object, key);

	*r = 0;
	if (!v || v->kind == kind)
		return v;
	*r = json_wrong_type(key, want, e);
	return NULL;
}

int value_string(const struct value *object, const char *key, const char **ret, struct err *e)
{
	int r;
	const struct value *v = get_kind(object, key, VALUE_STRING, "a string", &r, e);

	if (v)
		*ret = v->text;
	return r;
}

int value_int(const struct value *object, const char *key, int64_t *ret, struct err *e)
{
	int r;
	const struct value *v = get_kind(object, key, VALUE_INT, "a whole number", &r, e);

	if (v)
		*ret = v->number;
	return r;
}

int value_bool(const struct value *object, const char *key, bool *ret, struct err *e)
{
	int r;
	const struct value *v = get_kind(object, key, VALUE_BOOL, "true or false", &r, e);

	if (v)
		*ret = v->number;
	return r;
}
