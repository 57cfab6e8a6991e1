/* SPDX-License-Identifier: MIT */
/* The image calls, and the image of a start. These block in the caller's thread. */
#include "guest/image.h"
#include "base/host.h"
#include "base/scoped.h"
#include "client/client.h"
#include "guest/guest.h"

#include <string.h>

static void on_image_progress(void *arg, int percent, const char *text)
{
	settings_progress(arg, "", "image", percent, "%s", text ? text : "");
}

/* --- The image of a start ------------------------------------------------------------------------------------ */

static int take_image(const struct image *i, struct prepare *p, struct err *e)
{
	struct member_config *c = &p->config;

	if (i->disk_path && strlen(i->disk_path) >= sizeof(p->image_disk))
		return err_set(e, ERR_IMAGE, "the path of image %s is too long", i->name);
	snprintf(p->image_disk, sizeof(p->image_disk), "%s", i->disk_path ? i->disk_path : "");
	snprintf(p->image_format, sizeof(p->image_format), "%s",
		 i->disk_format ? i->disk_format : "");
	c->memory_mb = i->memory_mb;
	if (!str_dup(i->name, &c->image) || !str_dup(i->user ?: "drover", &c->user) ||
	    !str_dup(i->kernel_path, &c->kernel_path) ||
	    !str_dup(i->initrd_path, &c->initrd_path) || !str_dup(i->cmdline, &c->cmdline) ||
	    !str_dup(i->disk_path ? "qcow2" : NULL, &c->disk_format) || /* the overlay's */
	    !str_dup(i->provision ?: PROVISION_CLOUD_INIT, &c->provision))
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	return 0;
}

static int fake_image(const struct settings *s, struct prepare *p, struct err *e)
{
	struct member_config *c = &p->config;

	c->memory_mb = 1024;
	if (!str_dup("fake", &c->image) || !str_dup("drover", &c->user) ||
	    !str_dup("raw", &c->disk_format))
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	return 0;
}

/* Never built anew by itself: disks of members may stand on it. */
static void tell_age(const struct settings *s, const struct image *i)
{
	if (i->is_old)
		settings_progress(
			s, "", "warning", -1,
			"image %s was built by an older drover; when no member needs it, `drover image rm %s` "
			"and `drover image build %s` make it anew",
			i->name, i->name, i->name);
}

/* The size that is asked for, if any. One in memory: it is for nothing that its members have. */
static int check_disk(const struct settings *s, const struct image *i, struct err *e)
{
	uint64_t bytes = 0;
	int r;

	if (!s->wanted_disk_mb)
		return 0;
	if (!i->disk_path) {
		settings_progress(
			s, "", "warning", -1,
			"image %s runs from memory: its members have no disk, and get none of the size asked for",
			i->name);
		return 0;
	}
	r = image_file_check_as(i->disk_path, i->disk_format, &bytes, e);
	if (r < 0 || bytes <= (uint64_t)s->wanted_disk_mb << 20)
		return r;
	return err_hint(e,
			err_set(e, ERR_INVALID,
				"image %s has a disk of %llu MB: a member's cannot be smaller",
				i->name, (unsigned long long)((bytes + (1 << 20) - 1) >> 20)),
			"ask for that or more, or leave the size out");
}

int prepare_image(const struct store *store, const struct settings *s, struct prepare *template,
		  struct err *e)
{
	const struct giveup g = cancel_giveup(s->cancel);
	struct image image = {0};
	int r;

	if (strcmp(s->backend, "fake") == 0)
		return fake_image(s, template, e);
	settings_progress(s, "", "image", -1, "%s", s->image);
	r = image_resolve(store, s->image, &g, on_image_progress, (void *)s, &image, e);
	if (r < 0)
		return r;
	tell_age(s, &image);
	r = check_disk(s, &image, e);
	if (r == 0)
		r = take_image(&image, template, e);
	image_done(&image);
	return r;
}

/* --- Public -------------------------------------------------------------------------------------------------- */

int drover_image_list(const char *home, struct drover_image **ret, struct drover_error *pe)
{
	scoped(store) struct store store = {0};
	scoped(mem) struct image_info *found = NULL;
	struct drover_image *images;
	struct err e = ERR_INIT;
	size_t n = 0;
	int r = store_open(home, &store, &e);

	if (r == 0)
		r = image_list(&store, &found, &n, &e);
	if (r < 0)
		return public_error(pe, &e, r);
	images = calloc(n + 1, sizeof(*images));
	if (!images)
		return public_error(pe, &e, err_set(&e, ERR_NO_MEMORY, "out of memory"));
	for (size_t i = 0; i < n; i++) {
		struct drover_image *to = &images[i];

		memcpy(to->name, found[i].name, sizeof(to->name));
		memcpy(to->description, found[i].description, sizeof(to->description));
		memcpy(to->path, found[i].path, sizeof(to->path));
		memcpy(to->origin, found[i].origin, sizeof(to->origin));
		to->bytes = found[i].cached
				    ? found[i].bytes + template_bytes(&store, found[i].name, false)
				    : 0;
		to->cached = found[i].cached;
	}
	*ret = images;
	return (int)n;
}

/* What a call that fetches holds while it does. */
struct fetch {
	struct store store;
	struct settings settings;
	struct giveup giveup;
};

static int fetch_begin(struct fetch *f, const struct drover_options *o, struct err *e)
{
	int r = settings_from(o, &f->settings, e);

	f->giveup =
		limits_giveup(&(struct limits){f->settings.wanted_timeout_ms, f->settings.cancel});
	return r < 0 ? r : store_open(f->settings.home, &f->store, e);
}

static void scoped_fetch(struct fetch *f)
{
	store_close(&f->store);
}

int drover_image_get(const char *name, const struct drover_options *o, struct drover_error *pe)
{
	scoped(fetch) struct fetch f = {0};
	struct image image = {0};
	struct err e = ERR_INIT;
	int r = fetch_begin(&f, o, &e);

	if (r == 0)
		r = image_resolve(&f.store, name, &f.giveup, on_image_progress, &f.settings, &image,
				  &e);
	if (r == 0)
		tell_age(&f.settings, &image);
	image_done(&image);
	return r < 0 ? public_error(pe, &e, r) : 0;
}

int drover_image_import(const char *source, const char *name, const char *sha256,
			const struct drover_options *o, struct drover_error *pe)
{
	scoped(fetch) struct fetch f = {0};
	struct err e = ERR_INIT;
	int r = fetch_begin(&f, o, &e);

	if (r == 0)
		r = image_import(&f.store, source, name, sha256, &f.giveup, on_image_progress,
				 &f.settings, &e);
	return r < 0 ? public_error(pe, &e, r) : 0;
}

int drover_image_remove(const char *home, const char *name, struct drover_error *pe)
{
	scoped(store) struct store store = {0};
	struct err e = ERR_INIT;
	int r = store_open(home, &store, &e);

	if (r == 0)
		r = image_remove(&store, name, &e);
	if (r == 0)
		template_bytes(&store, name, true);
	return r < 0 ? public_error(pe, &e, r) : 0;
}

bool drover_nested_virt_supported(void)
{
	return host_nested_virt_supported();
}

bool drover_clustering_supported(void)
{
	return host_clustering_supported();
}
