/* SPDX-License-Identifier: MIT */
/*
 * How it works: QEMU ends when it is told to use io_uring and cannot, and it cannot be asked without starting it. So the kernel is
 * asked for a ring as QEMU makes them, and the program is looked into: it is linked with liburing, whose name is in it then.
 */
#include "backend/qemu/uring.h"

#include "base/scoped.h"

#include <fcntl.h>
#include <linux/io_uring.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ENTRIES = 128 }; /* QEMU's */

/* Before Linux 5.12 rings take of what a user may lock of memory, which is little. */
bool uring_in_kernel(void)
{
	struct io_uring_params p = {0};
	scoped(fd) int fd = (int)syscall(SYS_io_uring_setup, ENTRIES, &p);

	return fd >= 0 && (p.features & IORING_FEAT_NATIVE_WORKERS);
}

bool uring_in_program(const char *path)
{
	static const char library[] = "liburing.so";
	scoped(fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *map;
	bool found;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size <= 0)
		return false;
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		return false;
	found = memmem(map, (size_t)st.st_size, library, strlen(library)) != NULL;
	munmap(map, (size_t)st.st_size);
	return found;
}
