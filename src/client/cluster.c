/* SPDX-License-Identifier: MIT */
/* The cluster handle: making one, running its loop, letting go. boot.c has the boot. */
#include "client/client.h"

#include "backend/remote/remote.h"
#include "base/scoped.h"
#include "config.h"

#include <string.h>
#include <sys/eventfd.h>

enum { STOP_ALL_MS = 60000, END_MS = 60000 };

/* A bound helper whose client has let go cuts the power: one that is not gone by then stands still, and is killed. */
enum { CLOSE_MS = 30000 };

const char *drover_version(void)
{
	return DROVER_VERSION;
}

int public_error(struct drover_error *to, const struct err *from, int r)
{
	if (to) {
		snprintf(to->code, sizeof(to->code), "%s", err_code_name(from->code));
		snprintf(to->sentence, sizeof(to->sentence), "%s", from->msg);
		snprintf(to->hint, sizeof(to->hint), "%s", from->hint);
	}
	return r < 0 ? r : err_code_number(from->code);
}

int private_error(struct err *to, const struct drover_error *from)
{
	return err_hint(to, err_set(to, err_code_from_name(from->code), "%s", from->sentence), "%s",
			from->hint);
}

/* --- Cancel -------------------------------------------------------------------------------------------------- */

struct drover_cancel *drover_cancel_new(void)
{
	struct drover_cancel *c = malloc(sizeof(*c));

	if (!c)
		return NULL;
	c->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->event_fd < 0) {
		free(c);
		return NULL;
	}
	return c;
}

void drover_cancel_now(struct drover_cancel *c)
{
	uint64_t one = 1;
	int saved = errno;
	ssize_t n = write(c->event_fd, &one, sizeof(one));

	(void)n; /* the counter is full: it is canceled already */
	errno = saved;
}

void drover_cancel_free(struct drover_cancel *c)
{
	if (!c)
		return;
	close(c->event_fd);
	free(c);
}

/* --- The private loop ---------------------------------------------------------------------------------------- */

struct pause {
	uv_poll_t cancel;
	struct timer *deadline;
	bool watching;
	bool timed_out;
	bool canceled;
};

static void on_wait_deadline(void *arg)
{
	struct pause *p = arg;

	p->timed_out = true;
}

static void on_wait_cancel(uv_poll_t *h, int status, int events)
{
	struct pause *p = h->data;

	p->canceled = true;
}

static void begin_pause(struct pause *p, uv_loop_t *loop, uint64_t timeout_ms,
			struct drover_cancel *cancel)
{
	if (timeout_ms)
		timer_start(loop, timeout_ms, on_wait_deadline, p, &p->deadline);
	if (!cancel || uv_poll_init(loop, &p->cancel, cancel->event_fd) < 0)
		return;
	p->cancel.data = p;
	p->watching = true;
	uv_poll_start(&p->cancel, UV_READABLE, on_wait_cancel);
}

static void on_pause_closed(uv_handle_t *h)
{
	struct pause *p = h->data;

	p->watching = false;
}

static void end_pause(struct pause *p, uv_loop_t *loop)
{
	timer_stop(&p->deadline);
	if (p->watching)
		uv_close((uv_handle_t *)&p->cancel, on_pause_closed);
	while (p->watching)
		uv_run(loop, UV_RUN_ONCE);
}

int wait_loop(uv_loop_t *loop, const unsigned *pending, uint64_t timeout_ms,
	      struct drover_cancel *cancel, struct err *e)
{
	struct pause p = {0};
	int r = 0;

	begin_pause(&p, loop, timeout_ms, cancel);
	while (*pending > 0 && !p.timed_out && !p.canceled)
		uv_run(loop, UV_RUN_ONCE);
	if (*pending > 0 && p.canceled)
		r = err_set(e, ERR_CANCELED, "canceled");
	else if (*pending > 0)
		r = err_set(e, ERR_TIMEOUT, "not done within %g s", (double)timeout_ms / 1000);
	end_pause(&p, loop);
	return r;
}

