/* SPDX-License-Identifier: MIT */
/*
 * From a configuration to a member that accepts an SSH login.
 *
 * How it works: each member goes its own way, side by side with the others, each step started by the end of the one before:
 *
 *   reserve -> prepare (work thread) -> boot-member -> login (dial, then a work thread) -> ready
 *
 * What a member is made of that needs no address is begun before, while the helper makes the network, by another work thread;
 * prepare waits for it.
 *
 * The first failure ends the run: steps are canceled, members that this run made are removed, others only stopped.
 */
#include "client/boot.h"

#include "backend/remote/remote.h"
#include "base/clock.h"
#include "base/scoped.h"
#include "client/login.h"
#include "config.h"

#include <string.h>
#include <sys/stat.h>

enum {
	LOGIN_RETRY_MS = 250,
	LOGIN_TRY_MS = 60000,
	SECOND_MS = 1000,
	STOP_MS = 25000, /* above what a helper takes for grace and force */
	ENDING_STOP_MS = 10000,
};

/* One member on its way. */
struct boot {
	struct boot_run *run;
	struct drover_vm *vm;
	struct prepare prepare;
	struct reservation reservation;
	struct drover_boot times;
	bool resumes;           /* from memory */
	const char *stage;      /* NULL: none yet */
	const char *stage_text; /* borrowed from what this boot owns */
	uv_work_t work;
	struct err work_error;
	int work_result;
	bool working;
	bool reserved;
	struct backend_vm *handle;
	int fd; /* dialed, for the login */
	struct drover_cancel
		*cut; /* of the login under way: by the guest's fate, or with the run; owned */
	struct ssh_session *ssh;
	struct timer *retry;
	struct login_tries tries;
	ino_t old_log; /* the console's log of an earlier boot; 0: there is none */
	bool made;     /* its directory is this call's to remove */
	bool added;    /* @vm is new in the handle */
	bool ended;
};

static void tell_stage(struct boot *b, const char *stage, int percent, const char *text)
{
	b->stage = stage;
	b->stage_text = text;
	boot_times_note(&b->times, b->run->settings, stage);
	settings_progress(b->run->settings, b->vm->name, stage, percent, "%s", text);
}

/* The file of the console's log, if anything is in it; 0: nothing. */
static ino_t log_of(const char *path)
{
	struct stat st;

	return path && stat(path, &st) == 0 && st.st_size > 0 ? st.st_ino : 0;
}

static void note_old_log(struct boot *b)
{
	scoped(mem) char *path =
		store_member_path(&b->run->cluster->store, b->vm->name, MEMBER_SERIAL_LOG);

	b->old_log = log_of(path);
}

/*
 * Where the guest's last words are. A member that this run made goes, but its console's log stays. What a template is made
 * with goes as a whole.
 */
static void hint_log(const struct boot *b, struct err *e)
{
	const struct store *store = &b->run->cluster->store;
	scoped(mem) char *path = NULL;

	if ((e->code != ERR_PANIC && e->code != ERR_NOT_RUNNING && e->code != ERR_BOOT) ||
	    e->hint[0] || b->run->settings->second_line)
		return;
	path = b->made ? store_console_keep(store, b->vm->name)
		       : store_member_path(store, b->vm->name, MEMBER_SERIAL_LOG);
	if (log_of(path) && log_of(path) != b->old_log)
		err_hint(e, err_code_number(e->code), "what the guest said is in %s", path);
}

/* Nothing is told to it any more. */
static void leave(struct boot *b)
{
	b->ended = true;
	b->vm->on_cut = NULL;
}

static void boot_end(struct boot *b, const struct err *e)
{
	struct boot_run *run = b->run;

	if (b->ended)
		return;
	leave(b);
	/* The first failure made it 0, and others may come in the same turn of the loop. */
	if (run->pending > 0)
		run->pending--;
	if (!e) {
		tell_stage(b, "ready", 100, b->vm->ip);
		boot_times_save(&run->cluster->store, b->vm->name, &b->times, b->resumes);
		return;
	}
	settings_progress(run->settings, b->vm->name, "error", -1, "%s", e->msg);
	if (!run->failed) {
		run->failed = true;
		run->error = *e;
		hint_log(b, &run->error);
		run->pending = 0; /* leave the loop; roll_back ends the others */
	}
}

