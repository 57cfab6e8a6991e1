/* SPDX-License-Identifier: MIT */
#include "backend/remote/remote.h"

#include "backend/remote/rpc.h"
#include "backend/waiter.h"
#include "base/files.h"
#include "base/host.h"
#include "base/scoped.h"
#include "loop/stream.h"
#include "wire/framer.h"

#include <string.h>
#include <sys/syscall.h>

/* The reference's figures; STOP_MS is above what a backend takes for grace and force. */
enum {
	CLUSTER_MS = 30000,
	BOOT_MS = 30 * 60 * 1000,
	STATUS_MS = 2000,
	CALL_MS = 30000,
	STOP_MS = 45000,
	POLL_MS = 500,
	MAX_EVENT = 64 * 1024,
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

	/* Observation: one watch stream for the cluster, or polls. */
	enum peer peer;
	struct rpc *hello;
	struct stream *watch;
	struct framer watch_in;
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
	struct list calls;      /* struct vm_call */
	struct list departures; /* struct departure: stops that wait for the member to go */
};

static struct remote *remote_of(struct backend *b)
{
	return container_of(b, struct remote, base);
}

static struct remote_vm *vm_of(struct backend_vm *vm)
{
	return container_of(vm, struct remote_vm, base);
}

static struct rpc *cluster_rpc(struct remote *b, const struct request *q, rpc_done *done, void *arg,
			       struct err *e)
{
	return rpc_start(b->base.loop, b->store, &b->known, q, b->window_ms, CLUSTER_MS, done, arg,
			 e);
}

static struct rpc *member_rpc(struct remote_vm *vm, const struct request *q, uint64_t timeout_ms,
			      rpc_done *done, void *arg, struct err *e)
{
	struct remote *b = remote_of(vm->base.backend);
	char name[1][NAME_SIZE];
	const struct name_list one = {name, 1};

	memcpy(name[0], vm->name, NAME_SIZE);
	return rpc_start(b->base.loop, b->store, &one, q, 0, timeout_ms, done, arg, e);
}

int remote_backend_know(struct backend *base, const char *name)
{
	struct remote *b = remote_of(base);

	for (size_t i = 0; i < b->known.n; i++)
		if (strcmp(b->known.names[i], name) == 0)
			return 0;
	return name_list_add(&b->known, name);
}

/* --- The cluster's calls ------------------------------------------------------------------------------------- */

struct network_op {
	struct remote *backend;
	backend_network_done *done;
	void *arg;
};

static void on_network(void *arg, int r, const struct reply *p, int fd, const struct err *e)
{
	struct network_op *op = arg;
	struct remote_network *net = r < 0 ? NULL : calloc(1, sizeof(*net));
	struct err none;

	close_fd(&fd);
	if (net) {
		net->base.backend = &op->backend->base;
		memcpy(net->subnet, p->subnet, sizeof(net->subnet));
		op->done(op->arg, 0, &net->base, NULL);
	} else {
		err_set(&none, ERR_NO_MEMORY, "out of memory");
		op->done(op->arg, r < 0 ? r : -ENOMEM, NULL, r < 0 ? e : &none);
	}
	free(op);
}

static int remote_create_network(struct backend *base, const struct network_config *c,
				 backend_network_done *done, void *arg, struct err *e)
{
	struct request q = {.verb = VERB_CREATENETWORK, .no_egress = !c->egress};
	struct network_op *op = calloc(1, sizeof(*op));

	if (!op)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	*op = (struct network_op){remote_of(base), done, arg};
	if (cluster_rpc(remote_of(base), &q, on_network, op, e))
		return 0;
	free(op);
	return -ENOMEM;
}

static void remote_close_network(struct backend_network *net, backend_done *done, void *arg)
{
	struct remote *b = remote_of(net->backend);

	free(container_of(net, struct remote_network, base));
	if (done && waiters_add(&b->ops, done, arg, 0, "", NULL) == 0)
		waiters_end(&b->ops, NULL, NULL);
}

static const char *remote_subnet(struct backend_network *net)
{
	return container_of(net, struct remote_network, base)->subnet;
}

struct reserve_op {
	backend_reserve_done *done;
	void *arg;
};