/* --- The handle ---------------------------------------------------------------------------------------------- */

struct drover_cluster *cluster_new(struct store *store, const char *primary, struct err *e)
{
	struct drover_cluster *c = calloc(1, sizeof(*c));
	struct remote_options o = {.primary = primary};
	int r;

	if (!c) {
		store_close(store);
		err_set(e, ERR_NO_MEMORY, "out of memory");
		return NULL;
	}
	c->store = *store;
	*store = (struct store){0};
	c->session = (struct session){.pidfd = -1, .ctl_fd = -1};
	r = loop_init(&c->loop, e);
	if (r < 0) {
		store_close(&c->store);
		free(c);
		return NULL;
	}
	o.loop = &c->loop;
	o.store = &c->store;
	c->backend = remote_backend_new(&o, e);
	if (!c->backend) {
		cluster_free(c);
		return NULL;
	}
	return c;
}

static void vm_free(struct drover_vm *vm)
{
	ssh_close(vm->ssh);
	backend_release(vm->handle);
	free(vm);
}

void cluster_free(struct drover_cluster *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n_vms; i++)
		vm_free(c->vms[i]);
	free(c->vms);
	if (c->network)
		backend_close_network(c->network, NULL, NULL);
	backend_free(c->backend);
	uv_run(&c->loop, UV_RUN_DEFAULT);
	uv_loop_close(&c->loop);
	store_close(&c->store);
	free(c);
}

struct drover_vm *cluster_add_vm(struct drover_cluster *c, const char *name)
{
	/* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers it is */
	struct drover_vm **vms = realloc(c->vms, (c->n_vms + 1) * sizeof(*vms));
	struct drover_vm *vm;

	if (!vms)
		return NULL;
	c->vms = vms;
	vm = calloc(1, sizeof(*vm));
	if (!vm)
		return NULL;
	vm->cluster = c;
	snprintf(vm->name, sizeof(vm->name), "%s", name);
	c->vms[c->n_vms++] = vm;
	return vm;
}

void cluster_drop_last(struct drover_cluster *c)
{
	if (c->n_vms > 0)
		vm_free(c->vms[--c->n_vms]);
}

int cluster_doors(const struct drover_cluster *c, struct name_list *ret, struct err *e)
{
	for (size_t i = 0; i < c->n_vms; i++)
		if (c->vms[i]->handle && name_list_add(ret, c->vms[i]->name) < 0)
			return err_set(e, ERR_NO_MEMORY, "out of memory");
	return 0;
}

static void renew_handle(struct drover_vm *vm)
{
	if (!vm->handle)
		return;
	backend_release(vm->handle);
	vm->handle = remote_vm_attach(vm->cluster->backend, vm->name);
}

void cluster_renew_handles(struct drover_cluster *c)
{
	for (size_t i = 0; i < c->n_vms; i++)
		renew_handle(c->vms[i]);
}

size_t drover_cluster_size(const struct drover_cluster *c)
{
	return c->n_vms;
}

struct drover_vm *drover_cluster_vm(struct drover_cluster *c, size_t i)
{
	return i < c->n_vms ? c->vms[i] : NULL;
}

struct drover_vm *drover_cluster_find(struct drover_cluster *c, const char *name)
{
	for (size_t i = 0; i < c->n_vms; i++)
		if (strcmp(c->vms[i]->name, name) == 0)
			return c->vms[i];
	return NULL;
}

const char *drover_cluster_subnet(const struct drover_cluster *c)
{
	return c->subnet;
}

/* --- Stopping ------------------------------------------------------------------------------------------------ */

struct stopping {
	unsigned pending;
	struct err first; /* the first failure */
};

static void on_stopped(void *arg, int r, const struct err *e)
{
	struct stopping *s = arg;

	s->pending--;
	if (r < 0 && s->first.code == ERR_NONE)
		s->first = *e;
}

