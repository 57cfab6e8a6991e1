/* SPDX-License-Identifier: MIT */
/*
 * A saved point as what copies start from.
 *
 * How it works: a point is in the disk of each member, with its memory. So the disks are copied, by the helper of a cluster that
 * runs, while it holds it, and here, under the members' locks, when it does not. Which of the points that is called in the
 * disks goes into a file beside each copy; QEMU loads that when the copy starts.
 */
#include "base/files.h"
#include "base/scoped.h"
#include "client/capture.h"
#include "guest/image.h"
#include "wire/point.h"

#include <string.h>

/* What all members have of points. */
struct known {
	struct point_list *lists;
	size_t n;
};

static void scoped_known(struct known *all)
{
	for (size_t i = 0; all->lists && i < all->n; i++)
		free(all->lists[i].points);
	free(all->lists);
}

/* The members of @member's cluster, of those that run and those that do not. */
static int find_members(const struct store *store, const char *member, struct name_list *ret,
			struct err *e)
{
	int r = name_check(member, e);

	if (r == 0 && !store_member_exists(store, member))
		r = err_set(e, ERR_NOT_FOUND, "there is no member '%s'", member);
	return r < 0 ? r : cluster_members(store, member, ret, e);
}

/* Whichever of them runs. Borrowed; NULL: none. */
static const char *find_running(const struct store *store, const struct name_list *names)
{
	for (size_t i = 0; i < names->n; i++)
		if (store_owner_alive(store, names->names[i]))
			return names->names[i];
	return NULL;
}

/* What @name's disk has, or the file in its place where there is no disk. */
static int read_disk(const struct store *s, const char *name, struct point_list *ret, struct err *e)
{
	scoped(mem) char *disk = store_member_path(s, name, MEMBER_DISK);
	scoped(mem) char *points = store_member_path(s, name, MEMBER_POINTS);
	const char *path = disk && files_exist(disk) ? disk : points;

	if (!disk || !points)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	return files_exist(path) ? image_file_points(path, &ret->points, &ret->n, e) : 0;
}

/* What each disk of the members has, in @s. */
static int read_points(const struct drover_capture *k, const struct store *s, struct known *ret,
		       struct err *e)
{
	int r = 0;

	ret->lists = calloc(k->n + 1, sizeof(*ret->lists));
	if (!ret->lists)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	ret->n = k->n;
	for (size_t i = 0; i < k->n && r == 0; i++)
		r = read_disk(s, k->configs[i].name, &ret->lists[i], e);
	return r;
}

/* Finds @point in the disks of @s, and says to each copy what it goes on from. */
static int settle(struct drover_capture *k, const struct store *s, const char *who,
		  const char *point, struct err *e)
{
	scoped(known) struct known all = {0};
	const struct point *best;
	int r = read_points(k, s, &all, e);

	if (r < 0)
		return r;
	best = points_newest(all.lists, all.n, point, &k->point_bytes);
	if (!best)
		return points_refuse(all.lists, all.n, who, point, e);
	for (size_t i = 0; i < k->n && r == 0; i++) {
		scoped(mem) char *path =
			store_member_path(&k->inside, k->configs[i].name, MEMBER_POINT);

		r = path ? files_publish(path, best->name, strlen(best->name), 0600) : -ENOMEM;
	}
	return r < 0 ? err_errno(e, r, "write what a copy goes on from") : 0;
}

/* --- The list of them --------------------------------------------------------------------------------------------- */

static struct drover_point *copy_points(const struct point *from, size_t n)
{
	struct drover_point *to = calloc(n + 1, sizeof(*to));

	for (size_t i = 0; to && i < n; i++) {
		snprintf(to[i].name, sizeof(to[i].name), "%.63s", from[i].name);
		to[i].bytes = from[i].bytes;
		to[i].saved_at = from[i].saved_at;
	}
	return to;
}

