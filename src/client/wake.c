/* SPDX-License-Identifier: MIT */
/*
 * Guests that go on from an earlier instant: they answer on SSH, and their clocks are set.
 *
 * How it works: side by side for each member that runs,
 *
 *   state -> dial -> work thread: login, `date` -> the session is kept for exec
 *
 * The guest tells nobody that it is behind, and nothing of ours is in it: `date` of whatever it has sets the clock.
 */
#include "base/clock.h"
#include "base/scoped.h"
#include "client/client.h"

#include <string.h>
#include <time.h>

struct wake {
	struct waking *all;
	struct drover_vm *vm;
	uv_work_t work;
	bool working;
	int fd;
	int r;
	struct err error;
	struct ssh_session *ssh;
	struct drover_cancel *stop; /* of the work thread; owned */
};

struct waking {
	struct drover_cluster *cluster;
	unsigned pending;
	unsigned working;
	int64_t end_ms;   /* of clock_ms */
	struct err first; /* the first failure */
	bool is_cut;      /* the end of a guest, while something was asked of its helper */
	bool over;
};

static void wake_end(struct wake *w, const struct err *e)
{
	struct waking *all = w->all;

	if (all->over)
		return;
	w->vm->on_cut = NULL;
	if (e && all->first.code == ERR_NONE)
		all->first = *e;
	all->pending--;
}

static int forget_output(void *arg, int stream, const char *data, size_t len)
{
	return 0;
}

static struct ssh_limits limits_of(const struct wake *w)
{
	return (struct ssh_limits){.timeout_ms = clock_left_ms(w->all->end_ms),
				   .cancel_fd = w->stop->event_fd};
}

static int set_clock(struct wake *w, struct err *e)
{
	char line[160];
	struct ssh_exec x = {
		.command = line,
		.input_fd = -1,
		.limits = limits_of(w),
		.on_output = forget_output,
	};
	bool started;
	int status;
	int r;

	snprintf(line, sizeof(line),
		 "s=; [ \"$(id -u)\" = 0 ] || s='sudo -n'; exec $s date -u -s @%lld",
		 (long long)time(NULL));
	r = ssh_run(w->ssh, &x, &status, &started, e);
	if (r == 0 && status != 0)
		r = err_set(e, ERR_SSH, "the clock of %s cannot be set: date ended with %d",
			    w->vm->name, status);
	return r;
}

static void wake_work(uv_work_t *work)
{
	struct wake *w = work->data;
	struct drover_vm *vm = w->vm;
	struct ssh_limits l = limits_of(w);

	w->r = vm_ssh_open(&vm->cluster->store, vm->name, vm->user, take_fd(&w->fd), &l, &w->ssh,
			   &w->error);
	if (w->r == 0)
		w->r = set_clock(w, &w->error);
}

static void after_work(uv_work_t *work, int status)
{
	struct wake *w = work->data;

	w->working = false;
	w->all->working--;
	if (w->r == 0 && !w->all->over) {
		w->vm->ssh = w->ssh;
		w->ssh = NULL;
	}
	wake_end(w, w->r == 0 ? NULL : w->vm->is_cut ? &w->vm->cut : &w->error);
}

static void on_dialed(void *arg, int r, int fd, const struct err *e)
{
	struct wake *w = arg;

	if (r < 0 || w->all->over) {
		close_fd(&fd);
		wake_end(w, e);
		return;
	}
	w->fd = fd;
	w->work.data = w;
	w->stop = drover_cancel_new();
	w->working = w->stop &&
		     uv_queue_work(&w->all->cluster->loop, &w->work, wake_work, after_work) == 0;
	w->all->working += w->working;
	if (!w->working)
		wake_end(w, &(struct err){.code = ERR_NO_MEMORY, .msg = "out of memory"});
}

/*
 * A guest that ends, panics or resets itself sends no end of the connection: the login ends here. One that has reset itself
 * takes the connection that is still asked for.
 */
static void on_cut(void *arg)
{
	struct wake *w = arg;
	struct waking *all = w->all;

	if (w->working) {
		drover_cancel_now(w->stop);
	} else if (w->vm->cut.code != ERR_SSH) {
		if (all->first.code == ERR_NONE)
			all->first = w->vm->cut;
		all->is_cut = true;
		all->pending = 0;
	}
}

static void on_state(void *arg, enum vm_state state)
{
	struct wake *w = arg;
	struct err e = ERR_INIT;

	if (w->all->over)
		return;
	if (state == VM_PAUSED)
		wake_end(w, NULL); /* it stays so */
	else if (backend_dial(w->vm->handle, SSH_PORT, clock_left_ms(w->all->end_ms), on_dialed, w,
			      &e) < 0)
		wake_end(w, &e);
}

static void begin(struct wake *w)
{
	struct err e = ERR_INIT;

	ssh_close(w->vm->ssh); /* the guest has forgotten it */
	w->vm->ssh = NULL;
	if (!w->vm->handle || w->vm->is_fake)
		return;
	w->all->pending++;
	w->vm->is_cut = false; /* what it was before that instant */
	w->vm->on_cut = on_cut;
	w->vm->cut_arg = w;
	if (vm_await_end(w->vm, &e) < 0 || backend_state(w->vm->handle, on_state, w, &e) < 0)
		wake_end(w, &e);
}

/* Questions that are still under way are canceled by a new handle; work hears of the stop. */
static void give_up(struct waking *all, const struct wake *wakes)
{
	struct drover_cluster *c = all->cluster;

	all->over = true;
	for (size_t i = 0; i < c->n_vms; i++) {
		c->vms[i]->on_cut = NULL;
		if (wakes[i].working)
			drover_cancel_now(wakes[i].stop);
	}
	while (all->working > 0)
		uv_run(&c->loop, UV_RUN_ONCE);
	cluster_renew_handles(c);
}

int cluster_wake(struct drover_cluster *c, uint64_t timeout_ms, struct drover_cancel *cancel,
		 struct err *e)
{
	struct waking all = {
		.cluster = c, .first = ERR_INIT, .end_ms = clock_ms() + (int64_t)timeout_ms};
	struct wake *wakes = calloc(c->n_vms + 1, sizeof(*wakes));
	int r;

	if (!wakes)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	for (size_t i = 0; i < c->n_vms; i++) {
		wakes[i] = (struct wake){.all = &all, .vm = c->vms[i], .fd = -1};
		begin(&wakes[i]);
	}
	r = wait_loop(&c->loop, &all.pending, timeout_ms, cancel, e);
	if (r < 0 || all.is_cut)
		give_up(&all, wakes);
	if (r == 0 && all.first.code != ERR_NONE)
		r = err_copy(e, &all.first);
	for (size_t i = 0; i < c->n_vms; i++) {
		close_fd(&wakes[i].fd);
		ssh_close(wakes[i].ssh);
		drover_cancel_free(wakes[i].stop);
	}
	free(wakes);
	return r;
}
