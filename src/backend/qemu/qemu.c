/* SPDX-License-Identifier: MIT */
#include "backend/qemu/qemu.h"

#include "backend/qemu/probe.h"
#include "backend/qemu/vm.h"
#include "base/files.h"
#include "base/host.h"
#include "base/scoped.h"
#include "base/str.h"
#include "config.h"
#include "network/private_net.h"

#include <string.h>

int done_later(struct waiters *ops, backend_done *done, void *arg, struct err *e)
{
	int r = waiters_add(ops, done, arg, 0, "", e);

	if (r == 0)
		waiters_end(ops, NULL, NULL);
	return r;
}

bool qemu_use_kvm(struct qemu *q)
{
	if (q->accel == ACCEL_AUTO)
		q->accel = kvm_is_usable() ? ACCEL_KVM : ACCEL_TCG;
	return q->accel == ACCEL_KVM;
}

static void qemu_free(struct backend *b)
{
	struct qemu *q = qemu_of(b);

	waiters_cancel(&q->ops);
	free(q->dir);
	free(q);
}

static bool nested_virt_supported(struct backend *b)
{
	return host_nested_virt_supported();
}

static bool supports_clustering(struct backend *b)
{
	return host_clustering_supported();
}

/* Private networks leave nothing: the kernel ends them with their helper. */
static int reconcile(struct backend *b, backend_done *done, void *arg, struct err *e)
{
	return done_later(&qemu_of(b)->ops, done, arg, e);
}

/* --- The network --------------------------------------------------------------------------------------------- */

struct network_op {
	struct qemu_network *net;
	backend_network_done *done;
	void *arg;
};

static void on_network_open(void *arg, int r, struct private_net *net, const struct err *e)
{
	struct network_op *op = arg;
	struct qemu_network *n = op->net;
	backend_network_done *done = op->done;
	void *done_arg = op->arg;

	free(op);
	if (r < 0) {
		free(n);
		done(done_arg, r, NULL, e);
		return;
	}
	n->net = net;
	done(done_arg, 0, &n->base, NULL);
}

static int create_network(struct backend *b, const struct network_config *c,
			  backend_network_done *done, void *arg, struct err *e)
{
	struct qemu *q = qemu_of(b);
	const struct private_net_options o = {
		.sandbox = q->sandbox,
		.egress = c->egress,
		.subnet = c->subnet,
		.dir = q->dir,
	};
	struct qemu_network *net = calloc(1, sizeof(*net));
	struct network_op *op = calloc(1, sizeof(*op));
	int r;

	if (!net || !op)
		r = err_set(e, ERR_NO_MEMORY, "out of memory");
	else
		r = files_mkdir_all(q->dir, 0700);
	if (r < 0 && net && op)
		err_errno(e, r, "make %s", q->dir);
	if (r == 0) {
		net->base.backend = b;
		list_init(&net->reserves);
		*op = (struct network_op){net, done, arg};
		r = private_net_open(b->loop, &o, on_network_open, op, e);
	}
	if (r < 0) {
		free(net);
		free(op);
	}
	return r;
}

struct close_op {
	backend_done *done;
	void *arg;
};

static void on_network_closed(void *arg)
{
	struct close_op *op = arg;

	if (op && op->done)
		op->done(op->arg, 0, NULL);
	free(op);
}

struct reserve_op {
	struct list link; /* qemu_network.reserves */
	struct timer *turn;
	struct reservation v;
	backend_reserve_done *done;
	void *arg;
};

static void close_network(struct backend_network *base, backend_done *done, void *arg)
{
	struct qemu_network *n = container_of(base, struct qemu_network, base);
	struct close_op *op = done ? calloc(1, sizeof(*op)) : NULL;
	struct err canceled;

	if (op)
		*op = (struct close_op){done, arg};
	err_set(&canceled, ERR_CANCELED, "canceled");
	while (!list_is_empty(&n->reserves)) {
		struct reserve_op *r = list_entry(n->reserves.next, struct reserve_op, link);

		list_remove(&r->link);
		timer_stop(&r->turn);
		r->done(r->arg, err_code_number(ERR_CANCELED), NULL, &canceled);
		free(r);
	}
	private_net_close(n->net, on_network_closed, op);
	free(n);
}

static const char *subnet(struct backend_network *base)
{
	return private_net_subnet(container_of(base, struct qemu_network, base)->net);
}

static void on_reserved(void *arg)
{
	struct reserve_op *op = arg;

	list_remove(&op->link);
	op->done(op->arg, 0, &op->v, NULL);
	free(op);
}

