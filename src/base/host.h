/* SPDX-License-Identifier: MIT */
/* What this host can do for guests, asked of the host alone. */
#ifndef DROVER_BASE_HOST_H
#define DROVER_BASE_HOST_H

#include <stdbool.h>
#include <stdint.h>

struct err;

/*
 * Guests of this host can run VMs themselves. On x86-64: by KVM, when it was loaded with nesting; where KVM does not run
 * guests, or DROVER_ACCEL is tcg, always, since QEMU's translator offers AMD's svm. May block as kvm_is_usable does.
 */
bool host_nested_virt_supported(void);

/*
 * The program cloud-hypervisor: @named (may be NULL), or DROVER_HYPERVISOR, or in PATH. @ret is heap. ERR_MISSING_PROGRAM says
 * where it was looked for, and for which versions.
 */
int host_find_cloud_hypervisor(const char *named, char **ret, struct err *e);

/*
 * UEFI firmware for QEMU: the code, and the fresh variables that go with it; both static. ERR_MISSING_PROGRAM when it is not
 * installed, which says by what package it comes.
 */
int host_find_uefi(const char **ret_code, const char **ret_variables, struct err *e);

/* MB of memory that the host can still give without swapping; -1: it does not say. */
int64_t host_available_mb(void);

/*
 * Whether this host can have a VM of this size; 0 for what is not asked for. More than it can ever have is ERR_INVALID, with
 * its figures; less is the caller's to judge, for guests share CPUs and take memory only as they use it.
 */
int host_check_sizes(unsigned cpus, unsigned memory_mb, struct err *e);

/* Several VMs can share a network: on Linux always. */
bool host_clustering_supported(void);

#endif
