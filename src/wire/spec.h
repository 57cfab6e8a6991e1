/* SPDX-License-Identifier: MIT */
/*
 * What a member needs to boot, resolved by the client: ready paths and sizes. Never an image name, a MAC
 * or an address. The first eight fields are protocol 2's; the rest is ours, optional, beside them.
 */
#ifndef DROVER_WIRE_SPEC_H
#define DROVER_WIRE_SPEC_H

#include "wire/json.h"
#include "wire/value.h"

#include <stddef.h>
#include <stdint.h>

struct err;

/* Every text is owned by the spec; NULL when absent. */
struct vm_spec {
	char *name;
	char *disk_path;
	char *seed_path;
	char **fixture_paths;
	size_t n_fixture_paths;
	char *efi_path;
	int64_t cpus;
	uint64_t memory_bytes;
	char *serial_log_path;

	char *disk_format; /* "qcow2" or "raw"; absent: told from the file's first bytes */
	char *kernel_path; /* direct boot; absent: firmware */
	char *initrd_path;
	char *cmdline;           /* the whole kernel command line */
	char **credential_paths; /* files of one SMBIOS OEM string each (systemd credentials) */
	size_t n_credential_paths;
	char *memory_path; /* memory and devices to go on from (capture), instead of a boot; taken */
	char *point_path;  /* a file with the name of a point in the disk, to go on from; taken */
	char *points_path;  /* qcow2 file that keeps saved points where there is no qcow2 disk */
	char **mount_paths; /* directories, live: entry N is the guest's virtiofs tag drover-roN */
	size_t n_mount_paths;
	char **mount_rw_paths; /* the guest may write there too: drover-rwN */
	size_t n_mount_rw_paths;
	/*
	 * The guest has a second serial line. These lines are typed there when it goes on from @memory_path, with @NOW@
	 * replaced by the seconds since 1970; taken then
	 */
	char *script_path;
};

void vm_spec_done(struct vm_spec *s); /* frees the texts, not @s; a half-filled spec is fine */
int vm_spec_copy(struct vm_spec *to,
		 const struct vm_spec *from); /* 0 or -ENOMEM; @to is overwritten */
/* A copy of @path (NULL: nobody had memory for it) at the end of one of the spec's lists. 0 or -ENOMEM. */
int vm_spec_add_path(char ***paths, size_t *n, const char *path);

/*
 * Decodes a request's "spec" (may be NULL). @ret is written on success only. < 0: wrong type
 * (bad_request), "missing or invalid spec" when absent or without a name, invalid_name.
 */
int vm_spec_decode(const struct value *value, struct vm_spec *ret, struct err *e);

/* Writes the spec as the field "spec". */
void vm_spec_encode(const struct vm_spec *s, struct json_out *o);

static inline void scoped_spec(struct vm_spec *s)
{
	vm_spec_done(s);
}

#endif
