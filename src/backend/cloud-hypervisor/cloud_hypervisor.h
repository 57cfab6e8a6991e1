/* SPDX-License-Identifier: MIT */
/*
 * VMs by cloud-hypervisor, on a private network, inside the helper's own namespaces. They run by KVM or not at all.
 *
 * Environment:
 *   DROVER_HYPERVISOR=PATH   the program; by default `cloud-hypervisor` of PATH
 *   DROVER_ACCEL=auto|kvm    kvm: without asking whether KVM really runs guests here
 */
#ifndef DROVER_BACKEND_CLOUD_HYPERVISOR_H
#define DROVER_BACKEND_CLOUD_HYPERVISOR_H

#include "backend/backend.h"

struct sandbox;

/*
 * @sandbox is borrowed for the backend's life. @dir is for sockets and the network's files: private to this helper, made
 * when the network is. NULL with @e set: the program is not there, or KVM is not usable, or out of memory.
 */
struct backend *cloud_hypervisor_backend_new(uv_loop_t *loop, const struct sandbox *sandbox,
					     const char *dir, struct err *e);

#endif
