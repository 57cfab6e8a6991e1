/* SPDX-License-Identifier: MIT */
/*
 * Every name that a peer can see. Append only: docs/protocol.lock lists them and a test compares.
 */
#ifndef DROVER_WIRE_NAMES_H
#define DROVER_WIRE_NAMES_H

#define WIRE_PROTOCOL "2"

/* id, name */
#define VERB_MAP(X)                       \
	X(STATUS, "status")               \
	X(STOP, "stop")                   \
	X(CREATENETWORK, "createnetwork") \
	X(RESERVE, "reserve")             \
	X(BOOT_MEMBER, "boot-member")     \
	X(HELLO, "hello")                 \
	X(WATCH, "watch")                 \
	X(DIAL, "dial")                   \
	X(CONSOLE, "console")             \
	X(PAUSE, "pause")                 \
	X(RESUME, "resume")               \
	X(KILL, "kill")                   \
	X(SHUTDOWN, "shutdown")           \
	X(STATS, "stats")                 \
	X(SAVE, "save")                   \
	X(LOAD, "load")                   \
	X(POINTS, "points")               \
	X(DROP, "drop")                   \
	X(CAPTURE, "capture")

#define X(id, name) VERB_##id,
enum verb { VERB_NONE, VERB_MAP(X) VERB_MAX };
#undef X

/* Member states on the wire, protocol 2 first. */
#define WIRE_STATE_DOWNLOADING "downloading"
#define WIRE_STATE_STARTING    "starting"
#define WIRE_STATE_RUNNING     "running"
#define WIRE_STATE_STOPPED     "stopped"
#define WIRE_STATE_ERROR       "error"
#define WIRE_STATE_PAUSED      "paused"
#define WIRE_STATE_STOPPING    "stopping"

/* Events of a watch stream. */
#define WIRE_EVENT_STATE   "state"
#define WIRE_EVENT_ADDRESS "address"
#define WIRE_EVENT_STAGE   "stage"
#define WIRE_EVENT_GONE    "gone"
/* First of a watch on a helper that took over from one that crashed. */
#define WIRE_EVENT_RESTARTED "restarted"
/* Of a guest that is up: its kernel hangs in its panic, or does not any more; it has reset itself. */
#define WIRE_EVENT_PANIC "panic"
#define WIRE_EVENT_RESET "reset"

/* What hello announces beside the protocol. */
#define WIRE_FEATURES                                                                           \
	"id", "watch", "dial", "console", "pause", "kill", "shutdown", "stats", "code", "save", \
		"points", "mount", "capture"

/* The bind handshake on the .ctl socket: raw bytes, no newline. */
#define WIRE_BIND "bind"
#define WIRE_ACK  "ack"

/* Limits, all stated in docs/protocol.md. */
enum {
	WIRE_MAX_REQUEST = 1 << 20,   /* bytes of one request */
	WIRE_MAX_DEPTH = 32,          /* nesting of objects and arrays */
	WIRE_MAX_ID = 256,            /* bytes of a request's "id" */
	WIRE_MAX_PATHS = 32,          /* entries of a path list in a spec */
	WIRE_REQUEST_MS = 10000,      /* from connect, or first byte, to a whole request */
	WIRE_IDLE_MS = 600000,        /* a kept connection without a request */
	WIRE_MAX_CONNECTIONS = 256,   /* open at once per helper */
	WIRE_MAX_QUEUED = 256 * 1024, /* reply bytes a peer may leave unread */
	WIRE_MAX_INFLIGHT = 64,       /* requests of one connection that wait for their reply */
	WIRE_MAX_WARNING = 2048       /* bytes of a warning on the ready descriptor, its NUL too */
};

#endif
