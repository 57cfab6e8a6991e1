/* SPDX-License-Identifier: MIT */
/*
 * From names to a cluster, and more members for one.
 *
 * How it works: the image is resolved first, so that no helper waits for a download. The helper is spawned for all
 * names at once and takes their locks: from there on nobody else makes, boots or removes them. The members then boot
 * (boot.h). A start from a template that does not work is tried once more.
 */
#include "backend/remote/remote.h"
#include "backend/remote/rpc.h"
#include "base/scoped.h"
#include "client/boot.h"

#include <string.h>

/* What stopping may take that goes before an error's answer. */
enum { LEAVE_MS = 10000 };

static int start_helper(struct drover_cluster *c, const struct name_list *names,
			const struct settings *s, int64_t end_ms, struct err *e)
{
	const struct limits l = {.timeout_ms = s->timeout_ms, .cancel = s->cancel};
	struct session_options o = {.store = &c->store,
				    .members = names,
				    .backend = s->backend,
				    .network = s->network,
				    .subnet = s->subnet,
				    .no_egress = s->no_egress,
				    .hypervisor = s->hypervisor,
				    .detached = s->detached,
				    .temporary = s->temporary,
				    .giveup = limits_giveup(&l)};
	int r;

	o.giveup.end_ms = end_ms; /* which began before */
	c->detached = s->detached;
	c->no_egress = s->no_egress;
	snprintf(c->network_kind, sizeof(c->network_kind), "%s", s->network);
	r = session_start(&o, &c->session, e);
	if (r == 0 && *c->session.warning)
		settings_progress(s, "", "warning", -1, "%s", c->session.warning);
	return r < 0 ? r : cluster_id_find(&c->store, names, c->id, e);
}

/* From its members' registration on others see that the cluster runs. Waits for other starts until @end_ms. */
static int start_undivided(struct drover_cluster *c, const struct name_list *names,
			   const struct settings *s, int64_t end_ms, struct err *e)
{
	const struct limits l = {.timeout_ms = clock_left_ms(end_ms), .cancel = s->cancel};
	scoped(mem) const char **pointers = calloc(names->n + 1, sizeof(*pointers));
	scoped(fd) int gate = -1;
	int r;

	if (!pointers)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	for (size_t i = 0; i < names->n; i++)
		pointers[i] = names->names[i];
	r = cluster_gate(&c->store, pointers, names->n, &l, &gate, e);
	return r == 0 ? start_helper(c, names, s, end_ms, e) : r;
}

/* Whether other calls have added members to the helper meanwhile: by now it is theirs too. */
static bool is_shared(const struct drover_cluster *c, const struct name_list *names)
{
	scoped(names) struct name_list all = {0};

	if (!c->detached || !c->session.pid || store_list(&c->store, &all, NULL) < 0)
		return false;
	for (size_t i = 0; i < all.n; i++)
		if (!name_list_has(names, all.names[i]) &&
		    store_owner_alive(&c->store, all.names[i]) == c->session.pid)
			return true;
	return false;
}

/* Stops the members of a start that failed, which the helper of others has, as far as they are not stopped yet. */
static void leave_helper(struct drover_cluster *c, const struct name_list *names)
{
	const struct limits l = {.timeout_ms = LEAVE_MS};

	for (size_t i = 0; i < names->n; i++) {
		struct drover_vm *vm = drover_cluster_find(c, names->names[i]);

		if (!vm)
			vm = cluster_add_vm(c, names->names[i]);
		if (vm && !vm->handle)
			vm->handle = remote_vm_attach(c->backend, vm->name);
	}
	cluster_stop_vms(c, c->vms, c->n_vms, &l, NULL);
	session_end(&c->session, 0, NULL);
}

static int start_cluster(struct store *store, const struct name_list *names, bool any_new,
			 struct settings s, struct warm *warm, struct drover_cluster **ret,
			 struct err *e)
{
	struct boot_run run = {.settings = &s, .ends_helper = true, .error = ERR_INIT};
	struct prepare image = {.store = store};
	struct drover_cluster *c;
	int r = any_new ? warm_image(&s, names->n, &image, warm, e) : 0;

	if (r < 0)
		return r;
	boot_run_limit(&run);
	run.cluster = c = cluster_new(store, names->names[0], e);
	if (!c)
		r = err_code_number(e->code);
	else
		r = s.undivided ? start_undivided(c, names, &s, run.end_ms, e)
				: start_helper(c, names, &s, run.end_ms, e);
	if (r == 0)
		r = boot_run_init(&run, names, &image, e);
	if (r == 0)
		r = boot_run_begin_files(&run, e);
	if (r == 0) {
		settings_progress(&s, "", "network", -1, "%s", "");
		r = boot_run_network(&run, s.subnet, e);
	}
	if (r == 0)
		r = boot_run(&run, e);
	member_config_done(&image.config);
	if (r < 0 && c) {
		boot_run_settle(&run);
		if (is_shared(c, names))
			leave_helper(c, names);
		else
			session_abort(&c->session);
		boot_run_remove_made(&run); /* under the locks, which the helper has let go of */
	}
	boot_run_done(&run);
	if (r < 0)
		cluster_free(c);
	else
		*ret = c;
	return r;
}

