/* SPDX-License-Identifier: MIT */
/* What watchers are told. */
#include "helper/conn.h"

#include "base/scoped.h"
#include "loop/keeper.h"

void member_write_state(const struct member *m, struct json_out *o)
{
	json_out_string(o, "state", member_state_word(m));
	json_out_string_opt(o, "ip", m->ip);
	if (m->state == MEMBER_ERROR) {
		json_out_string(o, "error", m->error.msg);
		json_out_string(o, "code", err_code_name(m->error.code));
	}
}

static void begin_event(struct json_out *o, struct buf *line, const char *event,
			const struct member *m)
{
	json_out_begin(o, line);
	json_out_string(o, "event", event);
	json_out_string(o, "name", m->name);
}

/* Ends the line for this watcher and sends it; a watcher that does not read is dropped. */
static void send_event(struct conn *c, struct json_out *o)
{
	if (c->watch_id)
		json_out_raw(o, "id", c->watch_id);
	if (json_out_end(o) < 0)
		return;
	if (stream_write(c->stream, o->b->data, o->b->len) < 0)
		return; /* a dead peer: the stream tells */
	if (stream_queued(c->stream) > WIRE_MAX_QUEUED) {
		c->helper->total_refusals++;
		conn_drop(c);
	}
}

static void state_event(struct conn *c, const struct member *m)
{
	scoped(buf) struct buf line = BUF_INIT;
	struct json_out o;

	begin_event(&o, &line, WIRE_EVENT_STATE, m);
	member_write_state(m, &o);
	send_event(c, &o);
}

#define for_each_watcher(pos, h) list_for_each_safe (pos, &(h)->conns)

void event_state(struct helper *h, const struct member *m)
{
	for_each_watcher(pos, h)
	{
		struct conn *c = list_entry(pos, struct conn, link);

		if (c->watching)
			state_event(c, m);
	}
}

static void event_text(struct helper *h, const struct member *m, const char *event, const char *key,
		       const char *value)
{
	for_each_watcher(pos, h)
	{
		struct conn *c = list_entry(pos, struct conn, link);
		scoped(buf) struct buf line = BUF_INIT;
		struct json_out o;

		if (!c->watching)
			continue;
		begin_event(&o, &line, event, m);
		json_out_string_opt(&o, key, value);
		send_event(c, &o);
	}
}

void event_stage(struct helper *h, const struct member *m, const char *stage)
{
	event_text(h, m, WIRE_EVENT_STAGE, "stage", stage);
}

void event_address(struct helper *h, const struct member *m)
{
	event_text(h, m, WIRE_EVENT_ADDRESS, "ip", m->ip);
}

void event_gone(struct helper *h, const struct member *m)
{
	event_text(h, m, WIRE_EVENT_GONE, "", NULL);
}

static void on_guest(void *arg, enum guest_news news, const char *line)
{
	struct member *m = arg;

	if (news == GUEST_RESET) {
		helper_log("%s: the guest has reset itself", m->name);
		event_text(m->helper, m, WIRE_EVENT_RESET, "", NULL);
		return;
	}
	if (news == GUEST_PANICKED)
		helper_log("%s: its kernel panicked: %s", m->name, line);
	event_text(m->helper, m, WIRE_EVENT_PANIC, "panic", line);
}

void member_watch_guest(struct member *m)
{
	backend_on_guest(m->vm, on_guest, m);
}

static void panic_event(struct conn *c, const struct member *m)
{
	const char *panic = backend_panic(m->vm);
	scoped(buf) struct buf line = BUF_INIT;
	struct json_out o;

	if (!panic)
		return;
	begin_event(&o, &line, WIRE_EVENT_PANIC, m);
	json_out_string(&o, "panic", panic);
	send_event(c, &o);
}

/* Whoever watches a helper that followed a crash did not hear of it: its connection ended with the one before. */
static void tell_restart(struct conn *c)
{
	const struct keeper *k = c->helper->o->keeper;
	scoped(buf) struct buf line = BUF_INIT;
	struct json_out o;

	if (keeper_restarts(k) == 0)
		return;
	json_out_begin(&o, &line);
	json_out_string(&o, "event", WIRE_EVENT_RESTARTED);
	json_out_int(&o, "restarts", keeper_restarts(k));
	json_out_string(&o, "reason", keeper_reason(k));
	send_event(c, &o);
}

void call_watch(struct call *call)
{
	struct conn *c = call->conn;
	struct helper *h = call->helper;

	if (!c) {
		call_end(call);
		return;
	}
	free(c->watch_id);
	c->watch_id = call->id;
	call->id = NULL;
	c->watching = true;
	call_end(call);
	tell_restart(c);
	list_for_each_safe (pos, &h->members) {
		const struct member *m = list_entry(pos, struct member, link);

		if (!conn_is_current(h, c))
			return;
		state_event(c, m);
		if (conn_is_current(h, c))
			panic_event(c, m);
	}
}
