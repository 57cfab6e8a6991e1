/* SPDX-License-Identifier: MIT */
#include "store/host_record.h"

#include "base/err.h"
#include "base/files.h"
#include "base/scoped.h"
#include "wire/json.h"

#include <string.h>
#include <sys/stat.h>

enum { KEY_LEN = HOST_KEY_SIZE - 1, RECORD_MAX = 64 << 10 };

/* --- Names ------------------------------------------------------------------------------------------------------ */

void host_key(const char *root, const char *member, char ret[HOST_KEY_SIZE])
{
	scoped(mem) char *text = str_format("%s\n%s", root, member);
	char hash[SOCKET_KEY_LEN + 1];

	name_socket_key(text ? text : member, hash);
	snprintf(ret, HOST_KEY_SIZE, "%.*s", KEY_LEN, hash);
}

void host_bridge_name(const char *key, char ret[IF_NAMESIZE])
{
	snprintf(ret, IF_NAMESIZE, "drv%s", key);
}

void host_table_name(const char *key, char ret[HOST_TABLE_SIZE])
{
	snprintf(ret, HOST_TABLE_SIZE, "drover_%s", key);
}

/* The key that stands at the beginning of @text; what follows it, or NULL. */
static const char *parse_key(const char *text, char ret[HOST_KEY_SIZE])
{
	if (strspn(text, "0123456789abcdef") < KEY_LEN)
		return NULL;
	snprintf(ret, HOST_KEY_SIZE, "%.*s", KEY_LEN, text);
	return text + KEY_LEN;
}

bool host_name_parse(const char *name, char ret_key[HOST_KEY_SIZE], bool *ret_is_tap)
{
	const char *rest = str_starts(name, "drv") ? parse_key(name + 3, ret_key) : NULL;

	if (!rest)
		return false;
	*ret_is_tap =
		rest[0] == 't' && rest[1] && strspn(rest + 1, "0123456789") == strlen(rest + 1);
	return *ret_is_tap || !*rest;
}

bool host_table_parse(const char *name, char ret_key[HOST_KEY_SIZE])
{
	const char *rest = str_starts(name, "drover_") ? parse_key(name + 7, ret_key) : NULL;

	return rest && !*rest;
}

static char *record_path(const char *key)
{
	return str_format(HOST_NETWORKS_DIR "/drv%s.json", key);
}

/* --- Whose a record is -------------------------------------------------------------------------------------------- */

uint64_t host_namespace(const char *kind)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/self/ns/%s", kind);
	return stat(path, &st) == 0 ? st.st_ino : 0;
}

enum host_owner host_record_owner(const struct host_record *r)
{
	char boot_id[BOOT_ID_SIZE];

	if (procid_boot_id(boot_id) == 0 && strcmp(boot_id, r->owner.boot_id) != 0)
		return HOST_OWNER_DEAD;
	if (r->pid_ns != host_namespace("pid"))
		return HOST_OWNER_ELSEWHERE;
	return procid_is_alive(&r->owner) ? HOST_OWNER_LIVES : HOST_OWNER_DEAD;
}

/* --- Records ------------------------------------------------------------------------------------------------------ */

static void record_done(struct host_record *r)
{
	free(r->path);
	free(r->problem);
	free(r->root);
}

void host_records_done(struct host_records *l)
{
	for (size_t i = 0; i < l->n; i++)
		record_done(&l->all[i]);
	free(l->all);
	*l = (struct host_records){0};
}

struct host_record *host_records_find(const struct host_records *l, const char *key)
{
	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->all[i].key, key) == 0)
			return &l->all[i];
	return NULL;
}

static bool copy_text(const json_t *root, const char *key, char *ret, size_t size)
{
	const char *text = json_text(root, key);

	return *text && (size_t)snprintf(ret, size, "%s", text) < size;
}

static bool copy_number(const json_t *root, const char *key, uint64_t *ret)
{
	const json_t *value = json_object_get(root, key);

	*ret = (uint64_t)json_integer_value(value);
	return json_is_integer(value) && json_integer_value(value) > 0;
}

/* The name of the first field that is not what it should be, or NULL. */
static const char *parse(const json_t *root, struct host_record *r)
{
	const json_t *owner = json_object_get(root, "owner");
	const json_t *uplinks = json_object_get(root, "uplinks");
	const json_t *item;
	uint64_t pid;
	size_t i;

	if (!copy_text(root, "member", r->member, sizeof(r->member)) || !name_is_valid(r->member))
		return "member";
	if (!copy_text(root, "subnet", r->subnet, sizeof(r->subnet)))
		return "subnet";
	if (!copy_number(owner, "pid", &pid) || pid > INT32_MAX ||
	    !copy_number(owner, "start_ticks", &r->owner.start_ticks) ||
	    !copy_text(owner, "boot_id", r->owner.boot_id, sizeof(r->owner.boot_id)) ||
	    !copy_number(owner, "pid_ns", &r->pid_ns))
		return "owner";
	r->owner.pid = (pid_t)pid;
	if (!copy_number(root, "net_ns", &r->net_ns))
		return "net_ns";
	if (!json_is_array(uplinks) || json_array_size(uplinks) > HOST_MAX_UPLINKS)
		return "uplinks";
	json_array_foreach (uplinks, i, item) {
		const char *text = json_string_value(item);

		if (!text || !*text || strchr(text, '/') || strlen(text) >= IF_NAMESIZE)
			return "uplinks";
		snprintf(r->uplinks[i], IF_NAMESIZE, "%s", text);
	}
	r->n_uplinks = json_array_size(uplinks);
	r->root = strdup(json_text(root, "root"));
	return r->root && *r->root ? NULL : "root";
}