static void on_reserved(void *arg, int r, const struct reply *p, int fd, const struct err *e)
{
	struct reserve_op *op = arg;
	struct err bad;

	close_fd(&fd);
	if (r == 0 && !p->has_reservation) {
		r = err_set(&bad, ERR_PROTOCOL, "reserve: the helper's reply holds no reservation");
		e = &bad;
	}
	op->done(op->arg, r, r < 0 ? NULL : &p->reservation, r < 0 ? e : NULL);
	free(op);
}

static int remote_reserve(struct backend_network *net, const char *name, const char *ip_hint,
			  backend_reserve_done *done, void *arg, struct err *e)
{
	struct remote *b = remote_of(net->backend);
	struct request q = {.verb = VERB_RESERVE, .name = (char *)name, .ip_hint = (char *)ip_hint};
	struct reserve_op *op = calloc(1, sizeof(*op));

	if (!op)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	*op = (struct reserve_op){done, arg};
	if (cluster_rpc(b, &q, on_reserved, op, e))
		return 0;
	free(op);
	return -ENOMEM;
}

/* --- Observation --------------------------------------------------------------------------------------------- */

static void settle(struct remote_vm *vm)
{
	struct err e;

	if (vm->heard == HEARD_NOTHING)
		return;
	if (vm->heard == HEARD_GONE) {
		err_set(&e, ERR_NOT_RUNNING, "member %s is not running", vm->name);
		waiters_end(&vm->on_address, NULL, &e);
		waiters_end(&vm->on_stopped, NULL, NULL);
		return;
	}
	if (strcmp(vm->state, WIRE_STATE_ERROR) == 0) {
		e = vm->error;
		if (e.code == ERR_NONE)
			err_set(&e, ERR_BOOT, "it reports no reason");
		err_prefix(&e, "member %s failed", vm->name);
		waiters_end(&vm->on_address, NULL, &e);
		waiters_end(&vm->on_stopped, NULL, &e);
	} else if (strcmp(vm->state, WIRE_STATE_RUNNING) == 0 && vm->ip[0]) {
		waiters_end(&vm->on_address, vm->ip, NULL);
	} else if (strcmp(vm->state, WIRE_STATE_STOPPED) == 0) {
		waiters_end(&vm->on_stopped, NULL, NULL);
	}
}

static struct remote_vm *find_vm(struct remote *b, const char *name)
{
	list_for_each (pos, &b->vms) {
		struct remote_vm *vm = list_entry(pos, struct remote_vm, link);

		if (strcmp(vm->name, name) == 0)
			return vm;
	}
	return NULL;
}

static void hear_status(struct remote_vm *vm, const struct member_status *s)
{
	vm->heard = HEARD_STATE;
	memcpy(vm->state, s->state, sizeof(vm->state));
	memcpy(vm->ip, s->ip, sizeof(vm->ip));
	vm->error = (struct err)ERR_INIT;
	if (s->error[0])
		err_set(&vm->error, ERR_BOOT, "%s", s->error);
	settle(vm);
}

static void hear_event(struct remote *b, json_t *root)
{
	struct member_status s = {.name = ""};
	const char *event = json_string_value(json_object_get(root, "event"));
	const char *name = json_string_value(json_object_get(root, "name"));
	const char *text = NULL;
	struct remote_vm *vm = name ? find_vm(b, name) : NULL;

	if (!event || !name)
		return;
	if (strcmp(event, WIRE_EVENT_STATE) == 0 && vm) {
		text = json_string_value(json_object_get(root, "state"));
		snprintf(s.state, sizeof(s.state), "%s", text ? text : "");
		text = json_string_value(json_object_get(root, "ip"));
		snprintf(s.ip, sizeof(s.ip), "%s", text ? text : "");
		text = json_string_value(json_object_get(root, "error"));
		snprintf(s.error, sizeof(s.error), "%s", text ? text : "");
		hear_status(vm, &s);
	} else if (strcmp(event, WIRE_EVENT_GONE) == 0 && vm) {
		vm->heard = HEARD_GONE;
		settle(vm);
	} else if (strcmp(event, WIRE_EVENT_STAGE) == 0) {
		text = json_string_value(json_object_get(root, "stage"));
	}
	if (b->on_event && strcmp(event, WIRE_EVENT_STAGE) == 0)
		b->on_event(b->event_arg, name, text ? text : "", "");
}

