/* SPDX-License-Identifier: MIT */
/* drover snapshot and reset: points of a running cluster, and one as a file. */
#include "cli/cli.h"
#include "cli/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"

struct snapshot_settings {
	bool json;
	bool quiet;
	unsigned count;
};

static const struct option_row snapshot_options[] = {
	{"count", 'n', OPTION_COPIES, offsetof(struct snapshot_settings, count), "K",
	 "import: K clusters, NEW-1 to NEW-K"},
	{"quiet", 'q', OPTION_FLAG, offsetof(struct snapshot_settings, quiet), NULL,
	 "ls, import: names only"},
	{"json", 0, OPTION_FLAG, offsetof(struct snapshot_settings, json), NULL,
	 "ls, save, load, rm: as JSON"},
	{0},
};

/* @held_ms < 0: nothing was held */
static int point_json(const char *name, const char *point, const char *done, int held_ms)
{
	json_t *o = json_pack("{s:s, s:s?, s:s}", "cluster", name, "point", point, "result", done);

	if (o && held_ms >= 0)
		json_object_set_new(o, "held_ms", json_integer(held_ms));
	return say_json(o);
}

static int save(struct drover_cluster *c, const struct snapshot_settings *s, const char *name,
		const char *point)
{
	struct drover_error e;
	int r = cluster_note_left_out(c, "point");
	int ms;

	if (r != CLI_OK)
		return r;
	ms = drover_cluster_snapshot_save(c, point, NULL, &e);
	if (ms < 0)
		return say_failed(NULL, &e);
	if (s->json)
		return point_json(name, point, "saved", ms);
	printf("%s: saved as %s, held for %d ms\n", name, point, ms);
	return CLI_OK;
}

static int load(struct drover_cluster *c, const struct snapshot_settings *s, const char *name,
		const char *point)
{
	struct drover_reset o = DROVER_RESET_INIT;
	struct drover_error e;
	int ms;

	o.point = point;
	o.cancel = interrupt_catch();
	ms = drover_cluster_reset(c, &o, &e);
	if (ms < 0)
		return interrupt_or_failed(&e);
	if (s->json)
		return point_json(name, point, "put back", ms);
	printf("%s: put back, held for %d ms\n", name, ms);
	return CLI_OK;
}

static int forget(struct drover_cluster *c, const struct snapshot_settings *s, const char *name,
		  const char *point)
{
	struct drover_error e;

	if (drover_cluster_snapshot_remove(c, point, NULL, &e) < 0)
		return say_failed(NULL, &e);
	if (s->json)
		return point_json(name, point, "removed", -1);
	printf("%s: %s removed\n", name, point);
	return CLI_OK;
}

static int list_json(const struct drover_point *v, int n)
{
	json_t *all = json_array();

	for (int i = 0; i < n; i++)
		json_array_append_new(all, json_pack("{s:s, s:I, s:I}", "point", v[i].name, "bytes",
						     (json_int_t)v[i].bytes, "saved_at",
						     (json_int_t)v[i].saved_at));
	return say_json(all);
}

static void list_table(const struct drover_point *v, int n)
{
	scoped(table) struct table *out = table_new(3);

	table_add(out, (const char *[]){"POINT", "SIZE", "AGE"});
	for (int i = 0; i < n; i++) {
		time_t saved = (time_t)v[i].saved_at;
		struct tm tm;
		char at[40];
		char size[24];
		char age[24];

		gmtime_r(&saved, &tm);
		strftime(at, sizeof(at), "%Y-%m-%dT%H:%M:%SZ", &tm);
		say_age(at, age, sizeof(age));
		say_bytes(v[i].bytes, size, sizeof(size));
		table_add(out, (const char *[]){v[i].name, size, age});
	}
	table_print(out);
}

/* Of the cluster @name, which may run or not. */
static int list(const struct snapshot_settings *s, char *name)
{
	scoped(targets) struct targets t = {0};
	scoped(mem) struct drover_point *v = NULL;
	struct drover_call o = DROVER_CALL_INIT;
	struct drover_error e;
	int n;

	if (targets_find(&name, 1, false, &t) != CLI_OK || t.unknown)
		return CLI_FAILED;
	o.cancel = interrupt_catch();
	n = drover_points(NULL, t.hit[0]->name, &o, &v, &e);
	if (n < 0)
		return interrupt_or_failed(&e);
	if (s->json)
		return list_json(v, n);
	for (int i = 0; s->quiet && i < n; i++)
		puts(v[i].name);
	if (!s->quiet)
		list_table(v, n);
	return say_done();
}

typedef int point_fn(struct drover_cluster *c, const struct snapshot_settings *s, const char *name,
		     const char *point);

