/* SPDX-License-Identifier: MIT */
#include "wire/message.h"

#include "base/scoped.h"

#include <string.h>

static const char *const verb_names[VERB_MAX] = {
#define X(id, name) [VERB_##id] = name,
	VERB_MAP(X)
#undef X
};

const char *verb_name(enum verb v)
{
	return v > VERB_NONE && v < VERB_MAX ? verb_names[v] : "";
}

enum verb verb_from_name(const char *name)
{
	for (int v = VERB_NONE + 1; name && v < VERB_MAX; v++)
		if (strcmp(verb_names[v], name) == 0)
			return (enum verb)v;
	return VERB_NONE;
}

void request_done(struct request *q)
{
	free(q->id);
	free(q->name);
	free(q->ip_hint);
	free(q->point);
	free(q->as);
	free(q->dir);
	free(q->subnet);
	if (q->spec.name) /* only one verb has a spec, and none is without */
		vm_spec_done(&q->spec);
	*q = (struct request){0};
}

static int take_text(const struct value *root, const char *key, char **ret, struct err *e)
{
	const char *text = NULL;
	int r = value_string(root, key, &text, e);

	if (r < 0 || !text || !*text)
		return r;
	*ret = strdup(text);
	return *ret ? 0 : err_set(e, ERR_NO_MEMORY, "out of memory");
}

static char *text_of_int(int64_t number)
{
	char digits[INT_TEXT_SIZE];

	return strdup(str_from_int(digits, number));
}

/* As a JSON string. */
static char *encode_text(const char *text)
{
	json_t *value = json_string(text);
	char *encoded = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);

	json_decref(value);
	return encoded;
}

static int take_id(const struct value *root, char **ret, struct err *e)
{
	const struct value *id = value_get(root, "id");

	if (!id)
		return 0;
	if (id->kind != VALUE_STRING && id->kind != VALUE_INT)
		return err_set(e, ERR_BAD_REQUEST,
			       "wrong type: \"id\" must be a string or a whole number");
	*ret = id->kind == VALUE_INT ? text_of_int(id->number) : encode_text(id->text);
	if (!*ret)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	if (strlen(*ret) <= WIRE_MAX_ID)
		return 0;
	free(*ret);
	*ret = NULL;
	return err_set(e, ERR_BAD_REQUEST, "\"id\" is longer than %d bytes", WIRE_MAX_ID);
}

static int take_verb(const struct value *root, struct request *q, struct err *e)
{
	const char *cmd = NULL;
	char shown[48];
	int r = value_string(root, "cmd", &cmd, e);

	if (r < 0)
		return r;
	if (!cmd || !*cmd)
		return err_set(e, ERR_BAD_REQUEST, "missing \"cmd\"");
	q->verb = verb_from_name(cmd);
	if (q->verb != VERB_NONE)
		return 0;
	snprintf(shown, sizeof(shown), "%s", cmd);
	str_make_printable(shown);
	return err_set(e, ERR_UNKNOWN_COMMAND, "unknown command \"%s\"", shown);
}

static int decode_fields(const struct value *root, struct request *q, struct err *e)
{
	int r = take_id(root, &q->id, e);

	if (r == 0)
		r = take_verb(root, q, e);
	if (r == 0 && q->verb != VERB_BOOT_MEMBER && root->length == (q->id ? 2 : 1))
		return 0; /* these were all: of most requests */
	if (r == 0)
		r = take_text(root, "name", &q->name, e);
	if (r == 0)
		r = take_text(root, "ip_hint", &q->ip_hint, e);
	if (r == 0)
		r = take_text(root, "point", &q->point, e);
	if (r == 0)
		r = take_text(root, "as", &q->as, e);
	if (r == 0)
		r = take_text(root, "dir", &q->dir, e);
	if (r == 0)
		r = take_text(root, "subnet", &q->subnet, e);
	if (r == 0)
		r = value_int(root, "port", &q->port, e);
	if (r == 0)
		r = value_bool(root, "no_egress", &q->no_egress, e);
	if (r == 0)
		r = value_bool(root, "all", &q->all, e);
	if (r == 0 && q->verb == VERB_BOOT_MEMBER)
		r = vm_spec_decode(value_get(root, "spec"), &q->spec, e);
	return r;
}

