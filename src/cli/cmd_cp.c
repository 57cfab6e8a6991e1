/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "cli/cli.h"
#include "cli/commands.h"

struct cp_settings {
	unsigned timeout;
};

static const struct option_row cp_options[] = {
	{"timeout", 't', OPTION_SECONDS, offsetof(struct cp_settings, timeout), "SECONDS",
	 "give up after this time"},
	{0},
};

/* The path behind "NAME:", with the name in @ret; NULL when @arg is a path of the host. */
static const char *guest_path(const char *arg, char ret[NAME_SIZE])
{
	size_t len = strcspn(arg, ":/");

	if (arg[len] != ':' || len >= NAME_SIZE)
		return NULL;
	memcpy(ret, arg, len);
	ret[len] = '\0';
	return name_is_valid(ret) ? arg + len + 1 : NULL;
}

/* "." or "..", alone or behind a slash: a folder that has a name, but not this one */
static bool is_dots(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *last = slash ? slash + 1 : path;

	return !strcmp(last, ".") || !strcmp(last, "..");
}

/* What to copy: the host's folder "." by the name that it has. Heap, or NULL. */
static char *source(const char *from, bool of_host)
{
	return of_host && is_dots(from) ? realpath(from, NULL) : strdup(from);
}

/* @to, or the source's own name in it when it is "." or ends with a slash. Heap, or NULL. */
static char *destination(const char *from, const char *to)
{
	size_t len = strlen(from);
	size_t start;

	if (!str_ends(to, "/") && !is_dots(to))
		return strdup(to);
	while (len > 1 && from[len - 1] == '/')
		len--;
	start = len;
	while (start > 0 && from[start - 1] != '/')
		start--;
	return str_format("%s%s%.*s", to, str_ends(to, "/") ? "" : "/", (int)(len - start),
			  from + start);
}

static int copy(const char *name, bool to_guest, const char *from, const char *to,
		const struct cp_settings *s)
{
	struct drover_call o = DROVER_CALL_INIT;
	struct drover_cluster *c = NULL;
	struct drover_vm *vm;
	struct drover_error e;
	int r;

	o.timeout_ms = s->timeout * 1000;
	o.cancel = interrupt_catch();
	vm = member_open(name, &c, &e);
	if (!vm)
		return say_failed(NULL, &e);
	r = to_guest ? drover_vm_copy_to(vm, from, to, &o, &e)
		     : drover_vm_copy_from(vm, from, to, &o, &e);
	r = r < 0 ? member_failed(vm, s->timeout > 0, &e) : CLI_OK;
	drover_cluster_close(c);
	return r;
}

static int run_cp(const struct command *self, const void *settings, const struct args *a)
{
	char from_name[NAME_SIZE] = "";
	char to_name[NAME_SIZE] = "";
	const char *from;
	const char *to;
	scoped(mem) char *what = NULL;
	scoped(mem) char *target = NULL;

	if (a->count != 2)
		return say_usage(self, "cp needs a source and a destination");
	from = guest_path(a->names[0], from_name);
	to = guest_path(a->names[1], to_name);
	if (!from == !to)
		return say_usage(self, "cp needs one path of the host and one like NAME:/PATH");
	if ((from ? from : to)[0] != '/')
		return say_usage(self, "the path in a member is absolute: '%s' is not",
				 from ? from : to);
	what = source(from ? from : a->names[0], !from);
	if (!what)
		return say_error("cannot copy %s: %s", from ? from : a->names[0], strerror(errno));
	target = destination(what, to ? to : a->names[1]);
	if (!target)
		return say_error("out of memory");
	return copy(to ? to_name : from_name, to != NULL, what, target, settings);
}

const struct command command_cp = {
	.name = "cp",
	.usage = "[OPTIONS] PATH NAME:/PATH | NAME:/PATH PATH",
	.summary = "Copy a file or a tree into a member, or out of it",
	.options = cp_options,
	.settings_size = sizeof(struct cp_settings),
	.run = run_cp,
};