static void lose_all(struct remote *b)
{
	stream_close(b->watch);
	b->watch = NULL;
	framer_done(&b->watch_in);
	list_for_each (pos, &b->vms) {
		struct remote_vm *vm = list_entry(pos, struct remote_vm, link);

		vm->heard = HEARD_GONE;
		settle(vm); /* callbacks come from later turns */
	}
}

static void on_watch_read(void *arg, const char *data, ssize_t len, int fd)
{
	struct remote *b = arg;
	const char *text;
	size_t text_len;

	close_fd(&fd);
	if (len <= 0 || framer_feed(&b->watch_in, data, (size_t)len) < 0) {
		lose_all(b);
		return;
	}
	for (;;) {
		int r = framer_next(&b->watch_in, &text, &text_len);
		json_t *root;

		if (r < 0)
			lose_all(b);
		if (r <= 0)
			return;
		root = wire_json_parse(text, text_len, NULL);
		if (root)
			hear_event(b, root);
		json_decref(root);
	}
}

static void open_watch(struct remote *b)
{
	struct request q = {.verb = VERB_WATCH};
	scoped(buf) struct buf line = BUF_INIT;
	int fd = -ENOENT;

	for (size_t i = 0; i < b->known.n && fd < 0; i++)
		fd = rpc_connect(b->store, b->known.names[i]);
	if (fd >= 0 && request_encode(&q, &line) == 0)
		b->watch = stream_open(b->base.loop, fd, on_watch_read, b);
	if (!b->watch || stream_write(b->watch, line.data, line.len) < 0)
		lose_all(b);
}

static bool wants_observation(const struct remote_vm *vm)
{
	return !list_is_empty(&vm->on_address.pending) || !list_is_empty(&vm->on_stopped.pending);
}

static void on_status(void *arg, int r, const struct reply *p, int fd, const struct err *e)
{
	struct remote_vm *vm = arg;
	struct remote *b = remote_of(vm->base.backend);

	vm->status = NULL;
	close_fd(&fd);
	if (r == 0 && p->has_status) {
		hear_status(vm, &p->status);
	} else if (e && e->code == ERR_UNREACHABLE && store_owner_alive(b->store, vm->name) == 0) {
		vm->heard = HEARD_GONE;
		settle(vm);
	}
}

/* Protocol 2 has no events: ask each member that somebody waits for, twice a second, as the reference does. */
static void on_poll(void *arg)
{
	struct remote *b = arg;
	bool again = false;

	list_for_each (pos, &b->vms) {
		struct remote_vm *vm = list_entry(pos, struct remote_vm, link);
		struct request q = {.verb = VERB_STATUS};

		if (!wants_observation(vm))
			continue;
		again = true;
		if (!vm->status)
			vm->status = member_rpc(vm, &q, STATUS_MS, on_status, vm, NULL);
	}
	if (again)
		timer_start(b->base.loop, POLL_MS, on_poll, b, &b->poll);
}

static void on_hello(void *arg, int r, const struct reply *p, int fd, const struct err *e)
{
	struct remote *b = arg;

	b->hello = NULL;
	close_fd(&fd);
	/* A protocol-2 helper closes the connection on a command that it does not know. */
	b->peer = r == 0 && json_object_get(p->root, "hello") ? PEER_WATCHABLE : PEER_PROTOCOL_2;
	if (b->peer == PEER_WATCHABLE)
		open_watch(b);
	else
		on_poll(b);
}

/* Makes sure that news of the members comes in. */
static void observe(struct remote *b)
{
	struct request q = {.verb = VERB_HELLO};

	if (b->watch || b->hello || b->poll)
		return;
	if (b->peer == PEER_UNKNOWN)
		b->hello = rpc_start(b->base.loop, b->store, &b->known, &q, b->window_ms, STATUS_MS,
				     on_hello, b, NULL);
	else if (b->peer == PEER_WATCHABLE)
		open_watch(b);
	else
		on_poll(b);
}

/* --- VMs ----------------------------------------------------------------------------------------------------- */

static struct remote_vm *vm_new(struct remote *b, const char *name)
{
	struct remote_vm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return NULL;
	vm->base.backend = &b->base;
	snprintf(vm->name, sizeof(vm->name), "%s", name);
	waiters_init(&vm->on_stopped, b->base.loop);
	waiters_init(&vm->on_address, b->base.loop);
	waiters_init(&vm->ops, b->base.loop);
	list_init(&vm->calls);
	list_init(&vm->departures);
	list_append(&b->vms, &vm->link);
	return vm;
}

