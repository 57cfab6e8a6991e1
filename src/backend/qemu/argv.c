/* SPDX-License-Identifier: MIT */
#include "backend/qemu/vm.h"

#include "base/host.h"
#include "base/memfile.h"
#include "base/scoped.h"
#include "base/str.h"

#include <string.h>

/*
 * The translator's cache of code, in MiB: it sets QEMU's resident size (1 GiB guests: 317 MB at 64, 530 at 256, 800 by
 * default); at 32 a whole Debian thrashes.
 */
enum { TB_SIZE_MIB = 64, MAX_ARGS = 512 };

struct args {
	char **argv;
	size_t n;
	bool failed;
};

/* Takes @text (heap). */
static void take(struct args *a, char *text)
{
	if (!text || a->n == MAX_ARGS - 1) {
		a->failed = true;
		free(text);
		return;
	}
	a->argv[a->n++] = text;
}

static void add(struct args *a, const char *option, char *value)
{
	take(a, strdup(option));
	take(a, value);
}

static void add_static(struct args *a, const char *option, const char *value)
{
	add(a, option, strdup(value));
}

/* A path inside an option: commas are doubled. Heap. */
static char *quote(const char *path)
{
	size_t len = strlen(path);
	char *ret = malloc(2 * len + 1);
	char *to = ret;

	if (!ret)
		return NULL;
	for (; *path; path++) {
		if (*path == ',')
			*to++ = ',';
		*to++ = *path;
	}
	*to = '\0';
	return ret;
}

/*
 * The memory is a file that this process has open too: the servers of mounts read and write it themselves, and a fork of
 * the cluster is a copy of it. A VM that goes on from captured memory maps that privately: what it does not write is
 * shared with others that go on from the same file.
 */
static void add_memory(struct args *a, const struct qemu_vm *vm)
{
	unsigned long long mib = vm_memory_mib(vm);

	add(a, "-m", str_format("size=%lluM", mib));
	add(a, "-object",
	    str_format("memory-backend-file,id=ram,size=%lluM,align=%dM,"
		       "mem-path=/proc/self/fd/%d,share=%s",
		       mib, MEMFILE_ALIGN_MIB, CHILD_FD_MEMORY, vm->resumes ? "off" : "on"));
	add_static(a, "-machine", "memory-backend=ram");
	if (vm->resumes)
		add_static(a, "-incoming", "defer");
}

static void add_machine(struct args *a, const struct qemu_vm *vm, bool kvm)
{
	const struct vm_spec *s = &vm->spec;

	add(a, "-name", str_format("guest=%s", s->name));
	add_static(a, "-machine", "q35,dump-guest-core=off");
	if (kvm) {
		add_static(a, "-accel", "kvm");
		add_static(a, "-cpu", "host");
	} else {
		add(a, "-accel", str_format("tcg,thread=multi,tb-size=%d", TB_SIZE_MIB));
		add_static(a, "-cpu", "max,+svm,+npt");
	}
	add(a, "-smp", str_format("%lld", (long long)s->cpus));
	add_memory(a, vm);
	add_static(a, "-rtc", "base=utc");
	if (vm->begins_at[0])
		add_static(a, "-loadvm", vm->begins_at);
}

/*
 * The format of the variables goes by the file's name, never by their bytes, which are the guest's. Ours are qcow2, so that
 * points hold them too.
 */
static void add_uefi(struct args *a, const char *variables)
{
	scoped(mem) char *quoted = quote(variables);
	const char *code;
	const char *fresh;

	if (!quoted || host_find_uefi(&code, &fresh, NULL) < 0) {
		a->failed = true;
		return;
	}
	add(a, "-drive", str_format("if=pflash,unit=0,format=raw,readonly=on,file=%s", code));
	add(a, "-drive",
	    str_format("if=pflash,unit=1,format=%s,file=%s",
		       str_ends(variables, ".qcow2") ? "qcow2" : "raw", quoted));
}

/*
 * Linux looks whether its timer ticks, and panics when it did not within 10 ms: on a busy host an emulated processor may not
 * be given the time for it. With KVM Linux leaves that out by itself.
 *
 * QEMU keeps what it has translated by the address that it ran at. Where each process has its libraries at addresses of its
 * own, the loader, libc and libcrypto are translated anew for each: of debian-12 a third of a start from a template, a fifth of a
 * boot; of tiny, whose programs are static, nothing.
 *
 * What stands behind "--" is not the kernel's.
 */
static char *with_words_for_translation(const char *cmdline)
{
	static const char words[] = "no_timer_check norandmaps";
	static const char init_words[] = " -- ";
	const char *end = strstr(cmdline, init_words);
	int len = (int)(end ? (size_t)(end - cmdline) : strlen(cmdline));

	return str_format("%.*s%s%s%s", len, cmdline, len ? " " : "", words, cmdline + len);
}

