/* SPDX-License-Identifier: MIT */
#include "base/host.h"

#include "base/files.h"
#include "base/scoped.h"

static bool kvm_nests(const char *module)
{
	scoped(mem) char *text = NULL;

	return files_read(module, 64, &text, NULL) == 0 && (text[0] == 'Y' || text[0] == '1');
}

bool host_nested_virt_supported(void)
{
	if (0)
		return kvm_nests("/sys/module/kvm_intel/parameters/nested") ||
		       kvm_nests("/sys/module/kvm_amd/parameters/nested");
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
