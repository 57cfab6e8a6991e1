/* SPDX-License-Identifier: MIT */
/* What the files of this folder share. qemu.c: the backend; vm.c: what a VM is to QEMU; local/vm.h has its life. */
#ifndef DROVER_BACKEND_QEMU_VM_H
#define DROVER_BACKEND_QEMU_VM_H

#include "backend/local/vm.h"
#include "backend/qemu/qmp.h"
#include "base/kvm.h"

#define QEMU_PROGRAM "qemu-system-x86_64"

struct qemu {
	struct local_backend local;
	bool asked_uring;
	bool uring;
};

struct qemu_vm {
	struct local_vm; /* its fields are this one's */
	struct qmp *qmp;
	struct waiters points;   /* save, load, drop: at most one pending */
	char point[POINT_SIZE];  /* which */
	struct list listings;    /* struct listing: who asked for the points */
	struct waiters captures; /* at most one pending */
	struct capture *capture; /* under way, or NULL */
	int memory_fd; /* the guest's memory as a file, while QEMU runs; or -1: not ours to copy */
	bool resumes;  /* goes on from captured memory: QEMU loads it first */
	char begins_at[POINT_SIZE];   /* the point that this start goes on from, or "" */
	struct share_servers *shares; /* of the running QEMU, or NULL */
	struct timer *going_on; /* until it is told once more to let the guest go on, or NULL */
};

static inline struct qemu *qemu_of(struct backend *b)
{
	return container_of(local_of(b), struct qemu, local);
}

static inline struct qemu_vm *vm_of(struct backend_vm *vm)
{
	return container_of(vm, struct qemu_vm, base);
}

static inline struct qemu_vm *qemu_vm_of(struct local_vm *vm)
{
	return vm_of(&vm->base);
}

enum { VM_MIB = 1 << 20 };

/* The guest's memory, which is whole MiB. */
static inline uint64_t vm_memory_mib(const struct qemu_vm *vm)
{
	return (vm->spec.memory_bytes + VM_MIB - 1) / VM_MIB;
}

/* argv.c: QEMU's command line. */
enum {
	CHILD_FD_TAP = 3,
	CHILD_FD_QMP = 4,
	CHILD_FD_SERIAL = 5,
	CHILD_FD_MEMORY = 6,
	CHILD_FD_STATE = 7,
	CHILD_FD_SHARE = 8
};
/* QEMU's name of the second serial line's other end; nothing is there before script_give. */
#define SECOND_LINE "second"
/* What a command line is made for; asked of the host once. */
struct qemu_ways {
	bool kvm;
	bool uring; /* disks are read and written by io_uring */
};
/* NULL-terminated, heap (argv_free), or NULL when out of memory. */
char **argv_make(const struct qemu_vm *vm, struct qemu_ways ways);
void argv_free(char **argv);

/* vm.c */
extern const struct hypervisor qemu_hypervisor;
void qemu_vm_abandon(struct backend_vm *vm);

/* qemu.c: may block as local_is_by_kvm does. */
struct qemu_ways qemu_ways(struct qemu *q);

/* share.c: directories of the host in the guest, read-only ones first. */
enum { MAX_MOUNTS = 16 };
/* Whether the host can do what @s asks for: 0, or < 0 with the sentence. */
int shares_check(const struct vm_spec *s, struct err *e);
/*
 * Starts one server for each mount of @vm. @ret_fds (MAX_MOUNTS of them) are QEMU's ends, the caller's; returns their
 * number. < 0: nothing runs.
 */
int shares_start(struct qemu_vm *vm, int ret_fds[], struct err *e);
/* Goes on with those that an earlier helper started, which run under the QEMU that is adopted. */
int shares_adopt(struct qemu_vm *vm, struct err *e);
/* Ends what runs; harmless when nothing does. */
void shares_end(struct qemu_vm *vm);

/* memory.c: the guest's memory and what is captured of it. */
/* Opens the file of the guest's memory, and (or -1) what its devices are loaded from. Both the caller's. */
int memory_open(struct qemu_vm *vm, int *ret_memory, int *ret_state, struct err *e);
/* Loads memory and devices; the guest runs then. 0 or -errno. */
int memory_load(struct qemu_vm *vm);
/* Lets the guest whose memory is loaded go on. */
void memory_go_on(struct qemu_vm *vm);
/* Ends one that an earlier helper ordered; points save the memory again, which a capture does not. */
void memory_forget_capture(struct qemu_vm *vm);
void memory_on_migration(struct qemu_vm *vm, json_t *data); /* QMP's event MIGRATION */
int memory_capture(struct backend_vm *vm, const char *memory_path, const char *disk_path,
		   backend_done *done, void *arg, struct err *e);
int memory_capture_ahead(struct backend_vm *vm, const char *memory_path, const char *disk_path,
			 backend_done *done, void *arg, struct err *e);
/* Who waits for a capture ends with @e, from the loop; with NULL: is canceled, now. */
void memory_fail(struct qemu_vm *vm, const struct err *e);

/* script.c: types @vm's script on the second serial line of the guest, which is loaded and has not gone on. 0 or < 0. */
int script_give(struct qemu_vm *vm, struct err *e);

/* point.c: what QEMU calls a snapshot, inside the member's disk, or a file of its own where there is none. */
int point_save(struct backend_vm *vm, const char *point, backend_done *done, void *arg,
	       struct err *e);
int point_load(struct backend_vm *vm, const char *point, backend_done *done, void *arg,
	       struct err *e);
int point_drop(struct backend_vm *vm, const char *point, backend_done *done, void *arg,
	       struct err *e);
/* Takes the name of the point that @vm's start is to go on from, where its spec has one. */
int point_take_begin(struct qemu_vm *vm, struct err *e);
int point_list(struct backend_vm *vm, backend_points_done *done, void *arg, struct err *e);
/* Who waits for any of these ends with @e, from the loop; with NULL: is canceled, now. */
void points_fail(struct qemu_vm *vm, const struct err *e);

#endif
