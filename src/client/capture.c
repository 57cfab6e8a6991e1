/* SPDX-License-Identifier: MIT */
/*
 * What is captured of a running cluster, and what members that go on from it are made of.
 *
 * How it works: a capture is a directory of its own below the store, laid out as a store is, so that the same code reads
 * and writes its members' configurations:
 *
 *   <root>/captures/XXXXXX/   .lock   clusters/<cluster>/<member>/  config.json memory disk.qcow2 seed.iso and keys
 *
 * Whoever has it open holds its lock. One that a dead client left is removed by whoever makes the next.
 */
#include "client/capture.h"

#include "base/files.h"
#include "base/scoped.h"
#include "guest/guest.h"
#include "guest/run.h"
#include "store/captures.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { MIB = 1 << 20, STAT_BLOCK = 512 };

/* What a member has beside its configuration, its memory and its disk. */
static const char *const keys[] = {MEMBER_HOST_KEY, MEMBER_HOST_PUBLIC, MEMBER_SEED,
				   MEMBER_LOGIN_KEY};

static int no_memory(struct err *e)
{
	return err_set(e, ERR_NO_MEMORY, "out of memory");
}

/* --- The directory --------------------------------------------------------------------------------------------- */

int capture_new(const char *root, const struct giveup *g, struct drover_capture **ret,
		struct err *e)
{
	struct drover_capture *k = calloc(1, sizeof(*k));
	int r;

	if (!k)
		return no_memory(e);
	k->lock = -1;
	r = store_open(root, &k->store, e);
	if (r == 0)
		r = captures_make(&k->store, g, &k->inside.root, &k->lock, e);
	if (r < 0)
		drover_capture_close(k);
	else
		*ret = k;
	return r;
}

void drover_capture_close(struct drover_capture *k)
{
	if (!k)
		return;
	if (k->inside.root)
		files_remove_tree(k->inside.root);
	close_fd(&k->lock);
	for (size_t i = 0; i < k->n; i++)
		member_config_done(&k->configs[i]);
	free(k->configs);
	free(k->inside.root);
	store_close(&k->store);
	free(k);
}

/* --- Files ------------------------------------------------------------------------------------------------------ */

int give_file(const char *from, const char *to, enum give how, struct err *e)
{
	if (how == GIVE_LINK && link(from, to) == 0)
		return 0;
	if (how == GIVE_MOVE && rename(from, to) == 0)
		return 0;
	if (how == GIVE_COPY || (how == GIVE_LINK && errno == EXDEV))
		return disk_copy_file(from, to, e);
	return err_errno(e, -errno, "make %s of %s", to, from);
}

/* @file of a member of @in for a member of @out; one that is not there is nothing to do. */
static int give_if_there(const struct store *in, const char *from_name, const struct store *out,
			 const char *to_name, const char *file, enum give how, struct err *e)
{
	scoped(mem) char *from = store_member_path(in, from_name, file);
	scoped(mem) char *to = store_member_path(out, to_name, file);

	if (!from || !to)
		return no_memory(e);
	return files_exist(from) ? give_file(from, to, how, e) : 0;
}

/* --- Capture ---------------------------------------------------------------------------------------------------- */

static int check_member(const struct member_config *c, struct err *e)
{
	if (strcmp(c->network, "host") == 0)
		return err_hint(e,
				err_set(e, ERR_UNSUPPORTED,
					"%s is in a network of the host, and two cannot have one "
					"address there",
					c->name),
				"only clusters with a private network can be forked");
	if (c->n_shares)
		return err_set(e, ERR_UNSUPPORTED,
			       "%s has directories of the host (--fixture, --mount), and these "
			       "are not forked",
			       c->name);
	return 0;
}

int capture_reserve(struct drover_capture *k, size_t n, struct err *e)
{
	k->configs = calloc(n + 1, sizeof(*k->configs));
	return k->configs ? 0 : no_memory(e);
}

int capture_add_member(struct drover_capture *k, const char *name, struct err *e)
{
	struct member_config *c = &k->configs[k->n];
	char inside[NAME_SIZE];
	int r = store_config_load(&k->store, name, c, e);

	if (r < 0)
		return r;
	k->n++;
	r = check_member(c, e);
	if (r < 0)
		return r;
	memcpy(inside, member_config_inside(c), sizeof(inside));
	memcpy(c->guest_name, inside, sizeof(c->guest_name));
	r = store_member_mkdir(&k->inside, name, e);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]) && r == 0; i++)
		r = give_if_there(&k->store, name, &k->inside, name, keys[i], GIVE_COPY, e);
	if (r == 0)
		r = give_if_there(&k->store, name, &k->inside, name, MEMBER_EFI, GIVE_COPY, e);
	return r < 0 ? r : store_config_save(&k->inside, c, e);
}

