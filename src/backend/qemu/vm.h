/* SPDX-License-Identifier: MIT */
/* What the files of this folder share. qemu.c: the backend and its network; vm.c: one VM's life; op.c: questions. */
#ifndef DROVER_BACKEND_QEMU_VM_H
#define DROVER_BACKEND_QEMU_VM_H

#include "backend/backend.h"
#include "backend/qemu/console.h"
#include "backend/qemu/dial.h"
#include "backend/qemu/qmp.h"
#include "backend/waiter.h"
#include "base/buf.h"
#include "base/list.h"
#include "loop/child.h"
#include "loop/stream.h"

#include <net/if.h>

#define QEMU_PROGRAM "qemu-system-x86_64"

struct private_net;
struct sandbox;

enum accel { ACCEL_AUTO, ACCEL_KVM, ACCEL_TCG };

struct qemu {
	struct backend base;
	const struct sandbox *sandbox;
	char *dir;
	enum accel accel;   /* AUTO until the first start */
	struct waiters ops; /* end with the next turn */
};

struct qemu_network {
	struct backend_network base;
	struct private_net *net;
	struct list reserves; /* struct reserve_op */
};

/*
 * One VM.
 *
 * How it works: @state follows the contract's picture. @child is set from start to QEMU's exit, whatever the state; its
 * exit is the one event that makes a VM stopped or error. QEMU runs the guest when QMP says so (starting -> running);
 * then the banner is waited for, and @ready says that it came: a guest that is not ready cannot react to a power button.
 */
struct qemu_vm {
	struct backend_vm base;
	struct qemu_network *net;
	struct vm_spec spec;
	struct reservation res;
	char *disk_format;
	enum vm_state state;
	struct err error; /* VM_ERROR's; or, while the child lives, why it is being ended */
	bool ready;
	struct child *child;
	struct qmp *qmp;
	struct console *console;
	struct stream *said; /* QEMU's stdout and stderr */
	struct buf said_last;
	struct banner *banner;
	struct timer *deadline; /* of the start, then of the graceful stop */
	char ifname[IF_NAMESIZE];
	struct waiters starts;    /* start */
	struct waiters stops;     /* stop, kill */
	struct waiters waits;     /* wait */
	struct waiters addresses; /* wait_address */
	struct waiters switches;  /* pause, resume */
	struct waiters points;    /* save, load: at most one pending */
	char point[NAME_SIZE];    /* which */
	struct waiters ops;       /* end with the next turn */
	struct list questions;    /* struct op */
};

static inline struct qemu *qemu_of(struct backend *b)
{
	return container_of(b, struct qemu, base);
}

static inline struct qemu_vm *vm_of(struct backend_vm *vm)
{
	return container_of(vm, struct qemu_vm, base);
}

/* Calls @done from the next turn of the loop. */
int done_later(struct waiters *ops, backend_done *done, void *arg, struct err *e);

/* argv.c: QEMU's command line. */
enum { CHILD_FD_TAP = 3, CHILD_FD_QMP = 4, CHILD_FD_SERIAL = 5 };
/* NULL-terminated, heap (argv_free), or NULL when out of memory. */
char **argv_make(const struct qemu_vm *vm, bool kvm);
void argv_free(char **argv);

/* check.c: 0, or < 0 with the sentence that names the file. Finds out the disk's format too. */
int check_spec(const struct vm_spec *s, char **ret_format, struct err *e);

/* vm.c */
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
/* QEMU is ended, and the VM with an error; the first reason counts. */
void vm_end_with(struct qemu_vm *vm, enum err_code code, const char *text);
/* qemu.c: whether guests run by KVM; asked of the host once. */
bool qemu_use_kvm(struct qemu *q);

bool vm_is_up(const struct qemu_vm *vm); /* the guest runs or is paused */

/* op.c: state, dial, console, stats; each answers from the loop. */
int op_state(struct backend_vm *vm, backend_state_done *done, void *arg, struct err *e);
int op_dial(struct backend_vm *vm, uint16_t port, uint64_t timeout_ms, backend_dial_done *done,
	    void *arg, struct err *e);
int op_console(struct backend_vm *vm, backend_dial_done *done, void *arg, struct err *e);
int op_stats(struct backend_vm *vm, backend_stats_done *done, void *arg, struct err *e);
/* What waits for the guest or for QEMU ends with @e, from the loop. */
void ops_fail(struct qemu_vm *vm, const struct err *e);
/* Everything ends with ERR_CANCELED, now. */
void ops_cancel(struct qemu_vm *vm);

/* point.c: what QEMU calls a snapshot, inside the member's disk. */
int point_save(struct backend_vm *vm, const char *point, backend_done *done, void *arg,
	       struct err *e);
int point_load(struct backend_vm *vm, const char *point, backend_done *done, void *arg,
	       struct err *e);

/* stats.c: what the host knows, -1 for the rest. */
void stats_of_process(pid_t pid, struct vm_stats *s);
void stats_of_tap(const char *ifname, struct vm_stats *s);
void stats_of_disks(json_t *query_blockstats, struct vm_stats *s);

#endif
