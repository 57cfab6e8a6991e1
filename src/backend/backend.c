/* SPDX-License-Identifier: MIT */
#include "backend/backend.h"

#include <string.h>

static const char *const state_names[] = {
	[VM_UNKNOWN] = "unknown",   [VM_STOPPED] = "stopped",   [VM_STARTING] = "starting",
	[VM_RUNNING] = "running",   [VM_PAUSING] = "pausing",   [VM_PAUSED] = "paused",
	[VM_RESUMING] = "resuming", [VM_STOPPING] = "stopping", [VM_ERROR] = "error",
};

const char *vm_state_name(enum vm_state s)
{
	if ((unsigned)s >= sizeof(state_names) / sizeof(state_names[0]))
		return state_names[VM_UNKNOWN];
	return state_names[s];
}

static int cannot(struct backend *b, const char *what, struct err *e)
{
	return err_set(e, ERR_UNSUPPORTED, "backend '%s' cannot %s", b->ops->name, what);
}

void backend_free(struct backend *b)
{
	if (b)
		b->ops->free(b);
}

bool backend_nested_virt_supported(struct backend *b)
{
	return b->ops->nested_virt_supported(b);
}

bool backend_supports_clustering(struct backend *b)
{
	return b->ops->supports_clustering(b);
}

int backend_reconcile(struct backend *b, backend_done *done, void *arg, struct err *e)
{
	return b->ops->reconcile(b, done, arg, e);
}

int backend_create_network(struct backend *b, const struct network_config *c,
			   backend_network_done *done, void *arg, struct err *e)
{
	return b->ops->create_network(b, c, done, arg, e);
}

void backend_close_network(struct backend_network *net, backend_done *done, void *arg)
{
	net->backend->ops->close_network(net, done, arg);
}

const char *backend_subnet(struct backend_network *net)
{
	return net->backend->ops->subnet(net);
}

int backend_reserve(struct backend_network *net, const char *name, const char *ip_hint,
		    backend_reserve_done *done, void *arg, struct err *e)
{
	return net->backend->ops->reserve(net, name, ip_hint, done, arg, e);
}

int backend_create(struct backend *b, struct backend_network *net, const struct vm_spec *spec,
		   const struct reservation *res, struct backend_vm **ret, struct err *e)
{
	return b->ops->create(b, net, spec, res, ret, e);
}

int backend_start(struct backend_vm *vm, backend_done *done, void *arg, struct err *e)
{
	return vm->backend->ops->start(vm, done, arg, e);
}

int backend_stop(struct backend_vm *vm, backend_done *done, void *arg, struct err *e)
{
	return vm->backend->ops->stop(vm, done, arg, e);
}

int backend_state(struct backend_vm *vm, backend_state_done *done, void *arg, struct err *e)
{
	return vm->backend->ops->state(vm, done, arg, e);
}

int backend_wait(struct backend_vm *vm, uint64_t timeout_ms, backend_done *done, void *arg,
		 struct err *e)
{
	return vm->backend->ops->wait(vm, timeout_ms, done, arg, e);
}

int backend_wait_address(struct backend_vm *vm, uint64_t timeout_ms, backend_address_done *done,
			 void *arg, struct err *e)
{
	return vm->backend->ops->wait_address(vm, timeout_ms, done, arg, e);
}

void backend_release(struct backend_vm *vm)
{
	if (vm)
		vm->backend->ops->release(vm);
}

int backend_kill(struct backend_vm *vm, backend_done *done, void *arg, struct err *e)
{
	if (!vm->backend->ops->kill)
		return cannot(vm->backend, "cut the power", e);
	return vm->backend->ops->kill(vm, done, arg, e);
}

int backend_pause(struct backend_vm *vm, backend_done *done, void *arg, struct err *e)
{
	if (!vm->backend->ops->pause)
		return cannot(vm->backend, "pause", e);
	return vm->backend->ops->pause(vm, done, arg, e);
}

int backend_resume(struct backend_vm *vm, backend_done *done, void *arg, struct err *e)
{
	if (!vm->backend->ops->resume)
		return cannot(vm->backend, "resume", e);
	return vm->backend->ops->resume(vm, done, arg, e);
}