int capture_prepare(struct drover_cluster *c, const struct giveup *g, struct drover_capture **ret,
		    struct err *e)
{
	struct drover_capture *k = NULL;
	int r;

	if (c->n_vms == 0)
		return err_set(e, ERR_NOT_RUNNING, "the cluster is not running");
	r = capture_new(c->store.root, g, &k, e);
	if (r == 0)
		r = capture_reserve(k, c->n_vms, e);
	for (size_t i = 0; i < c->n_vms && r == 0; i++)
		r = c->vms[i]->handle ? capture_add_member(k, c->vms[i]->name, e)
				      : err_set(e, ERR_NOT_RUNNING, "member %s is not running",
						c->vms[i]->name);
	if (r < 0)
		drover_capture_close(k);
	else
		*ret = k;
	return r;
}

int64_t cluster_memory_used(struct drover_cluster *c, const struct limits *l, struct err *e)
{
	scoped(mem) struct drover_stats *rows = NULL;
	int n = cluster_stats(c, l, &rows, e);
	int64_t used = 0;

	if (n < 0)
		return n;
	for (int i = 0; i < n; i++)
		used += rows[i].memory_bytes > 0 ? rows[i].memory_bytes : 0;
	return used;
}

static int64_t bytes_on_disk(const struct store *s, const char *name, const char *file)
{
	scoped(mem) char *path = store_member_path(s, name, file);
	struct stat st;

	return path && stat(path, &st) == 0 ? (int64_t)st.st_blocks * STAT_BLOCK : 0;
}

int64_t capture_memory_used(const struct drover_capture *k)
{
	int64_t used = 0;

	for (size_t i = 0; i < k->n; i++)
		used += bytes_on_disk(&k->inside, k->configs[i].name, MEMBER_MEMORY);
	return used;
}

const char *capture_disk_of(const struct drover_capture *k, size_t i)
{
	scoped(mem) char *disk = store_member_path(&k->store, k->configs[i].name, MEMBER_DISK);

	return disk && files_exist(disk) ? MEMBER_DISK : MEMBER_POINTS;
}

/* Whether the file system gives @path's blocks to a copy of it in @dir as well: then that takes no room. */
static bool shares_blocks(const char *path, const char *dir)
{
	scoped(fd) int from = open(path, O_RDONLY | O_CLOEXEC);
	scoped(fd) int to = open(dir, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);

	return from >= 0 && to >= 0 && ioctl(to, FICLONE, from) == 0;
}

/* What the copies of the members' disks will take. */
static int64_t disk_bytes(const struct drover_capture *k, const char *only)
{
	int64_t need = 0;

	for (size_t i = 0; i < k->n; i++) {
		const char *file = only ? only : capture_disk_of(k, i);
		scoped(mem) char *path = store_member_path(&k->store, k->configs[i].name, file);

		if (path && !shares_blocks(path, k->inside.root))
			need += bytes_on_disk(&k->store, k->configs[i].name, file);
	}
	return need;
}

static int check_space(const struct drover_capture *k, int64_t need, struct err *e)
{
	struct statvfs fs;
	int64_t have;

	if (need < 0)
		return (int)need;
	if (statvfs(k->inside.root, &fs) < 0)
		return err_errno(e, -errno, "ask for the space in %s", k->inside.root);
	have = (int64_t)(fs.f_bavail * fs.f_frsize);
	if (need <= have)
		return 0;
	return err_set(e, ERR_NO_SPACE,
		       "a copy of the cluster may take %lld MB, and %s has %lld MB left",
		       (long long)need / MIB, k->store.root, (long long)have / MIB);
}

/* What the helper wrote for one member goes where a member has it. */
static int take_in(struct drover_capture *k, const char *name, const char *what, const char *file,
		   struct err *e)
{
	scoped(mem) char *from = str_format("%s/%s.%s", k->inside.root, name, what);
	scoped(mem) char *to = store_member_path(&k->inside, name, file);

	if (!from || !to)
		return no_memory(e);
	if (rename(from, to) < 0 && errno != ENOENT) /* a member without a disk */
		return err_errno(e, -errno, "rename %s", from);
	return 0;
}

