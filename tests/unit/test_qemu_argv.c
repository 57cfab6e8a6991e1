/* SPDX-License-Identifier: MIT */
/* QEMU's command line. */
#include "check.h"

#include "backend/qemu/vm.h"
#include "base/host.h"
#include "base/scoped.h"
#include "wire/names.h"

#include <string.h>

/* What follows @option, or NULL. */
static const char *find(char **argv, const char *option)
{
	for (; *argv; argv++)
		if (strcmp(*argv, option) == 0)
			return argv[1];
	return NULL;
}

/* What follows @option, which is there. */
static const char *value_of(char **argv, const char *option)
{
	const char *value = find(argv, option);

	if (!value)
		fail_msg("there is no %s", option);
	return value;
}

static void the_words_are(const char *cmdline, bool kvm, const char *want)
{
	const struct qemu_vm vm = {.spec = {.name = (char[]){"m"},
					    .kernel_path = (char[]){"/k"},
					    .cmdline = (char *)cmdline,
					    .cpus = 1,
					    .memory_bytes = 64 << 20}};
	char **argv = argv_make(&vm, kvm);

	assert_non_null(argv);
	assert_string_equal(value_of(argv, "-append"), want);
	argv_free(argv);
}

static void a_translated_kernel_checks_no_timer_and_leaves_libraries_in_place(void **unused)
{
	the_words_are("console=ttyS0", false, "console=ttyS0 no_timer_check norandmaps");
	the_words_are("", false, "no_timer_check norandmaps");
}

static void what_is_for_the_first_process_stays_behind_the_kernels_words(void **unused)
{
	the_words_are("quiet -- one two", false, "quiet no_timer_check norandmaps -- one two");
	the_words_are("not--this", false, "not--this no_timer_check norandmaps");
}

static void with_kvm_the_words_are_as_they_were_given(void **unused)
{
	the_words_are("quiet -- one two", true, "quiet -- one two");
}

static void a_kernel_is_started_without_an_initial_file_system_when_there_is_none(void **unused)
{
	struct qemu_vm vm = {.spec = {.name = (char[]){"m"},
				      .kernel_path = (char[]){"/k"},
				      .disk_path = (char[]){"/d"},
				      .cpus = 1,
				      .memory_bytes = 64 << 20}};
	char **argv = argv_make(&vm, false);

	assert_non_null(argv);
	assert_string_equal(value_of(argv, "-kernel"), "/k");
	assert_null(find(argv, "-initrd"));
	argv_free(argv);
	vm.spec.initrd_path = (char[]){"/i"};
	argv = argv_make(&vm, false);
	assert_non_null(argv);
	assert_string_equal(value_of(argv, "-initrd"), "/i");
	argv_free(argv);
}

static void a_disk_without_a_kernel_is_left_to_firmware(void **unused)
{
	const struct qemu_vm vm = {.spec = {.name = (char[]){"m"},
					    .cmdline = (char[]){"of no kernel"},
					    .disk_path = (char[]){"/d"},
					    .cpus = 1,
					    .memory_bytes = 64 << 20}};
	char **argv = argv_make(&vm, false);

	assert_non_null(argv);
	assert_null(find(argv, "-kernel"));
	assert_null(find(argv, "-append"));
	argv_free(argv);
}

static void a_spec_may_have_as_many_paths_as_its_limits_allow(void **unused)
{
	char *paths[WIRE_MAX_PATHS];
	const struct qemu_vm vm = {.spec = {.name = (char[]){"m"},
					    .disk_path = (char[]){"/d"},
					    .seed_path = (char[]){"/s"},
					    .serial_log_path = (char[]){"/l"},
					    .fixture_paths = paths,
					    .n_fixture_paths = WIRE_MAX_PATHS,
					    .credential_paths = paths,
					    .n_credential_paths = WIRE_MAX_PATHS,
					    .mount_paths = paths,
					    .n_mount_paths = MAX_MOUNTS,
					    .cpus = 1,
					    .memory_bytes = 64 << 20}};
	char **argv;

	for (size_t i = 0; i < WIRE_MAX_PATHS; i++)
		paths[i] = (char *)"/p";
	argv = argv_make(&vm, false);
	assert_non_null(argv);
	assert_string_equal(value_of(argv, "-smbios"), "type=11,path=/p");
	argv_free(argv);
}

static bool is_taken(unsigned cpus, unsigned memory_mb)
{
	const struct vm_spec spec = {.name = (char[]){"m"},
				     .kernel_path = (char[]){"/proc/self/exe"},
				     .cpus = cpus,
				     .memory_bytes = (uint64_t)memory_mb << 20};
	scoped(mem) char *format = NULL;
	bool before = host_check_sizes(cpus, memory_mb, NULL) == 0;

	assert_int_equal(check_spec(&spec, &format, NULL) == 0, before);
	return before;
}

/* Before anything is made; else a restart would stop a member that then does not start. */
static void sizes_that_the_host_is_said_to_have_are_what_a_member_may_have(void **state)
{
	assert_true(is_taken(1, 128));
	assert_true(is_taken(255, 128));
	assert_false(is_taken(256, 128));
	assert_true(is_taken(1, 32));
	assert_false(is_taken(1, 31));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_translated_kernel_checks_no_timer_and_leaves_libraries_in_place),
		TEST(what_is_for_the_first_process_stays_behind_the_kernels_words),
		TEST(with_kvm_the_words_are_as_they_were_given),
		TEST(a_kernel_is_started_without_an_initial_file_system_when_there_is_none),
		TEST(a_disk_without_a_kernel_is_left_to_firmware),
		TEST(a_spec_may_have_as_many_paths_as_its_limits_allow),
		TEST(sizes_that_the_host_is_said_to_have_are_what_a_member_may_have),
	};

	return RUN_TESTS(tests);
}