/* Fills @r, its problem too. < 0: out of memory. */
static int load_record(const char *file, struct host_record *r)
{
	scoped(mem) char *text = NULL;
	scoped(json) json_t *root = NULL;
	json_error_t why;
	const char *wrong;
	int n;

	r->path = str_format(HOST_NETWORKS_DIR "/%s", file);
	if (!r->path)
		return -ENOMEM;
	n = files_read(r->path, RECORD_MAX, &text, NULL);
	if (n < 0) {
		r->problem = strdup(strerror(-n));
		return r->problem ? n : -ENOMEM;
	}
	root = json_loads(text, 0, &why);
	wrong = root ? parse(root, r) : NULL;
	if (!root)
		r->problem = str_format("it is no JSON: %.160s", why.text);
	else if (wrong)
		r->problem = str_format("its \"%s\" is not what it should be", wrong);
	else
		return 0;
	return r->problem ? 0 : -ENOMEM;
}

/* "drv<key>.json", or false: the file is something else. */
static bool parse_file(const char *file, char key[HOST_KEY_SIZE])
{
	const char *rest = str_starts(file, "drv") ? parse_key(file + 3, key) : NULL;

	return rest && strcmp(rest, ".json") == 0;
}

static bool is_draft(const char *file)
{
	char key[HOST_KEY_SIZE];
	const char *rest = str_starts(file, "drv") ? parse_key(file + 3, key) : NULL;

	return rest && str_starts(rest, ".json.");
}

static int add_record(struct host_records *l, const char *file)
{
	struct host_record *all = realloc(l->all, (l->n + 1) * sizeof(*all));
	struct host_record *r;
	int result;

	if (!all)
		return -ENOMEM;
	l->all = all;
	r = &l->all[l->n];
	*r = (struct host_record){0};
	if (parse_file(file, r->key)) {
		result = load_record(file, r);
	} else {
		r->path = str_format(HOST_NETWORKS_DIR "/%s", file);
		r->problem = strdup("it has no name that a record has");
		result = r->path && r->problem ? 0 : -ENOMEM;
	}
	if (result == -ENOMEM || result == -ENOENT) { /* it was removed meanwhile */
		record_done(r);
		return result == -ENOENT ? 0 : result;
	}
	l->n++;
	return 0;
}

int host_records_load(struct host_records *ret, struct err *e)
{
	scoped(dir) DIR *dir = opendir(HOST_NETWORKS_DIR);
	struct host_records l = {0};
	struct dirent *entry;
	int r = 0;

	*ret = l;
	if (!dir)
		return errno == ENOENT ? 0 : err_errno(e, -errno, "read " HOST_NETWORKS_DIR);
	while (r == 0 && (entry = readdir(dir)))
		if (entry->d_name[0] != '.' && !is_draft(entry->d_name))
			r = add_record(&l, entry->d_name);
	if (r < 0) {
		host_records_done(&l);
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	}
	*ret = l;
	return 0;
}

void host_records_remove_drafts(void)
{
	scoped(dir) DIR *dir = opendir(HOST_NETWORKS_DIR);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (is_draft(entry->d_name))
			unlinkat(dirfd(dir), entry->d_name, 0);
}

int host_record_save(const struct host_record *r, struct err *e)
{
	scoped(mem) char *path = record_path(r->key);
	scoped(json) json_t *uplinks = json_array();
	scoped(json) json_t *root = NULL;
	scoped(mem) char *text = NULL;
	int result;

	for (size_t i = 0; i < r->n_uplinks; i++)
		json_array_append_new(uplinks, json_string(r->uplinks[i]));
	root = json_pack("{s:s, s:s, s:s, s:I, s:O, s:{s:i, s:I, s:s, s:I}}", "root", r->root,
			 "member", r->member, "subnet", r->subnet, "net_ns", (json_int_t)r->net_ns,
			 "uplinks", uplinks, "owner", "pid", (int)r->owner.pid, "start_ticks",
			 (json_int_t)r->owner.start_ticks, "boot_id", r->owner.boot_id, "pid_ns",
			 (json_int_t)r->pid_ns);
	text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
	if (!path || !text)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	result = files_publish(path, text, strlen(text), 0644);
	return result < 0 ? err_errno(e, result, "write %s", path) : 0;
}

int host_record_remove(const char *key, struct err *e)
{
	scoped(mem) char *path = record_path(key);

	if (!path)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	if (unlink(path) < 0 && errno != ENOENT)
		return err_errno(e, -errno, "remove %s", path);
	return 0;
}
