/* SPDX-License-Identifier: MIT */
/* Which members there are. */
#include "base/err.h"
#include "base/files.h"
#include "base/scoped.h"
#include "store/store.h"

#include <string.h>
#include <sys/stat.h>

void name_list_done(struct name_list *l)
{
	free(l->names);
	*l = (struct name_list){0};
}

int name_list_add(struct name_list *l, const char *name)
{
	void *names = realloc(l->names, (l->n + 1) * NAME_SIZE);

	if (!names)
		return -ENOMEM;
	l->names = names;
	str_copy(l->names[l->n++], NAME_SIZE, name);
	return 0;
}

bool name_list_has(const struct name_list *l, const char *name)
{
	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->names[i], name) == 0)
			return true;
	return false;
}

int name_list_add_once(struct name_list *l, const char *name)
{
	return name_list_has(l, name) ? 0 : name_list_add(l, name);
}

/* By cluster, then web-2 before web-10. */
static int compare_names(const void *a, const void *b)
{
	char cluster_a[NAME_SIZE];
	char cluster_b[NAME_SIZE];
	int r;

	name_cluster(a, cluster_a);
	name_cluster(b, cluster_b);
	r = strcmp(cluster_a, cluster_b);
	return r ? r : strverscmp(a, b);
}

/* What cannot be looked at counts as there: whoever reads it then says why. */
static bool may_exist(const char *path)
{
	struct stat st;

	return path && (stat(path, &st) == 0 || (errno != ENOENT && errno != ENOTDIR));
}

static bool is_member(const struct store *s, const char *name)
{
	scoped(mem) char *config = store_member_path(s, name, MEMBER_CONFIG);
	scoped(mem) char *pid = store_member_path(s, name, MEMBER_PID);

	return may_exist(config) || may_exist(pid);
}

static int list_cluster(const struct store *s, const char *cluster, struct name_list *l)
{
	scoped(mem) char *path = str_format("%s/clusters/%s", s->root, cluster);
	scoped(dir) DIR *dir = path ? opendir(path) : NULL;
	struct dirent *entry;
	int r = 0;

	if (!dir && errno != ENOENT && errno != ENOTDIR && name_is_valid(cluster))
		return name_list_add(l,
				     cluster); /* not silently: its configuration cannot be read */
	while (r == 0 && dir && (entry = readdir(dir))) {
		char derived[NAME_SIZE];

		if (!name_is_valid(entry->d_name))
			continue;
		name_cluster(entry->d_name, derived);
		if (strcmp(derived, cluster) == 0 && is_member(s, entry->d_name))
			r = name_list_add(l, entry->d_name);
	}
	return r;
}

int store_list(const struct store *s, struct name_list *ret, struct err *e)
{
	scoped(mem) char *path = str_format("%s/clusters", s->root);
	scoped(dir) DIR *dir = path ? opendir(path) : NULL;
	struct name_list l = {0};
	struct dirent *entry;
	int r = 0;

	if (!dir && errno != ENOENT)
		return err_errno(e, -errno, "read %s", path ? path : "clusters");
	while (r == 0 && dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			r = list_cluster(s, entry->d_name, &l);
	if (r < 0) {
		name_list_done(&l);
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	}
	if (l.n)
		qsort(l.names, l.n, NAME_SIZE, compare_names);
	*ret = l;
	return 0;
}
