/* SPDX-License-Identifier: MIT */
/* What can be wrong with a spec, told before anything is started. */
#include "backend/local/vm.h"

#include "base/bounds.h"
#include "base/host.h"
#include "base/scoped.h"
#include "base/str.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

enum { MIB = 1 << 20 };

static int check_file(const char *name, const char *what, const char *path, int flags,
		      struct err *e)
{
	scoped(fd) int fd = -1;
	struct stat st;

	if (!path)
		return 0;
	fd = open(path, flags | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return err_errno(e, -errno, "the %s of %s: %s", what, name, path);
	if (fstat(fd, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_set(e, ERR_INVALID, "the %s of %s is not a file: %s", what, name, path);
	return 0;
}

static int check_files(const struct vm_spec *s, struct err *e)
{
	int r = check_file(s->name, "disk", s->disk_path, O_RDWR, e);

	if (r == 0)
		r = check_file(s->name, "seed", s->seed_path, O_RDONLY, e);
	if (r == 0)
		r = check_file(s->name, "UEFI variable store", s->efi_path, O_RDWR, e);
	if (r == 0)
		r = check_file(s->name, "file for points", s->points_path, O_RDWR, e);
	if (r == 0)
		r = check_file(s->name, "kernel", s->kernel_path, O_RDONLY, e);
	if (r == 0)
		r = check_file(s->name, "initrd", s->initrd_path, O_RDONLY, e);
	if (r == 0)
		r = check_file(s->name, "script", s->script_path, O_RDONLY, e);
	for (size_t i = 0; i < s->n_fixture_paths && r == 0; i++)
		r = check_file(s->name, "fixture disk", s->fixture_paths[i], O_RDONLY, e);
	for (size_t i = 0; i < s->n_credential_paths && r == 0; i++)
		r = check_file(s->name, "credential", s->credential_paths[i], O_RDONLY, e);
	return r;
}

/* Never left to QEMU: a guest could write a header into its raw disk and name any host file as a backing file. */
int find_format(const struct vm_spec *s, char **ret, struct err *e)
{
	const char *format = s->disk_format;
	char magic[4] = {0};

	if (!s->disk_path)
		return 0;
	if (!format) {
		scoped(fd) int fd = open(s->disk_path, O_RDONLY | O_CLOEXEC);

		if (fd < 0 || read(fd, magic, sizeof(magic)) < 0)
			return err_errno(e, -errno, "read %s", s->disk_path);
		format = memcmp(magic, "QFI\xfb", sizeof(magic)) == 0 ? "qcow2" : "raw";
	}
	if (!str_equal(format, "qcow2") && !str_equal(format, "raw"))
		return err_set(e, ERR_INVALID,
			       "the disk of %s has the format '%s': there are qcow2 and raw",
			       s->name, format);
	*ret = strdup(format);
	return *ret ? 0 : err_set(e, ERR_NO_MEMORY, "out of memory");
}

int check_spec(const struct vm_spec *s, char **ret_format, struct err *e)
{
	int r;

	if (s->cpus < 1 || s->cpus > VM_MAX_CPUS)
		return err_set(e, ERR_INVALID, "%s wants %lld cpus: 1 to %d are possible", s->name,
			       (long long)s->cpus, VM_MAX_CPUS);
	if (s->memory_bytes < (uint64_t)VM_MIN_MEMORY_MB * MIB)
		return err_set(e, ERR_INVALID, "%s wants %llu MiB of memory: %d is the least",
			       s->name, (unsigned long long)s->memory_bytes / MIB,
			       VM_MIN_MEMORY_MB);
	if (!s->disk_path && !s->kernel_path)
		return err_set(e, ERR_INVALID, "%s has neither a disk nor a kernel", s->name);
	r = check_files(s, e);
	return r < 0 ? r : find_format(s, ret_format, e);
}
