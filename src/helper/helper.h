/* SPDX-License-Identifier: MIT */
/*
 * drover-helper inside: one loop, one backend, one network, the members and the connections to them.
 *
 * How it works:
 *
 *   member   starting --boot--> running <--> paused        every state but stopped and error counts as active;
 *               |  \               |                       when no member is active any more the helper leaves
 *               |   +--> error <---+ (died)
 *               +--------+---------+--stop--> stopping --> stopped --> retired (socket and pidfile gone, forgotten)
 *
 * The number of active members is counted from the list whenever it matters; there is no counter to go wrong.
 * A member's VM handle lives from create to the end of stop; a boot is refused while there is one.
 * A retired name keeps its reservation: it may be registered and booted again through a sibling's socket.
 */
#ifndef DROVER_HELPER_HELPER_H
#define DROVER_HELPER_HELPER_H

#include "backend/backend.h"
#include "base/list.h"
#include "loop/alarm.h"
#include "loop/listener.h"
#include "loop/stream.h"
#include "loop/timer.h"
#include "store/store.h"
#include "wire/framer.h"
#include "wire/message.h"

#include <stdbool.h>

enum member_state {
	MEMBER_STARTING,
	MEMBER_RUNNING,
	MEMBER_PAUSED,
	MEMBER_STOPPING,
	MEMBER_STOPPED,
	MEMBER_ERROR,
};

struct call;
struct keeper;
struct sandbox;

/* A member that is being taken over has come to its state; it may be gone by then. */
typedef void member_adopted_cb(void *arg);

struct member {
	struct list link; /* helper.members */
	struct helper *helper;
	char name[NAME_SIZE];
	enum member_state state;
	char ip[IP_SIZE];
	struct err error; /* of the last boot or death; cleared by the next boot */
	struct listener *listener;
	int listen_fd; /* of a member that is being taken over, -1 once there is a listener */
	int lock_fd;
	struct vm_spec spec;    /* of the latest boot; owned */
	struct backend_vm *vm;  /* owned, NULL when nothing is created */
	struct call *boot_call; /* owned while a boot is under way and its client waits */
	struct list stop_calls; /* calls that are answered when the member has stopped */
	bool booting;
	bool unanswered_boot; /* an earlier helper was killed in it: its client may ask again */
	bool fresh;           /* to be taken over, and not begun with */
	member_adopted_cb *on_adopted; /* while it is being taken over */
	void *adopted_arg;
	bool cut_power; /* stop without grace */
	bool held;      /* paused by a round of rpc_point.c, for as long as that lasts */
};

/* One name's answer to reserve. */
struct reserved {
	struct list link; /* helper.reserved */
	struct helper *helper;
	char name[NAME_SIZE];
	struct reservation value;
	bool ready;
	struct list calls; /* wait for it */
};

struct helper_options {
	const struct store *store; /* borrowed */
	struct name_list members;  /* borrowed: registered at the start; the first is the primary */
	struct name_list *served;  /* borrowed, may be NULL: gets each name ever registered */
	const char *backend;       /* name */
	const char *subnet;        /* of whoever asks for the network first; borrowed, NULL: any */
	bool no_egress;            /* whoever asks */
	struct procid identity;    /* the process that pidfiles name */
	bool bound;
	bool temporary;   /* members are removed when the cluster ends: by who runs this helper */
	int client_pidfd; /* readable when the client is dead; taken, -1 when not to be had */
	const char *warning; /* borrowed: for who waits on ready_fd; NULL: none */
	int ready_fd; /* "ready\n" is written to it once every socket listens; taken, -1: nobody asks */
	bool namespaced; /* peers of unmapped uids are judged by the socket's file mode alone */
	const struct sandbox *sandbox; /* of the real backends, borrowed; NULL: none */
	struct keeper *keeper;         /* borrowed; NULL: nobody starts this helper again */
};

