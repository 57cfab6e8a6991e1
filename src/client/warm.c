/* SPDX-License-Identifier: MIT */
/*
 * Starts from a template (guest/template.h): the first finds none and makes it, the others go on from it.
 *
 * How it works: a template is what capture writes of an ordinary bound cluster of one member, which the caller itself
 * boots and which goes with it: a caller that is killed leaves a locked nothing. A new member gets a copy of its disk, a
 * link to its memory and a script, and is then started as any member that has memory to go on from. What a template is
 * blamed for removes it; then one more is made.
 */
#include "base/files.h"
#include "base/host.h"
#include "base/kvm.h"
#include "base/scoped.h"
#include "client/capture.h"
#include "guest/guest.h"
#include "guest/template.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TAKE_MS = 120000, MIB = 1 << 20 }; /* the guest gives up what is its own */

/* --- What can be refused before anything is done ---------------------------------------------------------------- */

int warm_check_settings(const struct settings *s, struct err *e)
{
	if (!s->warm)
		return 0;
	if (strcmp(s->backend, "cloud-hypervisor") == 0)
		return err_set(e, ERR_UNSUPPORTED,
			       "cloud-hypervisor cannot start from a template: --warm is for qemu");
	if (s->network && strcmp(s->network, "host") == 0)
		return err_set(e, ERR_UNSUPPORTED,
			       "--warm is for private networks, not for one of the host");
	if (s->n_shares > 0)
		return err_set(e, ERR_UNSUPPORTED,
			       "members with directories of the host (--fixture, --mount) cannot "
			       "start from a template: leave out --warm");
	if (s->firmware)
		return err_set(e, ERR_UNSUPPORTED,
			       "--warm is for kernels that are started directly, not by firmware");
	return 0;
}

static int check_image(const struct member_config *c, struct err *e)
{
	if (!kernel_path(c) || !str_equal(c->provision, PROVISION_CREDENTIALS))
		return err_set(e, ERR_UNSUPPORTED,
			       "the image %s cannot be a template: --warm is for images that "
			       "drover builds without cloud-init, like tiny and debian-12",
			       c->image);
	return 0;
}

/* --- Making ----------------------------------------------------------------------------------------------------- */

struct making {
	const struct store *store;
	const struct settings *settings; /* the caller's */
	const struct template_of *of;
	char name[NAME_SIZE];
	char *dir;
	struct drover_cluster *cluster;
};

/* What there is to warn of, the start that the template is for tells itself. */
static void on_progress(void *arg, const struct drover_progress *p)
{
	const struct making *m = arg;

	if (strcmp(p->stage, "warning") != 0)
		settings_progress(m->settings, "", "template", p->percent < 100 ? p->percent : -1,
				  "booting: %s %s", p->stage, p->text);
}

static int boot(struct making *m, struct err *e)
{
	const char *names[] = {m->name};
	struct settings s = *m->settings;

	s.warm = false;
	s.second_line = true;
	s.home = m->store->root;
	s.network = "private";
	s.subnet[0] = '\0';
	s.no_egress = true;
	s.detached = false;
	s.temporary = true;
	s.on_progress = on_progress;
	s.progress_arg = m;
	return cluster_start(names, 1, &s, &m->cluster, e);
}

/* The guest ends the login itself, so only its console tells how it went. */
static int take(struct making *m, struct err *e)
{
	struct drover_vm *vm = drover_cluster_vm(m->cluster, 0);
	struct drover_exec x = DROVER_EXEC_INIT;
	struct drover_wait w = DROVER_WAIT_INIT;
	struct drover_result result = {0};
	struct drover_error pe;

	x.command = identity_take;
	x.timeout_ms = w.timeout_ms = TAKE_MS;
	x.cancel = w.cancel = m->settings->cancel;
	w.console = TEMPLATE_READY;
	settings_progress(m->settings, "", "template", -1, "preparing");
	if (drover_vm_exec(vm, &x, &result, &pe) == 0) {
		int status = result.status;

		drover_result_done(&result);
		if (status != 0)
			return err_set(
				e, ERR_UNSUPPORTED,
				"the image %s cannot be a template: its guests have no busybox, or "
				"no means to renew their random numbers",
				m->of->image);
	}
	return drover_vm_wait_for(vm, &w, &pe) < 0 ? private_error(e, &pe) : 0;
}

