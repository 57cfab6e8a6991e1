/* SPDX-License-Identifier: MIT */
/*
 * libdrover: real Linux virtual machines, alone or as a cluster, for tests and development.
 *
 *	struct drover_cluster *c = NULL;
 *	struct drover_error e;
 *	const char *names[] = {"web-1", "web-2"};
 *
 *	if (drover_cluster_start(names, 2, NULL, &c, &e) < 0)
 *		errx(1, "%s", e.sentence);
 *	drover_vm_exec(drover_cluster_vm(c, 0), ...);
 *	drover_cluster_destroy(c, NULL, &e);
 *
 * Rules that hold for every function:
 * - Calls block, up to the deadline that they name, and then give up with the code "timeout". Those that may last take a
 *   deadline and a cancel of the caller's, in a struct drover_call or in options of their own; others end within 30 s,
 *   unless their comment says more.
 * - A call that gave up ("timeout", "canceled") has left handles as they were; what a helper was asked for may still come
 *   true, and drover_vm_state says what did.
 * - Functions return >= 0 for success and < 0 for failure; then *e says why, and what they return by pointer is left as it
 *   was. @e may be NULL. Codes that any call may have: io_error, no_space, out_of_memory, permission_denied, unreachable.
 * - @home, where the state is kept, may be NULL or "": $DROVER_HOME, else $XDG_STATE_HOME/drover, else
 *   ~/.local/state/drover. Structures of options may be NULL, other pointers may not, unless the comment says so.
 * - The library has no global state, prints nothing, installs no signal handler and never exits. Different clusters may
 *   be used from different threads at once; one cluster and its VMs, and one capture, from one thread at a time. Functions
 *   that take no handle may be called from any thread. In a program that has closed descriptor 0, 1 or 2, /dev/null takes
 *   its place.
 * - Every descriptor that the library opens or returns has FD_CLOEXEC.
 * - Text that a function returns by pointer belongs to the object that it was asked of and lives as long, unless the
 *   comment says that the caller frees it.
 * - For tests there is drover_fixture.h.
 * - A cluster started without `detached` is bound: its VMs die with this process, however it dies.
 *
 * Long: it is the library's manual, and one file is what a program includes.
 */
#ifndef DROVER_H
#define DROVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DROVER_API __attribute__((visibility("default")))

/* The library's version, "0.1.0". Static. */
DROVER_API const char *drover_version(void);

/*
 * Why a call failed. Filled in failure only. Its layout stays as long as the library's soname does, as that of every
 * structure that does not begin with `size`.
 */
struct drover_error {
	char code[32];      /* a stable word, for programs: docs/protocol.md, "Errors" */
	char sentence[768]; /* for a person: what failed and why */
	char hint[256];     /* what mends it, like a command to run; "" when nobody knows */
};

/*
 * Ends a blocking call from another thread or a signal handler; the call then fails with the code "canceled". It stays
 * canceled: a later call with it ends at once, before it has asked for anything. One may be given to several calls.
 */
struct drover_cancel;
DROVER_API struct drover_cancel *drover_cancel_new(void);   /* NULL: out of memory or descriptors */
DROVER_API void drover_cancel_now(struct drover_cancel *c); /* async-signal-safe */
DROVER_API void drover_cancel_free(
	struct drover_cancel *c); /* NULL is harmless; no call may still use it */

/* How long a call may take, and what ends it early. NULL in its place means the defaults. Initialise with DROVER_CALL_INIT. */
struct drover_call {
	size_t size; /* sizeof(struct drover_call) */
	unsigned
		timeout_ms; /* 0: what the call's comment says. A longer one makes no call wait longer than that */
	struct drover_cancel *cancel; /* borrowed; NULL: none */
};
#define DROVER_CALL_INIT                           \
	{                                          \
		.size = sizeof(struct drover_call) \
	}

/*
 * What happens, while it happens. @member is "" for what concerns no single one. @stage is a stable word:
 * image, captured (of a fork), network, warning, prepare, start, ssh (the guest's server has greeted), ready, error.
 * @text is for a person, may be "". @percent is 0..100, or -1 where nobody knows. What lasts is told again about once a
 * second. All borrowed during the call, which comes from inside the blocking function, in its thread.
 */
struct drover_progress {
	const char *member;
	const char *stage;
	const char *text;
	int percent;
	int64_t elapsed_ms; /* since the blocking call began */
};
typedef void drover_progress_fn(void *arg, const struct drover_progress *p);

/* A directory of the host in the guests. */
enum drover_share_kind {
	DROVER_FIXTURE, /* as it is when a member boots: read-only; owners, modes, times, links kept */
	DROVER_MOUNT,    /* live: what changes on the host changes in the guest; read-only */
	DROVER_MOUNT_RW, /* live, and the guest's root writes with the rights of this process's user */
};
struct drover_share {
	enum drover_share_kind kind;
	const char *host;  /* a directory; relative to the current one */
	const char *guest; /* absolute; made when it is not there */
};