int request_decode(const char *text, size_t len, struct request *ret, struct err *e)
{
	struct value_tree tree;
	int r;

	*ret = (struct request){0};
	r = value_tree_parse(text, len, &tree, e);
	if (r == 0)
		r = decode_fields(tree.values, ret, e);
	value_tree_done(&tree);
	return r;
}

int request_encode(const struct request *q, struct buf *out)
{
	struct json_out o;

	json_out_begin(&o, out);
	json_out_string(&o, "cmd", verb_name(q->verb));
	json_out_string_opt(&o, "name", q->name);
	json_out_string_opt(&o, "ip_hint", q->ip_hint);
	json_out_string_opt(&o, "point", q->point);
	json_out_string_opt(&o, "as", q->as);
	json_out_string_opt(&o, "dir", q->dir);
	json_out_string_opt(&o, "subnet", q->subnet);
	if (q->verb == VERB_BOOT_MEMBER)
		vm_spec_encode(&q->spec, &o);
	if (q->port)
		json_out_int(&o, "port", q->port);
	if (q->no_egress)
		json_out_bool(&o, "no_egress", true);
	if (q->all)
		json_out_bool(&o, "all", true);
	if (q->id)
		json_out_raw(&o, "id", q->id);
	return json_out_end(&o);
}

static int end_with_id(struct json_out *o, const char *id)
{
	if (id)
		json_out_raw(o, "id", id);
	return json_out_end(o);
}

int reply_empty(struct buf *out, const char *id)
{
	struct json_out o;

	json_out_begin(&o, out);
	return end_with_id(&o, id);
}

int reply_error(struct buf *out, const char *id, const struct err *e)
{
	struct json_out o;

	json_out_begin(&o, out);
	json_out_string(&o, "error", *e->msg ? e->msg : "unknown error");
	json_out_string(&o, "code", err_code_name(e->code));
	json_out_string_opt(&o, "hint", e->hint);
	return end_with_id(&o, id);
}

int reply_status(struct buf *out, const char *id, const struct member_status *s)
{
	struct json_out o;

	json_out_begin(&o, out);
	json_out_open(&o, "status", '{');
	json_out_string(&o, "name", s->name);
	json_out_int(&o, "pid", s->pid);
	json_out_bool(&o, "running", s->running);
	json_out_string(&o, "ip", s->ip);
	json_out_string(&o, "state", s->state);
	json_out_string_opt(&o, "error", s->error);
	json_out_string_opt(&o, "panic", s->panic);
	if (s->temporary)
		json_out_bool(&o, "temporary", true);
	json_out_close(&o, '}');
	return end_with_id(&o, id);
}

int reply_subnet(struct buf *out, const char *id, const char *subnet)
{
	struct json_out o;

	json_out_begin(&o, out);
	json_out_string_opt(&o, "subnet", subnet);
	return end_with_id(&o, id);
}

int reply_reservation(struct buf *out, const char *id, const struct reservation *v)
{
	struct json_out o;

	json_out_begin(&o, out);
	json_out_open(&o, "reservation", '{');
	json_out_string_opt(&o, "ip", v->ip);
	json_out_string(&o, "mac", v->mac);
	json_out_close(&o, '}');
	return end_with_id(&o, id);
}

int reply_held(struct buf *out, const char *id, int64_t held_ms)
{
	struct json_out o;

	json_out_begin(&o, out);
	json_out_int(&o, "held_ms", held_ms);
	return end_with_id(&o, id);
}

int reply_points(struct buf *out, const char *id, const struct point *points, size_t n)
{
	struct json_out o;

	json_out_begin(&o, out);
	json_out_open(&o, "points", '[');
	for (size_t i = 0; i < n; i++) {
		json_out_open(&o, NULL, '{');
		json_out_string(&o, "point", points[i].name);
		json_out_int(&o, "bytes", points[i].bytes);
		json_out_int(&o, "saved_at", points[i].saved_at);
		json_out_close(&o, '}');
	}
	json_out_close(&o, ']');
	return end_with_id(&o, id);
}

void reply_done(struct reply *p)
{
	json_decref(p->root);
	p->root = NULL;
}

