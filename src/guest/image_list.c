/* SPDX-License-Identifier: MIT */
/* The list of images, and those that a user brings or takes away. */
#include "base/buf.h"
#include "base/err.h"
#include "base/files.h"
#include "base/giveup.h"
#include "base/scoped.h"
#include "guest/image.h"
#include "wire/json.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { JSON_MAX = 1 << 20 };

struct list_out {
	struct image_info *v; /* owned */
	size_t n;
};

static struct image_info *list_add(struct list_out *l, const char *name)
{
	struct image_info *v;

	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->v[i].name, name) == 0)
			return &l->v[i];
	v = reallocarray(l->v, l->n + 1, sizeof(*v));
	if (!v)
		return NULL;
	l->v = v;
	v += l->n++;
	*v = (struct image_info){0};
	snprintf(v->name, sizeof(v->name), "%s", name);
	snprintf(v->origin, sizeof(v->origin), "built");
	return v;
}

static int add_catalog(void *arg, const char *name, const char *description)
{
	struct image_info *v = list_add(arg, name);

	if (!v)
		return -ENOMEM;
	snprintf(v->description, sizeof(v->description), "%s", description);
	str_make_printable(v->description);
	return 0;
}

static int add_stock(void *arg, const char *name, const char *description)
{
	struct image_info *v;
	int r = add_catalog(arg, name, description);

	if (r < 0)
		return r;
	v = list_add(arg, name);
	snprintf(v->origin, sizeof(v->origin), "downloaded");
	return 0;
}

int64_t image_bytes_in(const char *path)
{
	scoped(dir) DIR *dir = opendir(path);
	struct dirent *entry;
	int64_t bytes = 0;

	while (dir && (entry = readdir(dir))) {
		struct stat st;

		if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISREG(st.st_mode))
			bytes += (int64_t)st.st_blocks * 512;
	}
	return bytes;
}

static int add_cached(const struct store *s, struct list_out *l, const char *name)
{
	scoped(mem) char *dir = image_cache_path(s, name, NULL);
	scoped(mem) char *json = image_cache_path(s, name, IMAGE_JSON);
	scoped(mem) char *text = NULL;
	struct image_info *v = list_add(l, name);
	const char *field = NULL;
	size_t len = 0;
	json_t *root;

	if (!dir || !json || !v)
		return -ENOMEM;
	v->cached = true;
	v->bytes = image_bytes_in(dir);
	snprintf(v->path, sizeof(v->path), "%s", dir);
	if (files_read(json, JSON_MAX, &text, &len) < 0)
		return 0;
	root = wire_json_parse(text, len, NULL);
	if (!root) {
		snprintf(v->description, sizeof(v->description), "damaged");
		return 0;
	}
	if (wire_json_string(root, "description", &field, NULL) == 0 && field)
		snprintf(v->description, sizeof(v->description), "%s", field);
	field = NULL;
	if (wire_json_string(root, "origin", &field, NULL) == 0 && field)
		snprintf(v->origin, sizeof(v->origin), "%s", field);
	str_make_printable(v->description);
	str_make_printable(v->origin);
	json_decref(root);
	return 0;
}

static int by_name(const void *a, const void *b)
{
	const struct image_info *x = a;
	const struct image_info *y = b;

	return strcmp(x->name, y->name);
}

int image_list(const struct store *s, struct image_info **ret, size_t *ret_n, struct err *e)
{
	struct list_out l = {0};
	scoped(dir) DIR *dir = NULL;
	struct dirent *entry;
	int r = image_catalog(add_catalog, &l, e);

	if (r == 0)
		r = image_stock_list(add_stock, &l, e);
	if (r < 0) {
		free(l.v);
		return r;
	}
	dir = opendir(s->images);
	while (r == 0 && dir && (entry = readdir(dir)))
		if (image_name_is_valid(entry->d_name) && image_is_cached(s, entry->d_name))
			r = add_cached(s, &l, entry->d_name);
	if (r < 0) {
		free(l.v);
		return err_errno(e, r, "cannot list the images");
	}
	if (l.n > 0)
		qsort(l.v, l.n, sizeof(*l.v), by_name);
	*ret = l.v;
	*ret_n = l.n;
	return 0;
}

