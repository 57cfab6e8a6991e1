/* SPDX-License-Identifier: MIT */
/*
 * Forks of a running cluster.
 *
 * How it works: what a fork is made of is checked and laid out first; then the helper holds all members and writes each
 * one's memory, devices and disk into the first fork's directory (capture), and lets them go on. From that each fork's
 * members get theirs: memory by a hard link, so that forks share what they do not change; disks by a copy of the file. A
 * fork is then a cluster of members that exist and have memory to go on from, and is started as any other, in a private
 * network of its own, where its members have the names and addresses of the originals.
 *
 *   check -> lay out (locks, keys, seeds) -> capture -> deal out -> start, all forks side by side
 */
#include "base/files.h"
#include "base/host.h"
#include "base/scoped.h"
#include "client/client.h"
#include "guest/run.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

enum { MAX_FORKS = 1000, WAKE_MS = 60000, MIB = 1 << 20 };

struct forking;

/* One fork. */
struct fork_one {
	struct forking *all;
	struct name_list names; /* of its members, in the original's order */
	struct drover_cluster *cluster;
	pthread_t thread;
	bool threaded;
	struct drover_error error;
	int r;
};

struct forking {
	struct drover_cluster *from;
	struct drover_options options; /* for each start */
	struct member_config *configs; /* of the originals */
	struct fork_one *forks;
	size_t n;
	int *locks; /* of the new members */
	size_t n_locks;
	size_t n_made; /* of the new members, in order: theirs is what is taken back */
	char *dir;     /* what is captured lies here */
	drover_progress_fn *on_progress;
	void *progress_arg;
	pthread_mutex_t telling;
};

/* --- Check ----------------------------------------------------------------------------------------------------- */

/* "web-2" of the cluster "web", for NEW: "NEW-2". */
static char *new_name(const struct forking *f, const char *member, const char *new, size_t k)
{
	char cluster[NAME_SIZE];
	scoped(mem) char *base =
		f->n > 1 ? str_format("%s-%zu", new, k + 1) : str_format("%s", new);
	const char *rest;

	if (!base)
		return NULL;
	name_cluster(member, cluster);
	rest = member + strlen(cluster);
	if (*rest || f->from->n_vms == 1)
		return str_format("%s%s", base, rest);
	return str_format("%s-%s", base, member);
}

static int check_new(const struct store *store, const char *name, struct err *e)
{
	int r = name_check(name, e);

	if (r < 0)
		return r;
	if (store_member_exists(store, name) || store_owner_alive(store, name))
		return err_set(e, ERR_EXISTS, "there is a member '%s' already", name);
	return 0;
}

static int make_names(struct forking *f, const char *new, struct err *e)
{
	for (size_t k = 0; k < f->n; k++)
		for (size_t i = 0; i < f->from->n_vms; i++) {
			scoped(mem) char *name = new_name(f, f->from->vms[i]->name, new, k);
			int r = name ? check_new(&f->from->store, name, e)
				     : err_set(e, ERR_NO_MEMORY, "out of memory");

			if (r < 0)
				return r;
			if (name_list_add(&f->forks[k].names, name) < 0)
				return err_set(e, ERR_NO_MEMORY, "out of memory");
		}
	return 0;
}

static int check_member(const struct drover_vm *vm, const struct member_config *c, struct err *e)
{
	if (!vm->handle)
		return err_set(e, ERR_NOT_RUNNING, "member %s is not running", vm->name);
	if (strcmp(c->network, "host") == 0)
		return err_hint(e,
				err_set(e, ERR_UNSUPPORTED,
					"%s is in a network of the host, and two cannot have one "
					"address there",
					vm->name),
				"only clusters with a private network can be forked");
	if (c->n_shares)
		return err_set(e, ERR_UNSUPPORTED,
			       "%s has directories of the host (--fixture, --mount), and these "
			       "are not forked",
			       vm->name);
	return 0;
}

