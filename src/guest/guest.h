/* SPDX-License-Identifier: MIT */
/*
 * What a guest is made of: images, disks, seeds, keys. Everything here blocks (programs are run, files are copied) and is
 * meant for a work thread; @g (may be NULL) ends the call soon, with ERR_CANCELED or ERR_TIMEOUT and nothing half made but the
 * part of a download, from which the next call goes on.
 */
#ifndef DROVER_GUEST_GUEST_H
#define DROVER_GUEST_GUEST_H

#include "store/store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct giveup;

/* @percent: 0..100, or -1 where nobody knows. @text is borrowed. */
typedef void guest_progress_fn(void *arg, int percent, const char *text);

/* --- image.c --- */

/* How a guest of an image gets its name, user and keys. */
#define PROVISION_CREDENTIALS \
	"credentials" /* systemd credentials over SMBIOS (tiny's init reads the same strings) */
#define PROVISION_CLOUD_INIT "cloud-init" /* a NoCloud seed */

struct image {
	char *name;        /* all texts owned; in the cache, or the path that the user gave */
	char *disk_path;   /* base of overlays; NULL: the image needs no disk (tiny) */
	char *disk_format; /* "qcow2" or "raw" */
	char *kernel_path; /* direct boot; NULL: firmware */
	char *initrd_path; /* may be NULL */
	char *cmdline;     /* may be NULL */
	char *user;        /* who logs in by SSH: "drover"; tiny: "root" */
	char *provision;
	unsigned memory_mb; /* the default size of a member */
	bool is_old;        /* built by an older drover, which made it in another way */
};
void image_done(struct image *i);

/*
 * Finds the image that @name means: a catalogue or imported name (built or downloaded into the cache unless it is there;
 * concurrent callers share one build), a URL (downloaded into the cache likewise), or the path of a qcow2 or raw file. ERR_NOT_FOUND lists the names there are;
 * ERR_IMAGE names a damaged file.
 */
int image_resolve(const struct store *s, const char *name, const struct giveup *g,
		  guest_progress_fn *progress, void *arg, struct image *ret, struct err *e);

struct image_info {
	char name[256];
	char description[128];
	char path[512];  /* "" when not cached */
	char origin[16]; /* "built", "downloaded", "imported"; what it would be when not cached */
	int64_t bytes;   /* on disk */
	bool cached;
};
/* The catalogue and the cache. @ret: heap, caller frees. */
int image_list(const struct store *s, struct image_info **ret, size_t *ret_n, struct err *e);
int image_import(const struct store *s, const char *source, const char *name, const char *sha256,
		 const struct giveup *g, guest_progress_fn *progress, void *arg, struct err *e);
int image_remove(const struct store *s, const char *name, struct err *e);

/* --- disk.c --- */

/*
 * A qcow2 file at @path of @size_mb, on top of @base (may be NULL: blank), or of the base's own size when that is larger.
 * Atomic. Returns what it has, in MB that are begun. ERR_IMAGE when the base is damaged, ERR_NO_SPACE, ERR_MISSING_PROGRAM (qemu-img).
 */
int64_t disk_create(const char *path, const char *base, const char *base_format, uint64_t size_mb,
		    struct err *e);

/*
 * A qcow2 file at @path, with nothing below it, of what a guest sees of @from ("raw" or "qcow2"), which may be @path itself.
 * Atomic. @g may be NULL. Errors as above.
 */
int disk_copy(const char *from, const char *format, const char *path, const struct giveup *g,
	      struct err *e);
/* Makes the qcow2 file @path larger, in place: to @size_mb for the guest. Nobody uses it meanwhile. Errors as above. */
int disk_grow(const char *path, uint64_t size_mb, struct err *e);
/* A copy of the file as it is, sparse, by reflink where the file system can. */
int disk_copy_file(const char *from, const char *to, struct err *e);
/*
 * The first @size bytes, a multiple of 512, of what a guest sees of @disk; zeros behind its end. @near names a place for a
 * temporary file.
 */
int disk_read_head(const char *disk, const char *format, const char *near, uint8_t *ret,
		   size_t size, struct err *e);

/* --- firmware.c --- */

enum firmware { FIRMWARE_BIOS, FIRMWARE_UEFI };

/*
 * What can start @disk by itself: UEFI where it has an EFI system partition and nothing that a BIOS would run, else a BIOS.
 * ERR_IMAGE when it has no partition table, and so no boot loader.
 */
int firmware_of_disk(const char *disk, const char *format, const char *near, enum firmware *ret,
		     struct err *e);

/* --- fixture.c --- */

enum { FIXTURE_LABEL_SIZE = 17 }; /* of ext4: 16 characters, and NUL */
#define FIXTURE_MAX_BYTES (16ULL << 30)

/*
 * The directory @host as a read-only ext4 image with @label at @path, atomic: owners, modes, times, links, extended
 * attributes and holes as they are. ERR_INVALID: no directory, or something in it that is neither file, directory nor
 * link; ERR_DENIED: not readable; ERR_TOO_LARGE: over @max bytes. Each names the path.
 */
int fixture_build(const char *host, const char *label, const char *path, uint64_t max,
		  const struct giveup *g, struct err *e);

/* --- keys.c --- */

/* The ed25519 pair @path[.pub], made if missing. @ret: heap, the public key without a comment. */
int keys_make(const char *path, const char *comment, char **ret, struct err *e);
/* The store's ed25519 pair <root>/id_ed25519[.pub], made if missing (one winner). @ret_public: heap, the one line. */
int keys_ensure(const struct store *s, char **ret_public, struct err *e);
/*
 * The member's SSH host key <member>/ssh_host_ed25519_key[.pub] and <member>/known_hosts ("NAME ssh-ed25519 ..."), made if
 * missing. The member's directory exists.
 */
int keys_ensure_host(const struct store *s, const char *name, struct err *e);
/* The 64 bytes, private and public, of an unencrypted ed25519 key in OpenSSH's format. 0 or -EINVAL. */
enum { ED25519_BYTES = 64 };
int keys_ed25519_bytes(const char *text, unsigned char ret[ED25519_BYTES]);

/* --- seed.c --- */

struct seed {
	const char *name; /* host name and instance id */
	const char *mac;  /* of the one network card, which gets its address by DHCP */
	const char *user;
	const char *public_key; /* one line */
	const char *host_key;   /* private key file's text (OpenSSH format), may be NULL */
	const char *host_key_public;
};
/* A NoCloud ISO (volume id cidata) at @path, atomic. */
int seed_write_iso(const char *path, const struct seed *s, struct err *e);
/*
 * Files of one SMBIOS type 11 string each ("io.systemd.credential.binary:NAME=BASE64") in @dir, for `-smbios
 * type=11,path=`. 0600. @ret_paths: heap array of heap strings, the caller frees both.
 */
int seed_write_credentials(const char *dir, const struct seed *s, char ***ret_paths, size_t *ret_n,
			   struct err *e);

#endif
