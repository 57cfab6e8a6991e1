/* SPDX-License-Identifier: MIT */
/*
 * Namespaces of clusters that have ended, which no process lives in any more and a descriptor or a mount keeps. Of the
 * processes of others an ordinary user sees no descriptors.
 */
#include "store/audit.h"

#include "base/files.h"
#include "base/scoped.h"
#include "store/namespaces.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

enum { LINK_SIZE = 64 };

struct kept {
	char link[LINK_SIZE]; /* "net:[4026532281]" */
	const struct namespace_record *record;
	bool has_process;
	pid_t told; /* the holder that was told last */
};

struct kept_list {
	struct kept *all; /* owned */
	size_t n;
	uint64_t *seen; /* owned: whose mounts were read, by their namespace */
	size_t n_seen;
	const struct giveup *giveup;
	audit_tell *tell;
	void *arg;
};

static struct kept *find(const struct kept_list *l, const char *link)
{
	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->all[i].link, link) == 0)
			return &l->all[i];
	return NULL;
}

/* @r's, unless its cluster lives. A number that was given away again is the younger cluster's. */
static int collect(struct kept_list *l, const struct namespace_record *r)
{
	bool is_alive = r->ended_ns == 0 && procid_is_alive(&r->owner);

	for (size_t i = 0; i < NAMESPACE_KINDS; i++) {
		struct kept k = {.record = r, .has_process = is_alive};
		struct kept *all;
		struct kept *before;

		if (r->of.numbers[i] == 0)
			continue;
		snprintf(k.link, sizeof(k.link), "%s:[%llu]", namespace_kinds[i],
			 (unsigned long long)r->of.numbers[i]);
		before = find(l, k.link);
		if (before) {
			*before = k;
			continue;
		}
		all = realloc(l->all, (l->n + 1) * sizeof(*all));
		if (!all)
			return -ENOMEM;
		l->all = all;
		l->all[l->n++] = k;
	}
	return 0;
}

/* Of a descriptor or a mount on @path: it has been open since the cluster lived, or nobody can say. */
static bool is_as_old(const char *path, const struct namespace_record *r)
{
	struct stat st;

	return r->ended_ns == 0 || stat(path, &st) < 0 ||
	       st.st_mtim.tv_sec * INT64_C(1000000000) + st.st_mtim.tv_nsec <= r->ended_ns;
}

static bool read_link(const char *path, char ret[LINK_SIZE])
{
	ssize_t n = readlink(path, ret, LINK_SIZE - 1);

	ret[n < 0 ? 0 : n] = '\0';
	return n >= 0;
}

static void tell_holder(const struct kept_list *l, struct kept *k, pid_t pid)
{
	scoped(mem) char *name = process_name(pid);
	scoped(mem) char *what = NULL;

	k->told = pid;
	if (!name)
		return;
	str_make_printable(name);
	what = str_format("%s, held open by %s, pid %d", k->link, name, (int)pid);
	l->tell(l->arg, THING_NAMESPACE, what, k->record->member, 0);
}

static void look_at_descriptors(const struct kept_list *l, pid_t pid)
{
	char path[64];
	scoped(dir) DIR *dir = NULL;
	const struct dirent *entry;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	while (dir && giveup_check(l->giveup, NULL) == 0 && (entry = readdir(dir))) {
		char link[LINK_SIZE];
		char file[sizeof(path) + NAME_MAX + 2];
		struct kept *k;

		snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
		k = read_link(file, link) ? find(l, link) : NULL;
		if (k && !k->has_process && k->told != pid && is_as_old(file, k->record))
			tell_holder(l, k, pid);
	}
}

/* A line "ID PARENT MAJOR:MINOR ROOT PLACE ..." of @pid's mounts. */
static void look_at_mount(const struct kept_list *l, pid_t pid, const char *line)
{
	char link[LINK_SIZE];
	char place[4096];
	scoped(mem) char *path = NULL;
	scoped(mem) char *what = NULL;
	const struct kept *k;

	if (sscanf(line, "%*d %*d %*s %63s %4095s", link, place) != 2)
		return;
	k = find(l, link);
	path = k ? str_format("/proc/%d/root%s", (int)pid, place) : NULL;
	if (!path || k->has_process || !is_as_old(path, k->record))
		return;
	what = str_format("%s, mounted on %s, seen by pid %d", link, place, (int)pid);
	l->tell(l->arg, THING_NAMESPACE, what, k->record->member, 0);
}

/* Those of a namespace of mounts once. */
static void look_at_mounts(struct kept_list *l, pid_t pid)
{
	char path[64];
	scoped(mem) char *text = NULL;
	uint64_t *seen;
	char *save = NULL;
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)pid);
	if (stat(path, &st) < 0)
		return;
	for (size_t i = 0; i < l->n_seen; i++)
		if (l->seen[i] == st.st_ino)
			return;
	seen = realloc(l->seen, (l->n_seen + 1) * sizeof(*seen));
	if (!seen)
		return;
	l->seen = seen;
	l->seen[l->n_seen++] = st.st_ino;
	snprintf(path, sizeof(path), "%d", (int)pid);
	text = audit_read_mounts(path);
	for (char *line = text ? strtok_r(text, "\n", &save) : NULL; line;
	     line = strtok_r(NULL, "\n", &save))
		look_at_mount(l, pid, line);
}

static void look_at_home(struct kept_list *l, pid_t pid)
{
	for (size_t i = 0; i < NAMESPACE_KINDS; i++) {
		char path[64];
		char link[LINK_SIZE];
		struct kept *k;

		snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, namespace_kinds[i]);
		k = read_link(path, link) ? find(l, link) : NULL;
		if (k)
			k->has_process = true;
	}
}

static void each_process(struct kept_list *l, void (*look)(struct kept_list *, pid_t))
{
	scoped(dir) DIR *dir = opendir("/proc");
	const struct dirent *entry;

	while (dir && giveup_check(l->giveup, NULL) == 0 && (entry = readdir(dir))) {
		int64_t pid;

		if (str_to_int64(entry->d_name, 1, INT32_MAX, &pid) == 0)
			look(l, (pid_t)pid);
	}
}

static void look_for_holds(struct kept_list *l, pid_t pid)
{
	look_at_descriptors(l, pid);
	look_at_mounts(l, pid);
}

int audit_namespaces(const struct store *s, const struct giveup *g, audit_tell *tell, void *arg)
{
	scoped(namespace_records) struct namespace_records records = {0};
	struct kept_list l = {.giveup = g, .tell = tell, .arg = arg};
	int r = namespaces_load(s, &records);

	for (size_t i = 0; i < records.n && r == 0; i++)
		r = collect(&l, &records.all[i]);
	if (r == 0 && l.n > 0) {
		each_process(&l, look_at_home);
		each_process(&l, look_for_holds);
	}
	free(l.all);
	free(l.seen);
	return r;
}
