/* SPDX-License-Identifier: MIT */
/*
 * What backends share whose VMs are child processes of this one, on a network of this host. A backend embeds struct
 * local_backend as its first member and takes LOCAL_BACKEND_OPS (vm.h) into its table.
 */
#ifndef DROVER_BACKEND_LOCAL_H
#define DROVER_BACKEND_LOCAL_H

#include "backend/backend.h"
#include "backend/waiter.h"
#include "base/kvm.h"
#include "base/list.h"

struct hypervisor;
struct sandbox;

struct local_backend {
	struct backend base;
	const struct hypervisor *hypervisor;
	const struct sandbox *sandbox;
	char *dir;
	struct waiters ops; /* end with the next turn */
	enum accel accel;
	struct kvm_probe kvm; /* of ACCEL_AUTO */
};

static inline struct local_backend *local_of(struct backend *b)
{
	return container_of(b, struct local_backend, base);
}

/*
 * @h is static; @sandbox is borrowed for the backend's life. @dir is for the network's files: private to this helper, made when the
 * network is. 0, or < 0 with @e (out of memory).
 */
int local_backend_init(struct local_backend *l, const struct backend_ops *ops,
		       const struct hypervisor *h, uv_loop_t *loop, const struct sandbox *sandbox,
		       const char *dir, struct err *e);
void local_backend_done(struct local_backend *l);
/*
 * By what guests are to run. ACCEL_AUTO: begins to find out whether KVM runs them here, so that it is known when the first
 * VM is started; network and disks are made meanwhile. Not in a helper that follows another, whose VMs run.
 */
void local_choose_accel(struct local_backend *l, enum accel accel);
/* Whether guests run by KVM; may block for what is left of kvm_is_usable's time. */
bool local_is_by_kvm(struct local_backend *l);

/* The operations of the contract that need no VM; network.h has the others. */
bool local_nested_virt_supported(struct backend *b);
bool local_supports_clustering(struct backend *b);
int local_reconcile(struct backend *b, backend_done *done, void *arg, struct err *e);

#endif
