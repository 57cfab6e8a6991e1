/* SPDX-License-Identifier: MIT */
#include "backend/qemu/probe.h"

bool kvm_is_usable(void)
{
	return false;
}