/* image.json of what was brought: a disk with cloud-init, as the vendors' images are. @cmdline: of its kernel, or NULL. */
static int write_json(const char *dir, const char *name, const char *format, const char *source,
		      const char *sha256, const char *cmdline, struct err *e)
{
	scoped(mem) char *path = str_format("%s/" IMAGE_JSON, dir);
	scoped(mem) char *disk = str_format("disk.%s", format);
	scoped(buf) struct buf b = BUF_INIT;
	struct json_out o;
	int r;

	if (!path || !disk)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	json_out_begin(&o, &b);
	json_out_string(&o, "name", name);
	json_out_string(&o, "disk", disk);
	json_out_string(&o, "disk_format", format);
	if (cmdline) {
		json_out_string(&o, "kernel", "vmlinuz");
		json_out_string(&o, "initrd", "initrd.img");
		json_out_string(&o, "cmdline", cmdline);
	}
	json_out_string(&o, "user", IMAGE_DEFAULT_USER);
	json_out_string(&o, "provision", PROVISION_CLOUD_INIT);
	json_out_int(&o, "memory_mb", IMAGE_DEFAULT_MEMORY_MB);
	json_out_string(&o, "description", source);
	json_out_string(&o, "origin", image_is_url(source) ? "downloaded" : "imported");
	json_out_string(&o, "sha256", sha256);
	r = json_out_end(&o);
	if (r == 0)
		r = files_replace(path, b.data, b.len, 0600);
	return r < 0 ? err_errno(e, r, "cannot write %s", path) : 0;
}

static int check_digest(const char *source, const char *want, const char *got, struct err *e)
{
	if (!want || !*want || strcasecmp(want, got) == 0)
		return 0;
	return err_set(e, ERR_IMAGE, "%s has the SHA-256 %s, not %s", source, got, want);
}

/* The part file is beside @dir, so that it outlives a failure and the next call goes on from it. */
static int fetch(const struct store *s, const char *source, const char *name, const char *path,
		 char ret_sha256[SHA256_TEXT_SIZE], const struct giveup *g,
		 guest_progress_fn *progress, void *arg, struct err *e)
{
	scoped(mem) char *part = image_part_path(s, name);
	int r;

	if (!part)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	if (!image_is_url(source))
		return image_copy(source, path, ret_sha256, g, progress, arg, e);
	r = image_download(source, name, part, ret_sha256, g, progress, arg, e);
	if (r == 0 && rename(part, path) < 0)
		r = err_errno(e, -errno, "cannot keep %s", source);
	return r;
}

/* What was fetched is at @path, where nobody has put it: the sentence about that file is about the source. */
static int not_imported(const char *source, const char *path, struct err *e)
{
	struct err why = *e;

	if (!str_starts(why.msg, path))
		return err_prefix(e, "cannot import %s", source);
	return err_set(e, why.code, "cannot import %s: it%s", source, why.msg + strlen(path));
}

/* Fills @dir. The caller removes it on failure. */
static int import_into(const struct store *s, const char *dir, const char *source, const char *name,
		       const char *sha256, const struct giveup *g, guest_progress_fn *progress,
		       void *arg, struct err *e)
{
	scoped(mem) char *plain = str_format("%s/disk", dir);
	scoped(mem) char *disk = NULL;
	scoped(mem) char *cmdline = NULL;
	const char *format;
	char got[SHA256_TEXT_SIZE];
	int r;

	if (!plain)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	r = fetch(s, source, name, plain, got, g, progress, arg, e);
	if (r == 0)
		r = check_digest(source, sha256, got, e);
	if (r < 0)
		return r;
	if (str_ends(source, ".qcow2")) {
		format = "qcow2";
		r = image_file_check_whole(plain, format, e);
	} else {
		r = image_file_check(plain, &format, e);
	}
	if (r == 0 && strcmp(format, "qcow2") == 0)
		r = image_file_check_alone(plain, e);
	if (r < 0)
		return not_imported(source, plain, e);
	disk = str_format("%s/disk.%s", dir, format);
	if (!disk || rename(plain, disk) < 0)
		return err_errno(e, disk ? -errno : -ENOMEM, "cannot import %s", source);
	r = image_kernel_take(dir, disk, format, g, &cmdline, e);
	return r < 0 ? r : write_json(dir, name, format, source, got, cmdline, e);
}