static int load_configs(struct forking *f, struct err *e)
{
	int r = 0;

	for (size_t i = 0; i < f->from->n_vms && r == 0; i++) {
		struct drover_vm *vm = f->from->vms[i];

		r = store_config_load(&f->from->store, vm->name, &f->configs[i], e);
		if (r == 0)
			r = check_member(vm, &f->configs[i], e);
	}
	return r;
}

/*
 * The copy of the memory, once, and for each fork half of what its original has now: what it does not change is shared
 * (bench/warm prints what copies really take).
 */
static int check_memory(const struct forking *f, struct err *e)
{
	scoped(mem) struct drover_stats *rows = NULL;
	int64_t have = host_available_mb();
	struct drover_error pe;
	int64_t need = 0;
	int n = drover_cluster_stats(f->from, &rows, &pe);

	if (n < 0)
		return private_error(e, &pe);
	for (int i = 0; i < n; i++)
		need += rows[i].memory_bytes > 0 ? rows[i].memory_bytes / MIB : 0;
	need += need * (int64_t)f->n / 2;
	if (have < 0 || need <= have)
		return 0;
	return err_hint(e,
			err_set(e, ERR_NO_MEMORY,
				"%zu fork(s) may need %lld MB of memory, and %lld MB are available",
				f->n, (long long)need, (long long)have),
			"make fewer, or end something");
}

/* --- Lay out, deal out ----------------------------------------------------------------------------------------- */

static int copy_file(const char *from, const char *to, struct err *e)
{
	const char *argv[] = {"cp", "--reflink=auto", "--sparse=always", "-p", "--", from, to,
			      NULL};
	scoped(buf) struct buf tail = BUF_INIT;
	int r = run_program(argv, NULL, NULL, NULL, &tail, e);

	return r > 0 ? err_set(e, ERR_IO, "copy %s: %s", from, run_last_line(&tail)) : r;
}

/* @file of the original @i to the member @name; one that the original has not is nothing to copy. */
static int copy_member_file(const struct forking *f, size_t i, const char *name, const char *file,
			    struct err *e)
{
	scoped(mem) char *from = store_member_path(&f->from->store, f->from->vms[i]->name, file);
	scoped(mem) char *to = store_member_path(&f->from->store, name, file);

	if (!from || !to)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	return files_exist(from) ? copy_file(from, to, e) : 0;
}

/* What a client that died in a fork of this name has left: there is no member, and its lock is ours. */
static void clear_away(const struct forking *f, const char *name)
{
	static const char *const files[] = {"captured", "memory", "disk.qcow2"};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		scoped(mem) char *path = store_member_path(&f->from->store, name, files[i]);

		if (path)
			files_remove_tree(path);
	}
}

static int lay_out_member(struct forking *f, size_t i, const char *name, struct err *e)
{
	static const char *const files[] = {"ssh_host_ed25519_key", "ssh_host_ed25519_key.pub",
					    "seed.iso"};
	int r = member_lock(&f->from->store, name, &f->locks[f->n_locks], e);

	if (r < 0)
		return r;
	f->n_locks++;
	f->n_made++;
	r = store_member_mkdir(&f->from->store, name, e);
	if (r == 0)
		clear_away(f, name);
	for (size_t k = 0; k < sizeof(files) / sizeof(files[0]) && r == 0; k++)
		r = copy_member_file(f, i, name, files[k], e);
	return r;
}

static int lay_out(struct forking *f, struct err *e)
{
	int r = 0;

	for (size_t k = 0; k < f->n && r == 0; k++)
		for (size_t i = 0; i < f->from->n_vms && r == 0; i++)
			r = lay_out_member(f, i, f->forks[k].names.names[i], e);
	if (r < 0)
		return r;
	f->dir = store_member_path(&f->from->store, f->forks[0].names.names[0], "captured");
	if (!f->dir)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	r = files_mkdir_all(f->dir, 0700);
	return r < 0 ? err_errno(e, r, "make directory %s", f->dir) : 0;
}

