/* SPDX-License-Identifier: MIT */
/* Whether guests run by KVM on this host, and by what they are wanted to run. */
#ifndef DROVER_BASE_KVM_H
#define DROVER_BASE_KVM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct err;

/*
 * Whether KVM runs real guests here. /dev/kvm alone does not say so: some hosts' KVM interprets the guest's kernel in
 * software, slowly and incompletely. Blocks: some ms, 100 at most (3 s inside a translated VM, which is slow itself).
 */
bool kvm_is_usable(void);

/* The same asked early and answered later: a child finds it out meanwhile. All zero: not asked. */
struct kvm_probe {
	enum { KVM_UNASKED, KVM_ASKED, KVM_ANSWERED } state;
	bool usable;
	int fd; /* with KVM_ASKED: where the child answers */
	pid_t pid;
	int64_t began_ms;
};

/* Harmless when it was asked before. Is answered at once when the answer is no for want of a device. */
void kvm_probe_begin(struct kvm_probe *p);
/* Asks if need be, and waits for the answer: no longer than kvm_is_usable does, from the beginning on. */
bool kvm_probe_answer(struct kvm_probe *p);
/* Nobody wants to know any more: nothing is left of it. */
void kvm_probe_done(struct kvm_probe *p);

/* $DROVER_ACCEL: auto (the default: KVM where it is usable, else QEMU's translator), kvm or tcg. */
enum accel { ACCEL_AUTO, ACCEL_KVM, ACCEL_TCG };
/* < 0: it is none of them (ERR_INVALID). */
int accel_wanted(enum accel *ret, struct err *e);
/* Whether that is KVM here. Of ACCEL_AUTO asks the host, as kvm_is_usable. */
bool accel_is_kvm(enum accel a);

#endif
