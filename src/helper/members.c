/* SPDX-License-Identifier: MIT */
/* The members: registering, booting, stopping, retiring. helper.h has the states. */
#include "helper/helper.h"

#include "base/scoped.h"
#include "helper/room.h"

#include <string.h>

/* From boot-member to the address: the guest's first boot on a slow host. */
enum { ADDRESS_MS = 300000 };

static const char *const state_words[] = {
	[MEMBER_STARTING] = WIRE_STATE_STARTING, [MEMBER_RUNNING] = WIRE_STATE_RUNNING,
	[MEMBER_PAUSED] = WIRE_STATE_PAUSED,     [MEMBER_STOPPING] = WIRE_STATE_STOPPING,
	[MEMBER_STOPPED] = WIRE_STATE_STOPPED,   [MEMBER_ERROR] = WIRE_STATE_ERROR,
};

const char *member_state_name(enum member_state s)
{
	return state_words[s];
}

const char *member_state_word(const struct member *m)
{
	return state_words[m->state];
}

bool member_is_active(const struct member *m)
{
	return m->state != MEMBER_STOPPED && m->state != MEMBER_ERROR;
}

struct member *member_find(struct helper *h, const char *name)
{
	list_for_each (pos, &h->members) {
		struct member *m = list_entry(pos, struct member, link);

		if (strcmp(m->name, name) == 0)
			return m;
	}
	return NULL;
}

static bool on_connection(void *arg, int fd, uid_t peer)
{
	struct member *m = arg;

	return conn_accept(m->helper, m, fd, peer);
}

void member_set_state(struct member *m, enum member_state state)
{
	m->state = state;
	member_keep(m);
	event_state(m->helper, m);
}

static int register_in_store(struct member *m, struct err *e)
{
	const struct store *s = m->helper->o->store;
	/* Of the same owner, if it is another one. */
	const struct member *first = list_entry(m->helper->members.next, struct member, link);
	scoped(mem) char *path = store_socket_path(s, m->name, "sock");
	int r = store_member_lock(s, m->name, &m->lock_fd, e);

	if (r == -EBUSY) {
		pid_t pid = store_owner_alive(
			s, m->name); /* 0 inside the sandbox, which sees no host pid */

		return pid ? err_set(e, ERR_ALREADY_RUNNING,
				     "member %s is already running (helper pid %d)", m->name,
				     (int)pid)
			   : err_set(e, ERR_ALREADY_RUNNING, "member %s is already running",
				     m->name);
	}
	if (r == 0)
		r = path ? listener_open(&m->helper->loop, path, on_connection, m, &m->listener, e)
			 : err_set(e, ERR_NO_MEMORY, "out of memory");
	if (r == 0)
		r = store_owner_write(s, m->name, &m->helper->o->identity,
				      first == m ? NULL : first->name, e);
	return r == 0 ? member_keep_new(m, e) : r;
}

/* A member that ended while it was taken over: nobody came to listen. */
static void end_listening(struct member *m)
{
	scoped(mem) char *path = store_socket_path(m->helper->o->store, m->name, "sock");

	if (m->listen_fd < 0)
		return;
	if (path)
		unlink(path);
	close_fd(&m->listen_fd);
}

static void member_free(struct member *m)
{
	list_remove(&m->link);
	member_unkeep(m);
	conns_forget_member(m->helper, m);
	listener_close(m->listener);
	end_listening(m);
	close_fd(&m->lock_fd);
	vm_spec_done(&m->spec);
	free(m);
}

void member_init(struct member *m, struct helper *h, const char *name)
{
	m->helper = h;
	m->lock_fd = m->listen_fd = -1;
	m->state = MEMBER_STARTING;
	snprintf(m->name, sizeof(m->name), "%s", name);
	list_init(&m->stop_calls);
	list_append(&h->members, &m->link);
}

int member_register(struct helper *h, const char *name, struct member **ret, struct err *e)
{
	scoped(room) struct room room = {.n = 0};
	struct member *m;
	int r = name_check(name, e);

	if (r == 0)
		r = room_take(&room, e);
	if (r < 0)
		return err_prefix(e, "register %s", *name ? name : "\"\"");
	m = calloc(1, sizeof(*m));
	if (!m)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	member_init(m, h, name);
	r = register_in_store(m, e);
	if (r < 0) {
		room_leave(&room);
		if (m->lock_fd >= 0) {
			store_owner_clear(h->o->store, name);
			store_member_forget(h->o->store, name);
		}
		member_free(m);
		return err_prefix(e, "register %s", name);
	}
	if (h->o->served)
		name_list_add(h->o->served, name);
	event_state(h, m);
	*ret = m;
	return 0;
}

