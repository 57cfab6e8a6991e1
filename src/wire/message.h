/* SPDX-License-Identifier: MIT */
/* Requests, replies and events: decode and encode, pure. docs/protocol.md says what each means. */
#ifndef DROVER_WIRE_MESSAGE_H
#define DROVER_WIRE_MESSAGE_H

#include "base/err.h"
#include "base/str.h"
#include "wire/names.h"
#include "wire/spec.h"

const char *verb_name(enum verb v);
enum verb verb_from_name(const char *name); /* VERB_NONE when unknown */

struct request {
	enum verb verb;
	char *id;   /* owned; the "id" as encoded JSON, NULL when absent (a protocol-2 request) */
	char *name; /* owned; NULL when absent */
	char *ip_hint;       /* owned; NULL when absent */
	char *as;            /* reserve: the name inside the network; owned; NULL: @name */
	char *dir;           /* capture; owned; NULL when absent */
	char *point;         /* save, load, drop, capture; owned; NULL when absent */
	char *subnet;        /* createnetwork; owned; NULL when absent */
	int64_t port;        /* dial; 0 when absent */
	bool no_egress;      /* createnetwork */
	bool all;            /* save, load, points, drop, capture: all members, at one instant */
	struct vm_spec spec; /* boot-member only */
};

void request_done(struct request *q);

/*
 * Decodes one object. On failure @ret holds what could be read of verb and id (so that the error reply can
 * carry the id) and @e says what is wrong. request_done(@ret) in either case.
 */
int request_decode(const char *text, size_t len, struct request *ret, struct err *e);
int request_encode(const struct request *q, struct buf *out); /* 0 or -ENOMEM */

struct member_status {
	char name[NAME_SIZE];
	int64_t pid;
	bool running;
	char ip[IP_SIZE];
	char state[16];
	char error[ERR_MSG_SIZE];
	char panic[256]; /* of a kernel that hangs in it while the member runs, its line; or "" */
	bool temporary;  /* it is removed when its cluster ends */
};

struct reservation {
	char ip[IP_SIZE]; /* "" when the backend finds the address after boot */
	char mac[MAC_SIZE];
};

/* A saved point. */
struct point {
	char name[POINT_SIZE];
	int64_t bytes;    /* of memory and devices, as stored */
	int64_t saved_at; /* seconds since 1970 */
};

/* Replies. @id is the request's, NULL for protocol 2. All: 0 or -ENOMEM. */
int reply_empty(struct buf *out, const char *id);
int reply_error(struct buf *out, const char *id, const struct err *e);
int reply_status(struct buf *out, const char *id, const struct member_status *s);
int reply_subnet(struct buf *out, const char *id, const char *subnet);
int reply_reservation(struct buf *out, const char *id, const struct reservation *v);
int reply_held(struct buf *out, const char *id, int64_t held_ms);
int reply_points(struct buf *out, const char *id, const struct point *points, size_t n);

/* A reply as the client reads it. */
struct reply {
	json_t *root;     /* owned: extra fields of the newer verbs are taken from here */
	struct err error; /* code ERR_NONE when there is none */
	bool has_status;
	struct member_status status;
	char subnet[SUBNET_SIZE];
	bool has_reservation;
	struct reservation reservation;
};

void reply_done(struct reply *p);
int reply_decode(const char *text, size_t len, struct reply *ret, struct err *e);
/* What "points" was answered with. *@ret is heap (free). < 0: the reply holds none that can be read, or no memory. */
int reply_take_points(const struct reply *p, struct point **ret, size_t *ret_n, struct err *e);

#endif