/* What the fake backend saves goes with its helper. */
static int read_stopped(const struct store *s, const char *name, struct point_list *ret,
			struct err *e)
{
	scoped(config) struct member_config c = {0};
	int r = store_config_load(s, name, &c, e);

	return r < 0 || strcmp(c.backend, "fake") == 0 ? r : read_disk(s, name, ret, e);
}

int capture_stopped_has(const struct store *s, const char *name, const char *point, struct err *e)
{
	struct point_list all = {0};
	int r = read_stopped(s, name, &all, e);
	bool has = false;

	for (size_t i = 0; i < all.n && r == 0; i++)
		has = has || point_is_named(&all.points[i], point);
	free(all.points);
	return r < 0 ? r : has;
}

/* Nothing is locked: a disk that is being written meanwhile may be told as unreadable. */
static int list_stopped(const struct store *s, const struct name_list *names,
			const struct giveup *g, struct drover_point **ret, struct err *e)
{
	scoped(known) struct known all = {calloc(names->n, sizeof(*all.lists)), names->n};
	scoped(mem) struct point *whole = NULL;
	size_t n;
	int r = all.lists ? 0 : err_set(e, ERR_NO_MEMORY, "out of memory");

	for (size_t i = 0; i < names->n && r == 0; i++) {
		r = giveup_check(g, e);
		if (r == 0)
			r = read_stopped(s, names->names[i], &all.lists[i], e);
	}
	if (r < 0)
		return r;
	whole = calloc(all.lists[0].n + 1, sizeof(*whole));
	n = whole ? points_whole(all.lists, all.n, whole) : 0;
	*ret = whole ? copy_points(whole, n) : NULL;
	return *ret ? (int)n : err_set(e, ERR_NO_MEMORY, "out of memory");
}

static int list_running(const struct store *s, const char *member, const struct drover_call *o,
			struct drover_point **ret, struct err *e)
{
	struct drover_cluster *c = NULL;
	struct drover_error pe;
	int r = drover_cluster_open(s->root, member, o, &c, &pe);

	if (r == 0)
		r = drover_cluster_snapshot_list(c, o, ret, &pe);
	drover_cluster_close(c);
	return r < 0 ? private_error(e, &pe) : r;
}

int drover_points(const char *home, const char *member, const struct drover_call *o,
		  struct drover_point **ret, struct drover_error *pe)
{
	scoped(store) struct store store = {0};
	scoped(names) struct name_list names = {0};
	const char *running = NULL;
	struct limits l;
	struct err e = ERR_INIT;
	int r = limits_from(o, &l, &e);
	const struct giveup g = limits_giveup(&l);

	if (r == 0)
		r = store_open(home, &store, &e);
	if (r == 0)
		r = find_members(&store, member ? member : "", &names, &e);
	if (r == 0) {
		running = find_running(&store, &names);
		r = running ? list_running(&store, running, o, ret, &e)
			    : list_stopped(&store, &names, &g, ret, &e);
	}
	return r < 0 ? public_error(pe, &e, r) : r;
}

/* --- Of a cluster that does not run ---------------------------------------------------------------------------- */

static int copy_disks(struct drover_capture *k, struct err *e)
{
	int r = capture_check_disks(k, e);

	for (size_t i = 0; i < k->n && r == 0; i++) {
		const char *name = k->configs[i].name;
		scoped(mem) char *from = store_member_path(&k->store, name, capture_disk_of(k, i));
		scoped(mem) char *to = store_member_path(&k->inside, name, capture_disk_of(k, i));

		r = from && to ? give_file(from, to, GIVE_COPY, e)
			       : err_set(e, ERR_NO_MEMORY, "out of memory");
	}
	return r;
}

/* Under the locks of the members. */
static int copy_stopped(struct drover_capture *k, const struct name_list *names, const char *point,
			struct err *e)
{
	int r = capture_reserve(k, names->n, e);

