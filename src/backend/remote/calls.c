/* SPDX-License-Identifier: MIT */
/* The operations on one VM that are one request and one reply. */
#include "backend/remote/internal.h"

#include "base/scoped.h"

/* A request about one VM; it is in the VM's list until it ends, so that release can end it. */
struct vm_call {
	struct list link;
	struct rpc *rpc;
	struct remote_vm *vm;
	backend_done *done; /* exactly one of these */
	backend_dial_done *dialed;
	backend_state_done *state;
	backend_stats_done *stats;
	backend_points_done *points;
	void *arg;
	bool is_boot;
};

static void call_finish(struct vm_call *c, int r, const struct reply *p, int fd,
			const struct err *e);

static void on_call(void *arg, int r, const struct reply *p, int fd, const struct err *e)
{
	struct vm_call *c = arg;

	c->rpc = NULL;
	call_finish(c, r, p, fd, e);
}

static int call_start(struct remote_vm *vm, const struct vm_call *template, const struct request *q,
		      uint64_t timeout_ms, struct err *e)
{
	struct vm_call *c = malloc(sizeof(*c));

	if (!c)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	*c = *template;
	c->vm = vm;
	list_append(&vm->calls, &c->link);
	c->rpc = member_rpc(vm, q, timeout_ms, on_call, c, e);
	if (c->rpc)
		return 0;
	list_remove(&c->link);
	free(c);
	return -ENOMEM;
}

static enum vm_state map_state(const char *word)
{
	if (strcmp(word, WIRE_STATE_RUNNING) == 0)
		return VM_RUNNING;
	if (strcmp(word, WIRE_STATE_STARTING) == 0 || strcmp(word, WIRE_STATE_DOWNLOADING) == 0)
		return VM_STARTING;
	if (strcmp(word, WIRE_STATE_PAUSED) == 0)
		return VM_PAUSED;
	if (strcmp(word, WIRE_STATE_STOPPING) == 0)
		return VM_STOPPING;
	if (strcmp(word, WIRE_STATE_ERROR) == 0)
		return VM_ERROR;
	return VM_STOPPED;
}

/* Whoever has gone has stopped; of who is there and says nothing, nobody knows. */
static enum vm_state state_told(int r, const struct reply *p, const struct err *e)
{
	if (r == 0 && p->has_status)
		return map_state(p->status.state);
	return r < 0 && e->code == ERR_TIMEOUT ? VM_UNKNOWN : VM_STOPPED;
}

static int64_t stat_of(json_t *one, const char *key)
{
	json_t *value = json_object_get(one, key);

	return json_is_integer(value) ? json_integer_value(value) : -1;
}

const char *remote_stats_row(const struct reply *p, size_t i, struct vm_stats *ret)
{
	json_t *rows = json_object_get(json_object_get(p->root, "stats"), "members");
	json_t *one = json_array_get(rows, i);
	const char *name = json_string_value(json_object_get(one, "name"));

	*ret = (struct vm_stats){
		.cpu_ms = stat_of(one, "cpu_ms"),
		.memory_bytes = stat_of(one, "memory_bytes"),
		.disk_read_bytes = stat_of(one, "disk_read_bytes"),
		.disk_written_bytes = stat_of(one, "disk_written_bytes"),
		.net_received_bytes = stat_of(one, "net_received_bytes"),
		.net_sent_bytes = stat_of(one, "net_sent_bytes"),
	};
	return one && !name ? "" : name;
}

/* This VM's row of a stats reply. */
static void read_stats(const struct reply *p, const char *name, struct vm_stats *ret)
{
	const char *found;

	for (size_t i = 0; (found = remote_stats_row(p, i, ret)); i++)
		if (strcmp(found, name) == 0)
			return;
}

static void finish_stats(struct vm_call *c, int r, const struct reply *p, const struct err *e)
{
	struct vm_stats stats;

	if (r < 0) {
		c->stats(c->arg, r, NULL, e);
		return;
	}
	read_stats(p, c->vm->name, &stats);
	c->stats(c->arg, 0, &stats, NULL);
}

static void finish_dial(struct vm_call *c, int r, int fd, const struct err *e)
{
	struct err none;

	if (r == 0 && fd < 0) {
		r = err_set(&none, ERR_PROTOCOL, "the helper passed no descriptor");
		e = &none;
	}
	c->dialed(c->arg, r, r < 0 ? -1 : fd, r < 0 ? e : NULL);
}

static void finish_points(struct vm_call *c, int r, const struct reply *p, const struct err *e)
{
	struct point *points = NULL;
	size_t n = 0;
	struct err bad = ERR_INIT;

	if (r == 0) {
		r = reply_take_points(p, &points, &n, &bad);
		e = &bad;
	}
	c->points(c->arg, r, r < 0 ? NULL : points, n, r < 0 ? e : NULL);
	free(points);
}

static void call_finish(struct vm_call *c, int r, const struct reply *p, int fd,
			const struct err *e)
{
	list_remove(&c->link);
	if (c->is_boot) {
		c->vm->booting = false;
		departures_boot_answered(c->vm, r == 0);
	}
	if (c->dialed)
		finish_dial(c, r, fd, e);
	else
		close_fd(&fd);
	if (c->state)
		c->state(c->arg, state_told(r, p, e));
	if (c->stats)
		finish_stats(c, r, p, e);
	if (c->points)
		finish_points(c, r, p, e);
	if (c->done)
		c->done(c->arg, r, e);
	free(c);
}

