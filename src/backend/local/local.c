/* SPDX-License-Identifier: MIT */
#include "backend/local/local.h"

#include "backend/local/vm.h"
#include "base/host.h"
#include "loop/keeper.h"

#include <stdlib.h>
#include <string.h>

int local_backend_init(struct local_backend *l, const struct backend_ops *ops,
		       const struct hypervisor *h, uv_loop_t *loop, const struct sandbox *sandbox,
		       const char *dir, struct err *e)
{
	l->dir = strdup(dir);
	if (!l->dir)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	l->base.ops = ops;
	l->base.loop = loop;
	l->hypervisor = h;
	l->sandbox = sandbox;
	waiters_init(&l->ops, loop);
	return 0;
}

void local_choose_accel(struct local_backend *l, enum accel accel)
{
	l->accel = accel;
	if (accel == ACCEL_AUTO && keeper_restarts(local_keeper(&l->base)) == 0)
		kvm_probe_begin(&l->kvm);
}

bool local_is_by_kvm(struct local_backend *l)
{
	return l->accel == ACCEL_KVM || (l->accel == ACCEL_AUTO && kvm_probe_answer(&l->kvm));
}

void local_backend_done(struct local_backend *l)
{
	kvm_probe_done(&l->kvm);
	waiters_cancel(&l->ops);
	free(l->dir);
}

bool local_nested_virt_supported(struct backend *b)
{
	return host_nested_virt_supported();
}

bool local_supports_clustering(struct backend *b)
{
	return host_clustering_supported();
}

/* Private networks leave nothing: the kernel ends them with their helper. */
int local_reconcile(struct backend *b, backend_done *done, void *arg, struct err *e)
{
	return waiters_add_ended(&local_of(b)->ops, NULL, done, arg, e);
}