static int remote_create(struct backend *base, struct backend_network *net,
			 const struct vm_spec *spec, const struct reservation *res,
			 struct backend_vm **ret, struct err *e)
{
	struct remote *b = remote_of(base);
	struct remote_vm *vm;
	int r = name_check(spec->name, e);

	if (r < 0)
		return r;
	vm = vm_new(b, spec->name);
	if (!vm || vm_spec_copy(&vm->spec, spec) < 0 || remote_backend_know(base, spec->name) < 0) {
		if (vm)
			backend_release(&vm->base);
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	}
	*ret = &vm->base;
	return 0;
}

struct backend_vm *remote_vm_attach(struct backend *base, const char *name)
{
	struct remote_vm *vm = vm_new(remote_of(base), name);

	return vm ? &vm->base : NULL;
}

/* A request about one VM; it is in the VM's list until it ends, so that release can end it. */
struct vm_call {
	struct list link;
	struct rpc *rpc;
	struct remote_vm *vm;
	backend_done *done; /* exactly one of these */
	backend_dial_done *dialed;
	backend_state_done *state;
	backend_stats_done *stats;
	void *arg;
};

static void call_finish(struct vm_call *c, int r, const struct reply *p, int fd,
			const struct err *e);

static void on_call(void *arg, int r, const struct reply *p, int fd, const struct err *e)
{
	struct vm_call *c = arg;

	c->rpc = NULL;
	call_finish(c, r, p, fd, e);
}

static int call_start(struct remote_vm *vm, const struct vm_call *template, const struct request *q,
		      uint64_t timeout_ms, struct err *e)
{
	struct vm_call *c = malloc(sizeof(*c));

	if (!c)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	*c = *template;
	c->vm = vm;
	list_append(&vm->calls, &c->link);
	c->rpc = member_rpc(vm, q, timeout_ms, on_call, c, e);
	if (c->rpc)
		return 0;
	list_remove(&c->link);
	free(c);
	return -ENOMEM;
}

static enum vm_state map_state(const char *word)
{
	if (strcmp(word, WIRE_STATE_RUNNING) == 0)
		return VM_RUNNING;
	if (strcmp(word, WIRE_STATE_STARTING) == 0 || strcmp(word, WIRE_STATE_DOWNLOADING) == 0)
		return VM_STARTING;
	if (strcmp(word, WIRE_STATE_PAUSED) == 0)
		return VM_PAUSED;
	if (strcmp(word, WIRE_STATE_STOPPING) == 0)
		return VM_STOPPING;
	if (strcmp(word, WIRE_STATE_ERROR) == 0)
		return VM_ERROR;
	return VM_STOPPED;
}

static int64_t stat_of(json_t *one, const char *key)
{
	json_t *value = json_object_get(one, key);

	return json_is_integer(value) ? json_integer_value(value) : -1;
}

/* This VM's row of a stats reply. */
static void read_stats(const struct reply *p, const char *name, struct vm_stats *ret)
{
	json_t *rows = json_object_get(json_object_get(p->root, "stats"), "members");
	json_t *one;
	size_t i;

	*ret = (struct vm_stats){-1, -1, -1, -1, -1, -1};
	json_array_foreach (rows, i, one) {
		if (!str_equal(json_string_value(json_object_get(one, "name")), name))
			continue;
		ret->cpu_ms = stat_of(one, "cpu_ms");
		ret->memory_bytes = stat_of(one, "memory_bytes");
		ret->disk_read_bytes = stat_of(one, "disk_read_bytes");
		ret->disk_written_bytes = stat_of(one, "disk_written_bytes");
		ret->net_received_bytes = stat_of(one, "net_received_bytes");
		ret->net_sent_bytes = stat_of(one, "net_sent_bytes");
	}
}

static void finish_stats(struct vm_call *c, int r, const struct reply *p, const struct err *e)
{
	struct vm_stats stats;

	if (r < 0) {
		c->stats(c->arg, r, NULL, e);
		return;
	}
	read_stats(p, c->vm->name, &stats);
	c->stats(c->arg, 0, &stats, NULL);
}

static void finish_dial(struct vm_call *c, int r, int fd, const struct err *e)
{
	struct err none;

	if (r == 0 && fd < 0) {
		r = err_set(&none, ERR_PROTOCOL, "the helper passed no descriptor");
		e = &none;
	}
	c->dialed(c->arg, r, r < 0 ? -1 : fd, r < 0 ? e : NULL);
}