int remote_start(struct backend_vm *base, backend_done *done, void *arg, struct err *e)
{
	struct remote_vm *vm = vm_of(base);
	struct remote *b = remote_of(base->backend);
	struct request q = {.verb = VERB_BOOT_MEMBER};
	struct vm_call *c;

	if (!vm->spec.name)
		return err_set(e, ERR_INVALID, "member %s was attached to, not created", vm->name);
	c = calloc(1, sizeof(*c));
	if (!c)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	q.spec = vm->spec; /* borrowed: only encoded */
	*c = (struct vm_call){.vm = vm, .done = done, .arg = arg, .is_boot = true};
	vm->heard = HEARD_NOTHING;
	list_append(&vm->calls, &c->link);
	c->rpc = rpc_start(base->backend->loop, b->store, &b->known, &q, b->window_ms, BOOT_MS,
			   on_call, c, e);
	vm->booting = c->rpc != NULL;
	if (c->rpc)
		return 0;
	list_remove(&c->link);
	free(c);
	return -ENOMEM;
}

int remote_state(struct backend_vm *base, backend_state_done *done, void *arg, struct err *e)
{
	struct request q = {.verb = VERB_STATUS};

	return call_start(vm_of(base), &(struct vm_call){.state = done, .arg = arg}, &q, STATUS_MS,
			  e);
}

int remote_wait(struct backend_vm *base, uint64_t timeout_ms, backend_done *done, void *arg,
		struct err *e)
{
	struct remote_vm *vm = vm_of(base);
	int r = waiters_add(&vm->on_stopped, done, arg, timeout_ms, "the VM did not stop in time",
			    e);

	if (r == 0) {
		observe(remote_of(base->backend));
		settle(vm);
	}
	return r;
}

int remote_wait_address(struct backend_vm *base, uint64_t timeout_ms, backend_address_done *done,
			void *arg, struct err *e)
{
	struct remote_vm *vm = vm_of(base);
	int r = waiters_add_address(&vm->on_address, done, arg, timeout_ms,
				    "the VM had no address in time", e);

	if (r == 0) {
		observe(remote_of(base->backend));
		settle(vm);
	}
	return r;
}

static int call_done(struct backend_vm *base, enum verb verb, backend_done *done, void *arg,
		     struct err *e)
{
	struct request q = {.verb = verb};

	return call_start(vm_of(base), &(struct vm_call){.done = done, .arg = arg}, &q, CALL_MS, e);
}

int remote_kill(struct backend_vm *base, backend_done *done, void *arg, struct err *e)
{
	return call_done(base, VERB_KILL, done, arg, e);
}

int remote_pause(struct backend_vm *base, backend_done *done, void *arg, struct err *e)
{
	return call_done(base, VERB_PAUSE, done, arg, e);
}

int remote_resume(struct backend_vm *base, backend_done *done, void *arg, struct err *e)
{
	return call_done(base, VERB_RESUME, done, arg, e);
}

static int call_point(struct backend_vm *base, enum verb verb, const char *point,
		      backend_done *done, void *arg, struct err *e)
{
	char name[NAME_SIZE];
	struct request q = {.verb = verb, .point = name};
	int r = name_check(point, e);

	if (r < 0)
		return r;
	snprintf(name, sizeof(name), "%s", point);
	return call_start(vm_of(base), &(struct vm_call){.done = done, .arg = arg}, &q, POINT_MS,
			  e);
}

int remote_save(struct backend_vm *base, const char *point, backend_done *done, void *arg,
		struct err *e)
{
	return call_point(base, VERB_SAVE, point, done, arg, e);
}

int remote_load(struct backend_vm *base, const char *point, backend_done *done, void *arg,
		struct err *e)
{
	return call_point(base, VERB_LOAD, point, done, arg, e);
}

int remote_drop(struct backend_vm *base, const char *point, backend_done *done, void *arg,
		struct err *e)
{
	return call_point(base, VERB_DROP, point, done, arg, e);
}

int remote_points(struct backend_vm *base, backend_points_done *done, void *arg, struct err *e)
{
	struct request q = {.verb = VERB_POINTS};

	return call_start(vm_of(base), &(struct vm_call){.points = done, .arg = arg}, &q, CALL_MS,
			  e);
}

int remote_dial(struct backend_vm *base, uint16_t port, uint64_t timeout_ms,
		backend_dial_done *done, void *arg, struct err *e)
{
	struct request q = {.verb = VERB_DIAL, .port = port};

	return call_start(vm_of(base), &(struct vm_call){.dialed = done, .arg = arg}, &q,
			  timeout_ms, e);
}

int remote_console(struct backend_vm *base, backend_dial_done *done, void *arg, struct err *e)
{
	struct request q = {.verb = VERB_CONSOLE};

	return call_start(vm_of(base), &(struct vm_call){.dialed = done, .arg = arg}, &q, CALL_MS,
			  e);
}

int remote_stats(struct backend_vm *base, backend_stats_done *done, void *arg, struct err *e)
{
	struct request q = {.verb = VERB_STATS};

	return call_start(vm_of(base), &(struct vm_call){.stats = done, .arg = arg}, &q, CALL_MS,
			  e);
}

void calls_cancel(struct remote_vm *vm, const struct err *canceled)
{
	while (!list_is_empty(&vm->calls)) {
		struct vm_call *c = list_entry(vm->calls.next, struct vm_call, link);

		rpc_cancel(c->rpc);
		call_finish(c, -ECANCELED, NULL, -1, canceled);
	}
}