static void end_without_memory(struct boot *b)
{
	boot_end(b, &(struct err){.code = ERR_NO_MEMORY, .msg = "out of memory"});
}

/* --- Login --------------------------------------------------------------------------------------------------- */

static void begin_login(void *arg);

static void login_work(uv_work_t *w)
{
	struct boot *b = w->data;
	uint64_t left = clock_left_ms(b->run->end_ms);
	struct ssh_limits l = {.timeout_ms = left < LOGIN_TRY_MS ? left : LOGIN_TRY_MS,
			       .cancel_fd = b->cut->event_fd};

	b->work_result = vm_ssh_open(&b->run->cluster->store, b->vm->name, b->prepare.config.user,
				     take_fd(&b->fd), &l, &b->ssh, &b->work_error);
	if (b->work_result == 0 && b->prepare.config.n_shares > 0) {
		b->work_result =
			shares_mount(&b->prepare.config, b->ssh, clock_left_ms(b->run->end_ms),
				     b->cut->event_fd, &b->work_error);
		if (b->work_result < 0) {
			ssh_close(b->ssh);
			b->ssh = NULL;
		}
	}
}

static void retry_login(struct boot *b, const struct err *e)
{
	if (!login_may_come(&b->tries, e->code, clock_ms(), b->run->end_ms) ||
	    !timer_start(&b->run->cluster->loop, LOGIN_RETRY_MS, begin_login, b, &b->retry))
		boot_end(b, e);
}

/* False: nothing of this boot goes on. */
static bool goes_on_after_work(struct boot *b)
{
	b->run->working--;
	b->working = false;
	return !b->ended && !b->run->failed;
}

static void after_login(uv_work_t *w, int status)
{
	struct boot *b = w->data;

	drover_cancel_free(b->cut);
	b->cut = NULL;
	if (!goes_on_after_work(b))
		return;
	if (b->work_result < 0) {
		retry_login(b, b->vm->is_cut ? &b->vm->cut : &b->work_error);
		return;
	}
	b->vm->ssh = b->ssh;
	b->ssh = NULL;
	boot_end(b, NULL);
}

static int queue(struct boot *b, uv_work_cb work, uv_after_work_cb after)
{
	int r;

	b->work.data = b;
	b->work_error = (struct err)ERR_INIT;
	r = uv_queue_work(&b->run->cluster->loop, &b->work, work, after);
	if (r == 0) {
		b->working = true;
		b->run->working++;
	}
	return r;
}

static void on_dialed(void *arg, int r, int fd, const struct err *e)
{
	struct boot *b = arg;
	bool is_cut = b->vm->is_cut; /* by a reset, which may have come after this connection */

	b->fd = r < 0 || b->ended || is_cut ? -1 : fd;
	if (r >= 0 && b->fd < 0)
		close(fd);
	if (b->ended)
		return;
	if (r < 0 && e->code == ERR_DENIED) /* by the helper, not by the guest */
		boot_end(b, e);
	else if (r < 0 || is_cut)
		retry_login(b, r < 0 ? e : &b->vm->cut);
	else if (!(b->cut = drover_cancel_new()) || queue(b, login_work, after_login) < 0)
		end_without_memory(b);
}

/* The guest that has taken a connection, or was about to, is no more: nothing comes of it but a time-out. */
static void on_cut(void *arg)
{
	struct boot *b = arg;

	if (b->ended)
		return;
	if (b->vm->cut.code != ERR_SSH)
		boot_end(b, &b->vm->cut);
	else if (b->cut)
		drover_cancel_now(b->cut);
}

