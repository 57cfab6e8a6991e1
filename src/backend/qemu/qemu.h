/* SPDX-License-Identifier: MIT */
/*
 * VMs by QEMU, on a private network, all inside the helper's own namespaces: every guest can be reached by connect().
 *
 * Environment, read once by qemu_backend_new:
 *   DROVER_ACCEL=auto|kvm|tcg   how guests run (default auto: KVM when it really works, else QEMU's translator)
 */
#ifndef DROVER_BACKEND_QEMU_H
#define DROVER_BACKEND_QEMU_H

#include "backend/backend.h"

struct sandbox;

/*
 * @sandbox is borrowed for the backend's life. @dir is for the network's files: private to this helper, made when the
 * network is. NULL with @e set: out of memory, or DROVER_ACCEL is wrong.
 */
struct backend *qemu_backend_new(uv_loop_t *loop, const struct sandbox *sandbox, const char *dir,
				 struct err *e);

#endif
