/* SPDX-License-Identifier: MIT */
/*
 * The contract between whoever orders VMs and whatever runs them.
 *
 * Implemented by `remote` (in the client: each call becomes a request to a helper) and, in the helper, by `fake`,
 * `qemu` and others. One suite (tests/contract) holds for all of them.
 *
 * How it works: everything happens on one libuv loop and one thread. An operation that returned 0 calls its
 * callback exactly once, later, from the loop (never from inside the call); one that returned < 0 has set the
 * error and never calls. Inside a callback every operation is allowed. An operation that is pending when its VM is
 * stopped ends with ERR_STOPPED, from the loop. One that is pending when its VM is released ends with ERR_CANCELED from
 * inside release, the one exception: when release returns, no callback of that VM runs any more.
 *
 *   VM states    stopped --start--> starting --> running <--pause/resume--> paused
 *                   ^                  |            |
 *                   +---- stopping <---+-- stop ----+        a VM that dies by itself: stopped (it powered
 *                                                            itself off, exit 0) or error (anything else)
 *
 * Networks come in two kinds. One reports its subnet and reserves an address before boot (private, host); the other
 * reports none ("") and the address is only known after boot (fake, vz): reserve then gives just a MAC.
 */
#ifndef DROVER_BACKEND_BACKEND_H
#define DROVER_BACKEND_BACKEND_H

#include "base/err.h"
#include "wire/message.h"
#include "wire/spec.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

/* The reference's order and words. */
enum vm_state {
	VM_UNKNOWN,
	VM_STOPPED,
	VM_STARTING,
	VM_RUNNING,
	VM_PAUSING,
	VM_PAUSED,
	VM_RESUMING,
	VM_STOPPING,
	VM_ERROR,
};

const char *vm_state_name(enum vm_state s); /* "unknown" for a value out of range */

enum { SSH_PORT = 22 }; /* of every guest */

struct backend_ops;

/* Each implementation embeds these as its first member. */
struct backend {
	const struct backend_ops *ops;
	uv_loop_t *loop;
};
struct backend_network {
	struct backend *backend;
};
/* What a guest that is up does by itself and nobody else tells. GUEST_GOES_ON: one that hung in its panic does not any more. */
enum guest_news { GUEST_PANICKED, GUEST_GOES_ON, GUEST_RESET };
/* @line, of GUEST_PANICKED: by which its kernel told that, borrowed; else "". The handle is not to be released inside. */
typedef void backend_guest_fn(void *arg, enum guest_news news, const char *line);
struct backend_vm {
	struct backend *backend;
	backend_guest_fn *on_guest; /* backend_on_guest sets, backend_tell_guest calls */
	void *guest_arg;
};

struct network_config {
	bool egress; /* a way out of the cluster's network */
	const char *
		subnet; /* wanted "a.b.c.0/24", or NULL: the provider chooses. Borrowed during the call */
};

/* Counters since the VM's start; what a backend cannot tell is -1. */
struct vm_stats {
	int64_t cpu_ms;
	int64_t memory_bytes; /* resident, host side */
	int64_t disk_read_bytes;
	int64_t disk_written_bytes;
	int64_t net_received_bytes; /* by the guest */
	int64_t net_sent_bytes;
};

/* @e is NULL if and only if @r >= 0. All pointers are borrowed for the time of the callback. */
typedef void backend_done(void *arg, int r, const struct err *e);
typedef void backend_network_done(void *arg, int r, struct backend_network *net,
				  const struct err *e);
typedef void backend_reserve_done(void *arg, int r, const struct reservation *v,
				  const struct err *e);
typedef void backend_address_done(void *arg, int r, const char *ip, const struct err *e);
typedef void backend_state_done(void *arg, enum vm_state state);
typedef void backend_dial_done(void *arg, int r, int fd,
			       const struct err *e); /* fd: the callee's */
/* @points are borrowed, in no order; NULL when @r < 0. */
typedef void backend_points_done(void *arg, int r, const struct point *points, size_t n,
				 const struct err *e);
typedef void backend_stats_done(void *arg, int r, const struct vm_stats *s, const struct err *e);

struct backend_ops {
	const char *name;

	/* Required. */

	/* Frees the backend. Its networks are closed and its VMs released before. NULL is not passed. */
	void (*free)(struct backend *b);

	/* Answered from the host, at once, without any VM. */
	bool (*nested_virt_supported)(struct backend *b);
	bool (*supports_clustering)(struct backend *b);

	/* Reclaims what dead owners left in the host's own namespaces. */
	int (*reconcile)(struct backend *b, backend_done *done, void *arg, struct err *e);

	/* On success the network is the caller's until close_network. */
	int (*create_network)(struct backend *b, const struct network_config *c,
			      backend_network_done *done, void *arg, struct err *e);
	/* Takes @net; every VM on it is stopped before. @done may be NULL. Cannot fail. */
	void (*close_network)(struct backend_network *net, backend_done *done, void *arg);
	/* "a.b.c.0/24", or "" when addresses are known only after boot. Valid as long as @net. */
	const char *(*subnet)(struct backend_network *net);
	/*
	 * A MAC and (on a network with a subnet) an address for @name; @ip_hint (may be NULL) is honoured when it is
	 * free and fits. The same name gets the same answer for the network's whole life.
	 */
	int (*reserve)(struct backend_network *net, const char *name, const char *ip_hint,
		       backend_reserve_done *done, void *arg, struct err *e);

