/* SPDX-License-Identifier: MIT */
/* config.json: what a member was made with. */
#include "base/err.h"
#include "base/files.h"
#include "base/scoped.h"
#include "store/store.h"

#include <jansson.h>
#include <string.h>

enum { CONFIG_MAX = 1 << 20 };

static inline void scoped_json(json_t **j)
{
	json_decref(*j);
}

void member_config_done(struct member_config *c)
{
	free(c->image);
	free(c->user);
	free(c->kernel_path);
	free(c->initrd_path);
	free(c->cmdline);
	free(c->disk_format);
	free(c->provision);
	*c = (struct member_config){0};
}

static void load_text(json_t *root, const char *key, char *ret, size_t size)
{
	const char *text = json_string_value(json_object_get(root, key));

	if (text)
		snprintf(ret, size, "%s", text);
}

static void load_heap(json_t *root, const char *key, char **ret)
{
	const char *text = json_string_value(json_object_get(root, key));

	if (text && *text)
		*ret = strdup(text);
}

static void load_fields(json_t *root, struct member_config *c)
{
	load_text(root, "name", c->name, sizeof(c->name));
	load_text(root, "mac", c->mac, sizeof(c->mac));
	load_text(root, "ip", c->ip, sizeof(c->ip));
	load_text(root, "created_at", c->created_at, sizeof(c->created_at));
	load_text(root, "backend", c->backend, sizeof(c->backend));
	c->cpus = json_integer_value(json_object_get(root, "cpus"));
	c->memory_mb = json_integer_value(json_object_get(root, "memory_mb"));
	c->disk_mb = json_integer_value(json_object_get(root, "disk_mb"));
	c->no_egress = json_is_true(json_object_get(root, "no_egress"));
	load_heap(root, "image", &c->image);
	load_heap(root, "user", &c->user);
	load_heap(root, "kernel_path", &c->kernel_path);
	load_heap(root, "initrd_path", &c->initrd_path);
	load_heap(root, "cmdline", &c->cmdline);
	load_heap(root, "disk_format", &c->disk_format);
	load_heap(root, "provision", &c->provision);
}

int store_config_load(const struct store *s, const char *name, struct member_config *ret,
		      struct err *e)
{
	scoped(mem) char *path = store_member_path(s, name, "config.json");
	scoped(mem) char *text = NULL;
	scoped(json) json_t *root = NULL;
	struct member_config c = {0};
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
	load_fields(root, &c);
	if (strcmp(c.name, name) != 0) {
		member_config_done(&c);
		return err_set(e, ERR_IO, "%s is damaged: it does not name '%s'", path, name);
	}
	*ret = c;
	return 0;
}

static void save_text(json_t *root, const char *key, const char *value)
{
	if (value && *value)
		json_object_set_new(root, key, json_string(value));
}

int store_config_save(const struct store *s, const struct member_config *c, struct err *e)
{
	scoped(mem) char *path = store_member_path(s, c->name, "config.json");
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
	save_text(root, "kernel_path", c->kernel_path);
	save_text(root, "initrd_path", c->initrd_path);
	save_text(root, "cmdline", c->cmdline);
	save_text(root, "disk_format", c->disk_format);
	save_text(root, "provision", c->provision);
	if (c->no_egress)
		json_object_set_new(root, "no_egress", json_true());
	text = json_dumps(root, JSON_INDENT(2));
	if (!path || !text)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	r = files_replace(path, text, strlen(text), 0600);
	return r < 0 ? err_errno(e, r, "write %s", path) : 0;
}
