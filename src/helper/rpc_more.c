/* SPDX-License-Identifier: MIT */
/* What stands beside protocol 2: hello, watch, dial, console, pause, resume, kill, shutdown, stats. */
#include "helper/helper.h"

#include "base/scoped.h"
#include "config.h"

#include <string.h>

enum { DIAL_MS = 10000 };

/* The member that "name" names, or else the one whose socket it is. NULL: there is none, and @c is answered. */
static struct member *call_target(struct call *c, const struct request *q)
{
	struct member *m = q->name ? member_find(c->helper, q->name) : c->member;
	char shown[NAME_SIZE];

	if (m)
		return m;
	snprintf(shown, sizeof(shown), "%s", q->name ? q->name : "");
	str_make_printable(shown);
	if (q->name)
		call_errorf(c, ERR_NOT_FOUND, "member %s not registered", shown);
	else
		call_errorf(c, ERR_NOT_FOUND, "member not registered");
	return NULL;
}

static void refuse_state(struct call *c, const struct member *m)
{
	call_errorf(c, ERR_NOT_RUNNING, "member %s is %s", m->name, member_state_word(m));
}

/* The same, when it has a VM that is up. */
static struct member *running_target(struct call *c, const struct request *q)
{
	struct member *m = call_target(c, q);

	if (!m || (m->vm && m->state != MEMBER_STOPPING))
		return m;
	refuse_state(c, m);
	return NULL;
}

/* The same, when it has booted: a boot that were paused could not end, and would be told as running when it does. */
struct member *call_booted_target(struct call *c, const struct request *q)
{
	struct member *m = running_target(c, q);

	if (!m || !m->booting)
		return m;
	refuse_state(c, m);
	return NULL;
}

void rpc_hello(struct call *c, const struct request *q)
{
	static const char *const features[] = {WIRE_FEATURES};
	struct buf line = BUF_INIT;
	struct json_out o;

	json_out_begin(&o, &line);
	json_out_open(&o, "hello", '{');
	json_out_string(&o, "protocol", WIRE_PROTOCOL);
	json_out_string(&o, "version", DROVER_VERSION);
	json_out_string(&o, "backend", c->helper->backend->ops->name);
	json_out_open(&o, "features", '[');
	for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++)
		json_out_string(&o, NULL, features[i]);
	json_out_close(&o, ']');
	json_out_close(&o, '}');
	if (c->id)
		json_out_raw(&o, "id", c->id);
	json_out_end(&o);
	call_reply(c, &line);
}

void rpc_watch(struct call *c, const struct request *q)
{
	call_watch(c);
}

static void on_fd(void *arg, int r, int fd, const struct err *e)
{
	struct call *c = arg;
	struct buf line = BUF_INIT;

	if (r < 0) {
		call_error(c, e);
		return;
	}
	reply_empty(&line, c->id);
	call_reply_fd(c, &line, fd);
}

void rpc_dial(struct call *c, const struct request *q)
{
	struct member *m = running_target(c, q);
	struct err e = ERR_INIT;

	if (!m)
		return;
	if (q->port < 1 || q->port > 65535) {
		call_errorf(c, ERR_INVALID, "dial needs a \"port\" from 1 to 65535");
		return;
	}
	if (backend_dial(m->vm, (uint16_t)q->port, DIAL_MS, on_fd, c, &e) < 0)
		call_error(c, &e);
}

void rpc_console(struct call *c, const struct request *q)
{
	struct member *m = running_target(c, q);
	struct err e = ERR_INIT;

	if (m && backend_console(m->vm, on_fd, c, &e) < 0)
		call_error(c, &e);
}

static void on_pause_changed(struct call *c, int r, const struct err *e, enum member_state from,
			     enum member_state to)
{
	struct member *m = c->member;

	if (r < 0) {
		call_error(c, e);
		return;
	}
	if (m && m->state == from)
		member_set_state(m, to);
	call_empty(c);
}

static void on_paused(void *arg, int r, const struct err *e)
{
	on_pause_changed(arg, r, e, MEMBER_RUNNING, MEMBER_PAUSED);
}

static void on_resumed(void *arg, int r, const struct err *e)
{
	on_pause_changed(arg, r, e, MEMBER_PAUSED, MEMBER_RUNNING);
}

