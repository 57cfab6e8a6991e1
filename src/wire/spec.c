/* SPDX-License-Identifier: MIT */
#include "wire/spec.h"

#include "base/err.h"
#include "base/scoped.h"
#include "base/str.h"
#include "wire/names.h"

#include <stddef.h>
#include <string.h>

/* One row a field: decode, encode, copy and free all walk this table. */
enum field_kind { FIELD_STRING, FIELD_PATHS, FIELD_CPUS, FIELD_MEMORY };

static const struct field {
	const char *key;
	enum field_kind kind;
	bool required; /* protocol 2 always writes it, empty or not */
	size_t offset;
	size_t count_offset; /* FIELD_PATHS */
} fields[] = {
#define STRING(member, required)                                                     \
	{                                                                            \
#member, FIELD_STRING, required, offsetof(struct vm_spec, member), 0 \
	}
#define PATHS(member)                                                          \
	{                                                                      \
#member, FIELD_PATHS, false, offsetof(struct vm_spec, member), \
			offsetof(struct vm_spec, n_##member)                   \
	}
	STRING(name, true),
	STRING(disk_path, true),
	STRING(seed_path, true),
	PATHS(fixture_paths),
	STRING(efi_path, false),
	{"cpus", FIELD_CPUS, true, offsetof(struct vm_spec, cpus), 0},
	{"memory_bytes", FIELD_MEMORY, true, offsetof(struct vm_spec, memory_bytes), 0},
	STRING(serial_log_path, false),
	STRING(disk_format, false),
	STRING(kernel_path, false),
	STRING(initrd_path, false),
	STRING(cmdline, false),
	PATHS(credential_paths),
	STRING(points_path, false),
	STRING(memory_path, false),
	STRING(point_path, false),
	PATHS(mount_paths),
	PATHS(mount_rw_paths),
	STRING(script_path, false),
#undef STRING
#undef PATHS
};
enum { N_FIELDS = sizeof(fields) / sizeof(fields[0]) };

static void *at(const void *s, size_t offset)
{
	return (char *)s + offset;
}

static void paths_done(char ***list, size_t *n)
{
	for (size_t i = 0; i < *n; i++)
		free((*list)[i]);
	free(*list);
	*list = NULL;
	*n = 0;
}

void vm_spec_done(struct vm_spec *s)
{
	for (size_t i = 0; i < N_FIELDS; i++) {
		const struct field *f = &fields[i];

		if (f->kind == FIELD_STRING) {
			char **text = at(s, f->offset);

			free(*text);
			*text = NULL;
		} else if (f->kind == FIELD_PATHS) {
			paths_done(at(s, f->offset), at(s, f->count_offset));
		}
	}
}

int vm_spec_add_path(char ***paths, size_t *n, const char *path)
{
	char **more = reallocarray(*paths, *n + 1, sizeof(char *));

	if (!more)
		return -ENOMEM;
	*paths = more;
	more[*n] = path ? strdup(path) : NULL;
	if (!more[*n])
		return -ENOMEM;
	++*n;
	return 0;
}

static int copy_paths(char ***to, size_t *n_to, char *const *from, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++)
		r = vm_spec_add_path(to, n_to, from[i]);
	return r;
}

static int copy_field(const struct field *f, struct vm_spec *to, const struct vm_spec *from)
{
	if (f->kind == FIELD_STRING) {
		char **target = at(to, f->offset);
		char *const *source = at(from, f->offset);

		return str_dup(*source, target) ? 0 : -ENOMEM;
	}
	if (f->kind == FIELD_PATHS)
		return copy_paths(at(to, f->offset), at(to, f->count_offset),
				  *(char ***)at(from, f->offset),
				  *(size_t *)at(from, f->count_offset));
	return 0;
}

int vm_spec_copy(struct vm_spec *to, const struct vm_spec *from)
{
	int r = 0;

	*to = (struct vm_spec){.cpus = from->cpus, .memory_bytes = from->memory_bytes};
	for (size_t i = 0; i < N_FIELDS && r == 0; i++)
		r = copy_field(&fields[i], to, from);
	if (r < 0)
		vm_spec_done(to);
	return r;
}