static void call_finish(struct vm_call *c, int r, const struct reply *p, int fd,
			const struct err *e)
{
	list_remove(&c->link);
	if (c->dialed)
		finish_dial(c, r, fd, e);
	else
		close_fd(&fd);
	if (c->state)
		c->state(c->arg, r == 0 && p->has_status ? map_state(p->status.state) : VM_STOPPED);
	if (c->stats)
		finish_stats(c, r, p, e);
	if (c->done)
		c->done(c->arg, r, e);
	free(c);
}

static int remote_start(struct backend_vm *base, backend_done *done, void *arg, struct err *e)
{
	struct remote_vm *vm = vm_of(base);
	struct remote *b = remote_of(base->backend);
	struct request q = {.verb = VERB_BOOT_MEMBER};
	struct vm_call *c;

	if (!vm->spec.name)
		return err_set(e, ERR_INVALID, "member %s was attached to, not created", vm->name);
	c = calloc(1, sizeof(*c));
	if (!c)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	q.spec = vm->spec; /* borrowed: only encoded */
	*c = (struct vm_call){.vm = vm, .done = done, .arg = arg};
	vm->heard = HEARD_NOTHING;
	list_append(&vm->calls, &c->link);
	c->rpc = rpc_start(base->backend->loop, b->store, &b->known, &q, b->window_ms, BOOT_MS,
			   on_call, c, e);
	if (c->rpc)
		return 0;
	list_remove(&c->link);
	free(c);
	return -ENOMEM;
}

static int remote_state(struct backend_vm *base, backend_state_done *done, void *arg, struct err *e)
{
	struct request q = {.verb = VERB_STATUS};

	return call_start(vm_of(base), &(struct vm_call){.state = done, .arg = arg}, &q, STATUS_MS,
			  e);
}

static int remote_wait(struct backend_vm *base, uint64_t timeout_ms, backend_done *done, void *arg,
		       struct err *e)
{
	struct remote_vm *vm = vm_of(base);
	int r = waiters_add(&vm->on_stopped, done, arg, timeout_ms, "the VM did not stop in time",
			    e);

	if (r == 0) {
		observe(remote_of(base->backend));
		settle(vm);
	}
	return r;
}

static int remote_wait_address(struct backend_vm *base, uint64_t timeout_ms,
			       backend_address_done *done, void *arg, struct err *e)
{
	struct remote_vm *vm = vm_of(base);
	int r = waiters_add_address(&vm->on_address, done, arg, timeout_ms,
				    "the VM had no address in time", e);

	if (r == 0) {
		observe(remote_of(base->backend));
		settle(vm);
	}
	return r;
}

static int call_done(struct backend_vm *base, enum verb verb, backend_done *done, void *arg,
		     struct err *e)
{
	struct request q = {.verb = verb};

	return call_start(vm_of(base), &(struct vm_call){.done = done, .arg = arg}, &q, CALL_MS, e);
}

static int remote_kill(struct backend_vm *base, backend_done *done, void *arg, struct err *e)
{
	return call_done(base, VERB_KILL, done, arg, e);
}

static int remote_pause(struct backend_vm *base, backend_done *done, void *arg, struct err *e)
{
	return call_done(base, VERB_PAUSE, done, arg, e);
}

static int remote_resume(struct backend_vm *base, backend_done *done, void *arg, struct err *e)
{
	return call_done(base, VERB_RESUME, done, arg, e);
}

static int remote_dial(struct backend_vm *base, uint16_t port, uint64_t timeout_ms,
		       backend_dial_done *done, void *arg, struct err *e)
{
	struct request q = {.verb = VERB_DIAL, .port = port};

	return call_start(vm_of(base), &(struct vm_call){.dialed = done, .arg = arg}, &q,
			  timeout_ms, e);
}

static int remote_console(struct backend_vm *base, backend_dial_done *done, void *arg,
			  struct err *e)
{
	struct request q = {.verb = VERB_CONSOLE};

	return call_start(vm_of(base), &(struct vm_call){.dialed = done, .arg = arg}, &q, CALL_MS,
			  e);
}

