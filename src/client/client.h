/* SPDX-License-Identifier: MIT */
/*
 * libdrover inside.
 *
 * How it works: a cluster handle owns a private loop, a session with its helper and a remote backend. A public call
 * starts operations and runs the loop until they are done, the deadline passes or the caller cancels (wait_loop). What
 * blocks (disks, seeds, SSH) runs in the loop's work threads, on copies.
 */
#ifndef DROVER_CLIENT_CLIENT_H
#define DROVER_CLIENT_CLIENT_H

#include "backend/backend.h"
#include "base/giveup.h"
#include "base/list.h"
#include "client/ssh.h"
#include "drover.h"
#include "guest/template.h"
#include "loop/loop.h"
#include "loop/timer.h"
#include "store/store.h"
#include "wire/names.h"

#include <uv.h>

/* Fills the public error from ours. Returns @r, or the error's number when @r is 0. */
int public_error(struct drover_error *to, const struct err *from, int r);
/* The other way, for a public call made from inside. Returns the error's number. */
int private_error(struct err *to, const struct drover_error *from);

struct drover_cancel {
	int event_fd;
};

/*
 * Takes the caller's structure of options, whose first field is its size: @from, which may be NULL, to the @known bytes of
 * @to. An older program's is shorter: the rest is zero. @init: the macro's name, for the error.
 */
int options_take(void *to, size_t known, const void *from, const char *init, struct err *e);

/* What a struct drover_call amounts to. */
struct limits {
	uint64_t timeout_ms; /* 0: none but those of the operations themselves */
	struct drover_cancel *cancel;
};
/* Fails with "canceled", too: a call whose cancel was there before it asks nobody for anything. */
int limits_from(const struct drover_call *o, struct limits *ret, struct err *e);
/* For a call that has to do something even then. */
int limits_read(const struct drover_call *o, struct limits *ret, struct err *e);
/* The same for steps that do not run a loop; the time runs from here. */
struct giveup limits_giveup(const struct limits *l);
/* Without a deadline; @cancel may be NULL. */
struct giveup cancel_giveup(const struct drover_cancel *cancel);
/* Fails with "canceled" when it was canceled by now; @cancel may be NULL. */
int cancel_check(const struct drover_cancel *cancel, struct err *e);

