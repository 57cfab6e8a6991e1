/* SPDX-License-Identifier: MIT */
/*
 * What clusters hold in the host's own network: records in /run/drover, which are for the whole host, whatever store a
 * cluster is of, and end with the boot as what they tell of does.
 *
 *   /run/drover/lock                   flock: held by whoever makes or removes a network of the host (network/host_lock.h)
 *   /run/drover/networks/drv<key>.json one record; the bridge has its name, taps are drv<key>t<n>, the table drover_<key>
 *
 * A record is written before the first of its things is made and removed after the last has gone: what a record does
 * not tell of is not ours, or its record was lost. Root writes, everybody reads.
 */
#ifndef DROVER_STORE_HOST_RECORD_H
#define DROVER_STORE_HOST_RECORD_H

#include "base/procid.h"
#include "base/str.h"

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

struct err;

#define HOST_RUN_DIR      "/run/drover"
#define HOST_LOCK_FILE    HOST_RUN_DIR "/lock"
#define HOST_NETWORKS_DIR HOST_RUN_DIR "/networks"

enum { HOST_KEY_SIZE = 9, HOST_MAX_UPLINKS = 8, HOST_TABLE_SIZE = 16 };

struct host_record {
	char key[HOST_KEY_SIZE]; /* 8 hex digits */
	char *path;              /* owned: the file */
	char *problem; /* owned: why it cannot be read, and then nothing below counts; or NULL */
	char *root;    /* owned: the store's */
	char member[NAME_SIZE]; /* the primary */
	char subnet[SUBNET_SIZE];
	struct procid owner; /* the supervisor */
	uint64_t net_ns;     /* inodes of the namespaces that the owner lives in */
	uint64_t pid_ns;
	char uplinks[HOST_MAX_UPLINKS][IF_NAMESIZE]; /* forwarding was off there before */
	size_t n_uplinks;
};

struct host_records {
	struct host_record *all; /* owned */
	size_t n;
};

/* All of them; none when there is no directory. 0, or < 0 and @e. host_records_done(@ret) frees. */
int host_records_load(struct host_records *ret, struct err *e);
void host_records_done(struct host_records *l);

static inline void scoped_host_records(struct host_records *l)
{
	host_records_done(l);
}

struct host_record *host_records_find(const struct host_records *l, const char *key);

/* Under the lock. @r's path is not used. */
int host_record_save(const struct host_record *r, struct err *e);
int host_record_remove(const char *key, struct err *e);
/* Under the lock: files that a save left when it was killed. */
void host_records_remove_drafts(void);

/* Names: of the cluster of @member in the store @root, and of what it has. */
void host_key(const char *root, const char *member, char ret[HOST_KEY_SIZE]);
void host_bridge_name(const char *key, char ret[IF_NAMESIZE]);
void host_table_name(const char *key, char ret[HOST_TABLE_SIZE]);

/* True when @name could be a bridge (or, with @is_tap set, a tap) of ours: fills the key. */
bool host_name_parse(const char *name, char ret_key[HOST_KEY_SIZE], bool *ret_is_tap);
bool host_table_parse(const char *name, char ret_key[HOST_KEY_SIZE]);

/* The inode of the calling process's namespace @kind ("net", "pid"), 0 when it cannot be told. */
uint64_t host_namespace(const char *kind);

enum host_owner {
	HOST_OWNER_LIVES,
	HOST_OWNER_DEAD,
	HOST_OWNER_ELSEWHERE, /* in another pid namespace of this boot: nobody here can tell */
};
enum host_owner host_record_owner(const struct host_record *r);

#endif
