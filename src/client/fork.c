/* SPDX-License-Identifier: MIT */
/*
 * Copies of a cluster, from what is captured of it (capture.c).
 *
 * How it works: what the copies are called and take is checked, and their names are locked, before anything is held. Then
 * each copy's members get their files: memory by a hard link, so that copies share what they do not change; disks by a
 * copy of the file. A copy is then a cluster of members that exist and have memory to go on from, and is started as any
 * other, in a private network of its own, where its members have the names and addresses of the originals.
 *
 *   check -> lay out (locks) -> capture, when that is not done yet -> deal out -> start, all copies side by side
 */
#include "base/bounds.h"
#include "base/clock.h"
#include "base/files.h"
#include "base/host.h"
#include "base/scoped.h"
#include "client/capture.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

enum { WAKE_MS = 60000, WAKE_MORE_MS = 2000, MIB = 1 << 20 };

struct forking;

/* One copy. */
struct fork_one {
	struct forking *all;
	struct name_list names; /* of its members, in the original's order */
	char cluster_id[CLUSTER_ID_SIZE];
	struct drover_cluster *cluster;
	pthread_t thread;
	bool threaded;
	struct drover_error error;
	int r;
};

struct forking {
	struct drover_capture *from;
	struct drover_cluster *running; /* captured between check and start; NULL: it was before */
	struct drover_options options;  /* for each start */
	struct fork_one *forks;
	size_t n;
	struct lock_list locks; /* of the new members */
	size_t n_made;          /* of the new members, in order: theirs is what is taken back */
	drover_progress_fn *on_progress;
	void *progress_arg;
	pthread_mutex_t telling;
	int64_t began; /* clock_ms */
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
	if (*rest || f->from->n == 1)
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
		for (size_t i = 0; i < f->from->n; i++) {
			scoped(mem) char *name = new_name(f, f->from->configs[i].name, new, k);
			int r = name ? check_new(&f->from->store, name, e)
				     : err_set(e, ERR_NO_MEMORY, "out of memory");

			if (r < 0)
				return r;
			if (name_list_add(&f->forks[k].names, name) < 0)
				return err_set(e, ERR_NO_MEMORY, "out of memory");
		}
	return 0;
}

/*
 * The copy of the memory, when it is still to be made, and for each copy half of what its original has: what it does not
 * change is shared (bench/warm prints what copies really take). Of a point each has all of its own.
 */
static int check_memory(const struct forking *f, struct err *e)
{
	const struct limits l = {.cancel = f->options.cancel};
	int64_t have = host_available_mb();
	int64_t need;
	int64_t used =
		f->running ? cluster_memory_used(f->running, &l, e) : capture_memory_used(f->from);

	if (used < 0)
		return (int)used;
	need = (f->running ? used : 0) + used * (int64_t)f->n / 2 +
	       f->from->point_bytes * (int64_t)f->n;
	need /= MIB;
	if (have < 0 || need <= have)
		return 0;
	return err_hint(e,
			err_set(e, ERR_NO_MEMORY,
				"%zu fork(s) may need %lld MB of memory, and %lld MB are available",
				f->n, (long long)need, (long long)have),
			"make fewer, or end something");
}

/* --- Lay out, deal out ----------------------------------------------------------------------------------------- */

/* What a client that died in a fork of this name has left: there is no member, and its lock is ours. */
static void clear_away(const struct forking *f, const char *name)
{
	static const char *const files[] = {MEMBER_MEMORY, MEMBER_DISK, MEMBER_POINTS,
					    MEMBER_POINT};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		scoped(mem) char *path = store_member_path(&f->from->store, name, files[i]);

		if (path)
			files_remove_tree(path);
	}
}

static int lay_out_member(struct forking *f, const char *name, struct err *e)
{
	int r = lock_list_add(&f->locks, &f->from->store, name, e);

	if (r < 0)
		return r;
	f->n_made++;
	r = store_member_mkdir(&f->from->store, name, e);
	if (r == 0)
		clear_away(f, name);
	return r;
}

static int lay_out(struct forking *f, struct err *e)
{
	int r = 0;

	for (size_t k = 0; k < f->n && r == 0; k++)
		for (size_t i = 0; i < f->from->n && r == 0; i++)
			r = lay_out_member(f, f->forks[k].names.names[i], e);
	return r;
}

