/* SPDX-License-Identifier: MIT */
/* Templates in the image cache: the same locks, staging directories and renames as images, one directory below. */
#include "guest/template.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/files.h"
#include "base/scoped.h"
#include "base/str.h"
#include "config.h"
#include "guest/image.h"
#include "wire/json.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

/* Changes whenever the guest's devices or what is done to it do. */
enum { FORMAT = 7, JSON_MAX = 1 << 16, CPUINFO_MAX = 1 << 22 };
#define TEMPLATE_JSON "template.json"
#define TEMPLATE_LATE "late" /* is there when the last start from it was not done in time */

/* --- The key -------------------------------------------------------------------------------------------------- */

static int add_file(struct buf *b, const char *what, const char *path)
{
	struct stat st;

	if (!path)
		return buf_addf(b, "%s -\n", what);
	if (stat(path, &st) < 0)
		return -errno;
	return buf_addf(b, "%s %s %llu %lld %lld.%09ld\n", what, path,
			(unsigned long long)st.st_ino, (long long)st.st_size,
			(long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

/* With KVM the guest sees the host's CPU, and the host's kernel is a part of the machine. */
static int add_host(struct buf *b)
{
	scoped(mem) char *text = NULL;
	struct utsname u;
	int r = files_read("/proc/cpuinfo", CPUINFO_MAX, &text, NULL);
	const char *model = r < 0 ? NULL : strstr(text, "model name");
	const char *flags = r < 0 ? NULL : strstr(text, "flags");

	if (r < 0 || uname(&u) < 0)
		return r < 0 ? r : -errno;
	return buf_addf(b, "kvm %s\n%.*s\n%.*s\n", u.release, model ? (int)strcspn(model, "\n") : 0,
			model ? model : "", flags ? (int)strcspn(flags, "\n") : 0,
			flags ? flags : "");
}

int template_key(const struct template_of *t, char ret[TEMPLATE_KEY_SIZE], struct err *e)
{
	scoped(md) EVP_MD_CTX *md = image_digest_begin();
	scoped(buf) struct buf b = BUF_INIT;
	char hex[SHA256_TEXT_SIZE];
	int r = buf_addf(&b, "%d %s\n%s\n%s\n%lld %lld %lld\n", FORMAT, DROVER_VERSION, t->user,
			 t->cmdline ? t->cmdline : "", (long long)t->cpus, (long long)t->memory_mb,
			 (long long)t->disk_mb);

	if (r == 0)
		r = add_file(&b, "disk", t->disk);
	if (r == 0)
		r = add_file(&b, "kernel", t->kernel);
	if (r == 0)
		r = add_file(&b, "initrd", t->initrd);
	if (r == 0)
		r = add_file(&b, "hypervisor", t->hypervisor);
	if (r == 0 && t->kvm)
		r = add_host(&b);
	if (r < 0)
		return err_errno(e, r, "cannot tell what a template of %s depends on", t->image);
	if (!md || EVP_DigestUpdate(md, b.data, b.len) != 1)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	image_digest_hex(md, hex);
	memcpy(ret, hex, TEMPLATE_KEY_SIZE - 1);
	ret[TEMPLATE_KEY_SIZE - 1] = '\0';
	return 0;
}

/* --- On disk -------------------------------------------------------------------------------------------------- */

/* The store whose images are the templates; its one text is heap. */
static int below(const struct store *s, struct store *ret, struct err *e)
{
	*ret = (struct store){.images = str_format("%s/.templates", s->images)};
	return ret->images ? 0 : err_set(e, ERR_NO_MEMORY, "out of memory");
}

static inline void scoped_below(struct store *s)
{
	free(s->images);
}

int template_lock(const struct store *s, const char *key, const struct giveup *g, int *ret_fd,
		  struct err *e)
{
	scoped(below) struct store t = {0};
	int r = below(s, &t, e);

	return r < 0 ? r : image_lock(&t, key, g, ret_fd, e);
}

char *template_path(const struct store *s, const char *key, const char *file)
{
	scoped(below) struct store t = {0};

	return below(s, &t, NULL) < 0 ? NULL : image_cache_path(&t, key, file);
}

static json_t *read_json(const struct store *s, const char *key)
{
	scoped(mem) char *path = template_path(s, key, TEMPLATE_JSON);
	scoped(mem) char *text = NULL;
	size_t len = 0;

	if (!path || files_read(path, JSON_MAX, &text, &len) < 0)
		return NULL;
	return wire_json_parse(text, len, NULL);
}

/* The size of a file, 0 when it is not there. */
static int64_t size_of(const char *path)
{
	struct stat st;

	return path && stat(path, &st) == 0 && S_ISREG(st.st_mode) ? (int64_t)st.st_size : 0;
}

static bool fits(json_t *root, const char *field, const struct store *s, const char *key,
		 const char *file)
{
	scoped(mem) char *path = template_path(s, key, file);
	json_t *size = json_object_get(root, field);

	return json_is_integer(size) && json_integer_value(size) == size_of(path);
}

bool template_is_whole(const struct store *s, const char *key)
{
	scoped(json) json_t *root = read_json(s, key);

	return root && fits(root, "memory_bytes", s, key, MEMBER_MEMORY) &&
	       fits(root, "disk_bytes", s, key, MEMBER_DISK);
}

int template_begin(const struct store *s, const char *key, char **ret_dir, struct err *e)
{
	scoped(below) struct store t = {0};
	int r = below(s, &t, e);

	return r < 0 ? r : image_tmp_make(&t, key, ret_dir, e);
}

static int write_json(const char *dir, const struct template_of *t, struct err *e)
{
	scoped(mem) char *path = str_format("%s/" TEMPLATE_JSON, dir);
	scoped(mem) char *memory = str_format("%s/" MEMBER_MEMORY, dir);
	scoped(mem) char *disk = str_format("%s/" MEMBER_DISK, dir);
	scoped(buf) struct buf b = BUF_INIT;
	struct json_out o;
	int r;

	if (!path || !memory || !disk)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	json_out_begin(&o, &b);
	json_out_string(&o, "image", t->image);
	json_out_int(&o, "cpus", t->cpus);
	json_out_int(&o, "memory_mb", t->memory_mb);
	json_out_int(&o, "memory_bytes", size_of(memory));
	json_out_int(&o, "disk_bytes", size_of(disk));
	r = json_out_end(&o);
	if (r == 0)
		r = files_replace(path, b.data, b.len, 0600);
	return r < 0 ? err_errno(e, r, "cannot write %s", path) : 0;
}

int template_keep(const struct store *s, const char *key, const char *dir,
		  const struct template_of *t, struct err *e)
{
	scoped(below) struct store all = {0};
	int r = below(s, &all, e);

	if (r == 0)
		r = write_json(dir, t, e);
	if (r < 0)
		files_remove_tree(dir);
	return r < 0 ? r : image_tmp_commit(&all, key, dir, e);
}

/* Its lock's file stays: somebody may wait for it. */
static void remove_one(const struct store *s, const char *key)
{
	scoped(mem) char *path = template_path(s, key, NULL);

	if (path)
		files_remove_tree(path);
}

void template_see(const struct store *s, const char *key, struct template_seen *ret)
{
	scoped(mem) char *json = template_path(s, key, TEMPLATE_JSON);
	scoped(mem) char *late = template_path(s, key, TEMPLATE_LATE);
	struct stat st;

	*ret = (struct template_seen){0};
	if (json && late && stat(json, &st) == 0)
		*ret = (struct template_seen){st.st_ino, st.st_mtim, files_exist(late)};
}

void template_blame(const struct store *s, const char *key, const struct template_seen *seen,
		    bool late)
{
	scoped(mem) char *path = template_path(s, key, TEMPLATE_LATE);
	struct template_seen now;

	template_see(s, key, &now);
	if (!now.inode || now.inode != seen->inode || now.made.tv_sec != seen->made.tv_sec ||
	    now.made.tv_nsec != seen->made.tv_nsec)
		return;
	/* One that cannot be noted counts as the second, or it would be the first for ever. */
	if (!late || seen->was_late || !path || files_publish(path, "", 0, 0600) < 0)
		remove_one(s, key);
}

void template_was_in_time(const struct store *s, const char *key)
{
	scoped(mem) char *path = template_path(s, key, TEMPLATE_LATE);

	if (path)
		unlink(path);
}

static int64_t one_of(const struct store *s, const char *key, const char *image, bool remove)
{
	scoped(json) json_t *root = read_json(s, key);
	int64_t bytes = 0;

	if (strcmp(json_text(root, "image"), image) == 0) {
		scoped(mem) char *dir = template_path(s, key, NULL);

		bytes = dir ? image_bytes_in(dir) : 0;
		if (remove)
			remove_one(s, key);
	}
	return bytes;
}

int64_t template_bytes(const struct store *s, const char *image, bool remove)
{
	scoped(below) struct store t = {0};
	scoped(dir) DIR *dir = NULL;
	struct dirent *entry;
	int64_t bytes = 0;

	if (below(s, &t, NULL) < 0)
		return 0;
	dir = opendir(t.images);
	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			bytes += one_of(s, entry->d_name, image, remove);
	return bytes;
}