static int on_cluster(const struct snapshot_settings *s, const struct args *a, size_t first,
		      point_fn *fn)
{
	struct drover_cluster *c = NULL;
	char *name = a->names[first];
	int r = cluster_open_named(name, &c);

	if (r != CLI_OK)
		return r;
	r = fn(c, s, name, a->count > first + 1 ? a->names[first + 1] : NULL);
	drover_cluster_close(c);
	return r == CLI_OK ? say_done() : r;
}

/* --- Files ------------------------------------------------------------------------------------------------------ */

/*
 * A new file in @path's directory, 0600, that gets its name when it is whole: the descriptor, and in *@ret what it is called
 * until then, if anything: where the file system can, it has no name, and is gone when nobody writes it any more. *@ret_whole:
 * @path is no file (a pipe, a device), and is written as it is.
 */
static int open_beside(const char *path, char **ret, bool *ret_whole)
{
	scoped(mem) char *name = str_format("%s.XXXXXX", path);
	scoped(mem) char *copy = strdup(path);
	struct stat st;
	int fd;

	*ret_whole = stat(path, &st) == 0 && !S_ISREG(st.st_mode);
	if (*ret_whole)
		return open(path, O_WRONLY | O_CLOEXEC);
	if (!name || !copy) {
		errno = ENOMEM;
		return -1;
	}
	fd = open(dirname(copy), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
		return fd;
	fd = mkostemp(name, O_CLOEXEC);
	if (fd >= 0)
		*ret = take_ptr(&name);
	return fd;
}

/* Gives the file its name. Nothing but a rename puts it in the place of another: then it has a name of its own first. */
static int give_name(int fd, const char *path, char **beside)
{
	char link[32];

	if (fsync(fd) < 0)
		return -1;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (!*beside && linkat(AT_FDCWD, link, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0)
		return 0;
	if (!*beside && errno != EEXIST)
		return -1;
	if (!*beside) {
		scoped(mem) char *name = str_format("%s.%ld", path, (long)getpid());

		if (!name || linkat(AT_FDCWD, link, AT_FDCWD, name, AT_SYMLINK_FOLLOW) < 0)
			return -1;
		*beside = take_ptr(&name);
	}
	return rename(*beside, path);
}

static int write_file(struct drover_cluster *c, const struct snapshot_settings *s, const char *name,
		      const char *to)
{
	const char *path = to ? to : "-";
	bool whole = strcmp(path, "-") == 0;
	scoped(mem) char *beside = NULL;
	scoped(fd) int fd = whole ? dup(STDOUT_FILENO) : open_beside(path, &beside, &whole);
	struct drover_call o = DROVER_CALL_INIT;
	struct drover_error e;
	int r = CLI_OK;
	int ms;

	if (fd < 0)
		return say_error("cannot write %s: %s", path, strerror(errno));
	if (isatty(fd))
		return say_error("the file would go to the terminal: name one, or use > FILE");
	o.cancel = interrupt_catch();
	ms = drover_cluster_export(c, fd, &o, &e);
	if (ms < 0)
		r = interrupt_signal() ? CLI_SIGNALED + interrupt_signal()
				       : say_failed(strcmp(path, "-") ? path : NULL, &e);
	else if (!whole && give_name(fd, path, &beside) < 0)
		r = say_error("cannot write %s: %s", path, strerror(errno));
	else if (!whole)
		printf("%s: written to %s, held for %d ms\n", name, path, ms);
	if (r != CLI_OK && beside)
		unlink(beside);
	return r;
}

static int save_file(struct drover_cluster *c, const struct snapshot_settings *s, const char *name,
		     const char *to)
{
	int r = cluster_note_left_out(c, "file");

	return r == CLI_OK ? write_file(c, s, name, to) : r;
}

/* A name that ends in no number, for that would be the copy's in the file. */
static void name_copy(char ret[NAME_SIZE])
{
	size_t n = (size_t)snprintf(ret, NAME_SIZE, "export-");

	for (unsigned left = (unsigned)getpid(); left; left /= 16)
		ret[n++] = (char)('a' + left % 16);
	ret[n] = '\0';
}

/* A point is written from a copy of it, which has to run: the file's key is let into its members. */
static int save_point(const struct snapshot_settings *s, char *from, const char *to)
{
	struct drover_options o = DROVER_OPTIONS_INIT;
	struct drover_capture *k = NULL;
	struct drover_cluster *c = NULL;
	struct drover_error e;
	char name[NAME_SIZE];
	int r = capture_open_point(from, &k);

	if (r != CLI_OK)
		return r;
	name_copy(name);
	o.cancel = interrupt_catch();
	o.temporary = true;
	r = drover_capture_start(k, name, 1, &o, &c, &e);
	drover_capture_close(k);
	if (r < 0)
		return interrupt_or_failed(&e);
	r = write_file(c, s, from, to);
	if (drover_cluster_destroy(c, NULL, &e) < 0 && r == CLI_OK)
		r = say_failed(NULL, &e);
	return r == CLI_OK ? say_done() : r;
}

/* Starts @count clusters @new of the file. */
static int start_file(struct drover_capture *k, const char *new, const struct snapshot_settings *s)
{
	size_t count = s->count ? s->count : 1;
	scoped(mem) struct drover_cluster **all = calloc(count, sizeof(struct drover_cluster *));
	scoped(progress) struct progress *p =
		progress_new(s->quiet ? PROGRESS_QUIET : PROGRESS_AUTO);
	struct drover_options o = DROVER_OPTIONS_INIT;
	struct drover_error e;

	if (!all)
		return say_error("out of memory");
	o.detached = true;
	o.on_progress = p ? progress_on_event : NULL;
	o.progress_arg = p;
	o.cancel = interrupt_catch();
	if (drover_capture_start(k, new, count, &o, all, &e) < 0)
		return interrupt_or_failed(&e);
	clusters_tell(all, count);
	clusters_close(all, count);
	return say_done();
}

static int load_file(const char *path, const char *new, const struct snapshot_settings *s)
{
	struct drover_capture *k = NULL;
	int r = capture_read_file(path, &k);

	if (r == CLI_OK)
		r = start_file(k, new, s);
	drover_capture_close(k);
	return r;
}

/* --- Which ------------------------------------------------------------------------------------------------------ */

static int run_snapshot(const struct command *self, const void *settings, const struct args *a)
{
	static const struct {
		const char *name;
		point_fn *fn;
		const char *takes; /* in words */
		size_t names;
	} verbs[] = {
		{"save", save, "a cluster and a point", 2},
		{"load", load, "a cluster and a point", 2},
		{"ls", NULL, "a cluster and no more", 1},
		{"rm", forget, "a cluster and a point", 2},
		{"export", save_file, "a cluster and a file", 2},
		{"import", NULL, "a file, and a name for the cluster", 2},
	};

	if (a->count == 0)
		return say_usage(self, "snapshot needs one of save, load, ls, rm, export, import");
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strcmp(a->names[0], verbs[i].name) != 0)
			continue;
		if (a->count != verbs[i].names + 1)
			return say_usage(self, "snapshot %s needs %s", verbs[i].name,
					 verbs[i].takes);
		/* a point, or the name of what is imported */
		if (verbs[i].names == 2 && verbs[i].fn != save_file &&
		    name_check_usage(self, a->names[2]) != CLI_OK)
			return CLI_USAGE;
		if (strcmp(verbs[i].name, "import") == 0)
			return load_file(a->names[1], a->names[2], settings);
		if (strcmp(verbs[i].name, "ls") == 0)
			return list(settings, a->names[1]);
		if (verbs[i].fn == save_file && strchr(a->names[1], ':'))
			return save_point(settings, a->names[1], a->names[2]);
		return on_cluster(settings, a, 1, verbs[i].fn);
	}
	return say_usage(self, "snapshot cannot '%s'; it can save, load, ls, rm, export and import",
			 a->names[0]);
}

static const struct option_row reset_options[] = {
	{"json", 0, OPTION_FLAG, offsetof(struct snapshot_settings, json), NULL, "as JSON"},
	{0},
};

static int run_reset(const struct command *self, const void *settings, const struct args *a)
{
	if (a->count < 1 || a->count > 2)
		return say_usage(self, "reset needs a cluster, and takes a point");
	if (a->count == 2 && name_check_usage(self, a->names[1]) != CLI_OK)
		return CLI_USAGE;
	return on_cluster(settings, a, 0, load);
}

const struct command command_snapshot = {
	.name = "snapshot",
	.usage = "save CLUSTER POINT | load CLUSTER POINT | ls CLUSTER | rm CLUSTER POINT | "
		 "export CLUSTER[:POINT] FILE | import FILE NEW",
	.summary = "Keep a running cluster as it is, and put it back",
	.options = snapshot_options,
	.settings_size = sizeof(struct snapshot_settings),
	.run = run_snapshot,
};

const struct command command_reset = {
	.name = "reset",
	.usage = "[--json] CLUSTER [POINT]",
	.options = reset_options,
	.settings_size = sizeof(struct snapshot_settings),
	.summary = "Restore a running cluster to a saved point, by default the last one",
	.run = run_reset,
};