static int move(const struct making *m, const char *what, const char *file, struct err *e)
{
	scoped(mem) char *from = str_format("%s/%s.%s", m->dir, m->name, what);
	scoped(mem) char *to = str_format("%s/%s", m->dir, file);

	if (!from || !to)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	if (files_exist(from) && rename(from, to) < 0)
		return err_errno(e, -errno, "rename %s", from);
	return 0;
}

static int capture(struct making *m, struct err *e)
{
	const struct limits l = {.cancel = m->settings->cancel};
	int64_t held_ms;
	int r = cluster_capture(m->cluster, m->dir, NULL, &l, &held_ms, e);

	if (r == 0)
		r = move(m, "memory", MEMBER_MEMORY, e);
	return r < 0 ? r : move(m, "disk", MEMBER_DISK, e);
}

/* Under the template's lock. */
static int make(const struct store *store, const struct settings *s, const struct template_of *of,
		const char *key, struct err *e)
{
	struct making m = {.store = store, .settings = s, .of = of};
	int r = template_begin(store, key, &m.dir, e);

	if (r < 0)
		return r;
	snprintf(m.name, sizeof(m.name), "template-%.8s-%d", key, (int)getpid());
	r = boot(&m, e);
	if (r == 0)
		r = take(&m, e);
	if (r == 0)
		r = capture(&m, e);
	if (m.cluster) {
		drover_vm_kill(drover_cluster_vm(m.cluster, 0), NULL, NULL);
		drover_cluster_destroy(m.cluster, NULL, NULL);
	}
	if (r == 0)
		r = template_keep(store, key, m.dir, of, e);
	else
		files_remove_tree(m.dir);
	free(m.dir);
	return r < 0 ? err_prefix(e, "make a template of %s", of->image) : 0;
}

/* --- Finding ---------------------------------------------------------------------------------------------------- */

static int find_or_make(const struct store *store, const struct settings *s,
			const struct template_of *of, struct warm *w, struct err *e)
{
	scoped(lock) int lock = -1;
	const struct giveup g = cancel_giveup(s->cancel);
	int r = template_lock(store, w->key, &g, &lock, e);

	if (r == 0 && !template_is_whole(store, w->key)) {
		w->made = true;
		r = make(store, s, of, w->key, e);
	}
	if (r == 0)
		template_see(store, w->key, &w->seen);
	return r;
}

static int warm_find(const struct store *store, const struct settings *s,
		     const struct prepare *image, struct warm *ret, struct err *e)
{
	scoped(config) struct member_config c = {0};
	scoped(mem) char *cmdline = NULL;
	scoped(mem) char *qemu = files_find_program("qemu-system-x86_64");
	struct template_of of;
	enum accel accel = ACCEL_AUTO;
	int r = prepare_config(&c, image, "template", s, e);

	*ret = (struct warm){0};
	if (r == 0)
		r = check_image(&c, e);
	if (r == 0)
		cmdline = kernel_cmdline(&c);
	if (r == 0 && !cmdline)
		r = err_set(e, ERR_NO_MEMORY, "out of memory");
	if (r == 0)
		r = accel_wanted(&accel, e);
	if (r < 0)
		return r;
	of = (struct template_of){
		.image = c.image,
		.user = c.user,
		.disk = image->image_disk[0] ? image->image_disk : NULL,
		.kernel = kernel_path(&c),
		.initrd = kernel_initrd(&c),
		.hypervisor = qemu,
		.cmdline = cmdline,
		.kvm = accel_is_kvm(accel),
		.cpus = c.cpus,
		.memory_mb = c.memory_mb,
		.disk_mb = c.disk_mb,
	};
	r = template_key(&of, ret->key, e);
	return r < 0 ? r : find_or_make(store, s, &of, ret, e);
}