/* From here on what becomes of the guest is known on the loop, and a login in a work thread ends by it. */
static void begin_logins(struct boot *b)
{
	struct err e = ERR_INIT;

	b->vm->on_cut = on_cut;
	b->vm->cut_arg = b;
	if (vm_await_end(b->vm, &e) < 0)
		boot_end(b, &e);
	else
		begin_login(b);
}

static void begin_login(void *arg)
{
	struct boot *b = arg;
	struct err e = ERR_INIT;

	b->vm->is_cut = false;
	tell_stage(b, "ssh", -1, b->vm->ip);
	if (backend_dial(b->handle, SSH_PORT, clock_left_ms(b->run->end_ms), on_dialed, b, &e) < 0)
		boot_end(b, &e);
}

/* --- Boot ---------------------------------------------------------------------------------------------------- */

static void on_address(void *arg, int r, const char *ip, const struct err *e)
{
	struct boot *b = arg;

	if (b->ended)
		return;
	if (r < 0) {
		boot_end(b, e);
		return;
	}
	snprintf(b->vm->ip, sizeof(b->vm->ip), "%s", ip);
	if (b->vm->is_fake)
		boot_end(b, NULL);
	else
		begin_logins(b);
}

static void on_started(void *arg, int r, const struct err *e)
{
	struct boot *b = arg;
	struct err why = ERR_INIT;

	if (b->ended)
		return;
	if (r < 0) {
		boot_end(b, e);
		return;
	}
	if (backend_wait_address(b->handle, clock_left_ms(b->run->end_ms), on_address, b, &why) < 0)
		boot_end(b, &why);
}

static void begin_boot(struct boot *b)
{
	struct drover_cluster *c = b->run->cluster;
	scoped(spec) struct vm_spec spec = {0};
	struct err e = ERR_INIT;
	int r = prepare_spec(&b->prepare, &spec, &e);

	if (r == 0)
		r = backend_create(c->backend, c->network, &spec, &b->reservation, &b->handle, &e);
	if (r == 0) {
		note_old_log(b);
		b->resumes = spec.memory_path || spec.point_path;
		b->vm->handle = b->handle;
		tell_stage(b, "start", -1, b->reservation.ip);
		r = backend_start(b->handle, on_started, b, &e);
	}
	if (r < 0)
		boot_end(b, &e);
}

static void prepare_work(uv_work_t *w)
{
	struct boot *b = w->data;

	b->work_result = prepare_member(&b->prepare, &b->work_error);
}

static void after_prepare(uv_work_t *w, int status)
{
	struct boot *b = w->data;

	if (!goes_on_after_work(b))
		return;
	if (b->work_result < 0)
		boot_end(b, &b->work_error);
	else
		begin_boot(b);
}

/* Its files are there, and it has its address. */
static void begin_prepare(struct boot *b)
{
	struct member_config *config = &b->prepare.config;

	if (b->work_result < 0) {
		boot_end(b, &b->work_error);
		return;
	}
	memcpy(config->mac, b->reservation.mac, sizeof(config->mac));
	memcpy(config->ip, b->reservation.ip, sizeof(config->ip));
	if (queue(b, prepare_work, after_prepare) < 0)
		end_without_memory(b);
}

static void files_work(uv_work_t *w)
{
	struct boot *b = w->data;

	b->work_result = prepare_files(&b->prepare, &b->work_error);
}

static void after_files(uv_work_t *w, int status)
{
	struct boot *b = w->data;

	if (goes_on_after_work(b) && b->reserved)
		begin_prepare(b);
}

static void on_reserved(void *arg, int r, const struct reservation *v, const struct err *e)
{
	struct boot *b = arg;
	const char *from = b->prepare.warm_key[0] ? "warm" : b->prepare.config.image;

	if (b->ended)
		return;
	if (r < 0) {
		boot_end(b, e);
		return;
	}
	b->reservation = *v;
	b->reserved = true;
	tell_stage(b, "prepare", -1, from ? from : "");
	if (!b->working)
		begin_prepare(b);
}