/* Zero or NULL everywhere means the default. Initialise with DROVER_OPTIONS_INIT. */
struct drover_options {
	size_t size;       /* sizeof(struct drover_options), for later versions */
	const char *home;  /* state directory; default: as above */
	const char *image; /* catalogue name, path or URL; default: debian-12 */
	/*
	 * Of members that exist those that are named here become the sizes too, at the boot of this call; a disk only grows, and
	 * nothing changes for a member that has points ("invalid_argument").
	 */
	unsigned cpus;      /* at most 255; default: 2 */
	unsigned memory_mb; /* default: 1024 (256 for tiny) */
	unsigned disk_mb;   /* sparse; default: 10240 */
	const char *
		backend; /* auto, qemu, cloud-hypervisor or fake; default: auto, which is what the members had, else qemu */
	bool no_egress; /* no way out of the cluster's network; members keep that for later starts */
	bool detached;  /* the cluster outlives this process */
	bool temporary;      /* members are removed when the cluster ends, however it ends */
	unsigned timeout_ms; /* for the whole call from when the image is there; default: 600000 */
	drover_progress_fn *on_progress;
	void *progress_arg;
	struct drover_cancel *cancel; /* borrowed */
	/* For new members; a member keeps what it was made with. Borrowed during the call. At most 16. */
	const struct drover_share *shares;
	size_t n_shares;
	/*
	 * private: a network of the cluster's own, which needs no right. host: a bridge of the host, which needs root and
	 * gives the members addresses that the host routes. Default: what the members had before, else private.
	 */
	const char *network;
	/*
	 * The program cloud-hypervisor; default: $DROVER_HYPERVISOR, else `cloud-hypervisor` of $PATH. With another backend:
	 * invalid_argument.
	 */
	const char *hypervisor;
	/*
	 * bios or uefi: a new member's disk is started by that, even where its kernel could be started directly. Default: auto,
	 * the kernel itself where the image has one, else what the disk is made for. QEMU only.
	 */
	const char *firmware;
	/*
	 * A kernel of your own instead of what the image boots by: paths of a bzImage (or a vmlinux that the hypervisor takes)
	 * and of an initial file system, and words to add to the command line. The image's initial file system stays unless
	 * @initrd names another, or is "none". A member keeps the paths, not the files: each boot reads them anew. Named for a
	 * member that exists they replace its last ones; "image" goes back to what the image has.
	 */
	const char *kernel;
	const char *initrd;
	const char *append;
	/*
	 * New members go on from a template, a guest of that image and size that was ready once, instead of booting; where there
	 * is none it is made first. For images that drover builds without cloud-init, on QEMU, with a private network and
	 * without shares; anything else is "unsupported".
	 */
	bool warm;
	/*
	 * Refused with already_running, too, when a cluster runs that the names belong to, as drover_find_cluster tells: another
	 * program may have started it since that was asked. Without it they become a cluster of their own beside it.
	 */
	bool undivided;
};
#define DROVER_OPTIONS_INIT                           \
	{                                             \
		.size = sizeof(struct drover_options) \
	}

struct drover_cluster;
struct drover_vm;

/*
 * Starts a cluster of @n members, at most 253, and waits until each accepts an SSH login. New members get a disk of the image;
 * members that exist are booted with the disk that they have, and the sizes unless @o names others. All or nothing: on
 * failure members made by this call are removed, those that existed are stopped. The cluster is the caller's:
 * drover_cluster_close, or _destroy. Blocks up to @o's timeout_ms, and as long as it takes to build or download an image
 * that is not there yet. A start that fails or is canceled returns when what it made is taken back: some ms, up to 15 s with
 * a helper or a guest that does not answer.
 *
 * already_running: a member, or with @o's undivided its cluster; not_found, bad_image: the image; missing_program,
 * host_not_ready: what this host lacks, with the remedy as the hint; no_free_address; boot_failed; kernel_panic; ssh_failed;
 * timeout; canceled.
 */
DROVER_API int drover_cluster_start(const char *const names[], size_t n,
				    const struct drover_options *o, struct drover_cluster **ret,
				    struct drover_error *e);

/*
 * The running cluster that @member belongs to, with all its running members. The handle is the caller's, as that of a
 * start; closing it ends nothing. Blocks up to 30 s. @home and @o may be NULL. not_running, not_found: @member.
 */
DROVER_API int drover_cluster_open(const char *home, const char *member,
				   const struct drover_call *o, struct drover_cluster **ret,
				   struct drover_error *e);

/*
 * Adds members, made and booted side by side as by drover_cluster_start, or boots some of the handle's again that were
 * stopped; all of them or none. Blocks and fails as that, but that a helper which does not answer may cost
 * 25 s; then the others run on as before. not_running: the cluster has ended, also meanwhile.
 */
DROVER_API int drover_cluster_add(struct drover_cluster *c, const char *const names[], size_t n,
				  const struct drover_options *o, struct drover_error *e);

