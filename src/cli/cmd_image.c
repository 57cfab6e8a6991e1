/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/commands.h"

enum { SHA256_DIGITS = 64 };

struct image_settings {
	const char *name;
	const char *sha256;
	bool quiet;
	bool json;
};

static const struct option_row image_options[] = {
	{"name", 0, OPTION_TEXT, offsetof(struct image_settings, name), "NAME",
	 "import: the name that the image gets"},
	{"sha256", 0, OPTION_TEXT, offsetof(struct image_settings, sha256), "HEX",
	 "import: refuse a file with another digest"},
	{"json", 0, OPTION_FLAG, offsetof(struct image_settings, json), NULL,
	 "ls: one JSON array; others: progress as JSON lines"},
	{"quiet", 'q', OPTION_FLAG, offsetof(struct image_settings, quiet), NULL,
	 "ls: names only; others: no progress"},
	{0},
};

static int image_json(const struct drover_image *v, size_t n)
{
	json_t *all = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(all,
				      json_pack("{s:s, s:s, s:s, s:s, s:I, s:b}", "name", v[i].name,
						"description", v[i].description, "path", v[i].path,
						"origin", v[i].origin, "bytes",
						(json_int_t)v[i].bytes, "cached", v[i].cached));
	return say_json(all);
}

static void image_table(const struct drover_image *v, size_t n)
{
	scoped(table) struct table *t = table_new(5);

	table_add(t, (const char *[]){"NAME", "CACHED", "SIZE", "ORIGIN", "DESCRIPTION"});
	for (size_t i = 0; i < n; i++) {
		char size[32] = "";

		if (v[i].cached)
			snprintf(size, sizeof(size), "%" PRId64 "M", (v[i].bytes + 524288) >> 20);
		table_add(t, (const char *[]){v[i].name, v[i].cached ? "yes" : "no", size,
					      v[i].origin, v[i].description});
	}
	table_fit(t);
	table_print(t);
}

static int image_ls(const struct command *self, const struct image_settings *s,
		    const struct args *a)
{
	scoped(mem) struct drover_image *v = NULL;
	struct drover_error e;
	int n;

	if (a->count != 1)
		return say_usage(self, "image ls takes no names");
	n = drover_image_list(NULL, &v, &e);
	if (n < 0)
		return say_failed(NULL, &e);
	if (s->json)
		return image_json(v, (size_t)n);
	if (s->quiet)
		for (int i = 0; i < n; i++)
			puts(v[i].name);
	else
		image_table(v, (size_t)n);
	return say_done();
}

static int image_fetch(const struct command *self, const struct image_settings *s,
		       const struct args *a, bool import)
{
	enum progress_style style = s->json    ? PROGRESS_JSON
				    : s->quiet ? PROGRESS_QUIET
					       : PROGRESS_AUTO;
	scoped(progress) struct progress *p = progress_new(style);
	struct drover_options o = DROVER_OPTIONS_INIT;
	const char *name = import ? s->name : a->names[1];
	struct drover_error e;
	int r;

	o.on_progress = p ? progress_on_event : NULL;
	o.progress_arg = p;
	o.cancel = interrupt_catch();
	if (import)
		r = drover_image_import(a->names[1], name, s->sha256, &o, &e);
	else
		r = drover_image_get(name, &o, &e);
	if (r < 0 && import && !strcmp(e.code, "invalid_name"))
		return say_usage(self, "%s", e.sentence);
	if (r < 0)
		return interrupt_or_failed(&e);
	if (!s->json && !s->quiet)
		printf("%s: cached\n", name);
	return say_done();
}

static int image_build(const struct command *self, const struct image_settings *s,
		       const struct args *a)
{
	if (a->count != 2)
		return say_usage(self, "image build needs the name of one image");
	return image_fetch(self, s, a, false);
}

static int image_import(const struct command *self, const struct image_settings *s,
			const struct args *a)
{
	if (a->count != 2)
		return say_usage(self, "image import needs one file or URL");
	if (!s->name)
		return say_usage(self, "image import needs option --name NAME");
	if (s->sha256 && (strlen(s->sha256) != SHA256_DIGITS ||
			  s->sha256[strspn(s->sha256, "0123456789abcdefABCDEF")]))
		return say_usage(self, "option --sha256: '%s' is not %d hexadecimal digits",
				 s->sha256, SHA256_DIGITS);
	return image_fetch(self, s, a, true);
}

static int image_rm(const struct command *self, const struct image_settings *s,
		    const struct args *a)
{
	int status = CLI_OK;

	if (a->count < 2)
		return say_usage(self, "image rm needs the name of an image");
	for (size_t i = 1; i < a->count; i++) {
		struct drover_error e;

		if (drover_image_remove(NULL, a->names[i], &e) < 0)
			status = say_failed(NULL, &e);
		else
			printf("%s: removed\n", a->names[i]);
	}
	return status == CLI_OK ? say_done() : status;
}

static int run_image(const struct command *self, const void *settings, const struct args *a)
{
	static const struct {
		const char *name;
		int (*run)(const struct command *self, const struct image_settings *s,
			   const struct args *a);
	} verbs[] = {
		{"ls", image_ls},
		{"build", image_build},
		{"import", image_import},
		{"rm", image_rm},
	};
	const struct image_settings *s = settings;

	if (a->count == 0)
		return say_usage(self, "image needs one of ls, build, import, rm");
	if ((s->name || s->sha256) && strcmp(a->names[0], "import") != 0)
		return say_usage(self, "option %s is for image import only",
				 s->name ? "--name" : "--sha256");
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (!strcmp(a->names[0], verbs[i].name))
			return verbs[i].run(self, s, a);
	return say_usage(self, "image cannot '%s'; it can ls, build, import, rm", a->names[0]);
}

const struct command command_image = {
	.name = "image",
	.usage = "ls | build IMAGE | import FILE|URL --name NAME | rm IMAGE...",
	.summary = "Show, build, import and remove images",
	.options = image_options,
	.settings_size = sizeof(struct image_settings),
	.run = run_image,
};
