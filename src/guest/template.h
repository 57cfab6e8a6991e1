/* SPDX-License-Identifier: MIT */
/*
 * Templates: guests of an image that are ready, as files to go on from. They lie in the image cache, below .templates, and
 * are shared by all who use that; a template is there when its directory is there. Everything here blocks.
 */
#ifndef DROVER_GUEST_TEMPLATE_H
#define DROVER_GUEST_TEMPLATE_H

#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

struct buf;
struct err;
struct giveup;

enum { TEMPLATE_KEY_SIZE = 17 };

/* What a template depends on. Texts are borrowed; NULL: there is no such thing. */
struct template_of {
	const char *image; /* its name, which the list of images shows */
	const char *user;
	const char *disk; /* paths: what counts is which file it is, by inode, size and time */
	const char *kernel;
	const char *initrd;
	const char *hypervisor;
	const char *cmdline;
	bool kvm; /* else translated: then the host's CPU is not seen by the guest */
	int64_t cpus;
	int64_t memory_mb;
	int64_t disk_mb;
};
int template_key(const struct template_of *t, char ret[TEMPLATE_KEY_SIZE], struct err *e);

/* The lock of everybody who makes or removes the template; a wait for it ends by @g. unlock_fd ends it. */
int template_lock(const struct store *s, const char *key, const struct giveup *g, int *ret_fd,
		  struct err *e);
/* <images>/.templates/KEY[/FILE], heap, or NULL. */
char *template_path(const struct store *s, const char *key, const char *file);
/* Whether it is there, whole as far as its sizes tell. */
bool template_is_whole(const struct store *s, const char *key);

/* Under the lock: an empty directory to fill with "memory" and, where the image has one, "disk.qcow2". Heap. */
int template_begin(const struct store *s, const char *key, char **ret_dir, struct err *e);
/* Makes of @dir the template, in place of a damaged one. On failure @dir is removed. */
int template_keep(const struct store *s, const char *key, const char *dir,
		  const struct template_of *t, struct err *e);

/* A template as a start found it: what goes wrong is the fault of this one, not of one that was made meanwhile. */
struct template_seen {
	ino_t inode; /* 0: it was not there */
	struct timespec made;
	bool was_late; /* the last start from it */
};
void template_see(const struct store *s, const char *key, struct template_seen *ret);
/*
 * Under the lock: a start from @seen has failed, and the template goes; or was @late, and it goes when the start before was
 * too: one may be the fault of a host that is slow, as may several side by side.
 */
void template_blame(const struct store *s, const char *key, const struct template_seen *seen,
		    bool late);
/* A start from it was done in time. */
void template_was_in_time(const struct store *s, const char *key);

/* Removes all templates of @image, and adds up (or, with @remove false, only that) what they take on disk. */
int64_t template_bytes(const struct store *s, const char *image, bool remove);

/* --- identity.c: who a guest is that goes on from a template --- */

/*
 * What makes a guest that has taken a login a template: a line for the login shell. It starts a shell on the second serial
 * line, and takes from the guest what belongs to one machine alone; the console says TEMPLATE_READY.
 */
extern const char identity_take[];
#define TEMPLATE_READY "drover: this guest is a template"

struct identity {
	const char *name;
	const char *user;
	const char *public_key;      /* one line */
	const char *host_key;        /* the private key file's text */
	const char *host_key_public; /* one line */
	const char *mac;
	const char *ip; /* of a /24 */
};
/* The lines for that shell that make of a copy a machine of its own, which can be reached. 0 or -errno. */
int identity_give(const struct identity *i, struct buf *ret);

#endif