void member_retire(struct member *m)
{
	struct helper *h = m->helper;
	struct list calls;

	store_owner_clear(h->o->store, m->name);
	store_owner_retract(h->o->store, m->name);
	event_gone(h, m);
	backend_release(m->vm);
	list_init(&calls);
	while (!list_is_empty(&m->stop_calls)) {
		struct call *c = list_entry(m->stop_calls.next, struct call, wait_link);

		list_remove(&c->wait_link);
		list_append(&calls, &c->wait_link);
	}
	member_free(m);
	/* Answered last: who is told that the member is gone finds nothing of it. */
	while (!list_is_empty(&calls)) {
		struct call *c = list_entry(calls.next, struct call, wait_link);

		list_remove(&c->wait_link);
		call_empty(c);
	}
}

static void answer_boot(struct member *m, const struct err *e)
{
	struct call *c = m->boot_call;

	m->booting = false;
	m->boot_call = NULL;
	if (!c)
		return;
	m->unanswered_boot = false;
	if (e)
		call_error(c, e);
	else
		call_empty(c);
	member_keep(m); /* only now: a client that is not answered asks again */
}

/* The handle was released meanwhile: whoever did that goes on, and the member may be gone. */
static bool is_canceled(const struct err *e)
{
	return e && e->code == ERR_CANCELED;
}

static void finish_stop(struct member *m)
{
	struct helper *h = m->helper;
	struct backend_vm *vm = m->vm;
	struct err e;

	m->vm = NULL;
	backend_release(vm);
	if (m->booting) {
		err_set(&e, ERR_STOPPED, "member %s was stopped during boot", m->name);
		answer_boot(m, &e);
	}
	member_set_state(m, MEMBER_STOPPED);
	member_retire(m);
	helper_check_done(h);
}

static void on_vm_stopped(void *arg, int r, const struct err *e)
{
	struct member *m = arg;

	if (is_canceled(e))
		return;
	if (r < 0)
		helper_log("%s: stop: %s", m->name, e->msg);
	finish_stop(m);
}

static void on_vm_killed(void *arg, int r, const struct err *e)
{
	/* The stop that is under way ends with it. */
}

static void begin_stop(struct member *m)
{
	struct err e = ERR_INIT;
	int r;

	if (!m->vm) {
		finish_stop(m);
		return;
	}
	if (m->cut_power && m->vm->backend->ops->kill)
		r = backend_kill(m->vm, on_vm_stopped, m, &e);
	else
		r = backend_stop(m->vm, on_vm_stopped, m, &e);
	if (r < 0) {
		helper_log("%s: stop: %s", m->name, e.msg);
		finish_stop(m);
	}
}

void member_stop(struct member *m, bool cut_power, struct call *call)
{
	struct err e = ERR_INIT;

	if (call)
		list_append(&m->stop_calls, &call->wait_link);
	if (m->state == MEMBER_STOPPING) {
		if (cut_power && !m->cut_power && m->vm) {
			m->cut_power = true;
			backend_kill(m->vm, on_vm_killed, m, &e);
		}
		return;
	}
	m->cut_power = cut_power;
	member_set_state(m, MEMBER_STOPPING);
	begin_stop(m);
}

/* --- Boot ---------------------------------------------------------------------------------------------------- */

/* By m->error. */
static void become_error(struct member *m)
{
	store_failure_write(m->helper->o->store, m->name, m->error.msg);
	member_set_state(m, MEMBER_ERROR);
}

static void fail_boot(struct member *m, const struct err *e)
{
	struct helper *h = m->helper;
	struct backend_vm *vm = m->vm;

	m->vm = NULL;
	m->error = *e;
	helper_log("%s: %s", m->name, e->msg);
	backend_release(vm); /* kills what still runs */
	become_error(m);
	answer_boot(m, e);
	helper_check_done(h);
}

static void on_vm_ended(void *arg, int r, const struct err *e)
{
	struct member *m = arg;
	struct helper *h;
	struct backend_vm *vm;

	if (is_canceled(e) || m->state == MEMBER_STOPPING || m->booting)
		return; /* whoever stops or boots it hears of it too */
	h = m->helper;
	vm = m->vm;
	if (r == 0) {
		helper_log("%s: powered itself off", m->name);
		member_set_state(m, MEMBER_STOPPED);
		member_retire(m);
	} else {
		m->error = *e;
		m->vm = NULL;
		helper_log("%s: died: %s", m->name, e->msg);
		backend_release(vm);
		become_error(m);
	}
	helper_check_done(h);
}

