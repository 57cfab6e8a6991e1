/* SPDX-License-Identifier: MIT */
/*
 * Going on where a helper was killed.
 *
 * How it works: while a helper works it leaves with init (loop/keeper.h) what the next one needs: "cluster" says that the
 * network stands, "reserved/NAME" who has which address, "member/NAME" holds a member's lock and listening socket and says
 * what it is and what is being done with it. Each is put before it counts. The backend leaves its own.
 *
 * A helper that follows a crash first takes the network, then asks for each name's address again, which gives the old
 * one, then takes the members: a VM that was left is gone on with; a boot that had not come to a VM begins again; a stop
 * is ordered again. Clients are heard only after that; until then they wait in the queues of the listening sockets. A VM
 * that takes long to be known has only those wait who need to know it.
 */
#include "helper/helper.h"

#include "base/clock.h"
#include "base/scoped.h"
#include "loop/keeper.h"

#include <string.h>
#include <sys/file.h>

#define CLUSTER_KEY     "cluster"
#define RESERVED_PREFIX "reserved/"
#define MEMBER_PREFIX   "member/"

/*
 * How long all clients wait for the slowest hypervisor to say what its guest does, so that they are told what is so: less
 * than a client waits for a status. One that writes a point says nothing before that is written; requests that need to
 * know what its guest does wait on (deferred.c).
 */
enum { LISTEN_MS = 2000 };

/* Of a member's descriptors. */
enum { KEPT_LISTENER, KEPT_LOCK, N_KEPT };

struct key {
	char name[KEPT_NAME_SIZE];
};

static struct key key_of(const char *prefix, const char *name)
{
	struct key key;

	snprintf(key.name, sizeof(key.name), "%s%s", prefix, name);
	return key;
}

/* --- Keeping ---------------------------------------------------------------------------------------------------- */

static void keep_text(struct helper *h, const char *key, struct json_out *o)
{
	if (json_out_end(o) < 0 || keeper_put(h->o->keeper, key, 0, NULL, 0, o->b->data) < 0)
		helper_log("init cannot be told of the cluster: it will not survive a crash");
}

void network_keep(struct helper *h)
{
	scoped(buf) struct buf text = BUF_INIT;
	struct json_out o;

	if (!h->o->keeper)
		return;
	json_out_begin(&o, &text);
	json_out_bool(&o, "egress", h->egress);
	keep_text(h, CLUSTER_KEY, &o);
}

void reserved_keep(struct helper *h, const struct reserved *v)
{
	scoped(buf) struct buf text = BUF_INIT;
	struct key key = key_of(RESERVED_PREFIX, v->name);
	struct json_out o;

	if (!h->o->keeper)
		return;
	json_out_begin(&o, &text);
	json_out_string(&o, "name", v->name);
	json_out_string(&o, "ip", v->value.ip);
	keep_text(h, key.name, &o);
}

static int write_member(const struct member *m, struct buf *text)
{
	struct json_out o;

	json_out_begin(&o, text);
	json_out_string(&o, "name", m->name);
	member_write_state(m, &o);
	json_out_bool(&o, "booting", m->booting || m->unanswered_boot);
	json_out_bool(&o, "cut_power", m->cut_power);
	json_out_bool(&o, "held", m->held);
	if (m->spec.name)
		vm_spec_encode(&m->spec, &o);
	return json_out_end(&o);
}

int member_keep_new(struct member *m, struct err *e)
{
	scoped(buf) struct buf text = BUF_INIT;
	const int fds[N_KEPT] = {listener_fd(m->listener), m->lock_fd};
	struct keeper *k = m->helper->o->keeper;
	int r = k ? write_member(m, &text) : 0;

	if (k && r == 0)
		r = keeper_put(k, key_of(MEMBER_PREFIX, m->name).name, 0, fds, N_KEPT, text.data);
	return r < 0 ? err_errno(e, r, "tell init of %s", m->name) : 0;
}

void member_keep(struct member *m)
{
	scoped(buf) struct buf text = BUF_INIT;

	struct keeper *k = m->helper->o->keeper;

	if (k && (write_member(m, &text) < 0 ||
		  keeper_text(k, key_of(MEMBER_PREFIX, m->name).name, text.data) < 0))
		helper_log("%s: init cannot be told: it will not survive a crash", m->name);
}

