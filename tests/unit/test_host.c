/* SPDX-License-Identifier: MIT */
#include "check.h"

#include "base/err.h"
#include "base/host.h"
#include "base/kvm.h"

#include <stdlib.h>
#include <string.h>

static void a_translated_guest_can_always_run_vms(void **unused)
{
	setenv("DROVER_ACCEL", "tcg", 1);
#ifdef __x86_64__
	assert_true(host_nested_virt_supported());
#else
	assert_false(host_nested_virt_supported());
#endif
	unsetenv("DROVER_ACCEL");
}

static void guests_run_by_what_the_environment_wants_of_what_there_is(void **unused)
{
	enum accel accel = ACCEL_KVM;
	struct err e = ERR_INIT;

	unsetenv("DROVER_ACCEL");
	assert_int_equal(accel_wanted(&accel, &e), 0);
	assert_int_equal(accel, ACCEL_AUTO);
	assert_int_equal(accel_is_kvm(accel), kvm_is_usable());
	setenv("DROVER_ACCEL", "kvm", 1);
	assert_int_equal(accel_wanted(&accel, &e), 0);
	assert_true(accel_is_kvm(accel));
	setenv("DROVER_ACCEL", "tcg", 1);
	assert_int_equal(accel_wanted(&accel, &e), 0);
	assert_false(accel_is_kvm(accel));
	setenv("DROVER_ACCEL", "fast", 1);
	assert_int_equal(accel_wanted(&accel, &e), err_code_number(ERR_INVALID));
	assert_non_null(strstr(e.msg, "'fast'"));
	unsetenv("DROVER_ACCEL");
}

static void a_named_hypervisor_wins_and_has_to_be_there(void **unused)
{
	struct err e = ERR_INIT;
	char *path = NULL;

	setenv("DROVER_HYPERVISOR", "/nowhere/ch", 1);
	assert_int_equal(host_find_cloud_hypervisor("/bin/sh", &path, &e), 0);
	assert_string_equal(path, "/bin/sh");
	free(path);
	assert_int_equal(host_find_cloud_hypervisor(NULL, &path, &e),
			 err_code_number(ERR_MISSING_PROGRAM));
	assert_non_null(strstr(e.msg, "/nowhere/ch"));
	unsetenv("DROVER_HYPERVISOR");
}

static void a_hypervisor_that_is_not_installed_is_told_with_its_versions(void **unused)
{
	char *before = strdup(getenv("PATH"));
	struct err e = ERR_INIT;
	char *path = NULL;

	setenv("PATH", "/nowhere", 1);
	if (access("/usr/sbin/cloud-hypervisor", X_OK) < 0 &&
	    access("/sbin/cloud-hypervisor", X_OK) < 0) {
		assert_int_equal(host_find_cloud_hypervisor(NULL, &path, &e),
				 err_code_number(ERR_MISSING_PROGRAM));
		assert_non_null(strstr(e.msg, "PATH"));
		assert_non_null(strstr(e.hint, "version 41 or newer"));
	}
	setenv("PATH", before, 1);
	free(before);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_translated_guest_can_always_run_vms),
		TEST(guests_run_by_what_the_environment_wants_of_what_there_is),
		TEST(a_named_hypervisor_wins_and_has_to_be_there),
		TEST(a_hypervisor_that_is_not_installed_is_told_with_its_versions),
	};

	unsetenv("DROVER_HYPERVISOR");
	return RUN_TESTS(tests);
}
