/* SPDX-License-Identifier: MIT */
/*
 * The tree on disk, the same for client and helper.
 *
 *   <root>/clusters/<cluster>/<member>/   config.json disk.qcow2 seed.iso serial.log pid owner failure .lock ...
 *   <root>/run/<key>.sock .ctl            sockets (or $XDG_RUNTIME_DIR/drover/... when <root> is too long,
 *                                             else /tmp/drover-<uid>/..., yours alone or refused)
 *   <root>/captures/XXXXXX/               what is captured of a cluster, laid out as a store (captures.h)
 *   <images>/                             $XDG_CACHE_HOME/drover/images, or <root>/images under DROVER_HOME
 *   <root>/id_ed25519[.pub]               <root>/helper-<first name>.log
 *   <root>/console-<name>.log            of a member that went with its failed start
 *   <root>/.lock                          of those who start clusters (store_starts_lock)
 *   <root>/namespaces                     which were a cluster's (namespaces.h)
 *
 * A member exists when its config.json exists, and that is written last. A member runs when its pidfile names a live
 * process: `pid` holds the helper's pid alone (protocol 2 reads it), `owner` beside it the whole identity.
 * Every function blocks on the file system and nothing else.
 */
#ifndef DROVER_STORE_STORE_H
#define DROVER_STORE_STORE_H

#include "base/procid.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct err;
struct giveup;
struct name_list;

/* The files of a member. What is captured of one has some of them under the same names, a template two. */
#define MEMBER_CONFIG      "config.json"
#define MEMBER_DISK        "disk.qcow2"
#define MEMBER_POINTS      "points.qcow2" /* keeps the points of a member without a disk */
#define MEMBER_EFI         "efi.qcow2"    /* what UEFI keeps; written by the guest */
#define MEMBER_SEED        "seed.iso"
#define MEMBER_HOST_KEY    "ssh_host_ed25519_key"
#define MEMBER_HOST_PUBLIC "ssh_host_ed25519_key.pub"
#define MEMBER_KNOWN_HOSTS "known_hosts"
#define MEMBER_SERIAL_LOG  "serial.log"
#define MEMBER_PID         "pid"
#define MEMBER_OWNER       "owner"
/* Only until the first start of a copy has taken them. */
#define MEMBER_MEMORY "memory"
#define MEMBER_POINT  "point" /* what the point that it loads is called in the disk */
#define MEMBER_SCRIPT "script"
/* Only of members that came out of a file (client/export.c). */
#define MEMBER_KERNEL    "kernel"
#define MEMBER_INITRD    "initrd"
#define MEMBER_LOGIN_KEY "login_key" /* private: until the store's own is let in */

#define STORE_KEY "id_ed25519" /* below the root; private, .pub beside it */

struct store {
	char *root;
	char *run;    /* sockets */
	char *images; /* image cache */
};

/*
 * Opens the store: @root (made absolute), or NULL for $DROVER_HOME, else $XDG_STATE_HOME/drover, else
 * ~/.local/state/drover. Makes the directories (0700). The image cache may be named by $DROVER_IMAGE_CACHE.
 * < 0: @e names the directory and why. store_close(@ret) frees (a zeroed store is fine).
 */
int store_open(const char *root, struct store *ret, struct err *e);
void store_close(struct store *s);

static inline void scoped_store(struct store *s)
{
	store_close(s);
}

/* Paths: heap, caller frees; NULL only when out of memory. @file may be NULL: the member's directory itself. */
char *store_member_path(const struct store *s, const char *name, const char *file);
char *store_socket_path(const struct store *s, const char *name,
			const char *suffix); /* "sock", "ctl" */
/* Where the helper of @supervisor has its network's files: another's may not have gone yet. Heap; NULL: out of memory. */
char *store_network_path(const struct store *s, const char *name, pid_t supervisor);
char *store_log_path(const struct store *s, const char *first_name);
/*
 * Moves what the guest of a member wrote, which is about to be removed for its failed start, to <root>/console-NAME.log. It
 * goes with store_console_forget, or a prune. The path (heap), or NULL: it wrote nothing.
 */
char *store_console_keep(const struct store *s, const char *name);
void store_console_forget(const struct store *s, const char *name);

/* An empty log for a helper that is to be started: a descriptor that holds it, or -errno. */
int store_log_open(const char *path);
/* Removes the logs of @name's cluster (NULL: of all) when no member of it is left; not those that are being written. */
void store_logs_remove(const struct store *s, const char *name);
/* For a helper or its supervisor at its orderly end: nothing is written to its log any more, which is its stderr. */
void store_log_end(const struct store *s, const char *first_name);

/* Makes the member's directory (0700). */
int store_member_mkdir(const struct store *s, const char *name, struct err *e);

/*
 * The member's lock, held as long as the descriptor is open, by whoever runs, makes or removes the member.
 * ERR_BUSY when another process holds it. The directory is made if need be.
 */
int store_member_lock(const struct store *s, const char *name, int *ret_fd, struct err *e);

/*
 * For whoever decides which members start together: a lock for each of @clusters (as of name_cluster), until @ret_fd is closed.
 * Waits until @g gives up.
 */
int store_starts_lock(const struct store *s, const struct name_list *clusters,
		      const struct giveup *g, int *ret_fd, struct err *e);

