/* SPDX-License-Identifier: MIT */
/*
 * QEMU's control protocol (QMP) over one connected socket: JSON lines both ways.
 *
 * How it works: QEMU greets; the client negotiates; then commands are answered in any order, matched by id, and events
 * come between. Commands given before the greeting wait in the socket. After qmp_close nothing is called.
 */
#ifndef DROVER_BACKEND_QEMU_QMP_H
#define DROVER_BACKEND_QEMU_QMP_H

#include <jansson.h>
#include <uv.h>

struct qmp;

/* @ret is "return", borrowed; NULL when QEMU refused: then @error says why. Not called when the connection ends. */
typedef void qmp_reply_cb(void *arg, json_t *ret, const char *error);
/* @data may be NULL. Both borrowed. qmp_close is allowed inside. */
typedef void qmp_event_cb(void *arg, const char *event, json_t *data);

/* Takes @fd. NULL: out of memory. */
struct qmp *qmp_open(uv_loop_t *loop, int fd, qmp_event_cb *on_event, void *arg);

/*
 * The same for a connection that an earlier process used until it was killed, at any byte: what that one left half
 * written is ended, and what it left half read is passed over. 0, -ENOMEM, or what else a QEMU that has gone leads to.
 */
int qmp_adopt(uv_loop_t *loop, int fd, qmp_event_cb *on_event, void *arg, struct qmp **ret);

/* Sends @command without arguments; @on_reply may be NULL. 0 or -errno. */
int qmp_call(struct qmp *q, const char *command, qmp_reply_cb *on_reply, void *arg);

/*
 * The same with @arguments, a JSON object that is sent as it is, and (unless -1) a descriptor beside it, taken in every
 * case.
 */
int qmp_call_with(struct qmp *q, const char *command, const char *arguments, int fd,
		  qmp_reply_cb *on_reply, void *arg);

/*
 * The same for a line of the human monitor, which must need no escaping in JSON. Its reply is a text that is empty when
 * all went well, and else says what did not.
 */
int qmp_call_human(struct qmp *q, const char *line, qmp_reply_cb *on_reply, void *arg);

/* NULL is harmless. */
void qmp_close(struct qmp *q);

#endif