int image_import_locked(const struct store *s, const char *source, const char *name,
			const char *sha256, const struct giveup *g, guest_progress_fn *progress,
			void *arg, struct err *e)
{
	scoped(mem) char *dir = NULL;
	int r = image_tmp_make(s, name, &dir, e);

	if (r < 0)
		return r;
	r = import_into(s, dir, source, name, sha256, g, progress, arg, e);
	if (r < 0) {
		files_remove_tree(dir);
		return r;
	}
	return image_tmp_commit(s, name, dir, e);
}

int image_import(const struct store *s, const char *source, const char *name, const char *sha256,
		 const struct giveup *g, guest_progress_fn *progress, void *arg, struct err *e)
{
	scoped(stock) struct stock_image stock = {0};
	scoped(lock) int lock = -1;
	int r;

	if (!image_name_is_valid(name))
		return err_set(e, ERR_BAD_NAME,
			       "'%s' cannot be an image's name: 1 to 63 of a-z, 0-9, '.', '_' and "
			       "'-', the first a letter or digit",
			       name);
	r = image_in_catalog(name, e);
	if (r != 0)
		return r < 0 ? r
			     : err_hint(e,
					err_set(e, ERR_EXISTS, "'%s' is an image of the catalogue",
						name),
					"choose another name");
	r = image_stock_find(name, &stock, e);
	if (r >= 0)
		r = image_lock(s, name, g, &lock, e);
	if (r < 0)
		return r;
	if (image_is_cached(s, name))
		return err_hint(e, err_set(e, ERR_EXISTS, "image %s exists", name),
				"remove it first: drover image rm %s", name);
	/* a vendor's image brought by hand is the vendor's or none */
	if (stock.sha256)
		sha256 = stock.sha256;
	return image_import_locked(s, source, name, sha256, g, progress, arg, e);
}

char *image_name_of_url(const char *url)
{
	char key[SOCKET_KEY_LEN + 1]; /* of the digest that names sockets too */
	const char *file = strrchr(url, '/');
	char name[41];
	size_t n = 0;

	name_socket_key(url, key);
	for (file = file ? file + 1 : url; *file && *file != '?' && n < sizeof(name) - 1; file++) {
		char c = (char)tolower((unsigned char)*file);

		if (isascii(c) && (isalnum((unsigned char)c) || (n > 0 && strchr("._-", c))))
			name[n++] = c;
	}
	name[n] = '\0';
	return str_format("%s%s%.12s", name, n > 0 ? "-" : "", key);
}

/* A member's disk is an overlay of its image, and worthless without it. */
static int check_unused(const struct store *s, const char *name, struct err *e)
{
	struct name_list l = {0};
	int r = store_list(s, &l, e);

	if (r < 0)
		return r;
	for (size_t i = 0; i < l.n && r == 0; i++) {
		scoped(config) struct member_config c = {0};

		if (store_config_load(s, l.names[i], &c, NULL) == 0 && str_equal(c.image, name))
			r = err_set(e, ERR_BUSY, "image %s is in use by member %s", name,
				    l.names[i]);
	}
	name_list_done(&l);
	return r;
}

int image_remove(const struct store *s, const char *name, struct err *e)
{
	const struct giveup now = {.cancel_fd = -1, .end_ms = clock_ms()};
	scoped(lock) int lock = -1;
	scoped(mem) char *path = image_cache_path(s, name, NULL);
	scoped(mem) char *part = image_part_path(s, name);
	scoped(mem) char *dir = NULL;
	int r;

	if (!path || !part)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	if (!image_name_is_valid(name) || (!files_exist(path) && !files_exist(part)))
		return err_hint(
			e, err_set(e, ERR_NOT_FOUND, "no image named '%s' is in the cache", name),
			"'drover image ls' shows which are");
	r = check_unused(s, name, e);
	if (r == 0)
		r = image_lock(s, name, &now, &lock, e);
	if (r < 0 && e->code == ERR_TIMEOUT)
		r = err_set(e, ERR_BUSY, "image %s is being built or fetched by another process",
			    name);
	if (r == 0)
		r = image_tmp_make(s, name, &dir, e);
	if (r < 0)
		return r;
	image_download_forget(part);
	/* Aside first: a half-removed image is never seen. */
	if (rename(path, dir) < 0 && errno != ENOENT)
		r = err_errno(e, -errno, "cannot remove %s", path);
	if (r == 0) {
		r = files_remove_tree(dir);
		if (r < 0)
			return err_errno(e, r, "cannot remove %s", dir);
	} else {
		files_remove_tree(dir);
	}
	return r;
}