/* The members that the handle knows, in the order in which they came; they are the cluster's, and live as long as it. */
DROVER_API size_t drover_cluster_size(const struct drover_cluster *c);
DROVER_API struct drover_vm *drover_cluster_vm(struct drover_cluster *c,
					       size_t i); /* NULL: no such */
DROVER_API struct drover_vm *drover_cluster_find(struct drover_cluster *c,
						 const char *name); /* NULL: no such */

/* The cluster's "a.b.c.0/24", or "" when its network does not say. */
DROVER_API const char *drover_cluster_subnet(const struct drover_cluster *c);

/*
 * The namespaces that a cluster's network is in, for setns(2) before a program is run there: @user first. -1 where it is
 * the caller's own; all are -1 when the network is. What is in @pid too ends when the cluster does; what is not keeps the
 * network alive beyond it.
 */
struct drover_namespaces {
	int user;
	int net;
	int pid; /* for the children of who calls setns */
};

/*
 * The descriptors in @ret are the caller's. Does not wait for anybody. not_running: the cluster has ended; unsupported: its
 * backend has no network.
 */
DROVER_API int drover_cluster_namespaces(struct drover_cluster *c, struct drover_namespaces *ret,
					 struct drover_error *e);

/* Stops all members, side by side; their disks stay. Blocks up to 60 s. The handle stays valid. @o may be NULL. */
DROVER_API int drover_cluster_stop(struct drover_cluster *c, const struct drover_call *o,
				   struct drover_error *e);

/*
 * Stops all members and removes them with their disks, then frees the handle, in success and failure. Blocks up to 60 s,
 * and as long as it takes to remove files. When it gives up before all have stopped, nothing is removed; a bound cluster's
 * power is cut, a detached one goes on stopping by itself. @o may be NULL.
 */
DROVER_API int drover_cluster_destroy(struct drover_cluster *c, const struct drover_call *o,
				      struct drover_error *e);

/*
 * Frees the handle. A bound cluster ends at once, its power cut, and its disks stay; that is some ms, or 30 s with a helper
 * that stands still. A detached one runs on. NULL is harmless. To let guests shut down: drover_cluster_stop before.
 */
DROVER_API void drover_cluster_close(struct drover_cluster *c);

/* Texts of the handle's: valid as long as it is; those of the address and the user change when a later call learns others. */
DROVER_API const char *drover_vm_name(const struct drover_vm *vm);
DROVER_API const char *drover_vm_address(const struct drover_vm *vm); /* "" while not known */
DROVER_API const char *drover_vm_user(const struct drover_vm *vm);    /* who logs in by SSH */

/*
 * What the helper says now: starting, running, paused, stopping, stopped, error. Static text. Blocks up to 2 s; unknown: the
 * helper is there and has not answered by then. A member without a helper is stopped.
 */
DROVER_API const char *drover_vm_state(struct drover_vm *vm);

/*
 * Asks the guest to power off, then forces it (15 s); ends when the member is gone from the cluster. Blocks up to 45 s. A
 * member that does not run is stopped already: 0. @o may be NULL.
 */
DROVER_API int drover_vm_stop(struct drover_vm *vm, const struct drover_call *o,
			      struct drover_error *e);

/* As drover_vm_stop, and removes the member with its disk. The handle stays valid and says stopped. Twice is harmless. */
DROVER_API int drover_vm_destroy(struct drover_vm *vm, const struct drover_call *o,
				 struct drover_error *e);

/*
 * Freezes and thaws the guest's CPUs; takes its power away (the disk stays as it is at that instant). Block up to 30 s. @o
 * may be NULL. not_running: it does not run; unsupported: its backend cannot.
 */
DROVER_API int drover_vm_pause(struct drover_vm *vm, const struct drover_call *o,
			       struct drover_error *e);
DROVER_API int drover_vm_resume(struct drover_vm *vm, const struct drover_call *o,
				struct drover_error *e);
DROVER_API int drover_vm_kill(struct drover_vm *vm, const struct drover_call *o,
			      struct drover_error *e);

/* --- Points: the whole cluster as it was at one instant --------------------------------------------------------- */

struct drover_point {
	char name[64];
	int64_t bytes;    /* of memory and devices on disk, all members together */
	int64_t saved_at; /* seconds since 1970 */
};

/*
 * Keeps memory, devices and disks of all members under the name @point (a name as members have), in place of an older
 * point of that name, which is lost only when the new one is whole. The members are held meanwhile, all at the same time,
 * and go on. The point lives in the members' disks, goes when they go, and has every secret that was in their memory.
 * Blocks up to 120 s. Returns for how many ms the members were held. not_running: a member boots, or has failed. When it
 * gives up, the members go on by themselves, and the list says whether the point came to be. @o may be NULL.
 */
DROVER_API int drover_cluster_snapshot_save(struct drover_cluster *c, const char *point,
					    const struct drover_call *o, struct drover_error *e);