static void on_address(void *arg, int r, const char *ip, const struct err *e)
{
	struct member *m = arg;
	struct err why = ERR_INIT;

	if (is_canceled(e) || m->state == MEMBER_STOPPING)
		return; /* finish_stop answers */
	if (r < 0) {
		why = *e;
		err_prefix(&why, "wait for ip %s", m->name);
		fail_boot(m, &why);
		return;
	}
	snprintf(m->ip, sizeof(m->ip), "%s", ip);
	event_address(m->helper, m);
	member_set_state(m, MEMBER_RUNNING);
	answer_boot(m, NULL);
	if (backend_wait(m->vm, 0, on_vm_ended, m, &why) < 0)
		helper_log("%s: cannot watch the VM: %s", m->name, why.msg);
}

static void on_vm_started(void *arg, int r, const struct err *e)
{
	struct member *m = arg;
	struct err why = ERR_INIT;

	if (is_canceled(e) || m->state == MEMBER_STOPPING)
		return;
	if (r < 0) {
		why = *e;
		err_prefix(&why, "start %s", m->name);
		fail_boot(m, &why);
		return;
	}
	event_stage(m->helper, m, "booting");
	r = backend_wait_address(m->vm, ADDRESS_MS, on_address, m, &why);
	if (r < 0) {
		err_prefix(&why, "wait for ip %s", m->name);
		fail_boot(m, &why);
	}
}

/* NULL: not (yet) reserved. */
static struct reserved *find_reserved(struct helper *h, const char *name)
{
	struct reserved *v = reserved_find(h, name);

	return v && v->ready ? v : NULL;
}

static void create_and_start(struct member *m, const struct reservation *res)
{
	struct helper *h = m->helper;
	struct err e = ERR_INIT;
	int r;

	r = backend_create(h->backend, h->network, &m->spec, res, &m->vm, &e);
	if (r < 0) {
		err_prefix(&e, "create %s", m->name);
		fail_boot(m, &e);
		return;
	}
	member_watch_guest(m);
	r = backend_start(m->vm, on_vm_started, m, &e);
	if (r < 0) {
		err_prefix(&e, "start %s", m->name);
		fail_boot(m, &e);
	}
}

/* NULL with @e when the name cannot be registered. */
static struct member *find_or_register(struct helper *h, const char *name, struct err *e)
{
	struct member *m = member_find(h, name);

	if (!m)
		member_register(h, name, &m, e);
	return m;
}

/*
 * The same boot once more, from a client whose helper was killed before it answered: true, and @call is taken, when it is
 * under way or done.
 */
static bool answer_again(struct member *m, struct call *call)
{
	if (!m->unanswered_boot || m->boot_call)
		return false;
	if (m->booting) {
		m->boot_call = call;
		return true;
	}
	m->unanswered_boot = false;
	if (m->state != MEMBER_RUNNING && m->state != MEMBER_PAUSED)
		return false;
	call_empty(call);
	member_keep(m);
	return true;
}

void member_boot(struct helper *h, struct call *call, const struct vm_spec *spec)
{
	struct reserved *v;
	struct member *m;
	struct vm_spec copy;
	struct err e = ERR_INIT;

	if (!h->network) {
		call_errorf(call, ERR_NO_NETWORK, "network not created");
		return;
	}
	v = find_reserved(h, spec->name);
	if (!v) {
		call_errorf(call, ERR_NOT_RESERVED, "member %s was not reserved", spec->name);
		return;
	}
	m = find_or_register(h, spec->name, &e);
	if (!m) {
		call_error(call, &e);
		return;
	}
	if (answer_again(m, call))
		return;
	if (m->booting || m->vm || m->state == MEMBER_STOPPING) {
		call_errorf(call, ERR_ALREADY_RUNNING, "member %s is already running", m->name);
		return;
	}
	if (vm_spec_copy(&copy, spec) < 0) {
		call_errorf(call, ERR_NO_MEMORY, "out of memory");
		return;
	}
	vm_spec_done(&m->spec);
	m->spec = copy;
	m->booting = true;
	m->boot_call = call;
	m->error = (struct err)ERR_INIT;
	m->ip[0] = '\0';
	member_set_state(m, MEMBER_STARTING);
	create_and_start(m, &v->value);
}

/* --- Taking over --------------------------------------------------------------------------------------------- */

int member_listen(struct member *m, struct err *e)
{
	scoped(mem) char *path = store_socket_path(m->helper->o->store, m->name, "sock");

	if (!path)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	return listener_adopt(&m->helper->loop, take_fd(&m->listen_fd), path, on_connection, m,
			      &m->listener, e);
}

