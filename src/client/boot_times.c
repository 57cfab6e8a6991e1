/* SPDX-License-Identifier: MIT */
/* boot.json: when the stages of a member's last boot began, and what it began with. Written once it has taken a login. */
#include "base/clock.h"
#include "base/files.h"
#include "base/scoped.h"
#include "client/client.h"
#include "wire/json.h"

#include <string.h>

enum { BOOT_MAX = 4096 };
#define RESUMED "resumed" /* absent: by a version that did not know it */

static const struct stage {
	const char *name; /* of the progress event that begins it */
	const char *key;
	size_t offset;
} stages[] = {
	{"called", "called_ms", offsetof(struct drover_boot, called_ms)},
	{"prepare", "prepare_ms", offsetof(struct drover_boot, prepare_ms)},
	{"start", "start_ms", offsetof(struct drover_boot, start_ms)},
	{"ssh", "address_ms", offsetof(struct drover_boot, address_ms)},
	{"ready", "ready_ms", offsetof(struct drover_boot, ready_ms)},
};
#define N_STAGES (sizeof(stages) / sizeof(stages[0]))

static int64_t *field(struct drover_boot *t, const struct stage *s)
{
	return (int64_t *)((char *)t + s->offset);
}

void boot_times_note(struct drover_boot *t, const struct settings *s, const char *stage)
{
	if (!t->called_ms)
		t->called_ms = clock_unix_ms() - (clock_ms() - s->started);
	for (size_t i = 0; i < N_STAGES; i++)
		if (strcmp(stages[i].name, stage) == 0 && !*field(t, &stages[i]))
			*field(t, &stages[i]) = clock_unix_ms();
}

void boot_times_save(const struct store *store, const char *name, struct drover_boot *t,
		     bool resumed)
{
	scoped(mem) char *path = store_member_path(store, name, "boot.json");
	scoped(buf) struct buf b = BUF_INIT;
	struct json_out o;

	json_out_begin(&o, &b);
	for (size_t i = 0; i < N_STAGES; i++)
		json_out_int(&o, stages[i].key, *field(t, &stages[i]));
	json_out_bool(&o, RESUMED, resumed);
	if (json_out_end(&o) == 0 && path)
		files_publish(path, b.data, b.len, 0600);
}

static int read_times(const char *path, const char *name, struct drover_boot *ret,
		      bool *ret_resumed, struct err *e)
{
	struct drover_boot t = {0};
	bool resumed = false;
	scoped(mem) char *text = NULL;
	size_t len = 0;
	json_t *o;
	int r = files_read(path, BOOT_MAX, &text, &len);

	if (r == -ENOENT)
		return err_set(e, ERR_NOT_FOUND, "'%s' has not been booted to its end yet", name);
	if (r < 0)
		return err_errno(e, r, "read %s", path);
	o = wire_json_parse(text, len, e);
	if (!o)
		return err_code_number(e->code);
	for (size_t i = 0; i < N_STAGES && r >= 0; i++)
		r = wire_json_int(o, stages[i].key, field(&t, &stages[i]), e);
	if (r >= 0)
		r = wire_json_bool(o, RESUMED, &resumed, e);
	json_decref(o);
	if (r < 0)
		return r;
	*ret = t;
	*ret_resumed = resumed;
	return 0;
}

static int read_boot(const char *home, const char *name, struct drover_boot *ret, bool *ret_resumed,
		     struct drover_error *pe)
{
	scoped(store) struct store store = {0};
	scoped(mem) char *path = NULL;
	struct err e = ERR_INIT;
	int r = store_open(home, &store, &e);

	if (r == 0)
		r = name_check(name, &e);
	if (r == 0 && !store_member_exists(&store, name))
		r = err_set(&e, ERR_NOT_FOUND, "there is no member '%s'", name);
	if (r == 0) {
		path = store_member_path(&store, name, "boot.json");
		r = path ? read_times(path, name, ret, ret_resumed, &e)
			 : err_set(&e, ERR_NO_MEMORY, "out of memory");
	}
	return r < 0 ? public_error(pe, &e, r) : 0;
}

int drover_boot_times(const char *home, const char *name, struct drover_boot *ret,
		      struct drover_error *pe)
{
	bool resumed;

	return read_boot(home, name, ret, &resumed, pe);
}

int drover_boot_resumed(const char *home, const char *name, struct drover_error *pe)
{
	struct drover_boot times;
	bool resumed = false;
	int r = read_boot(home, name, &times, &resumed, pe);

	return r < 0 ? r : resumed;
}
