/* SPDX-License-Identifier: MIT */
/* Protocol 2: status, stop, createnetwork, reserve, boot-member. The sentences are the reference's. */
#include "helper/helper.h"

#include "base/scoped.h"

#include <string.h>

/* The member whose socket the call came in by; answers when there is none. */
static struct member *own_member(struct call *c)
{
	if (!c->member)
		call_errorf(c, ERR_NOT_FOUND, "member not registered");
	return c->member;
}

static void member_status(const struct member *m, struct member_status *ret)
{
	const char *panic = backend_panic(m->vm);

	str_copy(ret->name, sizeof(ret->name), m->name);
	ret->pid = m->helper->o->identity.pid;
	ret->running = m->state == MEMBER_STARTING || m->state == MEMBER_RUNNING ||
		       m->state == MEMBER_PAUSED;
	str_copy(ret->ip, sizeof(ret->ip), m->ip);
	str_copy(ret->state, sizeof(ret->state), member_state_word(m));
	str_copy(ret->error, sizeof(ret->error), m->state == MEMBER_ERROR ? m->error.msg : "");
	str_copy(ret->panic, sizeof(ret->panic), panic ? panic : "");
	ret->temporary = m->helper->o->temporary;
}

void rpc_status(struct call *c, const struct request *q)
{
	struct member *m = own_member(c);
	struct member_status status;
	struct buf line = BUF_INIT;

	if (!m)
		return;
	member_status(m, &status);
	reply_status(&line, c->id, &status);
	call_reply(c, &line);
}

void rpc_stop(struct call *c, const struct request *q)
{
	struct member *m = own_member(c);

	if (!m)
		return;
	call_empty(c); /* acknowledged first, then performed */
	member_stop(m, false, NULL);
}

static void answer_network(struct call *c)
{
	struct buf line = BUF_INIT;

	reply_subnet(&line, c->id, backend_subnet(c->helper->network));
	call_reply(c, &line);
}

static void on_network(void *arg, int r, struct backend_network *net, const struct err *e)
{
	struct helper *h = arg;
	struct err why = ERR_INIT;

	h->network_pending = false;
	h->network = net;
	if (r == 0)
		network_keep(h);
	if (r < 0) {
		why = *e;
		err_prefix(&why, "create network");
		helper_log("%s", why.msg);
	}
	while (!list_is_empty(&h->network_calls)) {
		struct call *c = list_entry(h->network_calls.next, struct call, wait_link);

		list_remove(&c->wait_link);
		if (r < 0)
			call_error(c, &why);
		else
			answer_network(c);
	}
	helper_check_done(h); /* the last member may have gone meanwhile */
}

void rpc_createnetwork(struct call *c, const struct request *q)
{
	struct helper *h = c->helper;
	/* A member that joins may ask before the cluster's starter, and knows nothing of what that wants. */
	struct network_config config = {.egress = !q->no_egress && !h->o->no_egress,
					.subnet = h->o->subnet ? h->o->subnet : q->subnet};
	struct err e = ERR_INIT;

	if (h->stopping) {
		call_errorf(c, ERR_STOPPED, "create network: the cluster is stopping");
		return;
	}
	if (h->network) {
		answer_network(c);
		return;
	}
	if (!h->network_pending) {
		if (backend_create_network(h->backend, &config, on_network, h, &e) < 0) {
			err_prefix(&e, "create network");
			call_error(c, &e);
			return;
		}
		h->network_pending = true;
		h->egress = config.egress;
	}
	list_append(&h->network_calls, &c->wait_link);
}

static void answer_reserved(struct call *c, const struct reserved *v)
{
	struct buf line = BUF_INIT;

	reply_reservation(&line, c->id, &v->value);
	call_reply(c, &line);
}

static void on_reserved(void *arg, int r, const struct reservation *value, const struct err *e)
{
	struct reserved *v = arg;
	struct err why = ERR_INIT;

	if (r == 0) {
		v->value = *value;
		v->ready = true;
		reserved_keep(v->helper, v);
	} else {
		why = *e;
		err_prefix(&why, "reserve %s", v->name);
		list_remove(&v->link);
	}
	while (!list_is_empty(&v->calls)) {
		struct call *c = list_entry(v->calls.next, struct call, wait_link);

		list_remove(&c->wait_link);
		if (r < 0)
			call_error(c, &why);
		else
			answer_reserved(c, v);
	}
	if (r < 0)
		free(v);
}

struct reserved *reserved_find(struct helper *h, const char *name)
{
	list_for_each (pos, &h->reserved) {
		struct reserved *v = list_entry(pos, struct reserved, link);

		if (strcmp(v->name, name) == 0)
			return v;
	}
	return NULL;
}

/* @as: what the network calls it. */
static void reserve_new(struct call *c, const char *name, const char *as, const char *ip_hint)
{
	struct helper *h = c->helper;
	struct reserved *v = calloc(1, sizeof(*v));
	struct err e = ERR_INIT;

	if (!v) {
		call_errorf(c, ERR_NO_MEMORY, "reserve %s: out of memory", name);
		return;
	}
	snprintf(v->name, sizeof(v->name), "%s", name);
	v->helper = h;
	list_init(&v->calls);
	if (backend_reserve(h->network, as, ip_hint, on_reserved, v, &e) < 0) {
		free(v);
		err_prefix(&e, "reserve %s", name);
		call_error(c, &e);
		return;
	}
	list_append(&h->reserved, &v->link);
	list_append(&v->calls, &c->wait_link);
}

void rpc_reserve(struct call *c, const struct request *q)
{
	struct helper *h = c->helper;
	struct reserved *v;
	struct err e = ERR_INIT;

	if (!q->name) {
		call_errorf(c, ERR_INVALID, "missing member name");
		return;
	}
	if (name_check(q->name, &e) < 0) {
		err_prefix(&e, "reserve");
		call_error(c, &e);
		return;
	}
	if (q->as && name_check(q->as, &e) < 0) {
		err_prefix(&e, "reserve %s", q->name);
		call_error(c, &e);
		return;
	}
	if (!h->network) {
		call_errorf(c, ERR_NO_NETWORK, "network not created");
		return;
	}
	v = reserved_find(h, q->name);
	if (!v)
		reserve_new(c, q->name, q->as ? q->as : q->name, q->ip_hint);
	else if (v->ready)
		answer_reserved(c, v);
	else
		list_append(&v->calls, &c->wait_link);
}

void rpc_boot_member(struct call *c, const struct request *q)
{
	if (c->helper->stopping) {
		call_errorf(c, ERR_STOPPED, "the cluster is stopping");
		return;
	}
	member_boot(c->helper, c, &q->spec);
}