/* The cluster's points, the last saved first. *@ret is heap: free() it. Returns their number. Blocks up to 30 s. */
DROVER_API int drover_cluster_snapshot_list(struct drover_cluster *c, const struct drover_call *o,
					    struct drover_point **ret, struct drover_error *e);

/*
 * The same of the cluster that @member (a member's name) belongs to, whether it runs or not, in the store at @home. @home and
 * @o may be NULL. not_found: there is no such member.
 */
DROVER_API int drover_points(const char *home, const char *member, const struct drover_call *o,
			     struct drover_point **ret, struct drover_error *e);

/* Forgets a point; not_found when there is none. Blocks up to 120 s. @o may be NULL. */
DROVER_API int drover_cluster_snapshot_remove(struct drover_cluster *c, const char *point,
					      const struct drover_call *o, struct drover_error *e);

struct drover_reset {
	size_t size;                  /* sizeof(struct drover_reset) */
	const char *point;            /* default: the one saved last */
	unsigned timeout_ms;          /* for the guests' SSH afterwards; default: 60000 */
	struct drover_cancel *cancel; /* borrowed */
};
#define DROVER_RESET_INIT                           \
	{                                           \
		.size = sizeof(struct drover_reset) \
	}

/*
 * Puts all members back to a point, in place: memory, devices and disks; no boot. Members run or are paused afterwards as
 * they were before. Of those that run, the clock is set to the host's time over SSH, and the call ends when that is
 * done. Connections into the cluster end; those between members are again as they were at the point. Returns for how
 * many ms the members were held. not_found: there is no such point, and nothing was touched; not_running: it is of a member
 * too that does not run now. @o may be NULL. Blocks up to
 * 120 s, and then for the guests. When it gives up, members may have been put back and their clocks not set.
 */
DROVER_API int drover_cluster_reset(struct drover_cluster *c, const struct drover_reset *o,
				    struct drover_error *e);

/*
 * Copies a running cluster, as it is at one instant, @count times, 1 to 1000: memory, devices, disks; no boot. Each copy
 * has a private network of its own, in which its members have the names, addresses and MACs of the originals and the
 * connections between them go on; outside they are called NEW-1 for NEW and web-1 (with @count > 1 NEW-1-1, NEW-2-1,
 * ...). The originals are held while they are copied; the return value says for how many ms. Copies start with the same
 * random numbers, keys and machine ids: they are one machine twice, for tests, not two.
 *
 * Of @o (may be NULL) detached, temporary, timeout_ms, on_progress (called from other threads, one at a time) and cancel
 * are used. @ret (room for @count) are the caller's: drover_cluster_close, or _destroy. All or nothing. Refused before
 * anything is held: a network of the host or directories of the host (unsupported), too little memory (out_of_memory),
 * names that are there already (already_exists), a member that boots or has failed (not_running).
 *
 * Blocks up to 120 s for the originals, up to timeout_ms (default: 600000) until the copies run, and then, for their guests,
 * up to 60 s and 2 s for each of them. One cluster of a store is captured at a time: the others are waited for before.
 */
DROVER_API int drover_cluster_fork(struct drover_cluster *c, const char *name, size_t count,
				   const struct drover_options *o, struct drover_cluster *ret[],
				   struct drover_error *e);

/*
 * A running cluster as it was at one instant, kept as files from which any number of copies start, one after the other or
 * at once: what a copy does not change of its memory it shares with the others. Its members are held while it is made, and
 * go on; copies do not depend on them, nor on the capture once they are started.
 */
struct drover_capture;

/*
 * Returns and refuses as drover_cluster_fork. *@ret is the caller's (drover_capture_close), and is of no use when its process
 * has ended. Blocks up to 120 s, and for whoever captures a cluster of this store already. @o may be NULL.
 */
DROVER_API int drover_cluster_capture(struct drover_cluster *c, const struct drover_call *o,
				      struct drover_capture **ret, struct drover_error *e);

/*
 * The same of a saved point, newest of its name, of the cluster that @member (a member's name) belongs to, in the store at
 * @home (may be NULL). The cluster itself is not put back to it: one that runs is held while its disks are copied, and goes
 * on; the return value says for how many ms, 0 when it did not run. Copies load the memory from their disks, each for
 * itself. not_found: there is no such point, and the sentence says which there are; not_running: some members run and some
 * do not; otherwise refused as for drover_cluster_fork. Blocks as drover_cluster_capture. @o may be NULL.
 */
DROVER_API int drover_capture_point(const char *home, const char *member, const char *point,
				    const struct drover_call *o, struct drover_capture **ret,
				    struct drover_error *e);

/* What member @i, from 0, is called inside of its cluster and of each copy. Lives as long as @k. NULL: there are fewer. */
DROVER_API const char *drover_capture_inside(const struct drover_capture *k, size_t i);

