/* SPDX-License-Identifier: MIT */
#include "base/host.h"

#include "base/bounds.h"
#include "base/err.h"
#include "base/files.h"
#include "base/kvm.h"
#include "base/scoped.h"
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MEMINFO_MAX = 65536 };

#ifdef __x86_64__
/* What the module of the CPU's make was loaded with. */
static bool kvm_nests(void)
{
	static const char *const parameters[] = {"/sys/module/kvm_amd/parameters/nested",
						 "/sys/module/kvm_intel/parameters/nested"};

	for (size_t i = 0; i < sizeof(parameters) / sizeof(parameters[0]); i++) {
		scoped(mem) char *text = NULL;

		if (files_read(parameters[i], 16, &text, NULL) == 0)
			return text[0] == '1' || text[0] == 'Y';
	}
	return false;
}

bool host_nested_virt_supported(void)
{
	enum accel accel;

	if (accel_wanted(&accel, NULL) == 0 && accel == ACCEL_TCG)
		return true;
	return kvm_nests() || !kvm_is_usable();
}
#else
bool host_nested_virt_supported(void)
{
	return false;
}
#endif

bool host_clustering_supported(void)
{
#ifdef __linux__
	return true;
#else
	return false;
#endif
}

int host_find_cloud_hypervisor(const char *named, char **ret, struct err *e)
{
	static const char program[] = "cloud-hypervisor";

	if (!named)
		named = getenv("DROVER_HYPERVISOR");
	if (!named || !*named)
		named = program;
	*ret = files_find_program(named);
	if (*ret)
		return 0;
	if (named != program)
		return err_set(e, ERR_MISSING_PROGRAM,
			       "there is no program %s (--hypervisor or DROVER_HYPERVISOR)", named);
	return err_hint(
		e,
		err_set(e, ERR_MISSING_PROGRAM,
			"cloud-hypervisor is not installed: there is none in PATH"),
		"--hypervisor PATH or DROVER_HYPERVISOR names it; version 41 or newer is needed, "
		"53 is what drover is tested with");
}

int host_find_uefi(const char **ret_code, const char **ret_variables, struct err *e)
{
	static const struct {
		const char *code;
		const char *variables;
	} places[] = {
		{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
		{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
		{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
		{"/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},
	};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (files_exist(places[i].code) && files_exist(places[i].variables)) {
			*ret_code = places[i].code;
			*ret_variables = places[i].variables;
			return 0;
		}
	return err_set(
		e, ERR_MISSING_PROGRAM,
		"UEFI firmware for QEMU is not installed (%s): on Debian it is in the package "
		"ovmf",
		places[0].code);
}

/* MB of a line of /proc/meminfo, "MemTotal:" for one; -1: it does not say. */
static int64_t meminfo_mb(const char *label)
{
	scoped(mem) char *text = NULL;
	const char *line;
	long long kb = -1;

	if (files_read("/proc/meminfo", MEMINFO_MAX, &text, NULL) < 0)
		return -1;
	line = strstr(text, label);
	if (!line || sscanf(line + strlen(label), "%lld kB", &kb) != 1)
		return -1;
	return kb / 1024;
}

int64_t host_available_mb(void)
{
	return meminfo_mb("MemAvailable:");
}

/* Memory and swap that the host has in all; -1: it does not say. */
static int64_t total_mb(void)
{
	int64_t memory = meminfo_mb("MemTotal:");
	int64_t swap = meminfo_mb("SwapTotal:");

	return memory < 0 || swap < 0 ? memory : memory + swap;
}

int host_check_sizes(unsigned cpus, unsigned memory_mb, struct err *e)
{
	int64_t total = total_mb();

	if (cpus > VM_MAX_CPUS)
		return err_hint(e,
				err_set(e, ERR_INVALID, "%u CPUs: a member has at most %d", cpus,
					VM_MAX_CPUS),
				"this host has %ld: more than these make a member slower",
				sysconf(_SC_NPROCESSORS_ONLN));
	if (memory_mb && memory_mb < VM_MIN_MEMORY_MB)
		return err_hint(e,
				err_set(e, ERR_INVALID, "%u MB of memory: at least %d", memory_mb,
					VM_MIN_MEMORY_MB),
				"it is in MB: %u GB are %u", memory_mb, memory_mb << 10);
	if (total > 0 && memory_mb > total)
		return err_hint(
			e,
			err_set(e, ERR_INVALID,
				"%u MB of memory: this host has %lld MB in all, swap included",
				memory_mb, (long long)total),
			"%lld MB are available now: ask for less than that",
			(long long)host_available_mb());
	return 0;
}