/* What a call's options amount to: every default filled in. Texts are borrowed from the caller's options. */
struct settings {
	const char *home;
	const char *image;
	const char *backend;      /* static */
	bool any_backend;         /* nobody named it: what the members had goes before it */
	const char *network;      /* private or host; NULL until settings_find_network */
	char subnet[SUBNET_SIZE]; /* wanted, "": any */
	const char *hypervisor;   /* NULL: not named */
	unsigned cpus;
	unsigned memory_mb;
	unsigned disk_mb;
	unsigned wanted_cpus; /* as the caller named them; 0: not named */
	unsigned wanted_disk_mb;
	uint64_t timeout_ms;
	uint64_t wanted_timeout_ms; /* as the caller named it; 0: not named */
	const char
		*firmware; /* "bios" or "uefi": that starts the disk; NULL: as the image has it */
	bool no_egress;
	bool detached;
	bool temporary;
	drover_progress_fn *on_progress;
	void *progress_arg;
	struct drover_cancel *cancel;
	int64_t started; /* clock_ms */
	const struct drover_share *shares;
	size_t n_shares;
	const char *kernel; /* a path, "image", or NULL: not named; so the others */
	const char *initrd; /* also "none" */
	const char *append;
	bool warm;        /* new members start from a template */
	bool undivided;   /* not beside others of their cluster that run */
	bool second_line; /* what runs shall become one */
};
int settings_from(const struct drover_options *o, struct settings *ret, struct err *e);
void settings_progress(const struct settings *s, const char *member, const char *stage, int percent,
		       const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* What runs @names: what the caller wants, else what the members had. */
int settings_find_backend(struct settings *s, const struct store *store,
			  const struct name_list *names, struct err *e);

/* Whether a network has addresses for @n members; asked before anything is made. */
int settings_check_count(const struct settings *s, size_t n, struct err *e);

/* The same for @names, one at least, which join @c: its helper has one backend. */
int settings_join(struct settings *s, const struct drover_cluster *c, const struct name_list *names,
		  struct err *e);

/*
 * The network of a cluster of @names: what the caller wants, else what the members had; and their subnet of the host,
 * which they get again while it is free. One that had no way out gets none.
 */
void settings_find_network(struct settings *s, const struct store *store,
			   const struct name_list *names);

/* Removes what dead clusters left in the host's network, if there is any; @s (may be NULL) is told what stays. */
void host_reconcile(const struct store *store, const struct settings *s);

/* --- session.c: one helper process and the hold on it ---------------------------------------------------------- */

struct session {
	pid_t pid;                      /* 0 when it was not started here */
	int pidfd;                      /* or -1 */
	int ctl_fd;                     /* bound: while it is open the helper lives; or -1 */
	char warning[WIRE_MAX_WARNING]; /* what the user should know, "": nothing */
};

/* The path of the helper program: heap, the caller frees; NULL: out of memory. It may be missing. */
char *session_helper(void);

struct session_options {
	const struct store *store;
	const struct name_list *members;
	const char *backend;
	const char *network;
	const char *subnet; /* "": any */
	bool no_egress;
	const char *hypervisor; /* NULL: the environment's */
	bool detached;
	bool temporary;
	struct giveup giveup;
};

/*
 * Starts a helper and waits until its sockets listen; bound: holds it by the handshake. Each takes 30 s at most. On failure
 * nothing runs and @e has the helper's own sentence.
 */
int session_start(const struct session_options *o, struct session *ret, struct err *e);
/*
 * Bound: lets go, and waits until the helper is gone, which it is after @timeout_ms and at once by @cancel (may be NULL): its
 * power is cut. Detached: forgets it. Idempotent.
 */
void session_end(struct session *s, uint64_t timeout_ms, struct drover_cancel *cancel);
/* Ends the helper, bound or detached, and all that it runs: in order, which takes some ms, or after 5 s by force. Idempotent. */
void session_abort(struct session *s);
/* Runs a helper that removes what is nobody's, and waits for its end, until @g (may be NULL) gives up. < 0: @e has what it says. */
int session_reconcile(const struct store *store, const struct giveup *g, struct err *e);

/* --- prepare.c: what a member is made of ----------------------------------------------------------------------- */

/*
 * Everything on disk that @c's member needs to boot, and the key pair; blocking, for a work thread. A new member:
 * host key, disk, seed, credentials. An existing one: what is missing or changes by boot (credentials).
 */
struct prepare {
	const struct store *store;
	struct member_config config; /* owned */
	char image_disk[PATH_MAX];   /* base of a new disk, "" for a blank one */
	char image_format[16];
	char warm_key
		[TEMPLATE_KEY_SIZE]; /* of the template that a new member goes on from, or "" */
	bool is_new;
	bool is_fake;
	bool is_resized;             /* an existing member gets other sizes, of sizes_configure */
	bool is_grown;               /* its disk does */
	const struct giveup *giveup; /* borrowed */
	char **credentials;          /* owned: what prepare_member wrote for this boot */
	size_t n_credentials;
};
void prepare_done(struct prepare *p); /* frees what @p owns; a zeroed one is fine */
/* Those of a member's files that know nothing of its addresses; then the others, with @p's config filled in. */
int prepare_files(struct prepare *p, struct err *e);
int prepare_member(struct prepare *p, struct err *e);
/* What @image, of prepare_image, has for disk and memory of the new member. */
void prepare_base(struct prepare *p, const struct prepare *image);

/* --- image.c ------------------------------------------------------------------------------------------------------ */

/* Resolves the image that @s names and fills the parts of @p that come from it. Blocks: may build or download. */
int prepare_image(const struct store *store, const struct settings *s, struct prepare *template,
		  struct err *e);

/* The member that @c is of is made now. */
void prepare_date(struct member_config *c);
/* A new member's configuration: the image's part from @image, the sizes from the settings. @c is filled in failure too. */
int prepare_config(struct member_config *c, const struct prepare *image, const char *name,
		   const struct settings *s, struct err *e);

/* --- warm.c: starts from a template ------------------------------------------------------------------------------- */

/* What new members go on from. */
struct warm {
	char key[TEMPLATE_KEY_SIZE]; /* "": they boot */
	bool made;                   /* by this call, so a next would be no better */
	struct template_seen seen;
};
int warm_check_settings(const struct settings *s, struct err *e);
/*
 * prepare_image for @n new members, and where @s wants that the template that fits, which is made when there is none: blocks for a boot then.
 * When there is one @s gets half of the time, so that some is left if the template does not work.
 */
int warm_image(struct settings *s, size_t n, struct prepare *image, struct warm *warm,
	       struct err *e);
/*
 * A start from @w ended with @r and @e. Removes the template when it may be the cause; being late is that only the second time
 * in a row, since the host may be slow. True: trying once more makes sense.
 */
bool warm_try_again(const struct warm *w, const struct settings *s, int r, const struct err *e);
/* Disk and memory of the template to a new member; blocking, for a work thread. */
int warm_deal(const struct prepare *p, struct err *e);

/* --- start.c ------------------------------------------------------------------------------------------------------ */

/* drover_cluster_start with the options filled in. */
int cluster_start(const char *const names[], size_t n, const struct settings *s,
		  struct drover_cluster **ret, struct err *e);

/* --- join.c: which members belong together ----------------------------------------------------------------------- */

/* A new one. < 0: @e. */
int cluster_id_make(char ret[CLUSTER_ID_SIZE], struct err *e);
/* Of a cluster that @names are started as: that which they had, new ones that of the rest of their name's cluster; else a new one. */
int cluster_id_find(const struct store *store, const struct name_list *names,
		    char ret[CLUSTER_ID_SIZE], struct err *e);

/*
 * Starts of one cluster go one after the other: waits for another, and holds the next off until @ret_fd is closed. < 0: members
 * of @names' cluster run by now (ERR_ALREADY_RUNNING), or @l has ended it.
 */
int cluster_gate(const struct store *store, const char *const names[], size_t n,
		 const struct limits *l, int *ret_fd, struct err *e);

/* All that belong to @member's cluster, itself too, whether they run or not: by its id, without one by the names. */
int cluster_members(const struct store *store, const char *member, struct name_list *ret,
		    struct err *e);

/* --- kernel.c: a kernel of the user's own ------------------------------------------------------------------------ */

/* Whether what the caller names can be booted, as far as the files tell. */
int kernel_check(const struct settings *s, struct err *e);
/* Writes what the caller names, if anything, into the configuration of a member, new or not. */
int kernel_configure(struct member_config *c, const struct settings *s, struct err *e);
/* The member's own files once more, before a boot. */
int kernel_check_member(const struct member_config *c, struct err *e);
/* What the member boots. Borrowed from @c; NULL: its disk's boot loader; no initial file system. */
const char *kernel_path(const struct member_config *c);
const char *kernel_initrd(const struct member_config *c);
/* Its command line, heap; NULL: out of memory. */
char *kernel_cmdline(const struct member_config *c);

/* --- sizes.c: other sizes for a member that exists ---------------------------------------------------------------- */

/* What the caller names of them goes into the configuration of an existing member. invalid_argument: a smaller disk. */
int sizes_configure(struct prepare *p, const struct settings *s, struct err *e);
/* Before a boot with them: grows the disk; refuses where something fits the old sizes only. Blocking, for a work thread. */
int sizes_apply(const struct prepare *p, struct err *e);

/* The spec of a prepared member. @ret: vm_spec_done. */
int prepare_spec(const struct prepare *p, struct vm_spec *ret, struct err *e);

/* --- share.c: directories of the host in a guest ---------------------------------------------------------------- */

/* Whether a new member can have @s: a directory, an absolute path, each path once. */
int shares_check(const struct drover_share *shares, size_t n, struct err *e);
/* Writes them into a new member's configuration. */
int shares_configure(struct member_config *c, const struct drover_share *shares, size_t n,
		     struct err *e);
/* Builds the images of the fixtures of @p's member; blocking, for a work thread. */
int shares_build(const struct prepare *p, struct err *e);
/* What the spec says of them. 0 or -ENOMEM. */
int shares_spec(const struct prepare *p, struct vm_spec *s);
/* Mounts them in the guest, those that are not yet; blocking, for a work thread. @cancel_fd: as of struct ssh_limits. */
int shares_mount(const struct member_config *c, struct ssh_session *ssh, uint64_t timeout_ms,
		 int cancel_fd, struct err *e);

/* --- boot_times.c: when the stages of a boot began --------------------------------------------------------------- */

/* Notes that @stage, a word of struct drover_progress, begins now; again is harmless. @s: of the call that boots. */
void boot_times_note(struct drover_boot *t, const struct settings *s, const char *stage);
/*
 * Keeps them with the member. @resumed: its guest went on from memory. Best effort: a boot does not fail for that.
 */
void boot_times_save(const struct store *store, const char *name, struct drover_boot *t,
		     bool resumed);

/* --- cluster.c, vm.c ------------------------------------------------------------------------------------------- */

struct drover_vm {
	struct drover_cluster *cluster;
	char name[NAME_SIZE];
	char ip[IP_SIZE];
	char user[64];
	struct backend_vm *handle; /* NULL when the member does not run */
	struct ssh_session *ssh;   /* kept from exec to exec, or NULL */
	bool is_awaited;           /* a wait for the VM's end is pending on the cluster's loop */
	bool has_ended;
	struct err end; /* why, when it has */
	bool is_cut; /* what ran in the guest is over: it ended, its kernel panicked, or it reset itself */
	struct err cut;           /* which, when it is */
	unsigned *pending_to_end; /* set to 0 when it does, for who waits in wait_loop; or NULL */
	void (*on_cut)(
		void *arg); /* called when @is_cut becomes true, for whom a work thread waits; or NULL */
	void *cut_arg;
	bool is_fake;
};

struct drover_cluster {
	struct store store;
	uv_loop_t loop;
	struct session session;
	struct backend *backend;
	struct backend_network *network;
	char network_kind[16];    /* private or host */
	char id[CLUSTER_ID_SIZE]; /* by which its members know it; "": one of an older drover */
	char subnet[SUBNET_SIZE];
	struct drover_vm **vms;
	size_t n_vms;
	pid_t helper;  /* of a cluster that this handle did not start; session.pidfd is its */
	bool detached; /* runs on when the handle is closed */
	bool no_egress;
};

/*
 * Runs @c's loop until *@pending is 0. < 0: ERR_TIMEOUT after @timeout_ms (0: none), ERR_CANCELED by @cancel (may be
 * NULL); the operations are then still pending and the caller ends them.
 */
int wait_loop(uv_loop_t *loop, const unsigned *pending, uint64_t timeout_ms,
	      struct drover_cancel *cancel, struct err *e);

/* A cluster handle with a backend and no members. @primary: whose helper it is. NULL with @e. */
struct drover_cluster *cluster_new(struct store *store /* taken */, const char *primary,
				   struct err *e);
void cluster_free(struct drover_cluster *c);
struct drover_vm *cluster_add_vm(struct drover_cluster *c, const char *name);
/* The same for a member that runs, with a handle on it. */
int cluster_attach(struct drover_cluster *c, const char *name, struct err *e);

/*
 * The network, or what there is of one already. @subnet: wanted; NULL or "": any. Blocks up to 30 s, or until @l ends it.
 */
int cluster_make_network(struct drover_cluster *c, const char *subnet, const struct limits *l,
			 struct err *e);
/* Takes back the last cluster_add_vm. */
void cluster_drop_last(struct drover_cluster *c);
/*
 * Stops @n VMs of @c side by side and lets go of the handles of those that have stopped; blocks until all have, at most
 * 60 s. One that does not run is fine. @l may be NULL. Returns the first failure.
 */
int cluster_stop_vms(struct drover_cluster *c, struct drover_vm *const vms[], size_t n,
		     const struct limits *l, struct err *e);
/*
 * Once a helper's last member is gone it takes its network down: "stopped" means that this is over too. Waits for the end of
 * @pid, shortly, unless it has a member still.
 */
void helper_await_end(const struct store *store, pid_t pid, int pidfd);

/*
 * Fills @ret with @names when each is a good name of a member that does not run, given once. *@any_new: one does not exist
 * (else left as it is).
 */
int names_check_idle(const struct store *store, const char *const names[], size_t n,
		     struct name_list *ret, bool *any_new, struct err *e);

/* How @names are, into @members; those whose helpers do not answer within 3 s are told as unknown. */
int members_list(const struct store *store, const struct name_list *names, const struct limits *l,
		 struct drover_member *members, struct err *e);

/* What the helpers of @names say of them; of one that has none, or got no answer within 3 s, @ret has no name. */
int members_ask(const struct store *store, const struct name_list *names, const struct limits *l,
		struct member_status *ret, struct err *e);

/* After who has just taken the lock has told whose the member is, or has let go. Blocks for that, shortly. */
void member_await_owner(const struct store *store, const char *name);
/* Several of them, held until lock_list_release. Zero-initialised. */
struct lock_list {
	int *fds; /* owned */
	size_t n;
};
int lock_list_add(struct lock_list *l, const struct store *store, const char *name, struct err *e);
void lock_list_release(struct lock_list *l);
/*
 * point.c: holds all members and writes each one's memory and disk to DIR/NAME.memory and .disk (docs/protocol.md); the
 * disk alone of those that have @point, unless it is NULL.
 */
int cluster_capture(struct drover_cluster *c, const char *dir, const char *point,
		    const struct limits *l, int64_t *ret_held_ms, struct err *e);

/*
 * wake.c: waits until each member that runs answers on SSH, and sets its clock; sessions of before are closed. For guests
 * that go on from an earlier instant. Blocks up to @timeout_ms; @cancel may be NULL.
 */
int cluster_wake(struct drover_cluster *c, uint64_t timeout_ms, struct drover_cancel *cancel,
		 struct err *e);
/* Adds to @ret the members that have a handle: what is asked of all is asked at the socket of any of them. */
int cluster_doors(const struct drover_cluster *c, struct name_list *ret, struct err *e);
/* Ends what is under way on the members' handles (as canceled) and gives them new ones. */
void cluster_renew_handles(struct drover_cluster *c);

/* stats.c: as drover_cluster_stats, which is this without limits. */
int cluster_stats(struct drover_cluster *c, const struct limits *l, struct drover_stats **ret,
		  struct err *e);

/* Removes a member that does not run, under its lock. Removing what is not there is success. */
int member_remove_locked(const struct store *store, const char *name, struct err *e);

/* Keeps @vm's has_ended and is_cut true to its VM from now on, as far as the cluster's loop runs; does not block. */
int vm_await_end(struct drover_vm *vm, struct err *e);

/* Blocking wrappers of single contract operations. */
int vm_stop_wait(struct drover_vm *vm, const struct limits *l, struct err *e);
/* @ret_fd is the caller's, not blocking. */
int vm_console_wait(struct drover_vm *vm, const struct limits *l, int *ret_fd, struct err *e);
int vm_dial_wait(struct drover_vm *vm, uint16_t port, uint64_t timeout_ms,
		 struct drover_cancel *cancel, int *ret_fd, struct err *e);

/*
 * export.c: in members that came out of a file of an export, the store's own key takes the place of the one that came along,
 * with which the first login was made, and of the first store's. Other members stay as they are. Blocks.
 */
int cluster_take_keys(struct drover_cluster *c, struct drover_cancel *cancel, struct err *e);

/*
 * vm_ssh.c: a fresh SSH session to a running member over the dialed @fd (taken): handshake, strict host key, key login. Blocks within
 * @limits, which are only read during the call.
 */
int vm_ssh_open(const struct store *store, const char *name, const char *user, int fd,
		const struct ssh_limits *limits, struct ssh_session **ret, struct err *e);

#endif