/*
 * Starts @count copies: names, options, @ret and what is refused as for drover_cluster_fork. Blocks as that does, but for the
 * originals, which are not needed any more. Returns 0.
 */
DROVER_API int drover_capture_start(struct drover_capture *k, const char *name, size_t count,
				    const struct drover_options *o, struct drover_cluster *ret[],
				    struct drover_error *e);

/*
 * Writes a running cluster as it is at one instant to @fd (a file or a pipe, borrowed) as one file, from which it goes on
 * elsewhere: memory, devices, disks without the image that they began with, kernels, host keys, and a key to log in with
 * that is made for this file. That key is let in over SSH for the time of the capture: paused members are refused
 * (not_running). It has every secret that is in the guests. Returns for how many ms the members were held.
 * Blocks for as long as that takes, a reader of the pipe included, or up to @o's timeout_ms (@o may be NULL), and then until
 * the key is out of the members again, at most 60 s each: timeout, canceled; what @fd has then is not whole. A pipe whose
 * reader has gone raises SIGPIPE, as write(2) does; to a program that ignores it the call says io_error.
 */
DROVER_API int drover_cluster_export(struct drover_cluster *c, int fd, const struct drover_call *o,
				     struct drover_error *e);

/*
 * Reads such a file, into the store at @home (may be NULL): copies start from *@ret by drover_capture_start, and the store's
 * key takes the place of the file's in them. Refused: what is no such file or not whole (invalid_argument), what was
 * written under another QEMU, or under KVM on another CPU (unsupported). Trust who made it: a hypervisor loads it.
 * Blocks for as long as @fd takes, or up to @o's timeout_ms (@o may be NULL): timeout, canceled.
 */
DROVER_API int drover_capture_import(const char *home, int fd, const struct drover_call *o,
				     struct drover_capture **ret, struct drover_error *e);

/* Removes the files and frees. Copies run on. NULL is harmless. */
DROVER_API void drover_capture_close(struct drover_capture *k);

/* Output as it comes: @stream is 1 (stdout) or 2 (stderr). Return < 0 to give up the command (code "canceled"). */
typedef int drover_output_fn(void *arg, int stream, const char *data, size_t len);

struct drover_exec {
	size_t size;             /* sizeof(struct drover_exec) */
	const char *const *argv; /* NULL-terminated: run as it is, nothing is expanded; or */
	const char *command;     /* a line for the login shell */
	const void *input;       /* stdin; NULL: empty */
	size_t input_len;
	int input_fd;                /* read until its end instead of @input when > 0; borrowed */
	unsigned timeout_ms;         /* default: none */
	drover_output_fn *on_output; /* instead of collecting */
	void *output_arg;
	struct drover_cancel *cancel; /* borrowed */
	bool use_input_fd;            /* @input_fd counts also when it is 0 */
};
#define DROVER_EXEC_INIT                           \
	{                                          \
		.size = sizeof(struct drover_exec) \
	}

struct drover_result {
	int status; /* exit status 0..255; 128 + N when signal N ended the command */
	char *out; /* what came on stdout, NUL added; never NULL after success; empty with on_output */
	size_t out_len;
	char *err; /* the same of stderr */
	size_t err_len;
};

/*
 * Runs a command in the guest over SSH, in a session that is kept from call to call. < 0 only when it could not be
 * run or watched to its end; a command that fails is success with its status. drover_result_done(@ret) frees. Blocks until
 * the command has ended, unless @x has a deadline; a command that was given up loses its session, and may run on.
 * not_running, also when the member ends meanwhile; ssh_failed; unreachable; timeout; canceled, also by on_output.
 */
DROVER_API int drover_vm_exec(struct drover_vm *vm, const struct drover_exec *x,
			      struct drover_result *ret, struct drover_error *e);
DROVER_API void drover_result_done(struct drover_result *r);

/*
 * Copies a file or a tree over SSH, by the guest's tar, to exactly the path given: a new name is a rename, and a folder
 * that is there already gets the new entries beside its own. Modes and times are kept, owners are not. Symbolic links are
 * copied, never followed; devices, sockets and pipes are left out, and an error when it is they that are to be copied
 * (invalid_argument, from the guest not_found). The guest's path is absolute; folders above it are made in the guest, and
 * must be there on the host. Of what a guest sends nothing lands outside of @host_path: absolute links, links out of the
 * tree and entries behind links end the copy with permission_denied or io_error. not_found: there is nothing at the path to
 * copy from. A copy that failed may have left a part. Blocks as long as it takes, unless @o (may be NULL) has a deadline.
 */
DROVER_API int drover_vm_copy_to(struct drover_vm *vm, const char *host_path,
				 const char *guest_path, const struct drover_call *o,
				 struct drover_error *e);
DROVER_API int drover_vm_copy_from(struct drover_vm *vm, const char *guest_path,
				   const char *host_path, const struct drover_call *o,
				   struct drover_error *e);

