/* SPDX-License-Identifier: MIT */
#include "check.h"

#include "base/files.h"
#include "base/memfile.h"
#include "base/scoped.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { HUGE = MEMFILE_ALIGN_MIB << 20, SKIPPED = 77 };

static void it_is_a_file_without_a_name_that_keeps_what_is_written(void **state)
{
	int fd = memfile_open();
	char text[5];
	struct stat st;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_nlink, 0);
	assert_int_equal(st.st_size, 0);
	assert_int_equal(ftruncate(fd, 2 * HUGE), 0);
	assert_int_equal(pwrite(fd, "bytes", 5, HUGE + 1), 5);
	assert_int_equal(pread(fd, text, 5, HUGE + 1), 5);
	assert_memory_equal(text, "bytes", 5);
	assert_int_equal(lseek(fd, 0, SEEK_DATA) >= HUGE, 1);
	close(fd);
}

static bool host_has_huge_pages(void)
{
	scoped(mem) char *enabled = NULL;
	scoped(mem) char *shared = NULL;

	return files_read("/sys/kernel/mm/transparent_hugepage/enabled", 256, &enabled, NULL) ==
		       0 &&
	       files_read("/sys/kernel/mm/transparent_hugepage/shmem_enabled", 256, &shared,
			  NULL) == 0 &&
	       !strstr(enabled, "[never]") && !strstr(shared, "[deny]");
}

/* In a child: what a sandboxed helper may do. Its status is the answer. */
static void tell_page_size(void)
{
	struct stat st;
	int fd;

	if (unshare(CLONE_NEWNS | (geteuid() == 0 ? 0 : CLONE_NEWUSER)) < 0)
		_exit(SKIPPED);
	fd = memfile_open();
	if (fd < 0 || ftruncate(fd, HUGE) < 0 || fstat(fd, &st) < 0)
		_exit(1);
	_exit(st.st_blksize == HUGE ? 0 : 2);
}

static void its_pages_are_huge_whatever_those_of_memfds_are(void **state)
{
	int status = -1;
	pid_t pid;

	if (!host_has_huge_pages())
		skip_for("this kernel has no huge pages for a tmpfs");
	pid = fork();
	if (pid == 0)
		tell_page_size();
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == SKIPPED)
		skip_for("a mount namespace cannot be made here");
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(it_is_a_file_without_a_name_that_keeps_what_is_written),
		TEST(its_pages_are_huge_whatever_those_of_memfds_are),
	};

	return RUN_TESTS(tests);
}
