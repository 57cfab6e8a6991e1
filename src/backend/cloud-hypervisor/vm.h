/* SPDX-License-Identifier: MIT */
/*
 * What the files of this folder share. cloud_hypervisor.c: the backend; vm.c: what a VM is to cloud-hypervisor; config.c:
 * how it is told what to run; local/vm.h has a VM's life.
 */
#ifndef DROVER_BACKEND_CLOUD_HYPERVISOR_VM_H
#define DROVER_BACKEND_CLOUD_HYPERVISOR_VM_H

#include "backend/cloud-hypervisor/events.h"
#include "backend/cloud-hypervisor/rest.h"
#include "backend/local/vm.h"

struct ch {
	struct local_backend local;
	char *program;
	bool landlock; /* the kernel has what cloud-hypervisor asks of it */
};

struct ch_vm {
	struct local_vm; /* its fields are this one's */
	struct rest *rest;
	struct events *events;
	char *api_path; /* the REST socket; NULL when there is none */
	char *line_dir; /* the folder of the serial line's socket, and of nothing else */
	char *serial_path; /* that socket, which cloud-hypervisor makes, anew after each reset of the guest */
	const char *firmware; /* for a guest without a kernel of its own, static; NULL else */
	bool has_tap;
};

static inline struct ch *ch_of(struct backend *b)
{
	return container_of(local_of(b), struct ch, local);
}

static inline struct ch_vm *ch_vm_of(struct local_vm *vm)
{
	return container_of(&vm->base, struct ch_vm, base);
}

/* cloud_hypervisor.c: waits for the answer whether KVM runs guests here. 0, or < 0 with the sentence that it does not. */
int ch_check_kvm(struct ch *ch, struct err *e);

/* vm.c */
extern const struct hypervisor ch_hypervisor;

/*
 * config.c: the body of vm.create. Reads the credentials and, for Landlock, the names of the disk's backing files. NULL
 * with @e set.
 */
json_t *config_make(const struct ch_vm *vm, bool landlock, struct err *e);

#endif
