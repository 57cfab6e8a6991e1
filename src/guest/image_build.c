/* SPDX-License-Identifier: MIT */
/*
 * The catalogue: a program that lists what it can build and builds one into an empty directory.
 *
 *   drover-image-build --list            lines "NAME<TAB>DESCRIPTION"
 *   drover-image-build --clean DIR       removes what is left of an OUTDIR
 *   drover-image-build NAME OUTDIR       lines "progress PERCENT TEXT"; image.json is written last
 */
#include "base/buf.h"
#include "base/err.h"
#include "base/files.h"
#include "base/scoped.h"
#include "base/str.h"
#include "config.h"
#include "guest/image.h"
#include "guest/run.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* Borrowed, or NULL. Before the install, the one in the source tree. */
static const char *builder(void)
{
	static const char installed[] = DROVER_LIBEXECDIR "/drover-image-build";
	const char *path = getenv("DROVER_IMAGE_BUILD");

	if (path && *path)
		return path;
	if (access(installed, X_OK) == 0)
		return installed;
	return access(DROVER_IMAGE_BUILD_SOURCE, X_OK) == 0 ? DROVER_IMAGE_BUILD_SOURCE : NULL;
}

struct catalog {
	image_catalog_fn *each;
	void *arg;
	int r;
};

static void on_list_line(void *arg, const char *line)
{
	struct catalog *c = arg;
	scoped(mem) char *name = strdup(line);
	char *tab = name ? strchr(name, '\t') : NULL;

	if (tab)
		*tab = '\0';
	if (c->r == 0 && name && image_name_is_valid(name))
		c->r = c->each(c->arg, name, tab ? tab + 1 : "");
}

int image_catalog(image_catalog_fn *each, void *arg, struct err *e)
{
	const char *argv[] = {builder(), "--list", NULL};
	struct catalog c = {each, arg, 0};
	scoped(buf) struct buf tail = BUF_INIT;
	int r;

	if (!argv[0])
		return 0;
	r = run_program(argv, NULL, on_list_line, &c, &tail, e);
	if (r > 0)
		return err_set(e, ERR_HOST, "cannot list the images: %s: %s", argv[0],
			       run_last_line(&tail));
	if (r == 0 && c.r < 0)
		return err_errno(e, c.r, "cannot list the images");
	return r;
}

static int match_name(void *arg, const char *name, const char *description)
{
	const char **wanted = arg;

	if (*wanted && strcmp(*wanted, name) == 0)
		*wanted = NULL;
	return 0;
}

int image_in_catalog(const char *name, struct err *e)
{
	const char *wanted = name;
	int r = image_catalog(match_name, &wanted, e);

	return r < 0 ? r : !wanted;
}

enum { BUILD_TEXT_SIZE = 128 };

struct build {
	guest_progress_fn *progress;
	void *arg;
	int percent; /* what the builder said last */
	char text[BUILD_TEXT_SIZE];
};

/* What lasts is told again, so that whoever shows it can count the seconds. */
static void on_build_line(void *arg, const char *line)
{
	struct build *b = arg;

	if (!b->progress || (line && !str_starts(line, "progress ")))
		return;
	if (line) {
		char *end = NULL;
		long percent = strtol(line + strlen("progress "), &end, 10);

		b->percent = percent < -1 || percent > 100 ? -1 : (int)percent;
		str_copy(b->text, sizeof(b->text), end + strspn(end, " "));
	}
	b->progress(b->arg, b->percent, b->text);
}

static int build_failed(const char *name, const char *program, int status, const struct buf *tail,
			struct err *e)
{
	const char *why = run_last_line(tail);
	enum err_code code = ERR_IMAGE;

	if (strstr(why, "No space left"))
		code = ERR_NO_SPACE;
	else if (strstr(why, "not installed") || strstr(why, "is missing"))
		code = ERR_MISSING_PROGRAM;
	if (*why)
		return err_set(e, code, "cannot build image %s: %s", name, why);
	return err_set(e, code, "cannot build image %s: %s ended with status %d", name, program,
		       status);
}

/* A half-made image of an ordinary user can have files of other (mapped) users, which only the builder can remove. */
void image_clean(const char *dir)
{
	const char *argv[] = {builder(), "--clean", dir, NULL};
	scoped(buf) struct buf tail = BUF_INIT;

	if (files_remove_tree(dir) < 0 && argv[0])
		run_program(argv, NULL, NULL, NULL, &tail, NULL);
}

int image_build(const struct store *s, const char *name, const struct giveup *g,
		guest_progress_fn *progress, void *arg, struct err *e)
{
	struct build b = {.progress = progress, .arg = arg, .percent = -1};
	scoped(buf) struct buf tail = BUF_INIT;
	scoped(mem) char *dir = NULL;
	scoped(mem) char *json = NULL;
	const char *program = builder();
	int r;

	if (!program)
		return err_set(e, ERR_MISSING_PROGRAM, "drover-image-build is not installed");
	r = image_tmp_make(s, name, &dir, e);
	if (r < 0)
		return r;
	r = run_program((const char *[]){program, name, dir, NULL}, g, on_build_line, &b, &tail, e);
	if (r > 0)
		r = build_failed(name, program, r, &tail, e);
	json = str_format("%s/" IMAGE_JSON, dir);
	if (r == 0 && (!json || !files_exist(json)))
		r = err_set(e, ERR_IMAGE, "cannot build image %s: %s wrote no " IMAGE_JSON, name,
			    program);
	if (r < 0) {
		image_clean(dir);
		return r;
	}
	return image_tmp_commit(s, name, dir, e);
}