/*
 * The template's memory once, and for each member half of it: what it does not change is shared (bench/warm prints what
 * members really take).
 */
static int check_memory(const struct store *store, const struct warm *w, size_t n, struct err *e)
{
	scoped(mem) char *path = template_path(store, w->key, MEMBER_MEMORY);
	int64_t have = host_available_mb();
	struct stat st;
	int64_t need;

	if (!path || stat(path, &st) < 0 || have < 0)
		return 0; /* going on from it says what is wrong */
	need = (int64_t)st.st_blocks * 512 / MIB;
	need += need * (int64_t)n / 2;
	if (need <= have)
		return 0;
	return err_set(e, ERR_NO_MEMORY,
		       "%zu member(s) that start from a template may need %lld MB of memory, and "
		       "%lld MB are available: make fewer, or end something",
		       n, (long long)need, (long long)have);
}

int warm_image(struct settings *s, size_t n, struct prepare *image, struct warm *warm,
	       struct err *e)
{
	int r = prepare_image(image->store, s, image, e);

	if (r == 0 && (!s->warm || strcmp(s->backend, "fake") == 0))
		return 0;
	if (r == 0)
		r = warm_check_settings(s,
					e); /* with the network and the backend that others have */
	if (r == 0)
		r = warm_find(image->store, s, image, warm, e);
	if (r == 0)
		r = check_memory(image->store, warm, n, e);
	if (r < 0) {
		member_config_done(&image->config);
		return r;
	}
	memcpy(image->warm_key, warm->key, sizeof(warm->key));
	if (!warm->made)
		s->timeout_ms /= 2; /* there is some left to boot when it does not work */
	return 0;
}

/* Memory that does not load, a guest that hangs, one that is not who it should be. */
static bool may_be_its_fault(enum err_code code)
{
	return code == ERR_BOOT || code == ERR_PANIC || code == ERR_INVALID || code == ERR_IO ||
	       code == ERR_TIMEOUT || code == ERR_NOT_RUNNING || code == ERR_UNREACHABLE ||
	       code == ERR_SSH || code == ERR_DENIED || code == ERR_PROTOCOL;
}

bool warm_try_again(const struct warm *w, const struct settings *s, int r, const struct err *e)
{
	const struct giveup g = cancel_giveup(s->cancel);
	scoped(lock) int lock = -1;
	scoped(store) struct store store = {0};

	if (!w->key[0] || (r < 0 && !may_be_its_fault(e->code)))
		return false;
	if (store_open(s->home, &store, NULL) < 0)
		return r < 0 && !w->made;
	if (r == 0)
		template_was_in_time(&store, w->key);
	else if (template_lock(&store, w->key, &g, &lock, NULL) == 0)
		template_blame(&store, w->key, &w->seen, e->code == ERR_TIMEOUT);
	return r < 0 && !w->made;
}

/* --- What a member gets ------------------------------------------------------------------------------------------ */

static int deal(const struct prepare *p, const char *file, enum give how, struct err *e)
{
	scoped(mem) char *from = template_path(p->store, p->warm_key, file);
	scoped(mem) char *to = store_member_path(p->store, p->config.name, file);

	return from && to ? give_file(from, to, how, e)
			  : err_set(e, ERR_NO_MEMORY, "out of memory");
}

int warm_deal(const struct prepare *p, struct err *e)
{
	int r = p->image_disk[0] ? deal(p, MEMBER_DISK, GIVE_COPY, e) : 0;

	return r < 0 ? r : deal(p, MEMBER_MEMORY, GIVE_LINK, e);
}
