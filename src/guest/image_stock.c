/* SPDX-License-Identifier: MIT */
/*
 * The vendors' cloud images, pinned. The pins are the file images/stock-images, built in; DROVER_STOCK_IMAGES names another
 * file of that form, for a mirror or newer images. A line is NAME ARCHITECTURE URL SHA-256, or begins with '#'.
 */
#include "base/err.h"
#include "base/files.h"
#include "base/scoped.h"
#include "base/str.h"
#include "guest/image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX = 1 << 20 };

#define LINE(text) text "\n"
static const char built_in[] =
#include "guest/stock-images.inc"
	;
#undef LINE

#if defined(__aarch64__)
static const char architecture[] = "arm64";
#else
static const char architecture[] = "amd64";
#endif

typedef int stock_fn(void *arg, const char *name, const char *url, const char *sha256);

void stock_image_done(struct stock_image *i)
{
	free(i->url);
	free(i->sha256);
	*i = (struct stock_image){0};
}

static int on_line(char *line, stock_fn *each, void *arg)
{
	char *rest = NULL;
	char *name = strtok_r(line, " \t", &rest);
	char *arch = strtok_r(NULL, " \t", &rest);
	char *url = strtok_r(NULL, " \t", &rest);
	char *sha256 = strtok_r(NULL, " \t", &rest);

	if (!name || name[0] == '#')
		return 0;
	if (!sha256 || strtok_r(NULL, " \t", &rest) || !image_name_is_valid(name) ||
	    !image_is_url(url) || strlen(sha256) != SHA256_DIGITS ||
	    strspn(sha256, "0123456789abcdef") != SHA256_DIGITS)
		return -EINVAL;
	return strcmp(arch, architecture) == 0 ? each(arg, name, url, sha256) : 0;
}

static int for_each(stock_fn *each, void *arg, struct err *e)
{
	const char *path = getenv("DROVER_STOCK_IMAGES");
	scoped(mem) char *text = NULL;
	char *rest = NULL;
	int r = 0;

	if (path && *path) {
		r = files_read(path, FILE_MAX, &text, NULL);
		if (r < 0)
			return err_errno(e, r, "cannot read the list of images %s", path);
	} else {
		path = "that is built in";
		text = strdup(built_in);
		if (!text)
			return err_set(e, ERR_NO_MEMORY, "out of memory");
	}
	for (char *line = strtok_r(text, "\n", &rest); line && r >= 0;
	     line = strtok_r(NULL, "\n", &rest)) {
		r = on_line(line, each, arg);
		if (r == -EINVAL)
			return err_set(e, ERR_INVALID,
				       "the list of images %s has a line that is not NAME "
				       "ARCHITECTURE URL SHA-256, at '%.60s'",
				       path, line);
	}
	return r < 0 ? err_errno(e, r, "cannot read the list of images %s", path) : 0;
}

struct listing {
	image_catalog_fn *each;
	void *arg;
};

static int list_one(void *arg, const char *name, const char *url, const char *sha256)
{
	const struct listing *l = arg;

	return l->each(l->arg, name, url);
}

int image_stock_list(image_catalog_fn *each, void *arg, struct err *e)
{
	struct listing l = {each, arg};

	return for_each(list_one, &l, e);
}

struct finding {
	const char *name;
	struct stock_image *found;
};

static int match_one(void *arg, const char *name, const char *url, const char *sha256)
{
	struct finding *f = arg;

	if (f->found->url || strcmp(name, f->name) != 0)
		return 0;
	f->found->url = strdup(url);
	f->found->sha256 = strdup(sha256);
	return f->found->url && f->found->sha256 ? 0 : -ENOMEM;
}

int image_stock_find(const char *name, struct stock_image *ret, struct err *e)
{
	scoped(stock) struct stock_image found = {0};
	struct finding f = {name, &found};
	int r = for_each(match_one, &f, e);

	if (r < 0)
		return r;
	*ret = found;
	found = (struct stock_image){0};
	return ret->url != NULL;
}