/* The captured @what of the original to @file of the member: by another name for the same file, or (@copy) a copy. */
static int deal_file(const struct forking *f, size_t i, const char *what, const char *name,
		     const char *file, bool copy, struct err *e)
{
	scoped(mem) char *from = str_format("%s/%s.%s", f->dir, f->from->vms[i]->name, what);
	scoped(mem) char *to = store_member_path(&f->from->store, name, file);

	if (!from || !to)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	if (!files_exist(from))
		return 0; /* a member without a disk */
	if (copy)
		return copy_file(from, to, e);
	return link(from, to) < 0 ? err_errno(e, -errno, "link %s", to) : 0;
}

/* The last fork takes the captured disk itself. */
static int deal_member(struct forking *f, size_t k, size_t i, struct err *e)
{
	const char *name = f->forks[k].names.names[i];
	struct member_config c = f->configs[i]; /* its texts stay the original's */
	int r = deal_file(f, i, "memory", name, "memory", false, e);

	if (r == 0)
		r = deal_file(f, i, "disk", name, "disk.qcow2", k + 1 < f->n, e);
	if (r < 0)
		return r;
	snprintf(c.guest_name, sizeof(c.guest_name), "%s", member_config_inside(&f->configs[i]));
	snprintf(c.name, sizeof(c.name), "%s", name);
	return store_config_save(&f->from->store, &c, e);
}

static int deal_out(struct forking *f, struct err *e)
{
	int r = 0;

	for (size_t k = 0; k < f->n && r == 0; k++)
		for (size_t i = 0; i < f->from->n_vms && r == 0; i++)
			r = deal_member(f, k, i, e);
	files_remove_tree(f->dir);
	return r;
}

static void unlock(struct forking *f)
{
	for (size_t i = 0; i < f->n_locks; i++)
		unlock_fd(&f->locks[i]);
	f->n_locks = 0;
}

/* --- Start ----------------------------------------------------------------------------------------------------- */

/* The forks start in threads of their own; the caller hears of them one at a time. */
static void on_progress(void *arg, const struct drover_progress *p)
{
	struct forking *f = arg;

	pthread_mutex_lock(&f->telling);
	f->on_progress(f->progress_arg, p);
	pthread_mutex_unlock(&f->telling);
}

static void *start_one(void *arg)
{
	struct fork_one *one = arg;
	struct forking *f = one->all;
	struct err e = ERR_INIT;
	const char **names = calloc(one->names.n + 1, sizeof(*names));

	if (!names) {
		err_set(&e, ERR_NO_MEMORY, "out of memory");
		one->r = public_error(&one->error, &e, -ENOMEM);
		return NULL;
	}
	for (size_t i = 0; i < one->names.n; i++)
		names[i] = one->names.names[i];
	one->r = drover_cluster_start(names, one->names.n, &f->options, &one->cluster, &one->error);
	free(names);
	if (one->r < 0)
		return NULL;
	one->r = cluster_wake(one->cluster, WAKE_MS, f->options.cancel, &e);
	if (one->r < 0)
		public_error(&one->error, &e, one->r);
	return NULL;
}

static int start_all(struct forking *f, struct err *e)
{
	int r = 0;

	for (size_t k = 0; k < f->n; k++) {
		struct fork_one *one = &f->forks[k];

		one->threaded = pthread_create(&one->thread, NULL, start_one, one) == 0;
		if (!one->threaded)
			start_one(one);
	}
	for (size_t k = 0; k < f->n; k++) {
		struct fork_one *one = &f->forks[k];

		if (one->threaded)
			pthread_join(one->thread, NULL);
		if (one->r < 0 && r == 0)
			r = private_error(e, &one->error);
	}
	return r;
}

/* --- The whole ------------------------------------------------------------------------------------------------- */