	/*
	 * Makes the VM's handle: checks the spec (files exist and can be read, sizes) and boots nothing. Copies what it
	 * needs. The handle is the caller's until release.
	 */
	int (*create)(struct backend *b, struct backend_network *net, const struct vm_spec *spec,
		      const struct reservation *res, struct backend_vm **ret, struct err *e);
	/* Begins the boot; @done when the hypervisor runs the guest (not: when the guest is ready). */
	int (*start)(struct backend_vm *vm, backend_done *done, void *arg, struct err *e);
	/*
	 * Graceful (the guest is asked), then forced, within a bound of the backend. Cancels a boot. Stopping a stopped
	 * VM succeeds. Several stops may be pending; all end.
	 */
	int (*stop)(struct backend_vm *vm, backend_done *done, void *arg, struct err *e);
	/* VM_UNKNOWN: who could tell does not answer. */
	int (*state)(struct backend_vm *vm, backend_state_done *done, void *arg, struct err *e);
	/*
	 * Ends when the VM is stopped (0), failed (its error) or after @timeout_ms (ERR_TIMEOUT; 0: no limit).
	 * A VM never started counts as stopped.
	 */
	int (*wait)(struct backend_vm *vm, uint64_t timeout_ms, backend_done *done, void *arg,
		    struct err *e);
	/*
	 * Ends when the guest has an address and answers on it (SSH banner), with the address; or with the VM's error
	 * as soon as it has one; or after @timeout_ms.
	 */
	int (*wait_address)(struct backend_vm *vm, uint64_t timeout_ms, backend_address_done *done,
			    void *arg, struct err *e);
	/*
	 * Ends the handle. Pending operations end with ERR_CANCELED before this returns; none calls back later. A VM that
	 * still runs in this process' care is killed in the background; `remote` leaves it to its helper.
	 */
	void (*release)(struct backend_vm *vm);

	/* Optional: NULL where the backend cannot. */

	/* Takes the power away: no grace. */
	int (*kill)(struct backend_vm *vm, backend_done *done, void *arg, struct err *e);
	int (*pause)(struct backend_vm *vm, backend_done *done, void *arg, struct err *e);
	int (*resume)(struct backend_vm *vm, backend_done *done, void *arg, struct err *e);
	/*
	 * Keeps memory, devices and disk of a VM that is up under the name @point (1 to 79 of a-z 0-9 - and .), in place of
	 * an older point of that name; puts a VM that is up back to one (ERR_NOT_FOUND: nothing is touched). The VM is held
	 * meanwhile, and runs or is paused afterwards as it was before. One at a time (ERR_BUSY). A point that exists but
	 * does not load leaves nothing to go on with: the VM ends with an error. A backend may lose the older point when it
	 * dies while it replaces it: who minds gives each its own name, as the helper does.
	 */
	int (*save)(struct backend_vm *vm, const char *point, backend_done *done, void *arg,
		    struct err *e);
	int (*load)(struct backend_vm *vm, const char *point, backend_done *done, void *arg,
		    struct err *e);
	/* Forgets a point of a VM that is up (ERR_NOT_FOUND), and tells which it has. */
	int (*drop)(struct backend_vm *vm, const char *point, backend_done *done, void *arg,
		    struct err *e);
	int (*points)(struct backend_vm *vm, backend_points_done *done, void *arg, struct err *e);
	/*
	 * For a helper that follows one that crashed: the handle of a VM that runs already, as that one left it with
	 * init (loop/keeper.h). @spec and @res are what it was made with. < 0: ERR_NOT_FOUND: it left none; ERR_INTERNAL: too
	 * little, and the VM is ended; anything else: the VM runs on for the next helper, and this one is to end at once,
	 * since what it had opened by then is not closed. @done when the VM's state is known: then it is running or
	 * paused, or the error says how it ended (ERR_NOT_RUNNING: it powered itself off); release either way. Until then,
	 * which may take minutes when the VM is being saved, it can be stopped, killed and released; who asks for more waits.
	 */
	int (*adopt)(struct backend *b, struct backend_network *net, const struct vm_spec *spec,
		     const struct reservation *res, struct backend_vm **ret, backend_done *done,
		     void *arg, struct err *e);
	/*
	 * Writes memory and devices of a paused VM to the file @memory_path, for the memory_path of another VM's spec, and
	 * its disk, if it has one, to the file @disk_path. Both are new, or what capture_ahead made of them. The VM stays
	 * paused and can be resumed. On failure files may be left. @memory_path NULL: only the disk, or what keeps the
	 * points of a VM without one, for another that goes on from one of these (point_path).
	 */
	int (*capture)(struct backend_vm *vm, const char *memory_path, const char *disk_path,
		       backend_done *done, void *arg, struct err *e);
	/*
	 * Writes as much of that as can be while the VM runs, or is paused: capture, with the same paths, then writes what
	 * has changed, and takes less time.
	 */
	int (*capture_ahead)(struct backend_vm *vm, const char *memory_path, const char *disk_path,
			     backend_done *done, void *arg, struct err *e);
	/* Connects to a TCP port of the guest from inside its network; gives the connected socket. */
	int (*dial)(struct backend_vm *vm, uint16_t port, uint64_t timeout_ms,
		    backend_dial_done *done, void *arg, struct err *e);
	/* One end of a socket on the serial line; several at once see the same output. */
	int (*console)(struct backend_vm *vm, backend_dial_done *done, void *arg, struct err *e);
	int (*stats)(struct backend_vm *vm, backend_stats_done *done, void *arg, struct err *e);
	/* The line by which the guest's kernel, which hangs in its panic, told that; or NULL. Valid until the loop turns. */
	const char *(*panic)(struct backend_vm *vm);
	/*
	 * This process is about to exit, and the kernel to end the VM with it: says what makes that quick. Takes
	 * microseconds; the VM runs on as it did, should it all the same.
	 */
	void (*abandon)(struct backend_vm *vm);
};