static int decode_paths(const struct value *value, const struct field *f, struct vm_spec *s,
			struct err *e)
{
	const struct value *list = value_get(value, f->key);
	char ***paths = at(s, f->offset);
	size_t *n = at(s, f->count_offset);

	if (!list)
		return 0;
	if (list->kind != VALUE_LIST)
		return err_set(e, ERR_BAD_REQUEST, "wrong type: \"%s\" must be a list of strings",
			       f->key);
	if (list->length > WIRE_MAX_PATHS)
		return err_set(e, ERR_BAD_REQUEST, "\"%s\" has more than %d entries", f->key,
			       WIRE_MAX_PATHS);
	for (const struct value *path = value_first(list); path; path = value_next(path)) {
		if (path->kind != VALUE_STRING)
			return err_set(e, ERR_BAD_REQUEST,
				       "wrong type: \"%s\" must be a list of strings", f->key);
		if (vm_spec_add_path(paths, n, path->text) < 0)
			return err_set(e, ERR_NO_MEMORY, "out of memory");
	}
	return 0;
}

static int decode_string(const struct value *value, const struct field *f, struct vm_spec *s,
			 struct err *e)
{
	char **target = at(s, f->offset);
	const char *text = NULL;
	int r = value_string(value, f->key, &text, e);

	if (r < 0 || !text || !*text)
		return r;
	*target = strdup(text);
	return *target ? 0 : err_set(e, ERR_NO_MEMORY, "out of memory");
}

static int decode_number(const struct value *value, const struct field *f, struct vm_spec *s,
			 struct err *e)
{
	int64_t number = 0;
	int r = value_int(value, f->key, &number, e);

	if (r < 0)
		return r;
	if (number < 0)
		return err_set(e, ERR_BAD_REQUEST, "\"%s\" must not be negative", f->key);
	if (f->kind == FIELD_CPUS)
		s->cpus = number;
	else
		s->memory_bytes = (uint64_t)number;
	return 0;
}

static int decode_field(const struct value *value, const struct field *f, struct vm_spec *s,
			struct err *e)
{
	switch (f->kind) {
	case FIELD_STRING:
		return decode_string(value, f, s, e);
	case FIELD_PATHS:
		return decode_paths(value, f, s, e);
	default:
		return decode_number(value, f, s, e);
	}
}

int vm_spec_decode(const struct value *value, struct vm_spec *ret, struct err *e)
{
	struct vm_spec s = {0};
	int r = 0;

	if (value && value->kind != VALUE_OBJECT)
		return err_set(e, ERR_BAD_REQUEST, "wrong type: \"spec\" must be an object");
	for (size_t i = 0; value && i < N_FIELDS && r == 0; i++)
		r = decode_field(value, &fields[i], &s, e);
	if (r == 0 && !s.name)
		r = err_set(e, ERR_INVALID, "missing or invalid spec");
	if (r == 0)
		r = name_check(s.name, e);
	if (r < 0) {
		vm_spec_done(&s);
		return r;
	}
	*ret = s;
	return 0;
}

static void encode_field(const struct field *f, const struct vm_spec *s, struct json_out *o)
{
	switch (f->kind) {
	case FIELD_STRING:
		if (f->required)
			json_out_string(o, f->key, *(char **)at(s, f->offset));
		else
			json_out_string_opt(o, f->key, *(char **)at(s, f->offset));
		break;
	case FIELD_PATHS:
		json_out_strings_opt(o, f->key, *(char ***)at(s, f->offset),
				     *(size_t *)at(s, f->count_offset));
		break;
	case FIELD_CPUS:
		json_out_int(o, f->key, s->cpus);
		break;
	case FIELD_MEMORY:
		json_out_int(o, f->key, (int64_t)s->memory_bytes);
		break;
	}
}

void vm_spec_encode(const struct vm_spec *s, struct json_out *o)
{
	json_out_open(o, "spec", '{');
	for (size_t i = 0; i < N_FIELDS; i++)
		encode_field(&fields[i], s, o);
	json_out_close(o, '}');
}