static int begin(struct forking *f, struct drover_cluster *c, size_t count,
		 const struct drover_options *o, struct err *e)
{
	size_t n_members = c->n_vms * count;

	*f = (struct forking){.from = c, .n = count, .options = DROVER_OPTIONS_INIT};
	pthread_mutex_init(&f->telling, NULL);
	if (count < 1 || count > MAX_FORKS)
		return err_set(e, ERR_INVALID, "%zu forks: 1 to %d are possible at once", count,
			       MAX_FORKS);
	if (c->n_vms == 0)
		return err_set(e, ERR_NOT_RUNNING, "the cluster is not running");
	if (o && o->size < sizeof(size_t))
		return err_set(e, ERR_INVALID,
			       "the options were not initialised with DROVER_OPTIONS_INIT");
	if (o)
		memcpy(&f->options, o, o->size < sizeof(f->options) ? o->size : sizeof(f->options));
	f->options.size = sizeof(f->options);
	f->on_progress = f->options.on_progress;
	f->progress_arg = f->options.progress_arg;
	f->options.on_progress = f->on_progress ? on_progress : NULL;
	f->options.progress_arg = f;
	f->options.home = c->store.root;
	f->configs = calloc(c->n_vms, sizeof(*f->configs));
	f->forks = calloc(count, sizeof(*f->forks));
	f->locks = calloc(n_members, sizeof(*f->locks));
	if (!f->configs || !f->forks || !f->locks)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	for (size_t k = 0; k < count; k++)
		f->forks[k].all = f;
	return 0;
}

/* What was made goes; what runs already too. */
static void take_back(struct forking *f)
{
	size_t made = 0;

	for (size_t k = 0; f->forks && k < f->n; k++) {
		struct fork_one *one = &f->forks[k];

		if (one->cluster)
			drover_cluster_destroy(one->cluster, NULL, NULL);
		one->cluster = NULL;
		for (size_t i = 0; i < one->names.n && made < f->n_made; i++, made++)
			member_remove_locked(&f->from->store, one->names.names[i], NULL);
	}
}

static void end(struct forking *f)
{
	unlock(f);
	for (size_t i = 0; f->configs && i < f->from->n_vms; i++)
		member_config_done(&f->configs[i]);
	for (size_t k = 0; f->forks && k < f->n; k++)
		name_list_done(&f->forks[k].names);
	free(f->configs);
	free(f->forks);
	free(f->locks);
	free(f->dir);
	pthread_mutex_destroy(&f->telling);
}

static int check(struct forking *f, const char *name, struct err *e)
{
	int r = load_configs(f, e);

	if (r == 0)
		r = name_check(name ? name : "", e);
	if (r == 0)
		r = make_names(f, name, e);
	if (r == 0)
		r = check_memory(f, e);
	if (r == 0) {
		f->options.no_egress = f->configs[0].no_egress;
		f->options.backend = f->configs[0].backend;
		f->options.network = "private";
	}
	return r;
}

int drover_cluster_fork(struct drover_cluster *c, const char *name, size_t count,
			const struct drover_options *o, struct drover_cluster *ret[],
			struct drover_error *pe)
{
	struct forking f;
	struct err e = ERR_INIT;
	int64_t held_ms = 0;
	bool laid_out = false;
	int r = begin(&f, c, count, o, &e);

	if (r == 0)
		r = check(&f, name, &e);
	if (r == 0) {
		laid_out = true;
		r = lay_out(&f, &e);
	}
	if (r == 0)
		r = cluster_capture(c, f.dir, &held_ms, &e);
	if (r == 0)
		r = deal_out(&f, &e);
	unlock(&f);
	if (r == 0)
		r = start_all(&f, &e);
	if (r < 0 && laid_out)
		take_back(&f);
	for (size_t k = 0; r == 0 && k < count; k++)
		ret[k] = f.forks[k].cluster;
	end(&f);
	return r < 0 ? public_error(pe, &e, r) : (int)held_ms;
}