int backend_save(struct backend_vm *vm, const char *point, backend_done *done, void *arg,
		 struct err *e)
{
	if (!vm->backend->ops->save)
		return cannot(vm->backend, "save a point", e);
	return vm->backend->ops->save(vm, point, done, arg, e);
}

int backend_load(struct backend_vm *vm, const char *point, backend_done *done, void *arg,
		 struct err *e)
{
	if (!vm->backend->ops->load)
		return cannot(vm->backend, "load a point", e);
	return vm->backend->ops->load(vm, point, done, arg, e);
}

int backend_drop(struct backend_vm *vm, const char *point, backend_done *done, void *arg,
		 struct err *e)
{
	if (!vm->backend->ops->drop)
		return cannot(vm->backend, "drop a point", e);
	return vm->backend->ops->drop(vm, point, done, arg, e);
}

int backend_points(struct backend_vm *vm, backend_points_done *done, void *arg, struct err *e)
{
	if (!vm->backend->ops->points)
		return cannot(vm->backend, "keep points", e);
	return vm->backend->ops->points(vm, done, arg, e);
}

int backend_capture(struct backend_vm *vm, const char *memory_path, const char *disk_path,
		    backend_done *done, void *arg, struct err *e)
{
	if (!vm->backend->ops->capture)
		return cannot(vm->backend, "fork a running VM", e);
	return vm->backend->ops->capture(vm, memory_path, disk_path, done, arg, e);
}

int backend_capture_ahead(struct backend_vm *vm, const char *memory_path, const char *disk_path,
			  backend_done *done, void *arg, struct err *e)
{
	if (!vm->backend->ops->capture_ahead)
		return cannot(vm->backend, "fork a running VM", e);
	return vm->backend->ops->capture_ahead(vm, memory_path, disk_path, done, arg, e);
}

int backend_point_check(const char *point, struct err *e)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789-.";
	size_t len = strlen(point);

	if (len >= 1 && len < POINT_SIZE && strspn(point, allowed) == len)
		return 0;
	return err_set(e, ERR_BAD_NAME, "a point's name is 1 to %d of a-z, 0-9, '-' and '.'",
		       POINT_SIZE - 1);
}

int backend_adopt(struct backend *b, struct backend_network *net, const struct vm_spec *spec,
		  const struct reservation *res, struct backend_vm **ret, backend_done *done,
		  void *arg, struct err *e)
{
	if (!b->ops->adopt)
		return cannot(b, "take over a VM", e);
	return b->ops->adopt(b, net, spec, res, ret, done, arg, e);
}

int backend_dial(struct backend_vm *vm, uint16_t port, uint64_t timeout_ms, backend_dial_done *done,
		 void *arg, struct err *e)
{
	if (!vm->backend->ops->dial)
		return cannot(vm->backend, "dial a guest", e);
	return vm->backend->ops->dial(vm, port, timeout_ms, done, arg, e);
}

int backend_console(struct backend_vm *vm, backend_dial_done *done, void *arg, struct err *e)
{
	if (!vm->backend->ops->console)
		return cannot(vm->backend, "open a console", e);
	return vm->backend->ops->console(vm, done, arg, e);
}

int backend_stats(struct backend_vm *vm, backend_stats_done *done, void *arg, struct err *e)
{
	if (!vm->backend->ops->stats)
		return cannot(vm->backend, "count", e);
	return vm->backend->ops->stats(vm, done, arg, e);
}

const char *backend_panic(struct backend_vm *vm)
{
	return vm && vm->backend->ops->panic ? vm->backend->ops->panic(vm) : NULL;
}

void backend_abandon(struct backend_vm *vm)
{
	if (vm && vm->backend->ops->abandon)
		vm->backend->ops->abandon(vm);
}

void backend_on_guest(struct backend_vm *vm, backend_guest_fn *fn, void *arg)
{
	vm->on_guest = fn;
	vm->guest_arg = arg;
}

void backend_tell_guest(struct backend_vm *vm, enum guest_news news, const char *line)
{
	if (vm->on_guest)
		vm->on_guest(vm->guest_arg, news, line ? line : "");
}
