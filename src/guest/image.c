/* SPDX-License-Identifier: MIT */
/* From what a user calls an image to the files that a guest of it needs. */
#include "guest/image.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/files.h"
#include "base/scoped.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void image_done(struct image *i)
{
	free(i->name);
	free(i->disk_path);
	free(i->disk_format);
	free(i->kernel_path);
	free(i->initrd_path);
	free(i->cmdline);
	free(i->user);
	free(i->provision);
	*i = (struct image){0};
}

static bool is_path(const char *name)
{
	if (strchr(name, '/'))
		return true;
	return (str_ends(name, ".qcow2") || str_ends(name, ".raw") || str_ends(name, ".img")) &&
	       files_exist(name);
}

static int resolve_path(const char *name, struct image *ret, struct err *e)
{
	scoped(mem) char *path = realpath(name, NULL);
	struct image i = {.memory_mb = IMAGE_DEFAULT_MEMORY_MB};
	const char *format;
	int r;

	if (!path && errno == ENOENT)
		return err_set(e, ERR_NOT_FOUND, "there is no image file %s", name);
	if (!path)
		return err_errno(e, -errno, "cannot open the image %s", name);
	r = image_file_check(path, &format, e);
	if (r < 0)
		return r;
	i.name = strdup(name);
	i.disk_path = take_ptr(&path);
	i.disk_format = strdup(format);
	i.user = strdup(IMAGE_DEFAULT_USER);
	i.provision = strdup(PROVISION_CLOUD_INIT);
	if (!i.name || !i.disk_format || !i.user || !i.provision) {
		image_done(&i);
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	}
	*ret = i;
	return 0;
}

static int not_found(const struct store *s, const char *name, struct err *e)
{
	scoped(buf) struct buf names = BUF_INIT;
	scoped(mem) struct image_info *list = NULL;
	size_t n = 0;

	if (image_list(s, &list, &n, NULL) == 0)
		for (size_t i = 0; i < n; i++)
			buf_addf(&names, "%s%s", i > 0 ? ", " : "", list[i].name);
	if (names.len == 0)
		return err_hint(e, err_set(e, ERR_NOT_FOUND, "no image named '%s'", name),
				"give the path of a file");
	return err_hint(
		e, err_set(e, ERR_NOT_FOUND, "no image named '%s': there are %s", name, names.data),
		"a path or a URL will do too");
}

/* Once for all who name it, until `image rm`: what stands behind the URL later is not looked at. */
static int resolve_url(const struct store *s, const char *url, const struct giveup *g,
		       guest_progress_fn *progress, void *arg, struct image *ret, struct err *e)
{
	scoped(mem) char *name = image_name_of_url(url);
	scoped(lock) int lock = -1;
	int r = 0;

	if (!name)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	if (!image_is_cached(s, name))
		r = image_lock(s, name, g, &lock, e);
	if (r == 0 && !image_is_cached(s, name))
		r = image_import_locked(s, url, name, NULL, g, progress, arg, e);
	return r < 0 ? r : image_cache_load(s, name, ret, e);
}

int image_resolve(const struct store *s, const char *name, const struct giveup *g,
		  guest_progress_fn *progress, void *arg, struct image *ret, struct err *e)
{
	scoped(stock) struct stock_image stock = {0};
	scoped(lock) int lock = -1;
	bool is_built;
	int r;

	if (image_is_url(name))
		return resolve_url(s, name, g, progress, arg, ret, e);
	if (is_path(name))
		return resolve_path(name, ret, e);
	if (!image_name_is_valid(name))
		return not_found(s, name, e);
	if (image_is_cached(s, name))
		return image_cache_load(s, name, ret, e);
	r = image_in_catalog(name, e);
	is_built = r > 0;
	if (r == 0)
		r = image_stock_find(name, &stock, e);
	if (r <= 0)
		return r < 0 ? r : not_found(s, name, e);
	r = image_lock(s, name, g, &lock, e);
	if (r < 0)
		return r;
	if (!image_is_cached(s, name))
		r = is_built ? image_build(s, name, g, progress, arg, e)
			     : image_import_locked(s, stock.url, name, stock.sha256, g, progress,
						   arg, e);
	return r < 0 ? r : image_cache_load(s, name, ret, e);
}
