/* SPDX-License-Identifier: MIT */
/* What the files of this folder share: remote.c the cluster's calls, observe.c news, calls.c one VM's, stop.c leaving. */
#ifndef DROVER_BACKEND_REMOTE_INTERNAL_H
#define DROVER_BACKEND_REMOTE_INTERNAL_H

#include "backend/remote/remote.h"
#include "backend/remote/rpc.h"
#include "backend/remote/watch.h"
#include "backend/waiter.h"

#include <string.h>

/* The reference's figures; STOP_MS is above what a backend takes for grace and force. */
enum {
	CLUSTER_MS = 30000,
	BOOT_MS = 30 * 60 * 1000,
	STATUS_MS = 2000,
	CALL_MS = 30000,
	POINT_MS = 120000, /* memory goes to a disk, or comes from one */
	STOP_MS = 45000,
	POLL_MS = 500,
	WATCH_TRIES = 3,
};

enum peer { PEER_UNKNOWN, PEER_PROTOCOL_2, PEER_WATCHABLE };

struct remote {
	struct backend base;
	const struct store *store;
	struct name_list known; /* the primary first */
	unsigned window_ms;
	remote_event_fn *on_event;
	void *event_arg;
	struct list vms;
	struct waiters ops;
	struct list asked; /* struct cluster_op: create_network and reserve, while under way */

	/* Observation: one watch stream for the cluster, or polls. */
	enum peer peer;
	struct rpc *hello;
	struct watch *watch;
	unsigned watch_tries; /* since the last event */
	struct timer *poll;
};

struct remote_network {
	struct backend_network base;
	char subnet[SUBNET_SIZE];
};

/* What was last heard of a member. */
enum heard { HEARD_NOTHING, HEARD_STATE, HEARD_GONE };

struct remote_vm {
	struct backend_vm base;
	struct list link; /* remote.vms */
	char name[NAME_SIZE];
	struct vm_spec spec; /* empty name: attached */
	enum heard heard;
	char state[16];
	char ip[IP_SIZE];
	struct err error;
	struct rpc *status; /* the poll under way */
	struct waiters on_stopped;
	struct waiters on_address;
	struct waiters ops;
	bool booting;           /* its boot was asked for and is not answered */
	struct list calls;      /* struct vm_call */
	struct list departures; /* struct departure: stops that wait for the member to go */
};

static inline struct remote *remote_of(struct backend *b)
{
	return container_of(b, struct remote, base);
}

static inline struct remote_vm *vm_of(struct backend_vm *vm)
{
	return container_of(vm, struct remote_vm, base);
}

/* A request to the member's own socket. As rpc_start. */
struct rpc *member_rpc(struct remote_vm *vm, const struct request *q, uint64_t timeout_ms,
		       rpc_done *done, void *arg, struct err *e);

/* observe.c: makes sure that news of the members comes in; ends what waits for what was heard. */
void observe(struct remote *b);
void settle(struct remote_vm *vm);

/* calls.c: the operations that are one request and one reply; calls_cancel ends those under way, now. */
int remote_start(struct backend_vm *base, backend_done *done, void *arg, struct err *e);
int remote_state(struct backend_vm *base, backend_state_done *done, void *arg, struct err *e);
int remote_wait(struct backend_vm *base, uint64_t timeout_ms, backend_done *done, void *arg,
		struct err *e);
int remote_wait_address(struct backend_vm *base, uint64_t timeout_ms, backend_address_done *done,
			void *arg, struct err *e);
int remote_kill(struct backend_vm *base, backend_done *done, void *arg, struct err *e);
int remote_pause(struct backend_vm *base, backend_done *done, void *arg, struct err *e);
int remote_save(struct backend_vm *base, const char *point, backend_done *done, void *arg,
		struct err *e);
int remote_load(struct backend_vm *base, const char *point, backend_done *done, void *arg,
		struct err *e);
int remote_drop(struct backend_vm *base, const char *point, backend_done *done, void *arg,
		struct err *e);
int remote_points(struct backend_vm *base, backend_points_done *done, void *arg, struct err *e);
int remote_resume(struct backend_vm *base, backend_done *done, void *arg, struct err *e);
int remote_dial(struct backend_vm *base, uint16_t port, uint64_t timeout_ms,
		backend_dial_done *done, void *arg, struct err *e);
int remote_console(struct backend_vm *base, backend_dial_done *done, void *arg, struct err *e);
int remote_stats(struct backend_vm *base, backend_stats_done *done, void *arg, struct err *e);
void calls_cancel(struct remote_vm *vm, const struct err *canceled);

/*
 * stop.c: the acknowledgement, then the member's departure; departures_cancel as above. departures_boot_answered: the boot
 * that a stop may have overtaken is over; calls nobody back before it returns.
 */
int remote_stop(struct backend_vm *base, backend_done *done, void *arg, struct err *e);
void departures_boot_answered(struct remote_vm *vm, bool runs);
void departures_cancel(struct remote_vm *vm, const struct err *canceled);

#endif