/*
 * Connects to a TCP port of the guest from inside its network. Returns the descriptor (the caller's, blocking), or < 0.
 * Blocks up to 30 s. @o may be NULL. unreachable: nothing listens there.
 */
DROVER_API int drover_vm_dial(struct drover_vm *vm, uint16_t port, const struct drover_call *o,
			      struct drover_error *e);

struct drover_forward {
	size_t size;        /* sizeof(struct drover_forward) */
	const char *host;   /* IPv4 or IPv6 address to listen on; default: 127.0.0.1 */
	uint16_t host_port; /* 0: a free one */
	uint16_t port;      /* the guest's */
	void (*on_ready)(void *arg, uint16_t host_port); /* it listens, there; may be NULL */
	void *arg;
	struct drover_cancel *cancel; /* borrowed */
};
#define DROVER_FORWARD_INIT                           \
	{                                             \
		.size = sizeof(struct drover_forward) \
	}

/*
 * Listens on a port of the host and passes each connection on to a port of the guest, many at a time. Blocks until
 * canceled ("canceled") or the member ends ("not_running"): never returns success. A connection that the guest does not
 * take ends at once, and one that it has taken when its kernel panics or it resets itself. Whoever reaches the address can connect.
 */
DROVER_API int drover_vm_forward(struct drover_vm *vm, const struct drover_forward *f,
				 struct drover_error *e);

/*
 * One end of the serial line, several may be open: first what the guest wrote last (up to 64 KiB), then what it writes.
 * Returns the descriptor (the caller's, blocking), or < 0. Blocks up to 30 s. @o may be NULL.
 */
DROVER_API int drover_vm_console(struct drover_vm *vm, const struct drover_call *o,
				 struct drover_error *e);

/* --- Watching ------------------------------------------------------------------------------------------------- */

/* What a wait is for: exactly one of the first three, or of drover_wait none. */
struct drover_wait {
	size_t size;   /* sizeof(struct drover_wait) */
	uint16_t port; /* a TCP port of the guest takes a connection */
	const char
		*console; /* a POSIX extended regular expression that a line of the console fits */
	const char *command;          /* a line for the login shell that ends with status 0 */
	unsigned timeout_ms;          /* default: 300000 */
	struct drover_cancel *cancel; /* borrowed */
};
#define DROVER_WAIT_INIT                           \
	{                                          \
		.size = sizeof(struct drover_wait) \
	}

/*
 * Blocks until it is so: 0. Of the console counts what the guest wrote last since it was started (up to 64 KiB) and what it
 * writes from now on; a line counts also while it has no end, like a prompt, and escape sequences are taken out of it.
 * A port and a command are tried again and again, for a guest tells of neither. "timeout" when it is not so in time;
 * "not_running" when the member is not running, or not any more; "canceled".
 */
DROVER_API int drover_vm_wait_for(struct drover_vm *vm, const struct drover_wait *w,
				  struct drover_error *e);

/*
 * The same for a member by name, which need not run or be there yet: waits until it runs, as the events of the store tell,
 * and then for what @w is for, if it is for anything. Fails as soon as a start of it has failed, with the code of that.
 * @home and @w may be NULL.
 */
DROVER_API int drover_wait(const char *home, const char *name, const struct drover_wait *w,
			   struct drover_error *e);

/* What a member did. All borrowed during the call; what an event does not carry is "". */
struct drover_event {
	int64_t time_ms; /* since 1970, when it was heard */
	const char *member;
	/* state; stage; address: the guest answers there; gone: it runs no more; restarted: its helper crashed and another
	   took over, which tells all states anew; panic: its kernel hangs in one; reset: the guest has reset itself */
	const char *kind;
	const char *state;   /* of state: as drover_vm_state, or damaged */
	const char *address; /* of address; of state, when it is known */
	const char *stage;   /* of stage: booting, when the hypervisor runs the guest */
	const char *code;    /* of the state error: a word of docs/protocol.md, "Errors" */
	const char *
		message; /* and a sentence; of restarted: how the helper ended; of panic: the kernel's line */
};

/* Comes from inside the blocking function. Return 0 to hear more, 1 when it was enough, < 0 to give up ("canceled"). */
typedef int drover_event_fn(void *arg, const struct drover_event *event);

struct drover_watch {
	size_t size; /* sizeof(struct drover_watch) */
	drover_event_fn *on_event;
	void *arg;
	unsigned timeout_ms;          /* default: none */
	struct drover_cancel *cancel; /* borrowed */
};
#define DROVER_WATCH_INIT                           \
	{                                           \
		.size = sizeof(struct drover_watch) \
	}

/*
 * Tells what the members of a cluster do: first the state of each that runs, then every change. Returns 1 when @on_event
 * had enough, 0 when the cluster has ended; "timeout", "canceled". A member whose helper was killed is told as gone.
 */
DROVER_API int drover_cluster_events(struct drover_cluster *c, const struct drover_watch *w,
				     struct drover_error *e);