/* @point NULL: all of it. Who wants a copy while another is made waits for it. */
static int take(struct drover_capture *k, struct drover_cluster *c, const char *point,
		const struct limits *l, int64_t *ret_held_ms, struct err *e)
{
	const struct giveup g = limits_giveup(l);
	scoped(lock) int turn = captures_lock(&k->store, &g, e);
	int r = turn < 0 ? turn : cluster_capture(c, k->inside.root, point, l, ret_held_ms, e);

	for (size_t i = 0; i < k->n && r == 0; i++) {
		r = take_in(k, k->configs[i].name, "memory", MEMBER_MEMORY, e);
		if (r == 0)
			r = take_in(k, k->configs[i].name, "disk", capture_disk_of(k, i), e);
	}
	return r;
}

int capture_check_disks(const struct drover_capture *k, struct err *e)
{
	return check_space(k, disk_bytes(k, NULL), e);
}

int capture_take_disks(struct drover_capture *k, struct drover_cluster *c, const char *point,
		       const struct limits *l, int64_t *ret_held_ms, struct err *e)
{
	int r = capture_check_disks(k, e);

	return r < 0 ? r : take(k, c, point, l, ret_held_ms, e);
}

int capture_take(struct drover_capture *k, struct drover_cluster *c, const struct limits *l,
		 int64_t *ret_held_ms, struct err *e)
{
	int64_t memory = cluster_memory_used(c, l, e);
	int r = memory < 0 ? (int)memory : check_space(k, memory + disk_bytes(k, MEMBER_DISK), e);

	return r < 0 ? r : take(k, c, NULL, l, ret_held_ms, e);
}

int drover_cluster_capture(struct drover_cluster *c, const struct drover_call *o,
			   struct drover_capture **ret, struct drover_error *pe)
{
	struct drover_capture *k = NULL;
	struct limits l;
	struct giveup g;
	struct err e = ERR_INIT;
	int64_t held_ms = 0;
	int r = limits_from(o, &l, &e);

	g = limits_giveup(&l);
	if (r == 0)
		r = capture_prepare(c, &g, &k, &e);
	if (r == 0)
		r = capture_take(k, c, &l, &held_ms, &e);
	if (r < 0) {
		drover_capture_close(k);
		return public_error(pe, &e, r);
	}
	*ret = k;
	return (int)held_ms;
}

/* --- Deal out --------------------------------------------------------------------------------------------------- */

/* A kernel that came along becomes the member's; otherwise it is the image's, whose path is in the configuration. */
static int deal_boot_file(const struct drover_capture *k, const char *from, const char *name,
			  const char *file, char **path, char **ret, struct err *e)
{
	int r = give_if_there(&k->inside, from, &k->store, name, file, GIVE_LINK, e);

	if (r < 0)
		return r;
	*ret = store_member_path(&k->store, name, file);
	if (!*ret)
		return no_memory(e);
	if (files_exist(*ret))
		*path = *ret;
	return 0;
}

int capture_deal(const struct drover_capture *k, size_t i, const char *name, const char *cluster_id,
		 bool last, struct err *e)
{
	static const char *const disks[] = {MEMBER_DISK, MEMBER_POINTS};
	struct member_config c = k->configs[i]; /* its texts stay the capture's */
	const char *from = k->configs[i].name;
	scoped(mem) char *kernel = NULL;
	scoped(mem) char *initrd = NULL;
	int r = give_if_there(&k->inside, from, &k->store, name, MEMBER_MEMORY, GIVE_LINK, e);

	for (size_t j = 0; j < sizeof(keys) / sizeof(keys[0]) && r == 0; j++)
		r = give_if_there(&k->inside, from, &k->store, name, keys[j], GIVE_LINK, e);
	if (r == 0)
		r = give_if_there(&k->inside, from, &k->store, name, MEMBER_EFI, GIVE_COPY, e);
	if (r == 0)
		r = give_if_there(&k->inside, from, &k->store, name, MEMBER_POINT, GIVE_LINK, e);
	for (size_t j = 0; j < sizeof(disks) / sizeof(disks[0]) && r == 0; j++)
		r = give_if_there(&k->inside, from, &k->store, name, disks[j],
				  last ? GIVE_MOVE : GIVE_COPY, e);
	if (r == 0)
		r = deal_boot_file(k, from, name, MEMBER_KERNEL, &c.kernel_path, &kernel, e);
	if (r == 0)
		r = deal_boot_file(k, from, name, MEMBER_INITRD, &c.initrd_path, &initrd, e);
	if (r < 0)
		return r;
	memcpy(c.name, name, strlen(name) + 1);
	snprintf(c.cluster_id, sizeof(c.cluster_id), "%s", cluster_id);
	prepare_date(&c);
	return store_config_save(&k->store, &c, e);
}