void member_unkeep(struct member *m)
{
	/* Init's copy of the descriptor would hold it until init has read the next. */
	if (m->lock_fd >= 0)
		flock(m->lock_fd, LOCK_UN);
	keeper_drop(m->helper->o->keeper, key_of(MEMBER_PREFIX, m->name).name);
}

/* --- Taking ----------------------------------------------------------------------------------------------------- */

struct adoption {
	struct helper *h;
	unsigned pending; /* reservations, then members */
	struct timer *deadline;
	int64_t since; /* clock_ms */
	bool listening;
};

void helper_give_in(const char *what, const struct err *e)
{
	helper_log("cannot take over %s: %s", what, e->msg);
	_exit(1);
}

static void read_entry(const struct kept *kept, struct value_tree *ret)
{
	scoped(mem) char *text = kept_text(kept);
	struct err e = ERR_INIT;

	if (!text)
		err_set(&e, ERR_INTERNAL, "it has no text");
	if (!text || value_tree_parse(text, strlen(text), ret, &e) < 0)
		helper_give_in(kept->name, &e);
}

/* Borrowed from @entry; "" when there is none. */
static const char *text_of(const struct value_tree *entry, const char *key)
{
	const char *text = "";

	value_string(entry->values, key, &text, NULL);
	return text;
}

static bool is_set(const struct value_tree *entry, const char *key)
{
	bool set = false;

	value_bool(entry->values, key, &set, NULL);
	return set;
}

/* Every state is known, or the time is up: clients are heard from now on. */
static void listen_all(void *arg)
{
	struct adoption *a = arg;
	struct helper *h = a->h;
	struct err e = ERR_INIT;
	unsigned n = 0;

	timer_stop(&a->deadline);
	if (a->listening || h->closing)
		return;
	a->listening = true;
	list_for_each (pos, &h->members) {
		if (member_listen(list_entry(pos, struct member, link), &e) < 0)
			helper_give_in(list_entry(pos, struct member, link)->name, &e);
		n++;
	}
	keeper_drop_rest(h->o->keeper);
	helper_log("took over %u members within %lld ms of a helper that ended by %s", n,
		   (long long)(clock_ms() - a->since), keeper_reason(h->o->keeper));
	if (helper_start_signals(h, &e) < 0)
		helper_give_in("the signals", &e);
	helper_check_done(h);
}

static void one_less(struct adoption *a)
{
	if (--a->pending == 0)
		listen_all(a);
}

static void on_adopted(void *arg)
{
	struct adoption *a = arg;
	struct helper *h = a->h;

	one_less(a);
	deferred_look(h);
}

static enum member_state state_of(const char *word)
{
	for (enum member_state s = MEMBER_STARTING; s <= MEMBER_ERROR; s++)
		if (strcmp(word, member_state_name(s)) == 0)
			return s;
	return MEMBER_STARTING;
}

static void read_spec(const struct value_tree *entry, struct member *m)
{
	const struct value *spec = value_get(entry->values, "spec");
	struct err e;

	if (spec && vm_spec_decode(spec, &m->spec, &e) < 0)
		helper_give_in(m->name, &e);
}

/* The member without its VM. */
static void read_member(struct helper *h, struct kept *kept, const struct value_tree *entry)
{
	struct member *m = calloc(1, sizeof(*m));
	struct err e = ERR_INIT;

	if (!m || kept->n_fds != N_KEPT) {
		err_set(&e, ERR_INTERNAL, "it is incomplete");
		helper_give_in(kept->name, &e);
	}
	member_init(m, h, text_of(entry, "name"));
	m->fresh = true;
	m->lock_fd = take_fd(&kept->fds[KEPT_LOCK]);
	m->listen_fd = take_fd(&kept->fds[KEPT_LISTENER]);
	m->state = state_of(text_of(entry, "state"));
	m->unanswered_boot = is_set(entry, "booting");
	m->cut_power = is_set(entry, "cut_power");
	m->held = is_set(entry, "held");
	snprintf(m->ip, sizeof(m->ip), "%s", text_of(entry, "ip"));
	if (m->state == MEMBER_ERROR)
		err_set(&m->error, err_code_from_name(text_of(entry, "code")), "%s",
			text_of(entry, "error"));
	read_spec(entry, m);
	if (h->o->served)
		name_list_add(h->o->served, m->name);
}