static void begin_member(struct boot *b)
{
	struct drover_cluster *c = b->run->cluster;
	const char *hint = b->prepare.config.ip;
	struct err e = ERR_INIT;

	b->run->pending++;
	if (remote_reserve_as(c->network, b->vm->name, member_config_inside(&b->prepare.config),
			      *hint ? hint : NULL, on_reserved, b, &e) < 0)
		boot_end(b, &e);
}

/* --- The run ------------------------------------------------------------------------------------------------- */

/* What the cluster's is, for its next start. */
static void note_cluster(struct boot *b, const struct drover_cluster *c)
{
	struct member_config *config = &b->prepare.config;

	memcpy(config->cluster_id, c->id, sizeof(config->cluster_id));
	snprintf(config->network, sizeof(config->network), "%s", c->network_kind);
	if (c->no_egress && !config->no_egress)
		settings_progress(b->run->settings, "", "warning", -1,
				  b->made ? "%s has no way out: its cluster has none"
					  : "%s had a way out and has none from now on",
				  config->name);
	config->no_egress = config->no_egress || c->no_egress;
}

static int init_boot(struct boot_run *run, struct boot *b, const char *name,
		     const struct prepare *image, struct err *e)
{
	struct drover_cluster *c = run->cluster;
	int r = 0;

	b->run = run;
	b->fd = -1;
	b->vm = drover_cluster_find(c, name); /* stopped, as names_check_idle has seen */
	if (!b->vm) {
		b->vm = cluster_add_vm(c, name);
		b->added = b->vm != NULL;
	}
	if (!b->vm)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	run->vms[run->n_vms++] = b->vm;
	b->prepare = (struct prepare){.store = &c->store, .giveup = &run->giveup};
	b->prepare.is_new = !store_member_exists(&c->store, name);
	if (b->prepare.is_new) {
		r = prepare_config(&b->prepare.config, image, name, run->settings, e);
		prepare_base(&b->prepare, image);
		b->made = true;
	} else {
		r = store_config_load(&c->store, name, &b->prepare.config, e);
		if (r == 0)
			r = kernel_configure(&b->prepare.config, run->settings, e);
		if (r == 0)
			r = sizes_configure(&b->prepare, run->settings, e);
	}
	snprintf(b->prepare.config.backend, sizeof(b->prepare.config.backend), "%s",
		 run->settings->backend);
	note_cluster(b, c);
	b->prepare.is_fake = strcmp(run->settings->backend, "fake") == 0;
	b->vm->is_fake = b->prepare.is_fake;
	snprintf(b->vm->user, sizeof(b->vm->user), "%s",
		 b->prepare.config.user ? b->prepare.config.user : "");
	return r;
}

void boot_run_forget(struct boot_run *run)
{
	for (size_t i = 0; i < run->n; i++)
		if (run->boots[i].added)
			cluster_drop_last(run->cluster);
}

void boot_run_done(struct boot_run *run)
{
	for (size_t i = 0; i < run->n; i++) {
		struct boot *b = &run->boots[i];

		timer_stop(&b->retry);
		close_fd(&b->fd);
		ssh_close(b->ssh);
		drover_cancel_free(b->cut);
		prepare_done(&b->prepare);
	}
	free(run->boots);
	free(run->vms);
	drover_cancel_free(run->stop);
}

void boot_run_settle(struct boot_run *run)
{
	if (run->stop)
		drover_cancel_now(run->stop);
	for (size_t i = 0; i < run->n; i++)
		if (run->boots[i].cut)
			drover_cancel_now(run->boots[i].cut);
	while (run->working > 0)
		uv_run(&run->cluster->loop, UV_RUN_ONCE); /* work hears of the stop */
}

