/* SPDX-License-Identifier: MIT */
/* QEMU's command line. */
#include "check.h"

#include "backend/qemu/uring.h"
#include "backend/qemu/vm.h"
#include "base/host.h"
#include "base/scoped.h"
#include "wire/names.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

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
	char **argv = argv_make(&vm, (struct qemu_ways){.kvm = kvm});

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
	char **argv = argv_make(&vm, (struct qemu_ways){0});

	assert_non_null(argv);
	assert_string_equal(value_of(argv, "-kernel"), "/k");
	assert_null(find(argv, "-initrd"));
	argv_free(argv);
	vm.spec.initrd_path = (char[]){"/i"};
	argv = argv_make(&vm, (struct qemu_ways){0});
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
	char **argv = argv_make(&vm, (struct qemu_ways){0});

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
	argv = argv_make(&vm, (struct qemu_ways){0});
	assert_non_null(argv);
	assert_string_equal(value_of(argv, "-smbios"), "type=11,path=/p");
	argv_free(argv);
}

/* The value of @option that has @part, which is there. */
static const char *value_with(char **argv, const char *option, const char *part)
{
	const char *value = value_of(argv, option);

	while (!strstr(value, part)) {
		while (*argv != value)
			argv++;
		value = value_of(argv, option);
	}
	return value;
}

static void the_drive_is(struct vm_spec spec, const char *id, bool uring, bool want)
{
	const struct qemu_vm vm = {.spec = spec};
	char **argv;

	argv = argv_make(&vm, (struct qemu_ways){.uring = uring});
	assert_non_null(argv);
	assert_int_equal(strstr(value_with(argv, "-drive", id), ",aio=io_uring") != NULL, want);
	argv_free(argv);
}

static void what_holds_points_is_read_by_io_uring_where_that_is_possible(void **unused)
{
	const struct vm_spec disk = {.name = (char[]){"m"},
				     .disk_path = (char[]){"/d"},
				     .cpus = 1,
				     .memory_bytes = 64 << 20};
	const struct vm_spec points = {.name = (char[]){"m"},
				       .points_path = (char[]){"/p"},
				       .cpus = 1,
				       .memory_bytes = 64 << 20};

	the_drive_is(disk, "id=disk", true, true);
	the_drive_is(disk, "id=disk", false, false);
	the_drive_is(points, "id=points", true, true);
	the_drive_is(points, "id=points", false, false);
}

static void a_program_has_io_uring_when_it_is_linked_with_it(void **unused)
{
	static const char without[] = "\177ELF libz.so.1";
	static const char with[] = "\177ELF libz.so.1\0liburing.so.2";
	char path[] = "/tmp/drover-uring-XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_false(uring_in_program(path));
	assert_int_equal(pwrite(fd, without, sizeof(without), 0), sizeof(without));
	assert_false(uring_in_program(path));
	assert_int_equal(pwrite(fd, with, sizeof(with), 0), sizeof(with));
	assert_true(uring_in_program(path));
	close(fd);
	unlink(path);
	assert_false(uring_in_program(path));
}

/* Of a kernel that gives no rings, one that a filter of system calls has been told to be. */
static void a_kernel_without_io_uring_is_noticed(void **unused)
{
	const struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]),
					   (struct sock_filter *)filter};
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
			_exit(2);
		_exit(uring_in_kernel());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
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
		TEST(what_holds_points_is_read_by_io_uring_where_that_is_possible),
		TEST(a_program_has_io_uring_when_it_is_linked_with_it),
		TEST(a_kernel_without_io_uring_is_noticed),
		TEST(sizes_that_the_host_is_said_to_have_are_what_a_member_may_have),
	};

	return RUN_TESTS(tests);
}