static void add_boot(struct args *a, const struct vm_spec *s, bool kvm)
{
	if (!s->kernel_path && s->efi_path)
		add_uefi(a, s->efi_path);
	if (!s->kernel_path)
		return; /* QEMU's own SeaBIOS, or UEFI, from the disk */
	add_static(a, "-kernel", s->kernel_path);
	if (s->initrd_path)
		add_static(a, "-initrd", s->initrd_path);
	if (s->cmdline)
		add(a, "-append",
		    kvm ? strdup(s->cmdline) : with_words_for_translation(s->cmdline));
}

static void add_drive(struct args *a, const char *id, const char *path, const char *options)
{
	scoped(mem) char *quoted = quote(path);

	if (!quoted) {
		a->failed = true;
		return;
	}
	add(a, "-drive", str_format("if=none,id=%s,file=%s,%s", id, quoted, options));
	add(a, "-device", str_format("virtio-blk-pci,drive=%s", id));
}

/* QEMU keeps memory in any qcow2 that it has open; the guest does not see this one. */
static void add_points(struct args *a, const char *path, const char *aio)
{
	scoped(mem) char *quoted = quote(path);

	add(a, "-drive",
	    quoted ? str_format("if=none,id=points,file=%s,format=qcow2,discard=unmap%s", quoted,
				aio)
		   : NULL);
}

static void add_drives(struct args *a, const struct qemu_vm *vm, bool uring)
{
	const char *aio = uring ? ",aio=io_uring" : "";
	static const char read_only[] = "format=raw,readonly=on";
	const struct vm_spec *s = &vm->spec;
	char options[96];
	char id[32];

	snprintf(options, sizeof(options), "format=%s,cache=writeback,discard=unmap%s",
		 vm->disk_format ? vm->disk_format : "raw", aio);
	if (s->disk_path)
		add_drive(a, "disk", s->disk_path, options);
	else if (s->points_path)
		add_points(a, s->points_path, aio);
	if (s->seed_path)
		add_drive(a, "seed", s->seed_path, read_only);
	for (size_t i = 0; i < s->n_fixture_paths; i++) {
		snprintf(id, sizeof(id), "fixture%zu", i);
		add_drive(a, id, s->fixture_paths[i], read_only);
	}
	for (size_t i = 0; i < s->n_credential_paths; i++) {
		scoped(mem) char *quoted = quote(s->credential_paths[i]);

		add(a, "-smbios", quoted ? str_format("type=11,path=%s", quoted) : NULL);
	}
}

static void add_mounts(struct args *a, const struct vm_spec *s)
{
	for (size_t i = 0; i < s->n_mount_paths + s->n_mount_rw_paths; i++) {
		bool rw = i >= s->n_mount_paths;

		add(a, "-chardev", str_format("socket,id=share%zu,fd=%zu", i, CHILD_FD_SHARE + i));
		add(a, "-device",
		    str_format("vhost-user-fs-pci,chardev=share%zu,tag=drover-%s%zu", i,
			       rw ? "rw" : "ro", rw ? i - s->n_mount_paths : i));
	}
}

static void add_lines(struct args *a, const struct qemu_vm *vm)
{
	const char *log = vm->spec.serial_log_path;
	scoped(mem) char *quoted = log ? quote(log) : NULL;

	add(a, "-netdev", str_format("tap,id=net0,fd=%d", CHILD_FD_TAP));
	add(a, "-device", str_format("virtio-net-pci,netdev=net0,mac=%s,romfile=", vm->res.mac));
	add_static(a, "-device", "virtio-rng-pci");
	add(a, "-chardev", str_format("socket,id=qmp,fd=%d", CHILD_FD_QMP));
	add_static(a, "-mon", "chardev=qmp,mode=control");
	if (quoted)
		add(a, "-chardev",
		    str_format("socket,id=serial0,fd=%d,logfile=%s,logappend=on", CHILD_FD_SERIAL,
			       quoted));
	else
		add(a, "-chardev", str_format("socket,id=serial0,fd=%d", CHILD_FD_SERIAL));
	add_static(a, "-serial", "chardev:serial0");
	if (vm->spec.script_path) {
		add_static(a, "-chardev", "null,id=" SECOND_LINE);
		add_static(a, "-serial", "chardev:" SECOND_LINE);
	}
}

char **argv_make(const struct qemu_vm *vm, struct qemu_ways ways)
{
	struct args a = {.argv = calloc(MAX_ARGS, sizeof(char *))};

	if (!a.argv)
		return NULL;
	take(&a, strdup(QEMU_PROGRAM));
	take(&a, strdup("-nodefaults"));
	take(&a, strdup("-no-user-config"));
	add_static(&a, "-display", "none");
	add_static(&a, "-sandbox",
		   "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
	add_machine(&a, vm, ways.kvm);
	add_boot(&a, &vm->spec, ways.kvm);
	add_drives(&a, vm, ways.uring);
	add_mounts(&a, &vm->spec);
	add_lines(&a, vm);
	if (a.failed) {
		argv_free(a.argv);
		return NULL;
	}
	return a.argv;
}

void argv_free(char **argv)
{
	for (size_t i = 0; argv && argv[i]; i++)
		free(argv[i]);
	free(argv);
}