/*
 * The same for all members of @home (may be NULL), also of clusters that start meanwhile: first the state of each member,
 * whether it runs or not. Ends only by @on_event (1), by the timeout or by the cancel.
 */
DROVER_API int drover_events(const char *home, const struct drover_watch *w,
			     struct drover_error *e);

/*
 * Waits until the member @name, which another program is starting (its state is "starting"), takes a login, or until that
 * start has ended otherwise: the member then does not run, or is there no more. For one that is "stopping", until it has
 * stopped. Returns at once for one that does not run. Blocks until then, or up to @o's timeout_ms (default: 600000):
 * "timeout", "canceled".
 */
DROVER_API int drover_await_start(const char *home, const char *name, const struct drover_call *o,
				  struct drover_error *e);

/* What a VM has used since it was started. What nobody can tell is -1. */
struct drover_stats {
	char member[64];
	int64_t cpu_ms;       /* of the host's CPUs, by its hypervisor */
	int64_t memory_bytes; /* of the host's, resident; what it shares with other VMs too */
	int64_t disk_read_bytes;
	int64_t disk_written_bytes;
	int64_t net_received_bytes; /* by the guest */
	int64_t net_sent_bytes;
};

/* Of one member. Blocks up to 30 s, as those below; @o may be NULL in each. not_running: it does not run. */
DROVER_API int drover_vm_stats(struct drover_vm *vm, const struct drover_call *o,
			       struct drover_stats *ret, struct drover_error *e);

/* Of a cluster's VMs; of all that run under @home (may be NULL). *@ret is heap: free() it. Returns their number. */
DROVER_API int drover_cluster_stats(struct drover_cluster *c, const struct drover_call *o,
				    struct drover_stats **ret, struct drover_error *e);
DROVER_API int drover_stats(const char *home, const struct drover_call *o,
			    struct drover_stats **ret, struct drover_error *e);

/* --- Members by name, whether they run or not ----------------------------------------------------------------- */

struct drover_member {
	char name[64];
	char cluster[64];
	/* as drover_vm_state; "damaged" when its configuration cannot be read, "unknown" when its helper does not answer */
	char state[16];
	char ip[46]; /* "" while not running; the last one that is known when the state is unknown */
	char image[256];
	char user[64];
	char created_at[40]; /* RFC 3339; of a copy when it was made */
	unsigned cpus;
	unsigned memory_mb;
	unsigned disk_mb; /* 0: it has no disk */
	int pid;          /* of its helper, 0 when stopped */
	char message
		[768]; /* why, when the state is error, damaged or unknown; of one that runs: that its kernel panicked */
};

/*
 * All members, by cluster, then by number. *@ret is heap: free() it. Returns their number. Blocks up to 3 s for helpers
 * that do not answer; what they run is then told as unknown. @home and @o may be NULL.
 */
DROVER_API int drover_list(const char *home, const struct drover_call *o,
			   struct drover_member **ret, struct drover_error *e);

/*
 * The running cluster that @names, of which some do not run, belong to: that of the members which those ran with last; for
 * new ones, that of the rest of their name's cluster ("web" of web-3); else that of the names which run. 1: @ret names a
 * member that runs there, for drover_cluster_open and _add. 0: there is none, so that they can be started as a cluster.
 * invalid_argument: there is more than one. Blocks as drover_list. @home and @o may be NULL.
 */
DROVER_API int drover_find_cluster(const char *home, const char *const names[], size_t n,
				   const struct drover_call *o, char ret[64],
				   struct drover_error *e);

/*
 * 0 when each of @names would be there still once all of them have stopped. invalid_argument: one would not, because its
 * cluster is temporary and would end with it; a cluster is temporary when its `drover_options.temporary` says so, as for
 * 'drover run'. Nothing is stopped. Blocks as drover_list. @home and @o may be NULL.
 */
DROVER_API int drover_check_stop(const char *home, const char *const names[], size_t n,
				 const struct drover_call *o, struct drover_error *e);

/*
 * Stops, or stops and removes, one member by name; as drover_vm_stop and drover_vm_destroy. not_running: it does not run,
 * so that there is nothing to stop; not_found: there is no such member. @home and @o may be NULL.
 */
DROVER_API int drover_stop(const char *home, const char *name, const struct drover_call *o,
			   struct drover_error *e);
DROVER_API int drover_remove(const char *home, const char *name, const struct drover_call *o,
			     struct drover_error *e);

/* When the stages of a member's last boot began, in milliseconds of Unix time, by the host's clock. 0: not known. */
struct drover_boot {
	int64_t called_ms; /* the call that boots it; until prepare_ms image and network are seen to */
	int64_t prepare_ms; /* disk, keys and seed are made */
	int64_t start_ms;   /* handed to the helper */
	int64_t address_ms; /* the guest's SSH port answers */
	int64_t ready_ms;   /* logged in */
};

