/* SPDX-License-Identifier: MIT */
#include "backend/cloud-hypervisor/cloud_hypervisor.h"

#include "backend/cloud-hypervisor/vm.h"
#include "base/host.h"
#include "base/kvm.h"
#include "base/scoped.h"

#include <linux/landlock.h>
#include <string.h>
#include <sys/syscall.h>

/* cloud-hypervisor asks for all of this version's rights, and starts nothing where the kernel lacks one. */
enum { LANDLOCK_ABI = 3 };

static bool has_landlock(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) >=
	       LANDLOCK_ABI;
}

static void ch_free(struct backend *b)
{
	struct ch *ch = ch_of(b);

	local_backend_done(&ch->local);
	free(ch->program);
	free(ch);
}

static const struct backend_ops ch_ops = {
	.name = "cloud-hypervisor",
	.free = ch_free,
	LOCAL_BACKEND_OPS,
};

int ch_check_kvm(struct ch *ch, struct err *e)
{
	if (local_is_by_kvm(&ch->local))
		return 0;
	return err_hint(e,
			err_set(e, ERR_HOST,
				"cloud-hypervisor runs guests by KVM only, and KVM does not run "
				"guests on this host (/dev/kvm)"),
			"use the backend qemu");
}

/* Early what can be told without waiting; the rest is for ch_check_kvm, when the first VM is made. */
static int choose_accel(struct ch *ch, struct err *e)
{
	enum accel accel;
	int r = accel_wanted(&accel, e);

	if (r < 0)
		return r;
	if (accel == ACCEL_TCG)
		return err_hint(
			e,
			err_set(e, ERR_UNSUPPORTED,
				"DROVER_ACCEL=tcg: cloud-hypervisor runs guests by KVM only"),
			"use the backend qemu");
	local_choose_accel(&ch->local, accel);
	return ch->local.kvm.state == KVM_ANSWERED ? ch_check_kvm(ch, e) : 0;
}

struct backend *cloud_hypervisor_backend_new(uv_loop_t *loop, const struct sandbox *sandbox,
					     const char *dir, struct err *e)
{
	scoped(mem) char *program = NULL;
	struct ch *ch;

	if (host_find_cloud_hypervisor(NULL, &program, e) < 0)
		return NULL;
	ch = calloc(1, sizeof(*ch));
	if (!ch) {
		err_set(e, ERR_NO_MEMORY, "out of memory");
		return NULL;
	}
	if (local_backend_init(&ch->local, &ch_ops, &ch_hypervisor, loop, sandbox, dir, e) < 0) {
		free(ch);
		return NULL;
	}
	if (choose_accel(ch, e) < 0) {
		ch_free(&ch->local.base);
		return NULL;
	}
	ch->program = take_ptr(&program);
	ch->landlock = has_landlock();
	return &ch->local.base;
}