/* Copies an optional text field into a fixed buffer; longer text is a bad reply. */
static int copy_text(json_t *object, const char *key, char *ret, size_t size, struct err *e)
{
	const char *text = NULL;
	int r = wire_json_string(object, key, &text, e);

	if (r < 0 || !text)
		return r;
	if (strlen(text) >= size)
		return err_set(e, ERR_BAD_REQUEST, "\"%s\" of the reply is too long", key);
	memcpy(ret, text, strlen(text) + 1);
	return 0;
}

static int decode_status(json_t *object, struct member_status *s, struct err *e)
{
	const char *error = NULL;
	const char *panic = NULL;
	int r = copy_text(object, "name", s->name, sizeof(s->name), e);

	if (r == 0)
		r = wire_json_int(object, "pid", &s->pid, e);
	if (r == 0)
		r = wire_json_bool(object, "running", &s->running, e);
	if (r == 0)
		r = copy_text(object, "ip", s->ip, sizeof(s->ip), e);
	if (r == 0)
		r = copy_text(object, "state", s->state, sizeof(s->state), e);
	if (r == 0)
		r = wire_json_string(object, "error", &error, e);
	if (r == 0 && error)
		snprintf(s->error, sizeof(s->error), "%s", error);
	if (r == 0)
		r = wire_json_string(object, "panic", &panic, e);
	if (r == 0 && panic)
		str_copy(s->panic, sizeof(s->panic), panic);
	if (r == 0)
		r = wire_json_bool(object, "temporary", &s->temporary, e);
	return r;
}

static int decode_error(struct reply *p, struct err *e)
{
	const char *error = NULL;
	const char *code = NULL;
	const char *hint = NULL;
	int r = wire_json_string(p->root, "error", &error, e);

	if (r == 0)
		r = wire_json_string(p->root, "code", &code, e);
	if (r == 0)
		r = wire_json_string(p->root, "hint", &hint, e);
	if (r == 0 && error && *error)
		err_hint(&p->error, err_set(&p->error, err_code_from_name(code), "%s", error), "%s",
			 hint ? hint : "");
	return r;
}

int reply_decode(const char *text, size_t len, struct reply *ret, struct err *e)
{
	struct reply p = {.error = ERR_INIT};
	json_t *part;
	int r;

	p.root = wire_json_parse(text, len, e);
	if (!p.root)
		return -EBADMSG;
	r = decode_error(&p, e);
	if (r == 0)
		r = copy_text(p.root, "subnet", p.subnet, sizeof(p.subnet), e);
	part = wire_json_get(p.root, "status");
	if (r == 0 && part) {
		p.has_status = true;
		r = decode_status(part, &p.status, e);
	}
	part = wire_json_get(p.root, "reservation");
	if (r == 0 && part) {
		p.has_reservation = true;
		r = copy_text(part, "ip", p.reservation.ip, sizeof(p.reservation.ip), e);
		if (r == 0)
			r = copy_text(part, "mac", p.reservation.mac, sizeof(p.reservation.mac), e);
	}
	if (r < 0) {
		reply_done(&p);
		return r;
	}
	*ret = p;
	return 0;
}

static int decode_point(json_t *object, struct point *ret, struct err *e)
{
	int r = copy_text(object, "point", ret->name, sizeof(ret->name), e);

	if (r == 0)
		r = wire_json_int(object, "bytes", &ret->bytes, e);
	if (r == 0)
		r = wire_json_int(object, "saved_at", &ret->saved_at, e);
	return r;
}

int reply_take_points(const struct reply *p, struct point **ret, size_t *ret_n, struct err *e)
{
	json_t *list = wire_json_get(p->root, "points");
	size_t n = json_array_size(list);
	struct point *points;

	if (!json_is_array(list))
		return err_set(e, ERR_PROTOCOL, "points: the helper's reply holds none");
	points = calloc(n + 1, sizeof(*points));
	if (!points)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	for (size_t i = 0; i < n; i++)
		if (decode_point(json_array_get(list, i), &points[i], e) < 0) {
			free(points);
			return err_code_number(e->code);
		}
	*ret = points;
	*ret_n = n;
	return 0;
}