	for (size_t i = 0; i < names->n && r == 0; i++)
		r = capture_add_member(k, names->names[i], e);
	if (r == 0)
		r = settle(k, &k->store, names->n == 1 ? names->names[0] : "the cluster", point, e);
	return r < 0 ? r : copy_disks(k, e);
}

static int take_stopped(const char *root, const struct name_list *names, const char *point,
			const struct limits *l, struct drover_capture **ret, struct err *e)
{
	const struct giveup g = limits_giveup(l);
	struct lock_list locks = {0};
	struct drover_capture *k = NULL;
	int r = capture_new(root, &g, &k, e);

	for (size_t i = 0; i < names->n && r == 0; i++)
		r = lock_list_add(&locks, &k->store, names->names[i], e);
	if (r == 0)
		r = copy_stopped(k, names, point, e);
	lock_list_release(&locks);
	if (r < 0)
		drover_capture_close(k);
	else
		*ret = k;
	return r;
}

/* --- Of one that runs ------------------------------------------------------------------------------------------- */

/* What was saved of all would be copied of some. */
static int check_all_run(struct drover_cluster *c, const struct name_list *names, struct err *e)
{
	for (size_t i = 0; i < names->n; i++)
		if (!drover_cluster_find(c, names->names[i]))
			return err_hint(e,
					err_set(e, ERR_NOT_RUNNING,
						"%s does not run, and others of its cluster do",
						names->names[i]),
					"start it, or stop them all");
	return 0;
}

static int take_running(const char *root, const char *member, const struct name_list *names,
			const char *point, const struct limits *l, int64_t *ret_held_ms,
			struct drover_capture **ret, struct err *e)
{
	struct drover_cluster *c = NULL;
	struct drover_capture *k = NULL;
	struct drover_error pe;
	struct drover_call call = DROVER_CALL_INIT;
	struct giveup g;
	int r;

	call.timeout_ms = (unsigned)l->timeout_ms;
	call.cancel = l->cancel;
	r = drover_cluster_open(root, member, &call, &c, &pe);
	if (r < 0)
		return private_error(e, &pe);
	r = check_all_run(c, names, e);
	g = limits_giveup(l);
	if (r == 0)
		r = capture_prepare(c, &g, &k, e);
	if (r == 0)
		r = capture_take_disks(k, c, point, l, ret_held_ms, e);
	drover_cluster_close(c);
	if (r == 0)
		r = settle(k, &k->inside, "the cluster", point, e);
	if (r < 0)
		drover_capture_close(k);
	else
		*ret = k;
	return r;
}

/* --- Either ------------------------------------------------------------------------------------------------------ */

static int take_point(const char *home, const char *member, const char *point,
		      const struct limits *l, int64_t *ret_held_ms, struct drover_capture **ret,
		      struct err *e)
{
	scoped(store) struct store store = {0};
	scoped(names) struct name_list names = {0};
	const char *running;
	int r = name_check(point, e);

	if (r == 0)
		r = store_open(home, &store, e);
	if (r == 0)
		r = find_members(&store, member, &names, e);
	if (r < 0)
		return r;
	running = find_running(&store, &names);
	return running ? take_running(store.root, running, &names, point, l, ret_held_ms, ret, e)
		       : take_stopped(store.root, &names, point, l, ret, e);
}

int drover_capture_point(const char *home, const char *member, const char *point,
			 const struct drover_call *o, struct drover_capture **ret,
			 struct drover_error *pe)
{
	struct limits l;
	struct err e = ERR_INIT;
	int64_t held_ms = 0;
	int r = limits_from(o, &l, &e);

	if (r == 0)
		r = take_point(home, member ? member : "", point ? point : "", &l, &held_ms, ret,
			       &e);
	return r < 0 ? public_error(pe, &e, r) : (int)held_ms;
}

const char *drover_capture_inside(const struct drover_capture *k, size_t i)
{
	return i < k->n ? member_config_inside(&k->configs[i]) : NULL;
}