/* Of the last boot that ended well, whether the member runs or not; from its files. not_found: no such, or never booted. */
DROVER_API int drover_boot_times(const char *home, const char *name, struct drover_boot *ret,
				 struct drover_error *e);

/*
 * Whether the guest went on from memory in it (of a template, a fork, a file, a point): 1, or 0 when its kernel began. Of what the
 * guest itself remembers of a boot, nothing happened then. Fails as drover_boot_times.
 */
DROVER_API int drover_boot_resumed(const char *home, const char *name, struct drover_error *e);

/*
 * Paths of a member's things, there or not, for programs like ssh and tail. Heap, the caller frees. NULL: @name is no good
 * name (DROVER_PATH_KEY needs none), or out of memory.
 */
enum drover_path {
	DROVER_PATH_DIR,
	DROVER_PATH_SERIAL_LOG,
	DROVER_PATH_HELPER_LOG,
	DROVER_PATH_KNOWN_HOSTS,
	DROVER_PATH_KEY, /* the store's private key */
	DROVER_PATH_SOCKET,
};
DROVER_API char *drover_path(const char *home, const char *name, enum drover_path which);

/*
 * What there is on this host of the clusters of @home: processes, namespaces, interfaces, locks, pidfiles, sockets,
 * directories and files of whatever runs, or looks as if it ran and has no owner. Members at rest are not told.
 * In the host's own network: records, bridges, taps, tables; root is also told what is nobody's of other homes.
 */
struct drover_thing {
	char kind[16];   /* the words above in the singular, or "unreadable" */
	char what[768];  /* a path, a namespace, a program and its pid */
	char member[64]; /* of the cluster that it belongs to; "" when nobody knows */
	int owner;       /* pid of the live process that it belongs to; 0: nobody's */
};

/* All of it. *@ret is heap: free() it. Returns their number. Blocks up to 30 s. @home and @o may be NULL. */
DROVER_API int drover_audit(const char *home, const struct drover_call *o,
			    struct drover_thing **ret, struct drover_error *e);

/*
 * Ends and removes what the audit says is nobody's, and nothing else. Blocks up to 30 s, and for whoever captures a cluster
 * of @home just then. When it gives up, what was removed is gone, and another call goes on. @home and @o may be NULL.
 */
DROVER_API int drover_prune(const char *home, const struct drover_call *o, struct drover_error *e);

/* --- Images --------------------------------------------------------------------------------------------------- */

struct drover_image {
	char name[256];
	char description[128];
	char path[512];  /* "" when not cached */
	char origin[16]; /* built, downloaded, imported */
	int64_t bytes;   /* on disk, templates included; 0 when not cached */
	bool cached;
};

/* The catalogue and what is cached. *@ret is heap: free() it. Returns their number. Waits for nobody. */
DROVER_API int drover_image_list(const char *home, struct drover_image **ret,
				 struct drover_error *e);
/*
 * Builds or downloads the image unless it is cached. Of @o only home, on_progress, cancel and timeout_ms (default: none) are
 * used. Blocks as long as that takes; what a download has got is kept for the next call. not_found: there is no such image,
 * and no such file.
 */
DROVER_API int drover_image_get(const char *name, const struct drover_options *o,
				struct drover_error *e);
/*
 * Takes a file or URL into the cache under @name; @o and blocking as above. @sha256, in hexadecimal, may be NULL. bad_image:
 * it is no disk, or not the one of @sha256; already_exists: the name is taken.
 */
DROVER_API int drover_image_import(const char *source, const char *name, const char *sha256,
				   const struct drover_options *o, struct drover_error *e);
/*
 * Removes it from the cache, with its templates. Waits for nobody. not_found: it is not there; busy: a member's disk stands
 * on it, or it is just being made.
 */
DROVER_API int drover_image_remove(const char *home, const char *name, struct drover_error *e);

/* --- The host ------------------------------------------------------------------------------------------------- */

/*
 * Whether guests of this host can run VMs themselves; whether they can share a network. Asked of the host alone. The first
 * may start a child and wait for it, 0.1 s at most (3 s inside a VM that is translated), where KVM does not nest.
 */
DROVER_API bool drover_nested_virt_supported(void);
DROVER_API bool drover_clustering_supported(void);

/* One thing that drover needs of the host. */
struct drover_check {
	char name
		[32]; /* helper, tun, namespaces, kvm, uefi, memory, store, images, sockets, subuid, or a program */
	char state
		[16]; /* ok; warning: something works less well, or not; missing: no cluster can run */
	char found[512]; /* what there is */
	char fix[512];   /* what mends it, "" when nothing is to be mended */
};

/*
 * All of them. Tries for real what can be tried, in about a second, and as long as the programs take that are asked for
 * their version. *@ret is heap: free() it. Returns their number. @home and @o may be NULL.
 */
DROVER_API int drover_doctor(const char *home, const struct drover_call *o,
			     struct drover_check **ret, struct drover_error *e);

#ifdef __cplusplus
}
#endif

#endif