static int reserve(struct backend_network *base, const char *name, const char *ip_hint,
		   backend_reserve_done *done, void *arg, struct err *e)
{
	struct qemu_network *n = container_of(base, struct qemu_network, base);
	struct reserve_op *op = calloc(1, sizeof(*op));
	int r;

	if (!op)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	name_mac(DROVER_MAC_SALT, name, op->v.mac);
	op->done = done;
	op->arg = arg;
	r = private_net_reserve(n->net, name, op->v.mac, ip_hint, op->v.ip, e);
	if (r == 0 && !timer_start(base->backend->loop, 0, on_reserved, op, &op->turn))
		r = err_set(e, ERR_NO_MEMORY, "out of memory");
	if (r < 0) {
		free(op);
		return r;
	}
	list_append(&n->reserves, &op->link);
	return 0;
}

/* --- VMs ----------------------------------------------------------------------------------------------------- */

static int check_program(struct err *e)
{
	scoped(mem) char *path = files_find_program(QEMU_PROGRAM);

	return path ? 0
		    : err_set(e, ERR_MISSING_PROGRAM,
			      QEMU_PROGRAM " is not installed: apt-get install qemu-system-x86");
}

static int create(struct backend *b, struct backend_network *net, const struct vm_spec *spec,
		  const struct reservation *res, struct backend_vm **ret, struct err *e)
{
	scoped(mem) char *format = NULL;
	struct qemu_vm *vm;
	int r = check_spec(spec, &format, e);

	if (r == 0)
		r = check_program(e);
	if (r < 0)
		return r;
	vm = calloc(1, sizeof(*vm));
	if (!vm || vm_spec_copy(&vm->spec, spec) < 0) {
		free(vm);
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	}
	vm->base.backend = b;
	vm->net = container_of(net, struct qemu_network, base);
	vm->res = *res;
	vm->disk_format = take_ptr(&format);
	vm->state = VM_STOPPED;
	waiters_init(&vm->starts, b->loop);
	waiters_init(&vm->stops, b->loop);
	waiters_init(&vm->waits, b->loop);
	waiters_init(&vm->addresses, b->loop);
	waiters_init(&vm->switches, b->loop);
	waiters_init(&vm->points, b->loop);
	waiters_init(&vm->ops, b->loop);
	list_init(&vm->questions);
	*ret = &vm->base;
	return 0;
}

static const struct backend_ops qemu_ops = {
	.name = "qemu",
	.free = qemu_free,
	.nested_virt_supported = nested_virt_supported,
	.supports_clustering = supports_clustering,
	.reconcile = reconcile,
	.create_network = create_network,
	.close_network = close_network,
	.subnet = subnet,
	.reserve = reserve,
	.create = create,
	.start = vm_start,
	.stop = vm_stop,
	.state = op_state,
	.wait = vm_wait,
	.wait_address = vm_wait_address,
	.release = vm_release,
	.kill = vm_kill,
	.pause = vm_pause,
	.resume = vm_resume,
	.save = point_save,
	.load = point_load,
	.dial = op_dial,
	.console = op_console,
	.stats = op_stats,
};

static int read_accel(enum accel *ret, struct err *e)
{
	const char *text = getenv("DROVER_ACCEL");

	if (!text || !*text || strcmp(text, "auto") == 0)
		*ret = ACCEL_AUTO;
	else if (strcmp(text, "kvm") == 0)
		*ret = ACCEL_KVM;
	else if (strcmp(text, "tcg") == 0)
		*ret = ACCEL_TCG;
	else
		return err_set(e, ERR_INVALID, "DROVER_ACCEL: '%s' is none of auto, kvm, tcg",
			       text);
	return 0;
}

struct backend *qemu_backend_new(uv_loop_t *loop, const struct sandbox *sandbox, const char *dir,
				 struct err *e)
{
	struct qemu *q;
	enum accel accel = ACCEL_AUTO;

	if (read_accel(&accel, e) < 0)
		return NULL;
	q = calloc(1, sizeof(*q));
	if (q)
		q->dir = strdup(dir);
	if (!q || !q->dir) {
		free(q);
		err_set(e, ERR_NO_MEMORY, "out of memory");
		return NULL;
	}
	q->base.ops = &qemu_ops;
	q->base.loop = loop;
	q->sandbox = sandbox;
	q->accel = accel;
	waiters_init(&q->ops, loop);
	return &q->base;
}
