/* SPDX-License-Identifier: MIT */
/* What the files of the image code share. */
#ifndef DROVER_GUEST_IMAGE_H
#define DROVER_GUEST_IMAGE_H

#include "guest/guest.h"
#include "wire/message.h"

#include <openssl/evp.h>

enum { IMAGE_DEFAULT_MEMORY_MB = 1024 };

#define IMAGE_DEFAULT_USER "drover"
#define IMAGE_JSON         "image.json"

static inline void scoped_image(struct image *i)
{
	image_done(i);
}

/* image_file.c: one file that is to be a disk */

/*
 * "qcow2" or "raw" by the first bytes (and a name that says .qcow2), and checked whole. ERR_IMAGE with the file's name and
 * what is wrong.
 */
int image_file_check(const char *path, const char **ret_format, struct err *e);
/* The same with the format known. Reads all of a qcow2 file's tables. */
int image_file_check_whole(const char *path, const char *format, struct err *e);
/* The header only. @ret_bytes (may be NULL): the disk's size as the guest sees it. */
int image_file_check_as(const char *path, const char *format, uint64_t *ret_bytes, struct err *e);
/* Of a qcow2 file: its size as the guest sees it, and whether points are kept in it. ERR_IMAGE as above. */
int image_file_look(const char *path, uint64_t *ret_bytes, bool *ret_has_points, struct err *e);
/* The points that are kept in a qcow2 file which nobody has open. *@ret_points is heap. ERR_IMAGE as above. */
int image_file_points(const char *path, struct point **ret_points, size_t *ret_n, struct err *e);
/* ERR_IMAGE when a qcow2 file is only a part: one on top of another file, or with its data in one. */
int image_file_check_alone(const char *path, struct err *e);

/* image_cache.c: <images>/NAME, .NAME.lock, .NAME.tmp.PID, .NAME.part */

bool image_name_is_valid(const char *name);
/* <images>/NAME[/FILE], heap. */
char *image_cache_path(const struct store *s, const char *name, const char *file);
/* <images>/.NAME.part, heap: what there is of a download that has not ended. */
char *image_part_path(const struct store *s, const char *name);
bool image_is_cached(const struct store *s, const char *name);
/* Reads image.json and checks the files that it names. ERR_IMAGE when damaged. */
int image_cache_load(const struct store *s, const char *name, struct image *ret, struct err *e);
/* The lock of everybody who makes or removes the image. Ends with the descriptor: unlock_fd, which wakes the others. */
int image_lock(const struct store *s, const char *name, const struct giveup *g, int *ret_fd,
	       struct err *e);
/* Under the lock: removes what the dead left, makes the empty directory .NAME.tmp.PID. */
int image_tmp_make(const struct store *s, const char *name, char **ret_dir, struct err *e);
/* Syncs @dir's files and renames it to <images>/NAME. On failure @dir is removed. */
int image_tmp_commit(const struct store *s, const char *name, const char *dir, struct err *e);

/* image_build.c: the catalogue, which is the program drover-image-build */

/* Calls @each for each; 0 without a call when there is no such program. */
typedef int image_catalog_fn(void *arg, const char *name, const char *description);
int image_catalog(image_catalog_fn *each, void *arg, struct err *e);
/* Removes a directory that was being made, whoever owns its files. */
void image_clean(const char *dir);
/* 1, 0, or < 0 when the catalogue cannot be asked. */
int image_in_catalog(const char *name, struct err *e);
/* Under the lock; 0: it is in the cache. */
int image_build(const struct store *s, const char *name, const struct giveup *g,
		guest_progress_fn *progress, void *arg, struct err *e);

/* image_recipe.c: the number of the catalogue's image as it is built today; 0: it is not built */
unsigned image_recipe(const char *name);

/* image_kernel.c */

/*
 * Copies the newest kernel and initial file system of @disk to @dir/vmlinuz and @dir/initrd.img, and says with what command
 * line (heap) they find their root. 1, 0 when the disk is not laid out for that and needs firmware, or < 0.
 */
int image_kernel_take(const char *dir, const char *disk, const char *format, const struct giveup *g,
		      char **ret_cmdline, struct err *e);

/* image_stock.c: the vendors' cloud images, each pinned by URL and digest for this machine's architecture */

struct stock_image {
	char *url; /* both owned */
	char *sha256;
};
void stock_image_done(struct stock_image *i);
static inline void scoped_stock(struct stock_image *i)
{
	stock_image_done(i);
}
/* 1 and @ret, 0 when @name is none, or < 0. */
int image_stock_find(const char *name, struct stock_image *ret, struct err *e);
/* Calls @each for each. */
int image_stock_list(image_catalog_fn *each, void *arg, struct err *e);

/* image_list.c */

/* What the files in a directory take on disk. */
int64_t image_bytes_in(const char *path);

/*
 * The name under which the image of @url is cached, heap: the URL's file name and a part of its digest, so that `image ls`
 * shows what it is and two URLs never meet. NULL when out of memory.
 */
char *image_name_of_url(const char *url);
/* Under the lock of @name: fetches, checks and keeps. */
int image_import_locked(const struct store *s, const char *source, const char *name,
			const char *sha256, const struct giveup *g, guest_progress_fn *progress,
			void *arg, struct err *e);

/* image_digest.c: SHA-256 in hexadecimal */
enum { SHA256_DIGITS = 64, SHA256_TEXT_SIZE = SHA256_DIGITS + 1 };

/* For scoped(md); NULL: out of memory. */
EVP_MD_CTX *image_digest_begin(void);
/* Adds the bytes of @fd from *@at to its end, and moves *@at there. 0 or -errno; @g: giveup_is_why. */
int image_digest_add(EVP_MD_CTX *md, int fd, int64_t *at, const struct giveup *g);
/* Ends @md. */
void image_digest_hex(EVP_MD_CTX *md, char ret[SHA256_TEXT_SIZE]);

static inline void scoped_md(EVP_MD_CTX **md)
{
	EVP_MD_CTX_free(*md);
}

/* image_copy.c: bytes of a file into the new file @path, with their SHA-256 in hex (64 digits) */

int image_copy(const char *source, const char *path, char ret_sha256[SHA256_TEXT_SIZE],
	       const struct giveup *g, guest_progress_fn *progress, void *arg, struct err *e);
bool image_is_url(const char *source);

/* image_download.c */

/*
 * Bytes of @url into the file @part; goes on from what an earlier call left there. One caller at a time. @name is what the
 * image can be imported as, for the error's remedy. On failure @part
 * (and @part.from) stay only where the next call can go on from them.
 */
int image_download(const char *url, const char *name, const char *part,
		   char ret_sha256[SHA256_TEXT_SIZE], const struct giveup *g,
		   guest_progress_fn *progress, void *arg, struct err *e);
/* Removes what a call left. */
void image_download_forget(const char *part);

#endif
