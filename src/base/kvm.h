/* SPDX-License-Identifier: MIT */
#ifndef DROVER_BASE_KVM_H
#define DROVER_BASE_KVM_H

#include <stdbool.h>

/*
 * Whether KVM runs real guests here. /dev/kvm alone does not say so: some hosts' KVM interprets the guest's kernel in
 * software, slowly and incompletely. Blocks: some ms, 100 at most (3 s inside a translated VM, which is slow itself).
 */
bool kvm_is_usable(void);

#endif
