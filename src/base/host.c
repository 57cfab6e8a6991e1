/* SPDX-License-Identifier: MIT */
#include "base/host.h"

bool host_nested_virt_supported(void)
{
#ifdef __x86_64__
	return true;
#else
	return false;
#endif
}

bool host_clustering_supported(void)
{
#ifdef __linux__
	return true;
#else
	return false;
#endif
}