static int remote_stats(struct backend_vm *base, backend_stats_done *done, void *arg, struct err *e)
{
	struct request q = {.verb = VERB_STATS};

	return call_start(vm_of(base), &(struct vm_call){.stats = done, .arg = arg}, &q, CALL_MS,
			  e);
}

/* --- Stop: the acknowledgement, then the member's departure -------------------------------------------------- */

struct departure {
	struct list link;
	struct remote_vm *vm;
	backend_done *done;
	void *arg;
	struct rpc *rpc;
	uv_fs_event_t dirs[2]; /* the member's directory, the sockets' */
	uv_poll_t helper;
	int pidfd;
	unsigned open_handles;
	bool watching;
	bool acknowledged;
	struct timer *deadline;
};

static void on_departure_closed(uv_handle_t *h)
{
	struct departure *d = h->data;

	if (--d->open_handles > 0)
		return;
	close_fd(&d->pidfd);
	free(d);
}

static void close_handle(struct departure *d, uv_handle_t *h)
{
	if (uv_handle_get_type(h) != UV_UNKNOWN_HANDLE && !uv_is_closing(h))
		uv_close(h, on_departure_closed);
}

static void departure_free(struct departure *d)
{
	list_remove(&d->link);
	timer_stop(&d->deadline);
	rpc_cancel(d->rpc);
	d->rpc = NULL;
	if (d->open_handles == 0) {
		close_fd(&d->pidfd);
		free(d);
		return;
	}
	close_handle(d, (uv_handle_t *)&d->dirs[0]);
	close_handle(d, (uv_handle_t *)&d->dirs[1]);
	close_handle(d, (uv_handle_t *)&d->helper);
}

static void departure_end(struct departure *d, const struct err *e)
{
	backend_done *done = d->done;
	void *arg = d->arg;

	departure_free(d);
	done(arg, e ? err_code_number(e->code) : 0, e);
}

static bool has_departed(const struct departure *d)
{
	const struct store *s = remote_of(d->vm->base.backend)->store;
	scoped(mem) char *pid = store_member_path(s, d->vm->name, "pid");
	scoped(mem) char *sock = store_socket_path(s, d->vm->name, "sock");

	if (pid && sock && !files_exist(pid) && !files_exist(sock))
		return true;
	/* A helper that was killed leaves both behind. */
	return d->pidfd >= 0 && pid && files_exist(pid) && store_owner_alive(s, d->vm->name) == 0;
}

static void look(struct departure *d)
{
	if (d->acknowledged && has_departed(d))
		departure_end(d, NULL);
}

static void on_dir(uv_fs_event_t *h, const char *file, int events, int status)
{
	look(h->data);
}

static void on_helper_dead(uv_poll_t *h, int status, int events)
{
	struct departure *d = h->data;

	uv_poll_stop(h);
	d->acknowledged = true; /* nobody else will answer */
	departure_end(d, NULL);
}

static void on_stop_deadline(void *arg)
{
	struct departure *d = arg;
	struct err e;

	err_set(&e, ERR_TIMEOUT, "member %s did not stop within %d s", d->vm->name, STOP_MS / 1000);
	departure_end(d, &e);
}

static void on_stop_reply(void *arg, int r, const struct reply *p, int fd, const struct err *e)
{
	struct departure *d = arg;
	const struct store *s = remote_of(d->vm->base.backend)->store;

	d->rpc = NULL;
	close_fd(&fd);
	/*
	 * Nobody listens: stopped, unless its helper lives. A connection that broke, or a missing acknowledgement, is
	 * best effort as in the reference: the departure decides.
	 */
	if (r < 0 && e->code != ERR_TIMEOUT && store_owner_alive(s, d->vm->name) == 0) {
		departure_end(d, NULL);
		return;
	}
	d->acknowledged = true;
	look(d);
}

static void watch_dir(struct departure *d, uv_fs_event_t *h, const char *path)
{
	uv_loop_t *loop = d->vm->base.backend->loop;

	if (!path || uv_fs_event_init(loop, h) < 0)
		return;
	h->data = d;
	d->open_handles++;
	uv_fs_event_start(h, on_dir, path, 0);
}

