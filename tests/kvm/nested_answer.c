/* SPDX-License-Identifier: MIT */
/* Says what libdrover says of this host: can guests run VMs? */
#include <drover.h>

#include <stdio.h>

int main(void)
{
	puts(drover_nested_virt_supported() ? "yes" : "no");
	return 0;
}
