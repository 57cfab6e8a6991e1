/* SPDX-License-Identifier: MIT */
/* config.json: what a member was made with. */
#include "base/err.h"
#include "base/files.h"
#include "base/scoped.h"
#include "store/store.h"
#include "wire/json.h"

#include <string.h>

enum { CONFIG_MAX = 1 << 20 };

void member_config_done(struct member_config *c)
{
	free(c->image);
	free(c->user);
	free(c->kernel_path);
	free(c->initrd_path);
	free(c->cmdline);
	free(c->disk_format);
	free(c->provision);
	free(c->own_kernel);
	free(c->own_initrd);
	free(c->append);
	for (size_t i = 0; i < c->n_shares; i++) {
		free(c->shares[i].host);
		free(c->shares[i].guest);
	}
	free(c->shares);
	*c = (struct member_config){0};
}

int member_config_share(struct member_config *c, enum share_kind kind, const char *host,
			const char *guest)
{
	struct share s = {.kind = kind, .host = strdup(host), .guest = strdup(guest)};
	struct share *more = reallocarray(c->shares, c->n_shares + 1, sizeof(*more));

	if (more)
		c->shares = more;
	if (!more || !s.host || !s.guest) {
		free(s.host);
		free(s.guest);
		return -ENOMEM;
	}
	c->shares[c->n_shares++] = s;
	return 0;
}

/* One file's fields, read one after the other; the first that is not what it should be is kept. */
struct fields {
	json_t *root;
	const char *wrong; /* NULL: all well; static text */
};

/* The field, or NULL when it is absent or of the wrong type. */
static const char *load_any_text(struct fields *f, const char *key)
{
	json_t *value = json_object_get(f->root, key);

	if (value && !json_is_string(value))
		f->wrong = f->wrong ? f->wrong : key;
	return json_string_value(value);
}

static void load_text(struct fields *f, const char *key, char *ret, size_t size)
{
	const char *text = load_any_text(f, key);

	if (text && strlen(text) >= size)
		f->wrong = f->wrong ? f->wrong : key;
	else if (text)
		snprintf(ret, size, "%s", text);
}

static int load_heap(struct fields *f, const char *key, char **ret)
{
	const char *text = load_any_text(f, key);

	if (!text || !*text)
		return 0;
	*ret = strdup(text);
	return *ret ? 0 : -ENOMEM;
}

static void load_size(struct fields *f, const char *key, int64_t *ret)
{
	json_t *value = json_object_get(f->root, key);

	if (value && (!json_is_integer(value) || json_integer_value(value) < 0))
		f->wrong = f->wrong ? f->wrong : key;
	*ret = json_integer_value(value);
}

static void load_flag(struct fields *f, const char *key, bool *ret)
{
	json_t *value = json_object_get(f->root, key);

	if (value && !json_is_boolean(value))
		f->wrong = f->wrong ? f->wrong : key;
	*ret = json_is_true(value);
}