/* Going on with one may retire others, so each search begins anew. */
static struct member *next_fresh(struct helper *h)
{
	list_for_each (pos, &h->members) {
		struct member *m = list_entry(pos, struct member, link);

		if (m->fresh)
			return m;
	}
	return NULL;
}

static void take_members(struct adoption *a)
{
	struct helper *h = a->h;
	struct kept *kept = NULL;
	struct member *m;

	a->pending = 1;
	while ((kept = keeper_next(h->o->keeper, kept, MEMBER_PREFIX))) {
		struct value_tree entry;

		read_entry(kept, &entry);
		kept->taken = true;
		read_member(h, kept, &entry);
		value_tree_done(&entry);
	}
	timer_start(&h->loop, LISTEN_MS, listen_all, a, &a->deadline);
	while ((m = next_fresh(h))) {
		m->fresh = false;
		if (member_go_on(m, on_adopted, a))
			a->pending++;
	}
	one_less(a);
}

struct reservation_op {
	struct adoption *adoption;
	struct reserved *v;
};

static void on_reserved(void *arg, int r, const struct reservation *value, const struct err *e)
{
	struct reservation_op *op = arg;
	struct adoption *a = op->adoption;

	if (r < 0)
		helper_give_in(op->v->name, e);
	op->v->value = *value;
	op->v->ready = true;
	free(op);
	if (--a->pending == 0)
		take_members(a);
}

static void take_reserved(struct adoption *a, struct kept *kept)
{
	struct helper *h = a->h;
	struct value_tree entry;
	struct reserved *v = calloc(1, sizeof(*v));
	struct reservation_op *op = calloc(1, sizeof(*op));
	struct err e = ERR_INIT;
	const char *ip;

	read_entry(kept, &entry);
	if (!v || !op) {
		err_set(&e, ERR_NO_MEMORY, "out of memory");
		helper_give_in("an address", &e);
	}
	*op = (struct reservation_op){a, v};
	snprintf(v->name, sizeof(v->name), "%s", text_of(&entry, "name"));
	ip = text_of(&entry, "ip");
	v->helper = h;
	list_init(&v->calls);
	if (backend_reserve(h->network, v->name, *ip ? ip : NULL, on_reserved, op, &e) < 0)
		helper_give_in("an address", &e);
	value_tree_done(&entry);
	list_append(&h->reserved, &v->link);
	a->pending++;
}

static void on_network(void *arg, int r, struct backend_network *net, const struct err *e)
{
	struct adoption *a = arg;
	struct keeper *k = a->h->o->keeper;
	struct kept *kept = NULL;

	if (r < 0)
		helper_give_in("the network", e);
	a->h->network = net;
	a->h->network_pending = false;
	keeper_take(k, CLUSTER_KEY);
	a->pending = 1;
	while ((kept = keeper_next(k, kept, RESERVED_PREFIX)))
		take_reserved(a, keeper_take(k, kept->name));
	if (--a->pending == 0)
		take_members(a);
}

int helper_adopt(struct helper *h, struct err *e)
{
	struct adoption *a = calloc(1, sizeof(*a));
	struct kept *kept = keeper_next(h->o->keeper, NULL, CLUSTER_KEY);
	struct network_config config = {0};
	struct value_tree entry;
	int r;

	if (!a)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	h->adoption = a;
	a->h = h;
	a->since = clock_ms();
	if (!kept) { /* it had not come to a network */
		take_members(a);
		return 0;
	}
	read_entry(kept, &entry);
	config.egress = h->egress = is_set(&entry, "egress");
	value_tree_done(&entry);
	r = backend_create_network(h->backend, &config, on_network, a, e);
	if (r == 0)
		h->network_pending = true;
	return r;
}

void helper_adopt_done(struct helper *h)
{
	if (h->adoption)
		timer_stop(&h->adoption->deadline);
	free(h->adoption);
	h->adoption = NULL;
}