/* One wrapper an operation; the optional ones say "backend 'x' cannot ..." (ERR_UNSUPPORTED). */
void backend_free(struct backend *b); /* NULL is harmless */
bool backend_nested_virt_supported(struct backend *b);
bool backend_supports_clustering(struct backend *b);
int backend_reconcile(struct backend *b, backend_done *done, void *arg, struct err *e);
int backend_create_network(struct backend *b, const struct network_config *c,
			   backend_network_done *done, void *arg, struct err *e);
void backend_close_network(struct backend_network *net, backend_done *done, void *arg);
const char *backend_subnet(struct backend_network *net);
int backend_reserve(struct backend_network *net, const char *name, const char *ip_hint,
		    backend_reserve_done *done, void *arg, struct err *e);
int backend_create(struct backend *b, struct backend_network *net, const struct vm_spec *spec,
		   const struct reservation *res, struct backend_vm **ret, struct err *e);
int backend_start(struct backend_vm *vm, backend_done *done, void *arg, struct err *e);
int backend_stop(struct backend_vm *vm, backend_done *done, void *arg, struct err *e);
int backend_state(struct backend_vm *vm, backend_state_done *done, void *arg, struct err *e);
int backend_wait(struct backend_vm *vm, uint64_t timeout_ms, backend_done *done, void *arg,
		 struct err *e);
int backend_wait_address(struct backend_vm *vm, uint64_t timeout_ms, backend_address_done *done,
			 void *arg, struct err *e);
void backend_release(struct backend_vm *vm); /* NULL is harmless */
int backend_kill(struct backend_vm *vm, backend_done *done, void *arg, struct err *e);
int backend_pause(struct backend_vm *vm, backend_done *done, void *arg, struct err *e);
int backend_resume(struct backend_vm *vm, backend_done *done, void *arg, struct err *e);
int backend_save(struct backend_vm *vm, const char *point, backend_done *done, void *arg,
		 struct err *e);
int backend_load(struct backend_vm *vm, const char *point, backend_done *done, void *arg,
		 struct err *e);
int backend_drop(struct backend_vm *vm, const char *point, backend_done *done, void *arg,
		 struct err *e);
int backend_points(struct backend_vm *vm, backend_points_done *done, void *arg, struct err *e);
int backend_capture(struct backend_vm *vm, const char *memory_path, const char *disk_path,
		    backend_done *done, void *arg, struct err *e);
int backend_capture_ahead(struct backend_vm *vm, const char *memory_path, const char *disk_path,
			  backend_done *done, void *arg, struct err *e);
/* 0, or < 0 with the sentence when @point is no name that points have in a backend. */
int backend_point_check(const char *point, struct err *e);
int backend_adopt(struct backend *b, struct backend_network *net, const struct vm_spec *spec,
		  const struct reservation *res, struct backend_vm **ret, backend_done *done,
		  void *arg, struct err *e);
int backend_dial(struct backend_vm *vm, uint16_t port, uint64_t timeout_ms, backend_dial_done *done,
		 void *arg, struct err *e);
int backend_console(struct backend_vm *vm, backend_dial_done *done, void *arg, struct err *e);
int backend_stats(struct backend_vm *vm, backend_stats_done *done, void *arg, struct err *e);
const char *backend_panic(struct backend_vm *vm); /* NULL too where it cannot tell, or for NULL */
void backend_abandon(struct backend_vm *vm);      /* where it can; NULL is harmless */

/*
 * Calls @fn from the loop with what happens in the guest, until the handle is released. `remote` hears of it while
 * something waits for the VM (backend_wait), and then also of a panic of before.
 */
void backend_on_guest(struct backend_vm *vm, backend_guest_fn *fn, void *arg);
/* For backends. @line may be NULL for "". */
void backend_tell_guest(struct backend_vm *vm, enum guest_news news, const char *line);

#endif