struct helper {
	const struct helper_options *o;
	uv_loop_t loop;
	uv_signal_t signals[3];
	size_t n_signals; /* that are to be closed */
	struct backend *backend;
	struct backend_network *network;
	bool network_pending;
	bool egress;               /* what the network was asked for */
	struct adoption *adoption; /* owned; NULL: this helper began the cluster */
	struct list network_calls; /* wait for the network */
	struct list members;
	struct list reserved;
	struct list conns;
	struct conn *current; /* whose bytes are being handled; NULL once it has ended */
	struct list calls;    /* all that are under way, their connections gone or not */
	unsigned n_conns;
	size_t pending_bytes; /* unfinished requests of all connections */
	struct listener *ctl;
	struct list ctl_conns;
	uv_poll_t client_poll;
	bool watching_client;
	struct alarm *idle;    /* looks whether anybody needs this helper */
	struct alarm *overdue; /* the first connection whose time is up */
	int64_t total_connections;
	int64_t total_requests;
	int64_t total_refusals;
	bool stopping; /* no new work */
	bool closing;  /* handles are being closed */
	int exit_code;
	struct point_round *round; /* of save, load, points or drop; at most one */
	struct list
		deferred; /* requests that wait for VMs that are being taken over, or for a round */
	struct timer *deferred_turn;
};

/* Exit code of a helper in a sandbox whose client is gone: pid 1 ends with it at once, and the kernel ends the rest. */
enum { HELPER_CLIENT_GONE = 255 };

/* helper.c */
/* Whether a helper of this backend can take over the VMs of one that crashed. */
bool helper_can_adopt(const char *backend);
/* Runs one helper to its orderly end. 0, or < 0 with @e when it could not begin. */
int helper_run(const struct helper_options *o, struct err *e);