/* Takes back the members of this run: their VMs are stopped, and what the run made is removed. */
static void roll_back(struct boot_run *run)
{
	const struct limits l = {.timeout_ms = run->ends_helper ? ENDING_STOP_MS : STOP_MS};
	struct drover_cluster *c = run->cluster;

	for (size_t i = 0; i < run->n; i++) {
		struct boot *b = &run->boots[i];

		leave(b);
		timer_stop(&b->retry);
	}
	remote_cancel_asked(c->backend);
	boot_run_settle(run);
	cluster_stop_vms(c, run->vms, run->n_vms, &l, NULL);
}

void boot_run_remove_made(struct boot_run *run)
{
	for (size_t i = 0; i < run->n; i++)
		if (run->boots[i].made && run->boots[i].vm)
			member_remove_locked(&run->cluster->store, run->boots[i].vm->name, NULL);
}

/* Stages that last are told again, so that whoever shows them can count the seconds. */
static void on_second(void *arg)
{
	struct boot_run *run = arg;

	for (size_t i = 0; i < run->n; i++) {
		const struct boot *b = &run->boots[i];

		if (!b->ended && b->stage)
			settings_progress(run->settings, b->vm->name, b->stage, -1, "%s",
					  b->stage_text);
	}
	timer_start(&run->cluster->loop, SECOND_MS, on_second, run, &run->second);
}

void boot_run_limit(struct boot_run *run)
{
	run->end_ms = clock_ms() + (int64_t)run->settings->timeout_ms;
}

/* The sentence of a step that the limit ended is of the whole start. */
static int name_limit(const struct boot_run *run, struct err *e)
{
	if (e->code == ERR_TIMEOUT && clock_ms() >= run->end_ms)
		err_set(e, ERR_TIMEOUT, "not done within %g s",
			(double)run->settings->timeout_ms / SECOND_MS);
	return err_code_number(e->code);
}

int boot_run_network(struct boot_run *run, const char *subnet, struct err *e)
{
	const struct limits l = {.timeout_ms = clock_left_ms(run->end_ms),
				 .cancel = run->settings->cancel};
	int r = cluster_make_network(run->cluster, subnet, &l, e);

	return r < 0 ? name_limit(run, e) : 0;
}

/* Boots run->boots on an existing helper; all or nothing. */
int boot_run(struct boot_run *run, struct err *e)
{
	struct drover_cluster *c = run->cluster;
	const struct settings *s = run->settings;
	struct err late = ERR_INIT;
	int r;

	for (size_t i = 0; i < run->n && !run->failed; i++)
		begin_member(&run->boots[i]);
	if (s->on_progress) /* without it the seconds are only not told */
		timer_start(&c->loop, SECOND_MS, on_second, run, &run->second);
	r = wait_loop(&c->loop, &run->pending, clock_left_ms(run->end_ms), s->cancel, &late);
	if (r < 0)
		name_limit(run, &late);
	timer_stop(&run->second);
	if (!run->failed && r == 0)
		return 0;
	if (run->failed)
		late = run->error;
	roll_back(run);
	return err_copy(e, &late);
}

int boot_run_init(struct boot_run *run, const struct name_list *names, const struct prepare *image,
		  struct err *e)
{
	int r = 0;

	run->boots = calloc(names->n + 1, sizeof(*run->boots));
	/* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers it is */
	run->vms = calloc(names->n + 1, sizeof(*run->vms));
	run->stop = drover_cancel_new();
	if (!run->boots || !run->vms || !run->stop)
		return err_set(e, ERR_NO_MEMORY, "out of memory or descriptors");
	run->giveup = cancel_giveup(run->stop);
	run->n = 0;
	for (size_t i = 0; i < names->n && r == 0; i++) {
		run->n = i + 1;
		r = init_boot(run, &run->boots[i], names->names[i], image, e);
	}
	return r;
}

int boot_run_begin_files(struct boot_run *run, struct err *e)
{
	for (size_t i = 0; i < run->n; i++)
		if (queue(&run->boots[i], files_work, after_files) < 0)
			return err_set(e, ERR_NO_MEMORY, "out of memory");
	return 0;
}
