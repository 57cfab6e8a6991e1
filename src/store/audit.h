/* SPDX-License-Identifier: MIT */
/*
 * What there is of a store's clusters on this host, and whose it is: the processes, what they hold, and what lies in
 * the store and the run directory because something runs. Disks and configurations of members at rest are not told:
 * they are meant to stay.
 */
#ifndef DROVER_STORE_AUDIT_H
#define DROVER_STORE_AUDIT_H

#include "base/giveup.h"
#include "store/store.h"

struct process {
	struct procid id;
	pid_t parent;
	unsigned levels; /* of pid namespaces, seen from here */
	char program[64];
	char member[NAME_SIZE]; /* the first of its helper */
	char *members;          /* of a helper, owned: as its command line names them */
	bool is_helper;
	pid_t owner; /* the supervisor, alive; 0: none */
};

struct process_list {
	struct process *all; /* owned */
	size_t n;
};

/* Every process of @s but the caller, unless @g (may be NULL) gives up. 0, or < 0 and @e. process_list_done(@ret) frees. */
int store_processes(const struct store *s, const struct giveup *g, struct process_list *ret,
		    struct err *e);
void process_list_done(struct process_list *l);

/* The name that the kernel has for @pid: heap, or NULL when it has gone. */
char *process_name(pid_t pid);

static inline void scoped_processes(struct process_list *l)
{
	process_list_done(l);
}

/*
 * Kills those without an owner and waits for their end, until @g (may be NULL) gives up. < 0: @e has the first that could
 * not be ended, or that it was given up.
 */
int store_end_orphans(const struct process_list *l, const struct giveup *g, struct err *e);

#define THING_MAP(X) /* id, name in what is printed */ \
	X(PROCESS, "process")                          \
	X(NAMESPACE, "namespace")                      \
	X(INTERFACE, "interface")                      \
	X(LOCK, "lock")                                \
	X(MOUNT, "mount")                              \
	X(PIDFILE, "pidfile")                          \
	X(SOCKET, "socket")                            \
	X(DIRECTORY, "directory")                      \
	X(FILE, "file")                                \
	X(UNREADABLE, "unreadable")                    \
	X(RECORD, "record")                            \
	X(BRIDGE, "bridge")                            \
	X(TAP, "tap")                                  \
	X(TABLE, "table")

enum thing_kind {
#define X(id, name) THING_##id,
	THING_MAP(X)
#undef X
};
const char *thing_kind_name(enum thing_kind kind); /* static */

struct thing {
	enum thing_kind kind;
	char *what;             /* owned */
	char member[NAME_SIZE]; /* "" when nobody knows */
	pid_t owner;            /* the live process that it belongs to; 0: none */
};

struct thing_list {
	struct thing *all; /* owned */
	size_t n;
};

/*
 * All of it, unless @g (may be NULL) gives up. Nothing is changed or locked. A directory of a cluster that cannot be read is
 * told as "unreadable". thing_list_done(@ret) frees.
 */
int store_audit(const struct store *s, const struct giveup *g, struct thing_list *ret,
		struct err *e);
void thing_list_done(struct thing_list *l);

static inline void scoped_things(struct thing_list *l)
{
	thing_list_done(l);
}

/*
 * Ends and removes what the audit says is nobody's. A member's things only under its lock: what is being made or
 * removed meanwhile is left alone. < 0: @e has the first that could not be removed, or that @g (may be NULL) gave up; what
 * was removed until then is.
 */
int store_prune(const struct store *s, const struct giveup *g, struct err *e);

/* One thing that was found: the fields of struct thing; all borrowed. */
typedef void audit_tell(void *arg, enum thing_kind kind, const char *what, const char *member,
			pid_t owner);

/* audit_host.c: what there is in the host's own network. */
int audit_host(const struct store *s, const struct process_list *processes, const struct giveup *g,
	       audit_tell *tell, void *arg, struct err *e);
/* Whether there is anything of ours there, of whatever store, that the caller could remove. */
bool audit_host_has_things(void);

/* audit_mounts.c: the mounts that @pid, or "self", sees, as /proc tells them: heap, or NULL when it has gone. */
char *audit_read_mounts(const char *pid);
/* What @p sees mounted and the caller does not. */
void audit_mounts_of(const struct process *p, audit_tell *tell, void *arg);
/* What is mounted on files of the store, without an owner. */
void audit_mounts_here(const struct store *s, audit_tell *tell, void *arg);

/* audit_namespaces.c: what is kept of clusters that have ended. When @g gives up, not all of it is told. 0 or -errno. */
int audit_namespaces(const struct store *s, const struct giveup *g, audit_tell *tell, void *arg);

#endif