/* Says on the ready descriptor why there is no helper, and closes it; < 0: nobody asked. helper_run does so by itself. */
void helper_tell_failure(int fd, const struct err *e);
/* Ends all members (@cut_power: without grace), then the helper. Idempotent; cutting the power may come later. */
void helper_shutdown(struct helper *h, bool cut_power);
/* SIGTERM and the like act from now on; they were blocked before. */
int helper_start_signals(struct helper *h, struct err *e);
/* Looks whether anything keeps the helper alive; if nothing does, begins the shutdown or completes it. */
void helper_check_done(struct helper *h);
void helper_log(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* members.c */
struct member *member_find(struct helper *h, const char *name);
int member_register(struct helper *h, const char *name, struct member **ret, struct err *e);
bool member_is_active(const struct member *m);
const char *member_state_word(const struct member *m);
const char *member_state_name(enum member_state s);
/* Changes it, and tells init and the watchers. */
void member_set_state(struct member *m, enum member_state s);
/* Boots; @call is taken and answered when the member runs or failed. */
void member_boot(struct helper *h, struct call *call, const struct vm_spec *spec);
/* Begins to stop; @call (may be NULL) is taken and answered at the end. */
void member_stop(struct member *m, bool cut_power, struct call *call);
void member_retire(struct member *m);
/* For adopt.c. An empty member in the list; one that listens on listen_fd; one whose state goes on: true: @cb runs, later. */
void member_init(struct member *m, struct helper *h, const char *name);
int member_listen(struct member *m, struct err *e);
bool member_go_on(struct member *m, member_adopted_cb *cb, void *arg);

/* adopt.c */
/* Takes over what an earlier helper left with init; 0: it goes on from the loop. */
int helper_adopt(struct helper *h, struct err *e);
void helper_adopt_done(struct helper *h);
/*
 * What cannot be taken over is left as it is to the next helper, and after the third to init: ends the process at once, so that
 * nothing is undone that runs on.
 */
void helper_give_in(const char *what, const struct err *e) __attribute__((noreturn));
/* Leave with init what there is now. They do nothing where nobody starts a helper again. */
void network_keep(struct helper *h);
void reserved_keep(struct helper *h, const struct reserved *v);
int member_keep_new(struct member *m, struct err *e); /* with its lock and its socket */
void member_keep(struct member *m);
void member_unkeep(struct member *m); /* gives its lock up too */

/* conn.c */
struct conn;

/*
 * Owner and root. In a user namespace every foreign uid reads as unmapped: there the file mode (0600, checked by the
 * kernel at connect) has already said that the peer is the owner or may override modes, which is root.
 */
bool peer_is_welcome(const struct helper *h, uid_t peer);

/* A request under way. It outlives its connection; then its reply goes nowhere. */
struct call {
	struct list link;      /* conn.calls */
	struct list all_link;  /* helper.calls */
	struct list wait_link; /* wherever it waits */
	struct conn *conn;     /* NULL when the connection is gone */
	struct helper *helper;
	struct member *member; /* whose socket it came in by; NULL once that is retired */
	char *id;
	enum verb verb;
};

/* Takes @fd. True when it has been answered and ended already. */
bool conn_accept(struct helper *h, struct member *m, int fd, uid_t peer);
void conns_forget_member(struct helper *h, const struct member *m); /* calls too */
void conns_end_overdue(struct helper *h);
void conns_close_all(struct helper *h); /* sends what is queued, within a bound */

/* deferred.c */
/*
 * True: @c waits until it is known what the VMs do that it is about, or for the end of a round whose answer nobody waits for,
 * and *@q is taken. False: nothing is to be waited for.
 */
bool call_defer(struct call *c, struct request *q);
/* Whether its client is there to hear the answer. One that sends no more may still read; one that has closed its end does neither. */
bool call_is_wanted(const struct call *c);
/* It has become known of one, or a round has ended: what waited for it goes on, with the next turn. */
void deferred_look(struct helper *h);
/* The helper ends: all are refused. */
void deferred_end(struct helper *h);

/* Each answers and frees the call. */
void call_empty(struct call *c);
void call_error(struct call *c, const struct err *e);
void call_errorf(struct call *c, enum err_code code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void call_reply(struct call *c, struct buf *line);            /* frees @line's memory */
void call_reply_fd(struct call *c, struct buf *line, int fd); /* takes @fd */
/* Answers, and keeps the connection as a stream of events. */
void call_watch(struct call *c);

/* events.c: the fields that tell @m's state: "state", "ip", and of an error "error" and "code". */
void member_write_state(const struct member *m, struct json_out *o);
/* Tells the watchers. */
void event_state(struct helper *h, const struct member *m);
void event_stage(struct helper *h, const struct member *m, const char *stage);
void event_address(struct helper *h, const struct member *m);
void event_gone(struct helper *h, const struct member *m);
/* Tells what happens in the guest of @m, which has just got its VM. */
void member_watch_guest(struct member *m);

/* rpc_v2.c, rpc_more.c: one function a verb; each takes the call. @q is borrowed. */
typedef void rpc_handler(struct call *c, const struct request *q);
rpc_handler rpc_status, rpc_stop, rpc_createnetwork, rpc_reserve, rpc_boot_member;
rpc_handler rpc_hello, rpc_watch, rpc_dial, rpc_console, rpc_pause, rpc_resume, rpc_kill,
	rpc_shutdown, rpc_stats;

/* rpc_point.c */
rpc_handler rpc_point;
/* Whether somebody still waits for its answer. */
bool round_is_wanted(const struct point_round *round);

/*
 * rpc_more.c: the member that "name" names, or else the one whose socket it is, when it has booted and is up. NULL: there is
 * none, and @c is answered.
 */
struct member *call_booted_target(struct call *c, const struct request *q);

/* rpc_v2.c: what was or is being reserved for @name; NULL: nobody asked. */
struct reserved *reserved_find(struct helper *h, const char *name);

/* ctl.c: the bind handshake and the watch over the client. */
int ctl_open(struct helper *h, struct err *e);
/* Hears of the death of whoever started it: members that nobody boots then end, and when it is bound, all of them. */
int ctl_watch_client(struct helper *h, struct err *e);
void ctl_close(struct helper *h);

#endif
