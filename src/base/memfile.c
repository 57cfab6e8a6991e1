/* SPDX-License-Identifier: MIT */
/*
 * How it works: a memfd lies in the kernel's own mount of tmpfs, and shmem_enabled says what its pages are: small ones on most
 * hosts. A tmpfs of our own says it for itself. It is in no tree of mounts, and goes with the last file in it.
 */
#include "base/memfile.h"

#include "base/files.h"
#include "base/scoped.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>

#define THP_ENABLED "/sys/kernel/mm/transparent_hugepage/enabled"

/* A tmpfs would not ask; the memory of a program is not huge then either. */
static bool switched_off(void)
{
	scoped(mem) char *text = NULL;

	return files_read(THP_ENABLED, 256, &text, NULL) < 0 || strstr(text, "[never]");
}

/* @ret: the top of a tmpfs of its own. */
static int mount_huge(int *ret)
{
	scoped(fd) int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	int fd;

	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "huge", "within_size", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "size", "0", 0) < 0 || /* no limit */
	    fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0700", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	fd = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	if (fd < 0)
		return -errno;
	*ret = fd;
	return 0;
}

int memfile_open(void)
{
	scoped(fd) int top = -1;
	int fd = -1;

	if (!switched_off() && mount_huge(&top) == 0)
		fd = openat(top, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		fd = memfd_create("memory", MFD_CLOEXEC);
	return fd < 0 ? -errno : fd;
}
