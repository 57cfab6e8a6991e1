/* SPDX-License-Identifier: MIT */
#include "backend/qemu/qemu.h"

#include "backend/qemu/vm.h"
#include "base/files.h"
#include "base/host.h"
#include "base/kvm.h"
#include "base/scoped.h"

#include <string.h>

bool qemu_use_kvm(struct qemu *q)
{
	if (q->accel == ACCEL_AUTO)
		q->accel = kvm_is_usable() ? ACCEL_KVM : ACCEL_TCG;
	return q->accel == ACCEL_KVM;
}

static void qemu_free(struct backend *b)
{
	struct qemu *q = qemu_of(b);

	local_backend_done(&q->local);
	free(q);
}

static int check_program(struct err *e)
{
	scoped(mem) char *path = files_find_program(QEMU_PROGRAM);

	return path ? 0
		    : err_hint(e, err_set(e, ERR_MISSING_PROGRAM, QEMU_PROGRAM " is not installed"),
			       "apt-get install qemu-system-x86");
}

/* With what is QEMU's own. */
static struct qemu_vm *new_vm(struct backend *b)
{
	struct qemu_vm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return NULL;
	waiters_init(&vm->points, b->loop);
	waiters_init(&vm->captures, b->loop);
	list_init(&vm->listings);
	vm->memory_fd = -1;
	return vm;
}

static int create(struct backend *b, struct backend_network *net, const struct vm_spec *spec,
		  const struct reservation *res, struct backend_vm **ret, struct err *e)
{
	struct qemu_vm *vm = new_vm(b);
	const char *code;
	const char *variables;
	int r;

	if (!vm)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	r = vm_init(local_vm_of(&vm->base), &qemu_hypervisor, b, net, spec, res, e);
	if (r < 0) {
		free(vm);
		return r;
	}
	r = check_program(e);
	if (r == 0)
		r = shares_check(&vm->spec, e);
	if (r == 0 && spec->efi_path && !spec->kernel_path)
		r = host_find_uefi(&code, &variables, e);
	if (r < 0)
		vm_release(&vm->base);
	else
		*ret = &vm->base;
	return r;
}

static int adopt(struct backend *b, struct backend_network *net, const struct vm_spec *spec,
		 const struct reservation *res, struct backend_vm **ret, backend_done *done,
		 void *arg, struct err *e)
{
	struct qemu_vm *vm = new_vm(b);

	if (!vm)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	return vm_adopt(local_vm_of(&vm->base), &qemu_hypervisor, b, net, spec, res, ret, done, arg,
			e);
}

static const struct backend_ops qemu_ops = {
	.name = "qemu",
	.free = qemu_free,
	LOCAL_BACKEND_OPS,
	.create = create,
	.save = point_save,
	.load = point_load,
	.drop = point_drop,
	.points = point_list,
	.adopt = adopt,
	.capture = memory_capture,
	.capture_ahead = memory_capture_ahead,
	.abandon = qemu_vm_abandon,
};

static int read_accel(enum accel *ret, struct err *e)
{
	const char *text = getenv("DROVER_ACCEL");

	if (!text || !*text || strcmp(text, "auto") == 0)
		*ret = ACCEL_AUTO;
	else if (strcmp(text, "kvm") == 0)
		*ret = ACCEL_KVM;
	else if (strcmp(text, "tcg") == 0)
		*ret = ACCEL_TCG;
	else
		return err_set(e, ERR_INVALID, "DROVER_ACCEL: '%s' is none of auto, kvm, tcg",
			       text);
	return 0;
}

struct backend *qemu_backend_new(uv_loop_t *loop, const struct sandbox *sandbox, const char *dir,
				 struct err *e)
{
	struct qemu *q;
	enum accel accel = ACCEL_AUTO;

	if (read_accel(&accel, e) < 0)
		return NULL;
	q = calloc(1, sizeof(*q));
	if (!q) {
		err_set(e, ERR_NO_MEMORY, "out of memory");
		return NULL;
	}
	if (local_backend_init(&q->local, &qemu_ops, loop, sandbox, dir, e) < 0) {
		free(q);
		return NULL;
	}
	q->accel = accel;
	return &q->local.base;
}