static int start_once(const char *const names[], size_t n, struct settings s, struct warm *warm,
		      struct drover_cluster **ret, struct err *e)
{
	scoped(store) struct store store = {0};
	scoped(names) struct name_list list = {0};
	bool any_new = false;
	int r = store_open(s.home, &store, e);

	if (r == 0)
		r = names_check_idle(&store, names, n, &list, &any_new, e);
	if (r == 0)
		r = settings_find_backend(&s, &store, &list, e);
	if (r == 0)
		r = settings_check_count(&s, n, e);
	if (r < 0)
		return r;
	settings_find_network(&s, &store, &list);
	host_reconcile(&store, &s);
	return start_cluster(&store, &list, any_new, s, warm, ret, e);
}

int cluster_start(const char *const names[], size_t n, const struct settings *s,
		  struct drover_cluster **ret, struct err *e)
{
	struct warm warm = {0};
	int r = start_once(names, n, *s, &warm, ret, e);

	if (warm_try_again(&warm, s, r, e))
		r = start_once(names, n, *s, &warm, ret, e);
	return r;
}

/*
 * Of two that start a member at once one has lost: whoever asks after this is told of the other, which may have had the lock
 * and not yet said who it is.
 */
static void await_owners(const struct settings *s, const char *const names[], size_t n,
			 const struct err *e)
{
	scoped(store) struct store store = {0};

	if (e->code != ERR_ALREADY_RUNNING || store_open(s->home, &store, NULL) < 0)
		return;
	for (size_t i = 0; i < n; i++)
		member_await_owner(&store, names[i]);
}

int drover_cluster_start(const char *const names[], size_t n, const struct drover_options *o,
			 struct drover_cluster **ret, struct drover_error *pe)
{
	struct settings s = {0};
	struct err e = ERR_INIT;
	int r = settings_from(o, &s, &e);

	if (r == 0)
		r = cluster_start(names, n, &s, ret, &e);
	if (r < 0)
		await_owners(&s, names, n, &e);
	return r < 0 ? public_error(pe, &e, r) : 0;
}

/* Boots @names, which are idle, on the helper of @c. */
static int add_members(struct drover_cluster *c, const struct name_list *names, bool any_new,
		       struct settings s, struct warm *warm, struct err *e)
{
	struct boot_run run = {.settings = &s, .cluster = c, .error = ERR_INIT};
	struct prepare image = {.store = &c->store};
	struct lock_list locks = {0};
	int r = 0;

	for (size_t i = 0; i < names->n && r == 0; i++)
		r = lock_list_add(&locks, &c->store, names->names[i], e);
	if (r == 0 && any_new)
		r = warm_image(&s, names->n, &image, warm, e);
	boot_run_limit(&run);
	if (r == 0)
		r = boot_run_init(&run, names, &image, e);
	if (r == 0)
		r = boot_run_begin_files(&run, e);
	if (r == 0 && !c->network)
		r = boot_run_network(&run, NULL, e);
	lock_list_release(&locks); /* the helper takes them when it registers the members */
	if (r == 0)
		r = boot_run(&run, e);
	member_config_done(&image.config);
	if (r < 0) {
		boot_run_settle(&run);
		boot_run_remove_made(&run);
		boot_run_forget(&run);
	}
	boot_run_done(&run);
	return r;
}

static int add_once(struct drover_cluster *c, const char *const names[], size_t n,
		    struct settings s, struct warm *warm, struct err *e)
{
	scoped(names) struct name_list list = {0};
	bool any_new = false;
	int r = names_check_idle(&c->store, names, n, &list, &any_new, e);

	if (r == 0)
		r = settings_join(&s, c, &list, e);
	if (r == 0)
		r = settings_check_count(&s, n, e);
	return r < 0 ? r : add_members(c, &list, any_new, s, warm, e);
}

/* The sockets stay while a helper that crashed is followed by another: on those of a cluster that has ended nobody listens. */
static bool has_ended(const struct drover_cluster *c)
{
	for (size_t i = 0; i < c->n_vms; i++) {
		scoped(fd) int fd = -1;

		if (c->vms[i]->handle)
			fd = rpc_connect(&c->store, c->vms[i]->name);
		if (fd >= 0 || fd == -EAGAIN) /* the second: it has much to do */
			return false;
	}
	return true;
}

static int refuse_ended(struct err *e)
{
	return err_set(e, ERR_NOT_RUNNING, "the cluster is not running any more");
}

int drover_cluster_add(struct drover_cluster *c, const char *const names[], size_t n,
		       const struct drover_options *o, struct drover_error *pe)
{
	struct warm warm = {0};
	struct settings s = {0};
	struct err e = ERR_INIT;
	int r = settings_from(o, &s, &e);

	if (r == 0 && has_ended(c))
		r = refuse_ended(&e);
	if (r == 0)
		r = add_once(c, names, n, s, &warm, &e);
	if (warm_try_again(&warm, &s, r, &e))
		r = add_once(c, names, n, s, &warm, &e);
	if (r < 0 && e.code == ERR_UNREACHABLE && has_ended(c))
		r = refuse_ended(&e);
	if (r < 0)
		await_owners(&s, names, n, &e);
	return r < 0 ? public_error(pe, &e, r) : 0;
}
