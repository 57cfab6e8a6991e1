/* SPDX-License-Identifier: MIT */
#include "backend/remote/internal.h"

#include "base/host.h"
#include "base/scoped.h"

static struct rpc *cluster_rpc(struct remote *b, const struct request *q, rpc_done *done, void *arg,
			       struct err *e)
{
	return rpc_start(b->base.loop, b->store, &b->known, q, b->window_ms, CLUSTER_MS, done, arg,
			 e);
}

struct rpc *member_rpc(struct remote_vm *vm, const struct request *q, uint64_t timeout_ms,
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
	return name_list_add_once(&remote_of(base)->known, name);
}

/* --- The cluster's calls ------------------------------------------------------------------------------------- */

/* One that is under way; one of the two callbacks is set. */
struct cluster_op {
	struct list link; /* remote.asked */
	struct remote *backend;
	struct rpc *rpc;
	backend_network_done *on_network;
	backend_reserve_done *on_reserved;
	void *arg;
};

static void op_free(struct cluster_op *op)
{
	list_remove(&op->link);
	rpc_cancel(op->rpc);
	free(op);
}

/* @like but for link and rpc. */
static int ask_cluster(const struct cluster_op *like, const struct request *q, rpc_done *done,
		       struct err *e)
{
	struct cluster_op *op = malloc(sizeof(*op));

	if (!op)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	*op = *like;
	list_append(&op->backend->asked, &op->link);
	op->rpc = cluster_rpc(op->backend, q, done, op, e);
	if (op->rpc)
		return 0;
	op_free(op);
	return -ENOMEM;
}

static void on_network(void *arg, int r, const struct reply *p, int fd, const struct err *e)
{
	struct cluster_op *op = arg;
	struct remote_network *net = r < 0 ? NULL : calloc(1, sizeof(*net));
	struct err none;

	close_fd(&fd);
	op->rpc = NULL;
	if (net) {
		net->base.backend = &op->backend->base;
		memcpy(net->subnet, p->subnet, sizeof(net->subnet));
		op->on_network(op->arg, 0, &net->base, NULL);
	} else {
		err_set(&none, ERR_NO_MEMORY, "out of memory");
		op->on_network(op->arg, r < 0 ? r : -ENOMEM, NULL, r < 0 ? e : &none);
	}
	op_free(op);
}

static int remote_create_network(struct backend *base, const struct network_config *c,
				 backend_network_done *done, void *arg, struct err *e)
{
	const struct request q = {.verb = VERB_CREATENETWORK,
				  .no_egress = !c->egress,
				  .subnet = (char *)(uintptr_t)c->subnet};

	return ask_cluster(
		&(struct cluster_op){.backend = remote_of(base), .on_network = done, .arg = arg},
		&q, on_network, e);
}

void remote_cancel_asked(struct backend *base)
{
	struct remote *b = remote_of(base);

	while (!list_is_empty(&b->asked))
		op_free(list_entry(b->asked.next, struct cluster_op, link));
}

static void remote_close_network(struct backend_network *net, backend_done *done, void *arg)
{
	struct remote *b = remote_of(net->backend);

	free(container_of(net, struct remote_network, base));
	if (done)
		waiters_add_ended(&b->ops, NULL, done, arg, NULL);
}

static const char *remote_subnet(struct backend_network *net)
{
	return container_of(net, struct remote_network, base)->subnet;
}

static void on_reserved(void *arg, int r, const struct reply *p, int fd, const struct err *e)
{
	struct cluster_op *op = arg;
	struct err bad;

	close_fd(&fd);
	op->rpc = NULL;
	if (r == 0 && !p->has_reservation) {
		r = err_set(&bad, ERR_PROTOCOL, "reserve: the helper's reply holds no reservation");
		e = &bad;
	}
	op->on_reserved(op->arg, r, r < 0 ? NULL : &p->reservation, r < 0 ? e : NULL);
	op_free(op);
}

int remote_reserve_as(struct backend_network *net, const char *name, const char *as,
		      const char *ip_hint, backend_reserve_done *done, void *arg, struct err *e)
{
	const struct request q = {.verb = VERB_RESERVE,
				  .name = (char *)name,
				  .as = (char *)as,
				  .ip_hint = (char *)ip_hint};

	return ask_cluster(&(struct cluster_op){.backend = remote_of(net->backend),
						.on_reserved = done,
						.arg = arg},
			   &q, on_reserved, e);
}

static int remote_reserve(struct backend_network *net, const char *name, const char *ip_hint,
			  backend_reserve_done *done, void *arg, struct err *e)
{
	return remote_reserve_as(net, name, NULL, ip_hint, done, arg, e);
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

/* --- The rest ------------------------------------------------------------------------------------------------ */

static void remote_release(struct backend_vm *base)
{
	struct remote_vm *vm = vm_of(base);
	struct err canceled;

	err_set(&canceled, ERR_CANCELED, "canceled");
	rpc_cancel(vm->status);
	vm->status = NULL;
	calls_cancel(vm, &canceled);
	departures_cancel(vm, &canceled);
	waiters_cancel(&vm->ops);
	waiters_cancel(&vm->on_address);
	waiters_cancel(&vm->on_stopped);
	list_remove(&vm->link);
	vm_spec_done(&vm->spec);
	free(vm);
}

static int remote_reconcile(struct backend *base, backend_done *done, void *arg, struct err *e)
{
	return waiters_add_ended(&remote_of(base)->ops, NULL, done, arg, e);
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
	watch_close(b->watch);
	remote_cancel_asked(base);
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
	.save = remote_save,
	.load = remote_load,
	.drop = remote_drop,
	.points = remote_points,
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
	list_init(&b->asked);
	waiters_init(&b->ops, o->loop);
	return &b->base;
}
