/* SPDX-License-Identifier: MIT */
/* What captures, copies and exports share. All functions block. */
#ifndef DROVER_CLIENT_CAPTURE_H
#define DROVER_CLIENT_CAPTURE_H

#include "client/client.h"

struct drover_capture {
	struct store store;            /* where copies are made */
	struct store inside;           /* the capture itself; its root alone is set */
	struct member_config *configs; /* of the members, under the names that they had; owned */
	size_t n;
	int64_t point_bytes; /* of a capture of a point: what all members load; else 0 */
	int lock;
};

enum give {
	GIVE_COPY, /* shares blocks where the file system can */
	GIVE_LINK, /* the same file under two names; a copy where that cannot be */
	GIVE_MOVE,
};
/* Makes the file @to of the file @from. */
int give_file(const char *from, const char *to, enum give how, struct err *e);

/* An empty one in the store at @root, unless @g (may be NULL) gives up first; drover_capture_close removes it. */
int capture_new(const char *root, const struct giveup *g, struct drover_capture **ret,
		struct err *e);

/* One of @c, with all but memory and disks. What cannot be captured is refused here; nothing is held. */
int capture_prepare(struct drover_cluster *c, const struct giveup *g, struct drover_capture **ret,
		    struct err *e);

/*
 * For the steps of others: room for @n members, and one of them with all but memory and disk. What its configuration says
 * may be why it cannot be captured.
 */
int capture_reserve(struct drover_capture *k, size_t n, struct err *e);
int capture_add_member(struct drover_capture *k, const char *name, struct err *e);
/* Whether @name, which does not run, has its part of @point: 0, 1, or < 0. */
int capture_stopped_has(const struct store *s, const char *name, const char *point, struct err *e);
/* Of member @i: the name of the file that has its disk, or its points where it has none; static. */
const char *capture_disk_of(const struct drover_capture *k, size_t i);
/* Whether there is room for a copy of the disks. */
int capture_check_disks(const struct drover_capture *k, struct err *e);
/* Waits for the turn, and has the helper of @c write the disks of its members, which have @point. */
int capture_take_disks(struct drover_capture *k, struct drover_cluster *c, const char *point,
		       const struct limits *l, int64_t *ret_held_ms, struct err *e);

/* Memory and disks of @c, which is held meanwhile, into what was prepared. */
int capture_take(struct drover_capture *k, struct drover_cluster *c, const struct limits *l,
		 int64_t *ret_held_ms, struct err *e);

/*
 * Makes @name, which is locked and has a directory, a member that goes on from the captured member @i. @last: nobody
 * starts from the capture after it. @cluster_id: of the copy.
 */
int capture_deal(const struct drover_capture *k, size_t i, const char *name, const char *cluster_id,
		 bool last, struct err *e);

/* Bytes of memory that the running members have now, or < 0; that the captured ones had. */
int64_t cluster_memory_used(struct drover_cluster *c, const struct limits *l, struct err *e);
int64_t capture_memory_used(const struct drover_capture *k);

#endif
