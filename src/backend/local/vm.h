/* SPDX-License-Identifier: MIT */
/*
 * One VM as a child process of this one: the part of the contract that does not depend on which hypervisor it is.
 *
 * How it works: @state follows the contract's picture. @child is set from start to the hypervisor's exit, whatever the
 * state; its exit is the one event that makes a VM stopped or error. The hypervisor says when it runs the guest
 * (vm_running: starting -> running); then the banner is waited for, and @ready says that it came: a guest that is not
 * ready cannot react to a power button.
 *
 * A backend embeds struct local_vm in its own structure of a VM, takes LOCAL_BACKEND_OPS into its table, and gives a
 * struct hypervisor.
 */
#ifndef DROVER_BACKEND_LOCAL_VM_H
#define DROVER_BACKEND_LOCAL_VM_H

#include "backend/local/console.h"
#include "backend/local/dial.h"
#include "backend/local/local.h"
#include "backend/local/network.h"
#include "backend/local/panic.h"
#include "base/buf.h"
#include "loop/child.h"
#include "loop/stream.h"
#include "loop/timer.h"

#include <net/if.h>

struct local_vm;
struct keeper;
struct kept;

/* What only the hypervisor's own code can do. */
struct hypervisor {
	const char *name; /* in sentences */
	/* A structure of zeros, but for what is its own; NULL: out of memory. free frees it. */
	struct local_vm *(*alloc)(struct backend *b);
	/* Whether this host can run a new VM of vm->spec, beyond what is so of every hypervisor. < 0: no, and @e. */
	int (*check)(struct local_vm *vm, struct err *e);
	/* Starts it by vm_spawn and opens what leads to it. < 0: nothing is left but what close and vm_start clear. */
	int (*launch)(struct local_vm *vm, struct err *e);
	/*
	 * Opens what leads to one that an earlier helper launched, from @n descriptors in the order that it gave to
	 * vm_keep (it takes what it uses), and asks: vm_running, vm_found_paused or vm_end_with answers.
	 */
	int (*adopt)(struct local_vm *vm, int *lines, unsigned n, struct err *e);
	/* Closes what leads to it: it has ended, or is about to. May be called twice. */
	void (*close)(struct local_vm *vm);
	/* Presses the power button of a guest that is up; false when that cannot be. */
	bool (*power_button)(struct local_vm *vm, bool paused);
	/* Orders pause or resume; vm_switched tells the end. < 0: it does not run any more. */
	int (*hold)(struct local_vm *vm, bool pause);
	/* Asks for the disks' counters; vm_answer_stats answers the oldest question. < 0: it does not run any more. */
	int (*ask_stats)(struct local_vm *vm);
	/* What waits for it ends with @e, from the loop; with NULL: is canceled, now. May be NULL. */
	void (*fail)(struct local_vm *vm, const struct err *e);
	/* Frees what is its own, and the structure. */
	void (*free)(struct local_vm *vm);
};

struct local_vm {
	struct backend_vm base;
	const struct hypervisor *hypervisor;
	struct local_network *net;
	struct vm_spec spec;
	struct reservation res;
	char *disk_format;
	enum vm_state state;
	struct err error; /* VM_ERROR's; or, while the child lives, why it is being ended */
	bool ready;
	bool adopting; /* what the guest does is being asked */
	struct child *child;
	struct console *console;
	struct panic panic; /* what the console has said of one */
	size_t no_root;     /* letters of what an initial file system says that finds no root */
	struct timer *last_words;
	unsigned resets;     /* before it was ready */
	struct stream *said; /* the hypervisor's stdout and stderr */
	struct buf said_last;
	struct banner *banner;
	int greeted; /* a connection on which the SSH server has greeted, for who dials first; or -1 */
	struct timer *greeted_end;
	struct timer *deadline; /* of the start, then of the graceful stop */
	char ifname[IF_NAMESIZE];
	struct waiters starts;    /* start */
	struct waiters stops;     /* stop, kill */
	struct waiters waits;     /* wait */
	struct waiters addresses; /* wait_address */
	struct waiters switches;  /* pause, resume */
	struct waiters ops;       /* end with the next turn */
	struct list questions;    /* struct op */
};

static inline struct local_vm *local_vm_of(struct backend_vm *vm)
{
	return container_of(vm, struct local_vm, base);
}

/* --- The contract's operations ------------------------------------------------------------------------------- */

int vm_create(struct backend *b, struct backend_network *net, const struct vm_spec *spec,
	      const struct reservation *res, struct backend_vm **ret, struct err *e);
/* adopt.c */
int vm_adopt(struct backend *b, struct backend_network *net, const struct vm_spec *spec,
	     const struct reservation *res, struct backend_vm **ret, backend_done *done, void *arg,
	     struct err *e);
int vm_start(struct backend_vm *vm, backend_done *done, void *arg, struct err *e);
int vm_stop(struct backend_vm *vm, backend_done *done, void *arg, struct err *e);
int vm_kill(struct backend_vm *vm, backend_done *done, void *arg, struct err *e);
int vm_wait(struct backend_vm *vm, uint64_t timeout_ms, backend_done *done, void *arg,
	    struct err *e);