static void watch_departure(struct departure *d)
{
	struct remote *b = remote_of(d->vm->base.backend);
	scoped(mem) char *dir = store_member_path(b->store, d->vm->name, NULL);
	pid_t pid = store_owner_alive(b->store, d->vm->name);

	watch_dir(d, &d->dirs[0], dir && files_exist(dir) ? dir : NULL);
	watch_dir(d, &d->dirs[1], b->store->run);
	d->pidfd = pid ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
	if (d->pidfd < 0 || uv_poll_init(b->base.loop, &d->helper, d->pidfd) < 0)
		return;
	d->helper.data = d;
	d->open_handles++;
	uv_poll_start(&d->helper, UV_READABLE, on_helper_dead);
}

static int remote_stop(struct backend_vm *base, backend_done *done, void *arg, struct err *e)
{
	struct remote_vm *vm = vm_of(base);
	struct request q = {.verb = VERB_STOP};
	struct departure *d = calloc(1, sizeof(*d));

	if (!d)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	d->vm = vm;
	d->done = done;
	d->arg = arg;
	d->pidfd = -1;
	list_append(&vm->departures, &d->link);
	watch_departure(d);
	timer_start(base->backend->loop, STOP_MS, on_stop_deadline, d, &d->deadline);
	d->rpc = member_rpc(vm, &q, STATUS_MS, on_stop_reply, d, e);
	if (d->rpc)
		return 0;
	departure_free(d);
	return -ENOMEM;
}

/* --- The rest ------------------------------------------------------------------------------------------------ */

static void remote_release(struct backend_vm *base)
{
	struct remote_vm *vm = vm_of(base);
	struct err canceled;

	err_set(&canceled, ERR_CANCELED, "canceled");
	rpc_cancel(vm->status);
	vm->status = NULL;
	while (!list_is_empty(&vm->calls)) {
		struct vm_call *c = list_entry(vm->calls.next, struct vm_call, link);

		rpc_cancel(c->rpc);
		call_finish(c, -ECANCELED, NULL, -1, &canceled);
	}
	while (!list_is_empty(&vm->departures))
		departure_end(list_entry(vm->departures.next, struct departure, link), &canceled);
	waiters_cancel(&vm->ops);
	waiters_cancel(&vm->on_address);
	waiters_cancel(&vm->on_stopped);
	list_remove(&vm->link);
	vm_spec_done(&vm->spec);
	free(vm);
}

static int remote_reconcile(struct backend *base, backend_done *done, void *arg, struct err *e)
{
	struct remote *b = remote_of(base);
	int r = waiters_add(&b->ops, done, arg, 0, "", e);

	if (r == 0)
		waiters_end(&b->ops, NULL, NULL);
	return r;
}

static bool remote_nested(struct backend *b)
{
	return host_nested_virt_supported();
}

static bool remote_clustering(struct backend *b)
{
	return host_clustering_supported();
}

static void remote_free(struct backend *base)
{
	struct remote *b = remote_of(base);

	timer_stop(&b->poll);
	rpc_cancel(b->hello);
	stream_close(b->watch);
	framer_done(&b->watch_in);
	waiters_cancel(&b->ops);
	name_list_done(&b->known);
	free(b);
}

static const struct backend_ops remote_ops = {
	.name = "remote",
	.free = remote_free,
	.nested_virt_supported = remote_nested,
	.supports_clustering = remote_clustering,
	.reconcile = remote_reconcile,
	.create_network = remote_create_network,
	.close_network = remote_close_network,
	.subnet = remote_subnet,
	.reserve = remote_reserve,
	.create = remote_create,
	.start = remote_start,
	.stop = remote_stop,
	.state = remote_state,
	.wait = remote_wait,
	.wait_address = remote_wait_address,
	.release = remote_release,
	.kill = remote_kill,
	.pause = remote_pause,
	.resume = remote_resume,
	.dial = remote_dial,
	.console = remote_console,
	.stats = remote_stats,
};

struct backend *remote_backend_new(const struct remote_options *o, struct err *e)
{
	struct remote *b = calloc(1, sizeof(*b));

	if (!b || name_list_add(&b->known, o->primary) < 0) {
		free(b);
		err_set(e, ERR_NO_MEMORY, "out of memory");
		return NULL;
	}
	b->base.ops = &remote_ops;
	b->base.loop = o->loop;
	b->store = o->store;
	b->window_ms = o->connect_window_ms;
	b->on_event = o->on_event;
	b->event_arg = o->event_arg;
	list_init(&b->vms);
	waiters_init(&b->ops, o->loop);
	framer_init(&b->watch_in, MAX_EVENT);
	return &b->base;
}