/* Ends what is still pending on @vm; it keeps a handle when it has not stopped. */
static void settle_stopped(struct drover_vm *vm)
{
	if (vm->handle && store_owner_alive(&vm->cluster->store, vm->name)) {
		renew_handle(vm);
		return;
	}
	backend_release(vm->handle);
	vm->handle = NULL;
	vm->ip[0] = '\0';
}

int cluster_stop_vms(struct drover_cluster *c, struct drover_vm *const vms[], size_t n,
		     const struct limits *l, struct err *e)
{
	struct stopping s = {.first = ERR_INIT};
	struct err late = ERR_INIT;
	uint64_t timeout_ms =
		l && l->timeout_ms && l->timeout_ms < STOP_ALL_MS ? l->timeout_ms : STOP_ALL_MS;

	for (size_t i = 0; i < n; i++) {
		struct drover_vm *vm = vms[i];

		ssh_close(vm->ssh);
		vm->ssh = NULL;
		if (!vm->handle)
			continue;
		if (backend_stop(vm->handle, on_stopped, &s, &late) < 0) {
			s.first = s.first.code == ERR_NONE ? late : s.first;
			continue;
		}
		s.pending++;
	}
	if (wait_loop(&c->loop, &s.pending, timeout_ms, l ? l->cancel : NULL, &late) < 0)
		s.first = s.first.code == ERR_NONE ? late : s.first;
	for (size_t i = 0; i < n; i++)
		settle_stopped(vms[i]);
	return s.first.code == ERR_NONE ? 0 : err_copy(e, &s.first);
}

/* The caller's limits ended the stop, and the helper goes on with it. */
static bool gave_up(const struct limits *l, const struct err *e)
{
	return e->code == ERR_CANCELED || (l->timeout_ms && e->code == ERR_TIMEOUT);
}

/* All members have stopped, so their helper ends. */
static void end_session(struct drover_cluster *c, const struct limits *l)
{
	if (c->helper)
		helper_await_end(&c->store, c->helper, c->session.pidfd);
	session_end(&c->session, END_MS, l->cancel);
}

int drover_cluster_stop(struct drover_cluster *c, const struct drover_call *o,
			struct drover_error *pe)
{
	struct limits l;
	struct err e = ERR_INIT;
	int r = limits_from(o, &l, &e);

	if (r < 0)
		return public_error(pe, &e, r);
	r = cluster_stop_vms(c, c->vms, c->n_vms, &l, &e);
	if (r == 0 || !gave_up(&l, &e))
		end_session(c, &l);
	return r < 0 ? public_error(pe, &e, r) : 0;
}

static int remove_members(struct drover_cluster *c, struct err *e)
{
	int r = 0;

	for (size_t i = 0; i < c->n_vms; i++) {
		struct err late = ERR_INIT;
		int removed = member_remove_locked(&c->store, c->vms[i]->name, &late);

		if (removed < 0 && r == 0)
			r = err_copy(e, &late);
	}
	return r;
}

int drover_cluster_destroy(struct drover_cluster *c, const struct drover_call *o,
			   struct drover_error *pe)
{
	struct limits l;
	struct err e = ERR_INIT;
	struct err late = ERR_INIT;
	int r = limits_read(o, &l, &e);
	int removed = 0;

	if (r == 0)
		r = cancel_check(l.cancel, &e);
	if (r == 0)
		r = cluster_stop_vms(c, c->vms, c->n_vms, &l, &e);
	if (r < 0 && gave_up(&l, &e)) {
		session_end(&c->session, 1, NULL);
	} else {
		end_session(c, &l);
		removed = remove_members(c, &late);
	}
	cluster_free(c);
	if (r == 0 && removed < 0) {
		r = removed;
		e = late;
	}
	return r < 0 ? public_error(pe, &e, r) : 0;
}

void drover_cluster_close(struct drover_cluster *c)
{
	if (!c)
		return;
	session_end(&c->session, c->detached ? 0 : CLOSE_MS, NULL);
	cluster_free(c);
}
