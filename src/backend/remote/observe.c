/* SPDX-License-Identifier: MIT */
/* News of the members: one watch stream for the cluster, or polls against a protocol-2 helper. */
#include "backend/remote/internal.h"

#include "base/scoped.h"

void settle(struct remote_vm *vm)
{
	struct err e;

	if (vm->heard == HEARD_NOTHING)
		return;
	if (vm->heard == HEARD_GONE) {
		err_set(&e, ERR_NOT_RUNNING, "member %s is not running", vm->name);
		waiters_end(&vm->on_address, NULL, &e);
		waiters_end(&vm->on_stopped, NULL, NULL);
		return;
	}
	if (strcmp(vm->state, WIRE_STATE_ERROR) == 0) {
		e = vm->error;
		if (e.code == ERR_NONE)
			err_set(&e, ERR_BOOT, "it reports no reason");
		err_prefix(&e, "member %s failed", vm->name);
		waiters_end(&vm->on_address, NULL, &e);
		waiters_end(&vm->on_stopped, NULL, &e);
	} else if (strcmp(vm->state, WIRE_STATE_RUNNING) == 0 && vm->ip[0]) {
		waiters_end(&vm->on_address, vm->ip, NULL);
	} else if (strcmp(vm->state, WIRE_STATE_STOPPED) == 0) {
		waiters_end(&vm->on_stopped, NULL, NULL);
	}
}

static struct remote_vm *find_vm(struct remote *b, const char *name)
{
	list_for_each (pos, &b->vms) {
		struct remote_vm *vm = list_entry(pos, struct remote_vm, link);

		if (strcmp(vm->name, name) == 0)
			return vm;
	}
	return NULL;
}

static void hear_status(struct remote_vm *vm, const struct member_status *s)
{
	vm->heard = HEARD_STATE;
	memcpy(vm->state, s->state, sizeof(vm->state));
	memcpy(vm->ip, s->ip, sizeof(vm->ip));
	vm->error = (struct err)ERR_INIT;
	if (s->error[0])
		err_set(&vm->error, ERR_BOOT, "%s", s->error);
	settle(vm);
}

/* Who went between two helpers is told by neither, and of a panic before the second knows nothing. */
static void hear_restart(struct remote *b)
{
	list_for_each (pos, &b->vms) {
		struct remote_vm *vm = list_entry(pos, struct remote_vm, link);

		backend_tell_guest(&vm->base, GUEST_GOES_ON, NULL);
		if (store_owner_alive(b->store, vm->name))
			continue;
		vm->heard = HEARD_GONE;
		settle(vm);
	}
}

static void hear_event(struct remote *b, const struct watch_event *ev)
{
	struct member_status s = {.name = ""};
	struct remote_vm *vm = find_vm(b, ev->member);

	if (!*ev->kind)
		return; /* its end follows */
	b->watch_tries = 0;
	if (strcmp(ev->kind, WIRE_EVENT_STATE) == 0 && vm) {
		snprintf(s.state, sizeof(s.state), "%s", ev->state);
		snprintf(s.ip, sizeof(s.ip), "%s", ev->ip);
		snprintf(s.error, sizeof(s.error), "%s", ev->error);
		hear_status(vm, &s);
	} else if (strcmp(ev->kind, WIRE_EVENT_GONE) == 0 && vm) {
		vm->heard = HEARD_GONE;
		settle(vm);
	} else if (strcmp(ev->kind, WIRE_EVENT_PANIC) == 0 && vm) {
		backend_tell_guest(&vm->base, *ev->panic ? GUEST_PANICKED : GUEST_GOES_ON,
				   ev->panic);
	} else if (strcmp(ev->kind, WIRE_EVENT_RESET) == 0 && vm) {
		backend_tell_guest(&vm->base, GUEST_RESET, NULL);
	} else if (strcmp(ev->kind, WIRE_EVENT_RESTARTED) == 0) {
		hear_restart(b);
	} else if (b->on_event && strcmp(ev->kind, WIRE_EVENT_STAGE) == 0) {
		b->on_event(b->event_arg, ev->member, ev->stage, "");
	}
}

static void lose_all(struct remote *b)
{
	watch_close(b->watch);
	b->watch = NULL;
	list_for_each (pos, &b->vms) {
		struct remote_vm *vm = list_entry(pos, struct remote_vm, link);

		vm->heard = HEARD_GONE;
		settle(vm); /* callbacks come from later turns */
	}
}

static void open_watch(struct remote *b);

/* The helper may have been killed and another taken over; when there is none, nobody is reached and all is lost. */
static void watch_again(struct remote *b)
{
	watch_close(b->watch);
	b->watch = NULL;
	if (b->watch_tries++ < WATCH_TRIES)
		open_watch(b);
	else
		lose_all(b);
}

static void on_watch(void *arg, const struct watch_event *ev)
{
	if (ev)
		hear_event(arg, ev);
	else
		watch_again(arg);
}

static void open_watch(struct remote *b)
{
	int fd = -ENOENT;

	for (size_t i = 0; i < b->known.n && fd < 0; i++)
		fd = rpc_connect(b->store, b->known.names[i]);
	if (fd < 0)
		lose_all(b);
	else if (watch_open(b->base.loop, fd, on_watch, b, &b->watch) < 0)
		watch_again(b); /* it went in between */
}

static bool wants_observation(const struct remote_vm *vm)
{
	return !list_is_empty(&vm->on_address.pending) || !list_is_empty(&vm->on_stopped.pending);
}

static void on_status(void *arg, int r, const struct reply *p, int fd, const struct err *e)
{
	struct remote_vm *vm = arg;
	struct remote *b = remote_of(vm->base.backend);

	vm->status = NULL;
	close_fd(&fd);
	if (r == 0 && p->has_status) {
		hear_status(vm, &p->status);
	} else if (e && e->code == ERR_UNREACHABLE && store_owner_alive(b->store, vm->name) == 0) {
		vm->heard = HEARD_GONE;
		settle(vm);
	}
}

/* Protocol 2 has no events: ask each member that somebody waits for, twice a second, as the reference does. */
static void on_poll(void *arg)
{
	struct remote *b = arg;
	bool again = false;

	list_for_each (pos, &b->vms) {
		struct remote_vm *vm = list_entry(pos, struct remote_vm, link);
		struct request q = {.verb = VERB_STATUS};

		if (!wants_observation(vm))
			continue;
		again = true;
		if (!vm->status)
			vm->status = member_rpc(vm, &q, STATUS_MS, on_status, vm, NULL);
	}
	if (again)
		timer_start(b->base.loop, POLL_MS, on_poll, b, &b->poll);
}

static void on_hello(void *arg, int r, const struct reply *p, int fd, const struct err *e)
{
	struct remote *b = arg;

	b->hello = NULL;
	close_fd(&fd);
	/* A protocol-2 helper closes the connection on a command that it does not know. */
	b->peer = r == 0 && json_object_get(p->root, "hello") ? PEER_WATCHABLE : PEER_PROTOCOL_2;
	if (b->peer == PEER_WATCHABLE)
		open_watch(b);
	else
		on_poll(b);
}

/* Makes sure that news of the members comes in. */
void observe(struct remote *b)
{
	struct request q = {.verb = VERB_HELLO};

	if (b->watch || b->hello || b->poll)
		return;
	if (b->peer == PEER_UNKNOWN)
		b->hello = rpc_start(b->base.loop, b->store, &b->known, &q, b->window_ms, STATUS_MS,
				     on_hello, b, NULL);
	else if (b->peer == PEER_WATCHABLE)
		open_watch(b);
	else
		on_poll(b);
}
