/* SPDX-License-Identifier: MIT */
#include "backend/qemu/qemu.h"

#include "backend/qemu/vm.h"
#include "base/kvm.h"

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
	if (local_backend_init(&q->local, &qemu_ops, &qemu_hypervisor, loop, sandbox, dir, e) < 0) {
		free(q);
		return NULL;
	}
	q->accel = accel;
	return &q->local.base;
}
