/* SPDX-License-Identifier: MIT */
/* Questions to a VM. Each is in the VM's list until it is answered, with the next turn of the loop at the earliest. */
#include "backend/local/vm.h"

#include "backend/local/stats.h"
#include "base/scoped.h"

#include <string.h>

struct op {
	struct list link;
	struct local_vm *vm;
	struct timer *turn; /* set: the answer is known and due */
	struct dialer *dialer;
	backend_state_done *state; /* one of the three */
	backend_dial_done *dialed;
	backend_stats_done *stats;
	void *arg;
	int fd;
	bool asked; /* of the hypervisor: vm_answer_stats will come unless the VM ends before */
	struct vm_stats values;
	struct err e; /* code ERR_NONE: success */
};

/* Calls back and frees. The VM may be gone afterwards. */
static void op_call(struct op *op)
{
	bool failed = op->e.code != ERR_NONE;
	int r = failed ? err_code_number(op->e.code) : 0;
	const struct err *e = failed ? &op->e : NULL;

	list_remove(&op->link);
	timer_stop(&op->turn);
	dialer_cancel(op->dialer);
	if (failed)
		close_fd(&op->fd);
	if (op->state)
		op->state(op->arg, op->vm->state);
	else if (op->dialed)
		op->dialed(op->arg, r, op->fd, e);
	else
		op->stats(op->arg, r, failed ? NULL : &op->values, e);
	free(op);
}

static void on_turn(void *arg)
{
	op_call(arg);
}

static int make_due(struct op *op)
{
	if (!op->turn && !timer_start(op->vm->base.backend->loop, 0, on_turn, op, &op->turn))
		return -ENOMEM;
	return 0;
}

static struct op *op_new(struct local_vm *vm, void *arg, struct err *e)
{
	struct op *op = calloc(1, sizeof(*op));

	if (!op) {
		err_set(e, ERR_NO_MEMORY, "out of memory");
		return NULL;
	}
	op->vm = vm;
	op->arg = arg;
	op->fd = -1;
	list_append(&vm->questions, &op->link);
	return op;
}

static int op_drop(struct op *op, struct err *e)
{
	list_remove(&op->link);
	close_fd(&op->fd);
	free(op);
	return err_set(e, ERR_NO_MEMORY, "out of memory");
}

void ops_fail(struct local_vm *vm, const struct err *e)
{
	list_for_each (pos, &vm->questions) {
		struct op *op = list_entry(pos, struct op, link);

		if (op->turn)
			continue;
		dialer_cancel(op->dialer);
		op->dialer = NULL;
		op->e = *e;
		make_due(op);
	}
}

void ops_cancel(struct local_vm *vm)
{
	while (!list_is_empty(&vm->questions)) {
		struct op *op = list_entry(vm->questions.next, struct op, link);

		err_set(&op->e, ERR_CANCELED, "canceled");
		op_call(op);
	}
}

/* One that only a VM answers of which @can is true. */
static int op_begin(struct local_vm *vm, bool can, void *arg, struct op **ret, struct err *e)
{
	if (!can)
		return err_set(e, ERR_NOT_RUNNING, "%s is %s", vm->spec.name,
			       vm_state_name(vm->state));
	*ret = op_new(vm, arg, e);
	return *ret ? 0 : -ENOMEM;
}

int op_state(struct backend_vm *base, backend_state_done *done, void *arg, struct err *e)
{
	struct op *op = op_new(local_vm_of(base), arg, e);

	if (!op)
		return -ENOMEM;
	op->state = done;
	return make_due(op) < 0 ? op_drop(op, e) : 0;
}

int op_console(struct backend_vm *base, backend_dial_done *done, void *arg, struct err *e)
{
	struct local_vm *vm = local_vm_of(base);
	struct op *op = NULL;
	int r = op_begin(vm, vm->console, arg, &op, e);

	if (!op)
		return r;
	op->dialed = done;
	r = console_attach(vm->console, &op->fd, e);
	if (r < 0 || make_due(op) < 0) {
		op_drop(op, r < 0 ? NULL : e);
		return r < 0 ? r : -ENOMEM;
	}
	return 0;
}

static void on_dialed(void *arg, int r, int fd)
{
	struct op *op = arg;
	struct local_vm *vm = op->vm;

	op->dialer = NULL;
	op->fd = fd;
	if (r == -ETIMEDOUT)
		err_set(&op->e, ERR_TIMEOUT, "%s (%s) did not answer in time", vm->spec.name,
			vm->res.ip);
	else if (r < 0)
		err_set(&op->e, ERR_UNREACHABLE, "%s (%s): %s", vm->spec.name, vm->res.ip,
			strerror(-r));
	op_call(op); /* this is the loop's turn */
}

int op_dial(struct backend_vm *base, uint16_t port, uint64_t timeout_ms, backend_dial_done *done,
	    void *arg, struct err *e)
{
	struct local_vm *vm = local_vm_of(base);
	struct op *op = NULL;
	int r = op_begin(vm, vm_is_up(vm), arg, &op, e);

	if (!op)
		return r;
	op->dialed = done;
	op->fd = port == SSH_PORT ? vm_take_greeted(vm) : -1;
	if (op->fd >= 0)
		return make_due(op) < 0 ? op_drop(op, e) : 0;
	r = dialer_start(base->backend->loop, vm->res.ip, port, timeout_ms, on_dialed, op,
			 &op->dialer, e);
	if (r < 0)
		op_drop(op, NULL);
	return r;
}

/* By the VM, not by the question: that may have been canceled meanwhile. */
void vm_answer_stats(struct local_vm *vm, const struct vm_stats *disks)
{
	list_for_each (pos, &vm->questions) {
		struct op *op = list_entry(pos, struct op, link);

		if (!op->asked || op->turn)
			continue;
		op->values = (struct vm_stats){
			-1, -1, disks->disk_read_bytes, disks->disk_written_bytes, -1, -1};
		stats_of_process(child_pid(vm->child), &op->values);
		stats_of_tap(vm->ifname, &op->values);
		make_due(op);
		return; /* replies come in the order of the questions */
	}
}

int op_stats(struct backend_vm *base, backend_stats_done *done, void *arg, struct err *e)
{
	struct local_vm *vm = local_vm_of(base);
	struct op *op = NULL;
	int r = op_begin(vm, vm_is_up(vm), arg, &op, e);

	if (!op)
		return r;
	op->stats = done;
	op->asked = true;
	r = vm->hypervisor->ask_stats(vm);
	if (r < 0) {
		op_drop(op, NULL);
		return err_set(e, ERR_NOT_RUNNING, "%s does not run any more", vm->spec.name);
	}
	return 0;
}