/* "fixtures" and "mounts", each a list of objects. 0 or -ENOMEM. */
static int load_shares(struct fields *f, const char *key, struct member_config *c)
{
	json_t *list = json_object_get(f->root, key);
	bool live = strcmp(key, "mounts") == 0;
	json_t *item;
	size_t i;

	if (list && !json_is_array(list))
		f->wrong = f->wrong ? f->wrong : key;
	json_array_foreach (list, i, item) {
		const char *host = json_string_value(json_object_get(item, "host_path"));
		const char *guest = json_string_value(json_object_get(item, "guest_path"));
		bool writable = json_is_true(json_object_get(item, "writable"));
		enum share_kind kind = !live      ? SHARE_FIXTURE
				       : writable ? SHARE_MOUNT_RW
						  : SHARE_MOUNT;

		if (!host || !guest)
			f->wrong = f->wrong ? f->wrong : key;
		else if (member_config_share(c, kind, host, guest) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* 0 or -ENOMEM; what is wrong is in @f. */
static int load_fields(struct fields *f, struct member_config *c)
{
	load_text(f, "name", c->name, sizeof(c->name));
	load_text(f, "mac", c->mac, sizeof(c->mac));
	load_text(f, "ip", c->ip, sizeof(c->ip));
	load_text(f, "created_at", c->created_at, sizeof(c->created_at));
	load_text(f, "backend", c->backend, sizeof(c->backend));
	load_text(f, "cluster_id", c->cluster_id, sizeof(c->cluster_id));
	load_text(f, "guest_name", c->guest_name, sizeof(c->guest_name));
	load_text(f, "network", c->network, sizeof(c->network));
	load_text(f, "firmware", c->firmware, sizeof(c->firmware));
	load_size(f, "cpus", &c->cpus);
	load_size(f, "memory_mb", &c->memory_mb);
	load_size(f, "disk_mb", &c->disk_mb);
	load_flag(f, "no_egress", &c->no_egress);
	load_flag(f, "second_line", &c->second_line);
	if (load_heap(f, "image", &c->image) < 0 || load_heap(f, "user", &c->user) < 0 ||
	    load_heap(f, "kernel_path", &c->kernel_path) < 0 ||
	    load_heap(f, "initrd_path", &c->initrd_path) < 0 ||
	    load_heap(f, "cmdline", &c->cmdline) < 0 ||
	    load_heap(f, "disk_format", &c->disk_format) < 0 ||
	    load_heap(f, "provision", &c->provision) < 0 ||
	    load_heap(f, "own_kernel", &c->own_kernel) < 0 ||
	    load_heap(f, "own_initrd", &c->own_initrd) < 0 ||
	    load_heap(f, "append", &c->append) < 0 || load_shares(f, "fixtures", c) < 0 ||
	    load_shares(f, "mounts", c) < 0)
		return -ENOMEM;
	return 0;
}

int store_config_load(const struct store *s, const char *name, struct member_config *ret,
		      struct err *e)
{
	scoped(mem) char *path = store_member_path(s, name, MEMBER_CONFIG);
	scoped(mem) char *text = NULL;
	scoped(json) json_t *root = NULL;
	scoped(config) struct member_config c = {0};
	struct fields fields = {0};
	json_error_t why;
	int r;

	if (!path)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	r = files_read(path, CONFIG_MAX, &text, NULL);
	if (r == -ENOENT || r == -ENOTDIR)
		return err_set(e, ERR_NOT_FOUND, "there is no member '%s'", name);
	if (r < 0)
		return err_errno(e, r, "read %s", path);
	root = json_loads(text, 0, &why);
	if (!json_is_object(root))
		return err_set(e, ERR_IO, "%s is damaged: %.160s", path, why.text);
	fields.root = root;
	if (load_fields(&fields, &c) < 0)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	if (fields.wrong)
		return err_set(e, ERR_IO, "%s is damaged: its \"%s\" is not what it should be",
			       path, fields.wrong);
	if (strcmp(c.name, name) != 0)
		return err_set(e, ERR_IO, "%s is damaged: it does not name '%s'", path, name);
	*ret = c;
	c = (struct member_config){0};
	return 0;
}

static void save_text(json_t *root, const char *key, const char *value)
{
	if (value && *value)
		json_object_set_new(root, key, json_string(value));
}

static void save_shares(json_t *root, const struct member_config *c, const char *key, bool live)
{
	json_t *list = json_array();

	for (size_t i = 0; i < c->n_shares; i++) {
		const struct share *s = &c->shares[i];
		json_t *o;

		if ((s->kind != SHARE_FIXTURE) != live)
			continue;
		o = json_object();
		json_object_set_new(o, "host_path", json_string(s->host));
		json_object_set_new(o, "guest_path", json_string(s->guest));
		if (s->kind == SHARE_MOUNT_RW)
			json_object_set_new(o, "writable", json_true());
		json_array_append_new(list, o);
	}
	if (json_array_size(list) > 0)
		json_object_set(root, key, list);
	json_decref(list);
}

int store_config_save(const struct store *s, const struct member_config *c, struct err *e)
{
	scoped(mem) char *path = store_member_path(s, c->name, MEMBER_CONFIG);
	scoped(json) json_t *root = json_object();
	scoped(mem) char *text = NULL;
	int r;

	json_object_set_new(root, "name", json_string(c->name));
	json_object_set_new(root, "mac", json_string(c->mac));
	json_object_set_new(root, "cpus", json_integer(c->cpus));
	json_object_set_new(root, "memory_mb", json_integer(c->memory_mb));
	json_object_set_new(root, "disk_mb", json_integer(c->disk_mb));
	json_object_set_new(root, "image", json_string(c->image ? c->image : ""));
	json_object_set_new(root, "created_at", json_string(c->created_at));
	save_text(root, "ip", c->ip);
	save_text(root, "user", c->user);
	save_text(root, "backend", c->backend);
	if (strcmp(c->network, "private") != 0)
		save_text(root, "network", c->network);
	save_text(root, "cluster_id", c->cluster_id);
	save_text(root, "guest_name", c->guest_name);
	save_text(root, "kernel_path", c->kernel_path);
	save_text(root, "initrd_path", c->initrd_path);
	save_text(root, "cmdline", c->cmdline);
	save_text(root, "disk_format", c->disk_format);
	save_text(root, "provision", c->provision);
	save_text(root, "own_kernel", c->own_kernel);
	save_text(root, "own_initrd", c->own_initrd);
	save_text(root, "append", c->append);
	save_text(root, "firmware", c->firmware);
	save_shares(root, c, "fixtures", false);
	save_shares(root, c, "mounts", true);
	if (c->second_line)
		json_object_set_new(root, "second_line", json_true());
	if (c->no_egress)
		json_object_set_new(root, "no_egress", json_true());
	text = json_dumps(root, JSON_INDENT(2));
	if (!path || !text)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	r = files_replace(path, text, strlen(text), 0600);
	return r < 0 ? err_errno(e, r, "write %s", path) : 0;
}