static int deal_out(struct forking *f, struct err *e)
{
	const struct giveup g = cancel_giveup(f->options.cancel);
	int r = 0;

	for (size_t k = 0; k < f->n && r == 0; k++) {
		struct fork_one *one = &f->forks[k];

		r = cluster_id_make(one->cluster_id, e);
		for (size_t i = 0; i < f->from->n && r == 0; i++) {
			r = giveup_check(&g, e);
			if (r == 0)
				r = capture_deal(f->from, i, one->names.names[i], one->cluster_id,
						 f->running && k + 1 == f->n, e);
		}
	}
	return r;
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

static void tell_captured(struct forking *f, int64_t held_ms)
{
	char text[64];

	if (!f->on_progress)
		return;
	snprintf(text, sizeof(text), "held for %lld ms", (long long)held_ms);
	on_progress(f, &(struct drover_progress){.member = "",
						 .stage = "captured",
						 .text = text,
						 .percent = -1,
						 .elapsed_ms = clock_ms() - f->began});
}

/* The guests of all copies begin at once, and share the host. */
static uint64_t time_to_wake(const struct forking *f)
{
	return WAKE_MS + (uint64_t)WAKE_MORE_MS * f->n * f->from->n;
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
	one->r = cluster_wake(one->cluster, time_to_wake(f), f->options.cancel, &e);
	if (one->r == 0)
		one->r = cluster_take_keys(one->cluster, f->options.cancel, &e);
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

/* What the caller wants, as far as the original does not say it. */
static void set_options(struct forking *f, const struct drover_options *o)
{
	const struct member_config *first = &f->from->configs[0];

	f->options = *o;
	f->on_progress = f->options.on_progress;
	f->progress_arg = f->options.progress_arg;
	f->options.on_progress = f->on_progress ? on_progress : NULL;
	f->options.progress_arg = f;
	f->options.home = f->from->store.root;
	f->options.no_egress = first->no_egress;
	f->options.backend = first->backend;
	f->options.network = "private";
}

static int begin(struct forking *f, const struct drover_options *o, struct err *e)
{
	if (f->n < 1 || f->n > FORK_MAX_COPIES)
		return err_set(e, ERR_INVALID, "%zu forks: 1 to %d are possible at once", f->n,
			       FORK_MAX_COPIES);
	f->forks = calloc(f->n, sizeof(*f->forks));
	if (!f->forks)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	for (size_t k = 0; k < f->n; k++)
		f->forks[k].all = f;
	set_options(f, o);
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
	lock_list_release(&f->locks);
	for (size_t k = 0; f->forks && k < f->n; k++)
		name_list_done(&f->forks[k].names);
	free(f->forks);
	pthread_mutex_destroy(&f->telling);
}

static int check(struct forking *f, const char *name, struct err *e)
{
	int r = name_check(name ? name : "", e);

	if (r == 0)
		r = make_names(f, name, e);
	return r < 0 ? r : check_memory(f, e);
}

/* @running is captured into @k first; NULL: @k is whole. *@ret_held_ms then stays as it is. */
static int fork_from(struct drover_capture *k, struct drover_cluster *running, const char *name,
		     size_t count, const struct drover_options *o, struct drover_cluster *ret[],
		     int64_t *ret_held_ms, struct err *e)
{
	struct forking f = {.from = k, .running = running, .n = count, .began = clock_ms()};
	int r;

	pthread_mutex_init(&f.telling, NULL);
	r = begin(&f, o, e);
	if (r == 0)
		r = check(&f, name, e);
	if (r == 0)
		r = lay_out(&f, e);
	if (r == 0 && running) {
		r = capture_take(k, running, &(struct limits){.cancel = f.options.cancel},
				 ret_held_ms, e);
		if (r == 0)
			tell_captured(&f, *ret_held_ms);
	}
	if (r == 0)
		r = deal_out(&f, e);
	lock_list_release(&f.locks);
	if (r == 0)
		r = start_all(&f, e);
	if (r < 0)
		take_back(&f);
	for (size_t i = 0; r == 0 && i < count; i++)
		ret[i] = f.forks[i].cluster;
	end(&f);
	return r;
}

int drover_cluster_fork(struct drover_cluster *c, const char *name, size_t count,
			const struct drover_options *o, struct drover_cluster *ret[],
			struct drover_error *pe)
{
	struct drover_capture *k = NULL;
	struct drover_options options;
	struct giveup g;
	struct err e = ERR_INIT;
	int64_t held_ms = 0;
	int r = options_take(&options, sizeof(options), o, "DROVER_OPTIONS_INIT", &e);

	g = cancel_giveup(options.cancel);
	if (r == 0)
		r = capture_prepare(c, &g, &k, &e);
	if (r == 0)
		r = fork_from(k, c, name, count, &options, ret, &held_ms, &e);
	drover_capture_close(k);
	return r < 0 ? public_error(pe, &e, r) : (int)held_ms;
}

int drover_capture_start(struct drover_capture *k, const char *name, size_t count,
			 const struct drover_options *o, struct drover_cluster *ret[],
			 struct drover_error *pe)
{
	struct drover_options options;
	struct err e = ERR_INIT;
	int r = options_take(&options, sizeof(options), o, "DROVER_OPTIONS_INIT", &e);

	if (r == 0)
		r = fork_from(k, NULL, name, count, &options, ret, NULL, &e);
	return r < 0 ? public_error(pe, &e, r) : 0;
}
