/* SPDX-License-Identifier: MIT */
/* Members of one cluster on their way to a login, side by side; all of them or none. */
#ifndef DROVER_CLIENT_BOOT_H
#define DROVER_CLIENT_BOOT_H

#include "client/client.h"

struct boot;

/* Set @cluster and @settings, both borrowed, the rest to zero and ERR_INIT. */
struct boot_run {
	struct drover_cluster *cluster;
	const struct settings *settings;
	struct boot *boots;
	size_t n;
	struct drover_vm **vms; /* those of @boots; the array alone is the run's */
	size_t n_vms;
	unsigned pending; /* members on their way */
	unsigned working; /* work threads under way */
	struct timer *second;
	struct err error; /* the first failure */
	bool failed;
	int64_t end_ms;             /* of clock_ms; set by boot_run_limit */
	struct drover_cancel *stop; /* of the work threads; owned */
	struct giveup giveup;       /* by that */
	bool ends_helper;           /* a failure ends it, with what then still runs */
};

/* The start's own time runs from here: the image is there. */
void boot_run_limit(struct boot_run *run);
/* cluster_make_network within that. */
int boot_run_network(struct boot_run *run, const char *subnet, struct err *e);
/*
 * Lays out members of @names: those that are not in the handle yet are put there, new ones are configured as @image says. On
 * failure too boot_run_done is the caller's.
 */
int boot_run_init(struct boot_run *run, const struct name_list *names, const struct prepare *image,
		  struct err *e);
/*
 * Begins to make the files of the members, which are locked, while somebody makes the network; boot_run goes on with them. On
 * failure, and when boot_run is not called after all, boot_run_settle is the caller's.
 */
int boot_run_begin_files(struct boot_run *run, struct err *e);
/* Boots them on the cluster's helper until each accepts a login. When one fails, the others are stopped. Blocks. */
int boot_run(struct boot_run *run, struct err *e);
/* Ends what work threads do, and waits for it. */
void boot_run_settle(struct boot_run *run);
/* After a failure, once the helper has let go of their locks: removes the members that this run made. */
void boot_run_remove_made(struct boot_run *run);
/* After a failure: takes those out of the handle that boot_run_init has put there. They are its last. */
void boot_run_forget(struct boot_run *run);
void boot_run_done(struct boot_run *run);

#endif
