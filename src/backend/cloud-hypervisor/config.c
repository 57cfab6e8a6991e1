/* SPDX-License-Identifier: MIT */
/* What cloud-hypervisor is told to run: the body of vm.create. */
#include "backend/cloud-hypervisor/vm.h"

#include "base/files.h"
#include "base/scoped.h"
#include "base/str.h"

#include <endian.h>
#include <fcntl.h>
#include <string.h>

enum { CREDENTIAL_MAX = 65536, BACKING_NAME_MAX = 1023 };

static int no_memory(struct err *e)
{
	return err_set(e, ERR_NO_MEMORY, "out of memory");
}

/* --- The disk's backing files -------------------------------------------------------------------------------- */

/* As qemu-img takes it: from the folder of the file that names it. */
static char *resolve_backing(const char *path, const char *name)
{
	const char *slash = strrchr(path, '/');

	if (name[0] == '/' || !slash)
		return strdup(name);
	return str_format("%.*s/%s", (int)(slash - path), path, name);
}

/* The file that the qcow2 header of @path names, or NULL. The client made it; a guest cannot write there. */
static int next_backing(const char *path, char **ret, struct err *e)
{
	struct {
		char magic[4];
		uint32_t version;
		uint64_t offset;
		uint32_t size;
	} __attribute__((packed)) head = {0};
	char name[BACKING_NAME_MAX + 1] = "";
	scoped(fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t size;

	if (fd < 0 || pread(fd, &head, sizeof(head), 0) < 0)
		return err_errno(e, -errno, "read %s", path);
	size = be32toh(head.size);
	if (memcmp(head.magic, "QFI\xfb", 4) != 0 || !head.offset || !size)
		return 0;
	if (size > BACKING_NAME_MAX ||
	    pread(fd, name, size, (off_t)be64toh(head.offset)) != (ssize_t)size)
		return err_set(e, ERR_IMAGE, "the header of %s is damaged", path);
	*ret = resolve_backing(path, name);
	return *ret ? 0 : no_memory(e);
}

enum { MAX_BACKING = 8 };

/* The files that a qcow2 disk reads from, innermost last: absolute paths, on the heap. Their number, or < 0 with @e. */
static int backing_files(const char *disk, char *ret[MAX_BACKING], struct err *e)
{
	const char *path = disk;
	int n = 0;
	int r;

	for (;;) {
		char *next = NULL;

		r = next_backing(path, &next, e);
		if (r == 0 && next && n == MAX_BACKING)
			r = err_set(e, ERR_IMAGE, "%s has more than %d backing files", disk,
				    MAX_BACKING);
		if (r < 0 || !next) {
			free(next);
			break;
		}
		path = ret[n++] = next;
	}
	while (r < 0 && n > 0)
		free(ret[--n]);
	return r < 0 ? r : n;
}

/*
 * Landlock knows the files that are named in the configuration; these it is told beside. After a reset of the guest the
 * serial line's socket is made anew, which takes the right to write in its folder.
 */
static json_t *landlock_rules(const struct ch_vm *vm, struct err *e)
{
	const char *disk = vm->spec.disk_path;
	json_t *rules = json_pack("[{s:s, s:s}]", "path", vm->line_dir, "access", "w");
	char *paths[MAX_BACKING];
	int n = disk ? backing_files(disk, paths, e) : 0;

	for (int i = 0; i < n; i++) {
		json_array_append_new(rules,
				      json_pack("{s:s, s:s}", "path", paths[i], "access", "r"));
		free(paths[i]);
	}
	if (n >= 0)
		return rules;
	json_decref(rules);
	return NULL;
}

/* --- The parts ----------------------------------------------------------------------------------------------- */

static json_t *make_payload(const struct ch_vm *vm)
{
	const struct vm_spec *s = &vm->spec;
	json_t *payload = json_object();

	if (!s->kernel_path) {
		json_object_set_new(payload, "firmware", json_string(vm->firmware));
		return payload;
	}
	json_object_set_new(payload, "kernel", json_string(s->kernel_path));
	if (s->initrd_path)
		json_object_set_new(payload, "initramfs", json_string(s->initrd_path));
	if (s->cmdline)
		json_object_set_new(payload, "cmdline", json_string(s->cmdline));
	return payload;
}

static json_t *make_drive(const char *path, const char *type, bool read_only)
{
	/* backing_files: only for what the client made; a raw disk's first bytes are the guest's, and are not believed. */
	return json_pack("{s:s, s:b, s:s, s:b}", "path", path, "readonly", read_only, "image_type",
			 type, "backing_files", strcmp(type, "Qcow2") == 0);
}

static json_t *make_disks(const struct ch_vm *vm)
{
	const struct vm_spec *s = &vm->spec;
	json_t *disks = json_array();

	if (s->disk_path)
		json_array_append_new(
			disks,
			make_drive(s->disk_path,
				   strcmp(vm->disk_format, "qcow2") == 0 ? "Qcow2" : "Raw", false));
	if (s->seed_path)
		json_array_append_new(disks, make_drive(s->seed_path, "Raw", true));
	for (size_t i = 0; i < s->n_fixture_paths; i++)
		json_array_append_new(disks, make_drive(s->fixture_paths[i], "Raw", true));
	return disks;
}

/* Over the socket, and not on the command line, where every user of the host could read them. */
static json_t *make_platform(const struct vm_spec *s, struct err *e)
{
	json_t *strings = json_array();

	for (size_t i = 0; i < s->n_credential_paths; i++) {
		char *text = NULL;
		int r = files_read(s->credential_paths[i], CREDENTIAL_MAX, &text, NULL);

		if (r < 0) {
			err_errno(e, r, "the credential of %s: %s", s->name,
				  s->credential_paths[i]);
			json_decref(strings);
			return NULL;
		}
		json_array_append_new(strings, json_string(text));
		explicit_bzero(text, strlen(text));
		free(text);
	}
	return json_pack("{s:o}", "oem_strings", strings);
}

json_t *config_make(const struct ch_vm *vm, bool landlock, struct err *e)
{
	const struct vm_spec *s = &vm->spec;
	json_t *platform = make_platform(s, e);
	json_t *rules = platform && landlock ? landlock_rules(vm, e) : NULL;
	json_t *config;

	if (!platform || (landlock && !rules)) {
		json_decref(platform);
		return NULL;
	}
	config = json_pack(
		"{s:{s:I, s:I}, s:{s:I}, s:o, s:o, s:[{s:s, s:s}], s:{s:s, s:s}, s:{s:s}, s:o, s:b, s:o*}",
		"cpus", "boot_vcpus", (json_int_t)s->cpus, "max_vcpus", (json_int_t)s->cpus,
		"memory", "size", (json_int_t)s->memory_bytes, "payload", make_payload(vm), "disks",
		make_disks(vm), "net", "tap", vm->ifname, "mac", vm->res.mac, "serial", "mode",
		"Socket", "socket", vm->serial_path, "console", "mode", "Off", "platform", platform,
		"landlock_enable", landlock, "landlock_rules", rules);
	if (!config)
		no_memory(e);
	return config;
}
