/* SPDX-License-Identifier: MIT */
/*
 * Which namespaces were a cluster's: <root>/namespaces, a line for each of the last clusters of this boot. It outlives
 * them, for a namespace that a descriptor or a mount keeps has no process that could tell whose it was. Its number is
 * given to another once it is free; so the line also has when the cluster ended. What has kept it was opened before,
 * and the kernel says of an open namespace since when it is.
 */
#ifndef DROVER_STORE_NAMESPACES_H
#define DROVER_STORE_NAMESPACES_H

#include "store/store.h"

enum { NAMESPACE_KINDS = 4 };
/* "user", "pid", "mnt", "net", as /proc/PID/ns has them. */
extern const char *const namespace_kinds[NAMESPACE_KINDS];

/* By number; 0: none of that kind. */
struct namespace_set {
	uint64_t numbers[NAMESPACE_KINDS];
};

struct namespace_record {
	char member[NAME_SIZE]; /* the first */
	struct procid owner;    /* the supervisor */
	int64_t ended_ns;       /* of CLOCK_REALTIME; 0: it lives, or nobody has seen its end yet */
	struct namespace_set of;
};

struct namespace_records {
	struct namespace_record *all; /* owned */
	size_t n;
};

/* Those that the caller is in. */
struct namespace_set namespaces_here(void);

/*
 * For pid 1 of a new cluster: its own are those that differ from @before, which its supervisor was in. 0 or -errno: then
 * what is kept of them is not found.
 */
int namespaces_note(const struct store *s, const char *member, const struct procid *owner,
		    const struct namespace_set *before);
/* For the supervisor, at the end. Also ends the records of others that are dead. */
void namespaces_end(const struct store *s, const struct procid *owner);

/* This boot's. 0 or -errno. namespace_records_done(@ret) frees. */
int namespaces_load(const struct store *s, struct namespace_records *ret);
void namespace_records_done(struct namespace_records *l);
static inline void scoped_namespace_records(struct namespace_records *l)
{
	namespace_records_done(l);
}

#endif