int vm_wait_address(struct backend_vm *vm, uint64_t timeout_ms, backend_address_done *done,
		    void *arg, struct err *e);
int vm_pause(struct backend_vm *vm, backend_done *done, void *arg, struct err *e);
int vm_resume(struct backend_vm *vm, backend_done *done, void *arg, struct err *e);
void vm_release(struct backend_vm *vm);
const char *vm_panic(struct backend_vm *vm); /* early.c */

/* The connection on which the guest's SSH server greeted, once and for a moment; or -1. */
int vm_take_greeted(struct local_vm *vm);

/* op.c: each answers from the loop. */
int op_state(struct backend_vm *vm, backend_state_done *done, void *arg, struct err *e);
int op_dial(struct backend_vm *vm, uint16_t port, uint64_t timeout_ms, backend_dial_done *done,
	    void *arg, struct err *e);
int op_console(struct backend_vm *vm, backend_dial_done *done, void *arg, struct err *e);
int op_stats(struct backend_vm *vm, backend_stats_done *done, void *arg, struct err *e);

/* --- For the hypervisor's code ------------------------------------------------------------------------------- */

/* The guest runs or is paused. */
bool vm_is_up(const struct local_vm *vm);

/* Spawns @o, to which stdout and stderr are added, as the VM's child. */
int vm_spawn(struct local_vm *vm, struct child_options *o, struct err *e);

/* What is left with init, or NULL: nobody follows this helper. */
struct keeper *local_keeper(const struct backend *b);

/* Leaves the VM with init, once it is spawned: @lines (borrowed) are the descriptors that lead to it. */
int vm_keep(struct local_vm *vm, const int *lines, unsigned n, struct err *e);

/* Opens the console on @fd (taken), the other end of the serial line. 0 or < 0 with @e. */
int vm_open_console(struct local_vm *vm, int fd, struct err *e);

/* The hypervisor runs the guest. */
void vm_running(struct local_vm *vm);
/* The same when it was adopted and is found paused. */
void vm_found_paused(struct local_vm *vm);

/* What was ordered by hold is done, or (@error) refused. Harmless when the VM is stopped meanwhile. */
void vm_switched(struct local_vm *vm, const char *error);

/* Answers the oldest question for counters: @disks holds those of the disks, -1 what is not known. */
void vm_answer_stats(struct local_vm *vm, const struct vm_stats *disks);

/* The guest has reset itself. */
void vm_was_reset(struct local_vm *vm);
/* It is as it was at an earlier instant: what its console has said since is not so any more. */
void vm_was_put_back(struct local_vm *vm);

/* The hypervisor is ended, and the VM with an error; the first reason counts. */
void vm_end_with(struct local_vm *vm, enum err_code code, const char *text);

/* --- Between the files of this folder ------------------------------------------------------------------------ */

/* From SIGTERM, which is answered by flushing the disks, to SIGKILL. */
enum { QUIT_MS = 2000 };

/* check.c: 0, or < 0 with the sentence that names the file. Finds out the disk's format too. */
int check_spec(const struct vm_spec *s, char **ret_format, struct err *e);
/* The disk's format alone; NULL when there is no disk. */
int find_format(const struct vm_spec *s, char **ret, struct err *e);

/* adopt.c: says that the guest is ready; drops what was left with init. */
void vm_keep_ready(struct local_vm *vm);
void vm_unkeep(struct local_vm *vm);
/* vm.c: one that does not run; takes *@format (check_spec, find_format). NULL: out of memory. vm_release frees. */
struct local_vm *vm_new(struct backend *b, struct backend_network *net, const struct vm_spec *spec,
			const struct reservation *res, char **format);
/* vm.c: goes on with @kept's process (taken) and its output @said (taken). */
int vm_take_process(struct local_vm *vm, struct keeper *k, struct kept *kept, int said,
		    struct err *e);
int vm_await_state(struct local_vm *vm, backend_done *done, void *arg, struct err *e);

/* early.c: the hypervisor ended well and nobody stopped it. Says why in @ret_why, or in vm->error when it is one. */
void vm_powered_off(struct local_vm *vm, struct err *ret_why);

/* op.c: what waits for the guest or its hypervisor ends with @e, from the loop. */
void ops_fail(struct local_vm *vm, const struct err *e);
/* Everything ends with ERR_CANCELED, now. */
void ops_cancel(struct local_vm *vm);

/* The part of a backend's table that is the same for all of them. */
#define LOCAL_BACKEND_OPS                                                                         \
	.nested_virt_supported = local_nested_virt_supported,                                     \
	.supports_clustering = local_supports_clustering, .reconcile = local_reconcile,           \
	.create_network = local_create_network, .close_network = local_close_network,             \
	.subnet = local_subnet, .reserve = local_reserve, .create = vm_create, .adopt = vm_adopt, \
	.start = vm_start, .stop = vm_stop, .state = op_state, .wait = vm_wait,                   \
	.wait_address = vm_wait_address, .release = vm_release, .kill = vm_kill,                  \
	.pause = vm_pause, .resume = vm_resume, .dial = op_dial, .console = op_console,           \
	.stats = op_stats, .panic = vm_panic

#endif