/*
 * For the holder of the lock: removes the files of a network that a killed owner left, and writes owner, then pid. @like,
 * NULL or a member for which the same @id was written: its files get one more name each, which is sooner done.
 */
int store_owner_write(const struct store *s, const char *name, const struct procid *id,
		      const char *like, struct err *e);
/* Removes pid and owner. */
void store_owner_clear(const struct store *s, const char *name);
/*
 * For the holder of the lock: of a member that was never made, what store_member_lock and store_owner_write left goes
 * behind store_owner_clear, and its directory if it then is empty. Does nothing when the member exists.
 */
void store_owner_retract(const struct store *s, const char *name);
/*
 * Why the member's VM ended, for who asks when its helper has gone too. Best effort; the room for it was taken by
 * store_owner_write, which also forgets the last one: a full disk is a reason that can be told.
 */
void store_failure_write(const struct store *s, const char *name, const char *sentence);
/* The same for every member that the helper of pid @pid runs. */
void store_fail_owner(const struct store *s, pid_t pid, const char *sentence);
/* Fills @ret ("" when there is none). */
void store_failure_read(const struct store *s, const char *name, char *ret, size_t size);
/* The pid of the live helper that runs @name, or 0. A zombie, a recycled pid, another boot: 0. */
pid_t store_owner_alive(const struct store *s, const char *name);

/* Whether the live helper of pid @pid runs any member. */
bool store_owner_serves(const struct store *s, pid_t pid);

/*
 * What a dead helper of pid @pid left: its members' pidfiles and sockets are removed, with @remove_members their
 * directories too. For the helper's own supervisor, at the very end.
 */
void store_sweep_owner(const struct store *s, pid_t pid, bool remove_members);

/* The same for one member whose helper and supervisor were both killed. Nothing happens while its owner lives. */
void store_sweep_dead(const struct store *s, const char *name);

/* A directory of the host in the guest. */
enum share_kind {
	SHARE_FIXTURE,  /* as it is when the member boots, read-only */
	SHARE_MOUNT,    /* live, read-only */
	SHARE_MOUNT_RW, /* live */
};
struct share {
	enum share_kind kind;
	char *host;  /* owned, absolute */
	char *guest; /* owned, absolute */
};

enum { CLUSTER_ID_SIZE = 17 }; /* 16 hexadecimal digits, and NUL */

struct member_config {
	char name[NAME_SIZE];
	char mac[MAC_SIZE];
	char ip[IP_SIZE]; /* the last reservation, "" when none */
	int64_t cpus;
	int64_t memory_mb;
	int64_t disk_mb;
	char *image;         /* owned: as the user named it */
	char *user;          /* owned: who logs in */
	char created_at[40]; /* RFC 3339 */
	bool no_egress;
	char guest_name[NAME_SIZE]; /* what it is called inside, a fork; "": name */
	char network[16];           /* host, or private, which "" means too */
	char backend[32];
	char cluster_id[CLUSTER_ID_SIZE]; /* of the cluster that it last booted in; "": not known */

	/* What the image said when the disk was made: a member boots the same whatever becomes of the name. */
	char *kernel_path; /* owned, NULL: firmware */
	char *initrd_path; /* owned, may be NULL */
	char *cmdline;     /* owned, may be NULL */
	char *disk_format; /* owned */
	char *provision;   /* owned */

	/* The user's own, each before what the image said; all owned, NULL: as the image has it. Absolute paths. */
	char *own_kernel;
	char *own_initrd; /* "none": none */
	char *append;     /* behind the command line */
	bool second_line; /* a second serial line, of members that start from a template */
	char firmware[8]; /* "bios" or "uefi" where that starts the disk, else "" */

	struct share *shares; /* owned; the same from boot to boot */
	size_t n_shares;
};

/* What the guest calls itself. */
static inline const char *member_config_inside(const struct member_config *c)
{
	return c->guest_name[0] ? c->guest_name : c->name;
}

void member_config_done(struct member_config *c);
static inline void scoped_config(struct member_config *c)
{
	member_config_done(c);
}

/* Appends one; the texts are copied. 0 or -ENOMEM. */
int member_config_share(struct member_config *c, enum share_kind kind, const char *host,
			const char *guest);

bool store_member_exists(const struct store *s, const char *name);
/* ERR_NOT_FOUND when there is no such member; a damaged file is named. @ret: member_config_done. */
int store_config_load(const struct store *s, const char *name, struct member_config *ret,
		      struct err *e);
int store_config_save(const struct store *s, const struct member_config *c, struct err *e);

/* Removes the member's directory and sockets, and the cluster's directory and logs when it was the last. */
int store_member_remove(const struct store *s, const char *name, struct err *e);

/* Removes what is there of @name when it never became a member. The caller holds its lock. */
void store_member_forget(const struct store *s, const char *name);

struct name_list {
	char (*names)[NAME_SIZE]; /* owned */
	size_t n;
};
/* Names of all members (those with a config, and those that run), by cluster, then naturally by number. */
int store_list(const struct store *s, struct name_list *ret, struct err *e);
void name_list_done(struct name_list *l);
static inline void scoped_names(struct name_list *l)
{
	name_list_done(l);
}
int name_list_add(struct name_list *l, const char *name); /* 0 or -ENOMEM */
bool name_list_has(const struct name_list *l, const char *name);
int name_list_add_once(struct name_list *l, const char *name); /* the same, unless it is there */

#endif
