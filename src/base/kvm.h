/* SPDX-License-Identifier: MIT */
/* Whether guests run by KVM on this host, and by what they are wanted to run. */
#ifndef DROVER_BASE_KVM_H
#define DROVER_BASE_KVM_H

#include <stdbool.h>

struct err;

/*
 * Whether KVM runs real guests here. /dev/kvm alone does not say so: some hosts' KVM interprets the guest's kernel in
 * software, slowly and incompletely. Blocks: some ms, 100 at most (3 s inside a translated VM, which is slow itself).
 */
bool kvm_is_usable(void);

/* $DROVER_ACCEL: auto (the default: KVM where it is usable, else QEMU's translator), kvm or tcg. */
enum accel { ACCEL_AUTO, ACCEL_KVM, ACCEL_TCG };
/* < 0: it is none of them (ERR_INVALID). */
int accel_wanted(enum accel *ret, struct err *e);
/* Whether that is KVM here. Of ACCEL_AUTO asks the host, as kvm_is_usable. */
bool accel_is_kvm(enum accel a);

#endif
