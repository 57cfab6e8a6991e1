/* SPDX-License-Identifier: MIT */
#include "backend/qemu/qemu.h"

#include "backend/qemu/uring.h"
#include "backend/qemu/vm.h"
#include "base/files.h"
#include "base/scoped.h"

#include <stdlib.h>

static bool can_use_uring(void)
{
	scoped(mem) char *program = files_find_program(QEMU_PROGRAM);

	return program && uring_in_program(program) && uring_in_kernel();
}

struct qemu_ways qemu_ways(struct qemu *q)
{
	if (!q->asked_uring)
		q->uring = can_use_uring();
	q->asked_uring = true;
	return (struct qemu_ways){.kvm = local_is_by_kvm(&q->local), .uring = q->uring};
}

static void qemu_free(struct backend *b)
{
	struct qemu *q = qemu_of(b);

	local_backend_done(&q->local);
	free(q);
}

static const struct backend_ops qemu_ops = {
	.name = "qemu",
	.free = qemu_free,
	LOCAL_BACKEND_OPS,
	.save = point_save,
	.load = point_load,
	.drop = point_drop,
	.points = point_list,
	.capture = memory_capture,
	.capture_ahead = memory_capture_ahead,
	.abandon = qemu_vm_abandon,
};

struct backend *qemu_backend_new(uv_loop_t *loop, const struct sandbox *sandbox, const char *dir,
				 struct err *e)
{
	struct qemu *q;
	enum accel accel = ACCEL_AUTO;

	if (accel_wanted(&accel, e) < 0)
		return NULL;
	q = calloc(1, sizeof(*q));
	if (!q) {
		err_set(e, ERR_NO_MEMORY, "out of memory");
		return NULL;
	}
	if (local_backend_init(&q->local, &qemu_ops, &qemu_hypervisor, loop, sandbox, dir, e) < 0) {
		free(q);
		return NULL;
	}
	local_choose_accel(&q->local, accel);
	return &q->local.base;
}
