/* SPDX-License-Identifier: MIT */
/*
 * The image cache. An image is there when its directory is there: it is made aside, under a lock, and renamed into
 * place with its image.json written.
 */
#include "base/buf.h"
#include "base/err.h"
#include "base/files.h"
#include "base/giveup.h"
#include "base/lock.h"
#include "base/scoped.h"
#include "guest/image.h"
#include "wire/json.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { JSON_MAX = 1 << 20, STAMP_MAX = 200, IMAGE_NAME_MAX = 63 };
#define IMAGE_CHECKED "checked" /* which file the disk was when it was found to be whole */

bool image_name_is_valid(const char *name)
{
	static const char first[] = "abcdefghijklmnopqrstuvwxyz0123456789";
	static const char rest[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";
	size_t len = strlen(name);

	return len > 0 && len <= IMAGE_NAME_MAX && strchr(first, name[0]) &&
	       strspn(name, rest) == len;
}

char *image_cache_path(const struct store *s, const char *name, const char *file)
{
	return str_format("%s/%s%s%s", s->images, name, file ? "/" : "", file ? file : "");
}

char *image_part_path(const struct store *s, const char *name)
{
	return str_format("%s/.%s.part", s->images, name);
}

bool image_is_cached(const struct store *s, const char *name)
{
	scoped(mem) char *path = image_cache_path(s, name, IMAGE_JSON);

	return path && files_exist(path);
}

static int damaged(struct err *e, const char *name, const char *what)
{
	return err_hint(e, err_set(e, ERR_IMAGE, "image %s is damaged: %s", name, what),
			"remove it, and it is made anew: drover image rm %s", name);
}

/* A file that image.json names, inside the image's directory: *@ret is its path, NULL when the field is absent. */
static int load_file(const struct store *s, const char *name, json_t *root, const char *key,
		     char **ret, struct err *e)
{
	const char *file = NULL;
	struct stat st;
	int r = wire_json_string(root, key, &file, e);

	if (r < 0)
		return damaged(e, name, "image.json cannot be read");
	if (!file || !*file)
		return 0;
	if (strchr(file, '/') || file[0] == '.')
		return damaged(e, name, "image.json names a file outside of it");
	*ret = image_cache_path(s, name, file);
	if (!*ret)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	if (stat(*ret, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0) {
		scoped(mem) char *what = str_format("its file %s is missing or empty", file);

		return damaged(e, name, what ? what : "a file is missing");
	}
	return 0;
}

static int load_text(json_t *root, const char *key, const char *fallback, char **ret)
{
	const char *text = NULL;

	wire_json_string(root, key, &text, NULL);
	if (!text || !*text)
		text = fallback;
	*ret = text ? strdup(text) : NULL;
	return text && !*ret ? -ENOMEM : 0;
}

static int load_texts(const char *name, json_t *root, struct image *i)
{
	int64_t memory = IMAGE_DEFAULT_MEMORY_MB;
	int64_t recipe = 0;

	wire_json_int(root, "memory_mb", &memory, NULL);
	wire_json_int(root, "recipe", &recipe, NULL);
	i->is_old = !json_object_get(root, "origin") && recipe < image_recipe(name);
	i->memory_mb = memory > 0 && memory < 1 << 24 ? (unsigned)memory : IMAGE_DEFAULT_MEMORY_MB;
	i->name = strdup(name);
	if (!i->name ||
	    load_text(root, "disk_format", i->disk_path ? "qcow2" : NULL, &i->disk_format) < 0)
		return -ENOMEM;
	if (load_text(root, "cmdline", NULL, &i->cmdline) < 0 ||
	    load_text(root, "user", IMAGE_DEFAULT_USER, &i->user) < 0)
		return -ENOMEM;
	return load_text(root, "provision", PROVISION_CLOUD_INIT, &i->provision);
}

/* What changes with each write to the file. *@ret is heap, or NULL when out of memory. */
static int stamp_of(const char *path, char **ret)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return -errno;
	*ret = str_format("%llu %lld %lld.%09ld %lld.%09ld\n", (unsigned long long)st.st_ino,
			  (long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
			  (long long)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
	return *ret ? 0 : -ENOMEM;
}

/*
 * Once, and again when the file is another: QEMU's programs take 40 ms for it, which each start would wait for. In a cache
 * that cannot be written it is done each time.
 */
static int check_disk(const struct store *s, const char *name, const struct image *i, struct err *e)
{
	scoped(mem) char *path = image_cache_path(s, name, IMAGE_CHECKED);
	scoped(mem) char *stamp = NULL;
	scoped(mem) char *checked = NULL;
	struct err why = ERR_INIT;
	int r = path ? stamp_of(i->disk_path, &stamp) : -ENOMEM;

	if (r < 0 || !path || !stamp)
		return err_errno(e, r < 0 ? r : -ENOMEM, "cannot look at %s", i->disk_path);
	if (files_read(path, STAMP_MAX, &checked, NULL) == 0 && strcmp(checked, stamp) == 0)
		return 0;
	r = image_file_check_whole(i->disk_path, i->disk_format, &why);
	if (r < 0 && why.code == ERR_IMAGE)
		return damaged(e, name, why.msg);
	if (r < 0)
		return err_copy(e, &why);
	files_publish(path, stamp, strlen(stamp), 0600);
	return 0;
}

static int load_fields(const struct store *s, const char *name, json_t *root, struct image *i,
		       struct err *e)
{
	int r = load_file(s, name, root, "disk", &i->disk_path, e);

	if (r == 0)
		r = load_file(s, name, root, "kernel", &i->kernel_path, e);
	if (r == 0)
		r = load_file(s, name, root, "initrd", &i->initrd_path, e);
	if (r < 0)
		return r;
	if (load_texts(name, root, i) < 0)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	if (!i->disk_path && !i->kernel_path)
		return damaged(e, name, "it has neither a disk nor a kernel");
	return i->disk_path ? check_disk(s, name, i, e) : 0;
}

int image_cache_load(const struct store *s, const char *name, struct image *ret, struct err *e)
{
	scoped(mem) char *path = image_cache_path(s, name, IMAGE_JSON);
	scoped(mem) char *text = NULL;
	struct image i = {0};
	json_t *root = NULL;
	size_t len = 0;
	int r;

	if (!path)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	r = files_read(path, JSON_MAX, &text, &len);
	if (r < 0)
		return err_errno(e, r, "cannot read %s", path);
	root = wire_json_parse(text, len, NULL);
	if (!root)
		return damaged(e, name, "image.json cannot be read");
	r = load_fields(s, name, root, &i, e);
	json_decref(root);
	if (r < 0)
		image_done(&i);
	else
		*ret = i;
	return r;
}

int image_lock(const struct store *s, const char *name, const struct giveup *g, int *ret_fd,
	       struct err *e)
{
	scoped(mem) char *path = str_format("%s/.%s.lock", s->images, name);
	scoped(fd) int fd = -1;
	int r;

	if (!path)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	r = files_mkdir_all(s->images, 0700);
	if (r < 0)
		return err_errno(e, r, "cannot make the image cache %s", s->images);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_errno(e, -errno, "cannot open %s", path);
	r = lock_take(fd, g);
	if (giveup_is_why(g, r, e))
		return r;
	if (r < 0)
		return err_errno(e, r, "cannot lock %s", path);
	*ret_fd = take_fd(&fd);
	return 0;
}

/* Whoever makes the image holds the lock, so every such directory is a dead one's. */
static void clean_stale(const struct store *s, const char *name)
{
	scoped(mem) char *prefix = str_format(".%s.tmp.", name);
	scoped(dir) DIR *dir = opendir(s->images);
	struct dirent *entry;

	while (dir && prefix && (entry = readdir(dir))) {
		scoped(mem) char *path = NULL;

		if (!str_starts(entry->d_name, prefix))
			continue;
		path = str_format("%s/%s", s->images, entry->d_name);
		if (path)
			image_clean(path);
	}
}

int image_tmp_make(const struct store *s, const char *name, char **ret_dir, struct err *e)
{
	scoped(mem) char *dir = str_format("%s/.%s.tmp.%d", s->images, name, (int)getpid());

	if (!dir)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	clean_stale(s, name);
	if (mkdir(dir, 0700) < 0)
		return err_errno(e, -errno, "cannot make %s", dir);
	*ret_dir = take_ptr(&dir);
	return 0;
}

static int sync_files(const char *path)
{
	scoped(dir) DIR *dir = opendir(path);
	struct dirent *entry;

	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		scoped(fd) int fd = -1;

		if (entry->d_type != DT_REG)
			continue;
		fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		if (fd < 0 || fsync(fd) < 0)
			return -errno;
	}
	return fsync(dirfd(dir)) < 0 ? -errno : 0;
}

int image_tmp_commit(const struct store *s, const char *name, const char *dir, struct err *e)
{
	scoped(mem) char *path = image_cache_path(s, name, NULL);
	int r;

	if (!path)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	r = sync_files(dir);
	if (r == 0)
		files_remove_tree(path); /* without an image.json, or we would not be here */
	if (r == 0 && rename(dir, path) < 0)
		r = -errno;
	if (r == 0)
		r = files_sync_parent(path);
	if (r < 0)
		files_remove_tree(dir);
	return r < 0 ? err_errno(e, r, "cannot keep image %s at %s", name, path) : 0;
}