/* The same, when nobody saves it or puts it back: that pauses members, and lets them run on, itself. */
static struct member *idle_target(struct call *c, const struct request *q)
{
	struct member *m = call_booted_target(c, q);

	if (!m || !c->helper->round)
		return m;
	call_errorf(c, ERR_BUSY, "the cluster is being saved or put back");
	return NULL;
}

void rpc_pause(struct call *c, const struct request *q)
{
	struct member *m = idle_target(c, q);
	struct err e = ERR_INIT;

	if (!m)
		return;
	c->member = m; /* the one whose state changes */
	if (backend_pause(m->vm, on_paused, c, &e) < 0)
		call_error(c, &e);
}

void rpc_resume(struct call *c, const struct request *q)
{
	struct member *m = idle_target(c, q);
	struct err e = ERR_INIT;

	if (!m)
		return;
	c->member = m;
	if (backend_resume(m->vm, on_resumed, c, &e) < 0)
		call_error(c, &e);
}

void rpc_kill(struct call *c, const struct request *q)
{
	struct member *m = call_target(c, q);

	if (m)
		member_stop(m, true, c);
}

void rpc_shutdown(struct call *c, const struct request *q)
{
	struct helper *h = c->helper;

	call_empty(c); /* acknowledged first, like stop */
	helper_shutdown(h, false);
}

/* --- stats: asks every VM, answers when the last has answered ------------------------------------------------ */

struct stats_round {
	struct call *call;
	struct buf line;
	struct json_out o;
	unsigned waiting;
};

struct stats_one {
	struct stats_round *round;
	char name[NAME_SIZE];
};

static void stats_end(struct stats_round *round)
{
	struct helper *h = round->call->helper;
	struct json_out *o = &round->o;

	if (--round->waiting > 0)
		return;
	json_out_close(o, ']');
	json_out_open(o, "helper", '{');
	json_out_int(o, "connections", h->total_connections);
	json_out_int(o, "open_connections", h->n_conns);
	json_out_int(o, "requests", h->total_requests);
	json_out_int(o, "refusals", h->total_refusals);
	json_out_close(o, '}');
	json_out_close(o, '}');
	if (round->call->id)
		json_out_raw(o, "id", round->call->id);
	json_out_end(o);
	call_reply(round->call, &round->line);
	free(round);
}

static void on_stats(void *arg, int r, const struct vm_stats *s, const struct err *e)
{
	struct stats_one *one = arg;
	struct stats_round *round = one->round;
	struct json_out *o = &round->o;

	if (r == 0) {
		json_out_open(o, NULL, '{');
		json_out_string(o, "name", one->name);
		json_out_int(o, "cpu_ms", s->cpu_ms);
		json_out_int(o, "memory_bytes", s->memory_bytes);
		json_out_int(o, "disk_read_bytes", s->disk_read_bytes);
		json_out_int(o, "disk_written_bytes", s->disk_written_bytes);
		json_out_int(o, "net_received_bytes", s->net_received_bytes);
		json_out_int(o, "net_sent_bytes", s->net_sent_bytes);
		json_out_close(o, '}');
	}
	free(one);
	stats_end(round);
}

static void ask_stats(struct stats_round *round, struct member *m)
{
	struct stats_one *one = calloc(1, sizeof(*one));

	if (!one)
		return;
	one->round = round;
	snprintf(one->name, sizeof(one->name), "%s", m->name);
	round->waiting++;
	if (backend_stats(m->vm, on_stats, one, NULL) < 0) {
		round->waiting--;
		free(one);
	}
}

void rpc_stats(struct call *c, const struct request *q)
{
	struct stats_round *round = calloc(1, sizeof(*round));

	if (!round) {
		call_errorf(c, ERR_NO_MEMORY, "out of memory");
		return;
	}
	round->call = c;
	round->waiting = 1;
	json_out_begin(&round->o, &round->line);
	json_out_open(&round->o, "stats", '{');
	json_out_open(&round->o, "members", '[');
	list_for_each (pos, &c->helper->members) {
		struct member *m = list_entry(pos, struct member, link);

		if (m->vm)
			ask_stats(round, m);
	}
	stats_end(round);
}