/* What it does is known, and is what its state says. */
static void tell_adopted(struct member *m)
{
	member_adopted_cb *cb = m->on_adopted;

	m->on_adopted = NULL;
	if (cb)
		cb(m->adopted_arg);
}

static void on_let_go(void *arg, int r, const struct err *e)
{
	struct member *m = arg;

	if (r < 0 && e->code != ERR_CANCELED)
		helper_log("%s cannot go on: %s", m->name, e->msg);
	m->held = false;
	member_keep(m);
	tell_adopted(m);
}

/* It may have been ordered to pause, or to go on, by a request that was not answered. */
static void on_adopted_state(void *arg, enum vm_state state)
{
	struct member *m = arg;
	struct err e = ERR_INIT;

	if (m->held && m->vm) { /* the helper that saved, loaded or copied it was killed */
		if (backend_resume(m->vm, on_let_go, m, &e) < 0)
			on_let_go(m, -1, &e);
		return;
	}
	if (m->state == MEMBER_RUNNING && state == VM_PAUSED)
		member_set_state(m, MEMBER_PAUSED);
	else if (m->state == MEMBER_PAUSED && state == VM_RUNNING)
		member_set_state(m, MEMBER_RUNNING);
	tell_adopted(m);
}

/* It has booted, and nobody stops it: tell_adopted comes later. */
static void ask_state(struct member *m)
{
	struct err e = ERR_INIT;

	if (backend_state(m->vm, on_adopted_state, m, &e) < 0 ||
	    backend_wait(m->vm, 0, on_vm_ended, m, &e) < 0) {
		helper_log("%s: cannot watch the VM: %s", m->name, e.msg);
		tell_adopted(m);
	}
}

/* Its VM ended meanwhile, or was lost. The member may be gone after this. */
static void end_adopted(struct member *m, const struct err *e)
{
	struct err why = *e;

	if (m->state == MEMBER_STOPPING) {
		finish_stop(m);
	} else if (m->booting) {
		err_prefix(&why, "start %s", m->name);
		fail_boot(m, &why);
	} else {
		on_vm_ended(m, e->code == ERR_NOT_RUNNING ? 0 : err_code_number(e->code), e);
	}
}

static void on_vm_adopted(void *arg, int r, const struct err *e)
{
	struct member *m = arg;
	member_adopted_cb *cb = m->on_adopted;
	void *cb_arg = m->adopted_arg;

	if (r == 0)
		member_watch_guest(m);
	if (r == 0 && m->state != MEMBER_STOPPING && !m->booting) {
		ask_state(m);
		return;
	}
	m->on_adopted = NULL;
	if (r == 0 && m->state == MEMBER_STOPPING)
		begin_stop(m);
	else if (r == 0)
		on_vm_started(m, 0, NULL);
	else if (!is_canceled(e) && e->code != ERR_STOPPED)
		end_adopted(m, e);
	if (cb) /* @m may be gone */
		cb(cb_arg);
}

/* The VM was never started, or it is not known any more. */
static void go_on_without(struct member *m, const struct reserved *v, const struct err *e)
{
	struct err why;

	if (m->booting && v && e->code == ERR_NOT_FOUND) {
		helper_log("%s: the boot begins again", m->name);
		create_and_start(m, &v->value);
		return;
	}
	err_set(&why, ERR_BOOT, "%s: its VM was lost when the helper crashed: %s", m->name, e->msg);
	end_adopted(m, &why);
}

bool member_go_on(struct member *m, member_adopted_cb *cb, void *arg)
{
	struct helper *h = m->helper;
	struct reserved *v = find_reserved(h, m->name);
	struct err e = ERR_INIT;

	if (m->state == MEMBER_STOPPED) {
		member_retire(m);
		return false;
	}
	if (m->state == MEMBER_ERROR || (m->state == MEMBER_STARTING && !m->unanswered_boot))
		return false;
	m->booting = m->state == MEMBER_STARTING;
	m->on_adopted = cb;
	m->adopted_arg = arg;
	if (!v || !h->network)
		err_set(&e, ERR_INTERNAL, "its address is not known");
	else if (backend_adopt(h->backend, h->network, &m->spec, &v->value, &m->vm, on_vm_adopted,
			       m, &e) == 0)
		return true;
	if (e.code != ERR_NOT_FOUND && e.code != ERR_INTERNAL)
		helper_give_in(m->name, &e); /* it runs, and something else is lacking */
	m->on_adopted = NULL;
	go_on_without(m, v, &e);
	return false;
}
