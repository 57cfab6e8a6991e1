/* SPDX-License-Identifier: MIT */
#include "backend/local/network.h"

#include "backend/local/local.h"
#include "base/files.h"
#include "base/str.h"
#include "config.h"
#include "loop/timer.h"
#include "network/private_net.h"

#include <stdlib.h>

struct network_op {
	struct local_network *net;
	backend_network_done *done;
	void *arg;
};

static void on_network_open(void *arg, int r, struct private_net *net, const struct err *e)
{
	struct network_op *op = arg;
	struct local_network *n = op->net;
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

int local_create_network(struct backend *b, const struct network_config *c,
			 backend_network_done *done, void *arg, struct err *e)
{
	struct local_backend *l = local_of(b);
	const struct private_net_options o = {
		.sandbox = l->sandbox,
		.egress = c->egress,
		.subnet = c->subnet,
		.dir = l->dir,
	};
	struct local_network *net = calloc(1, sizeof(*net));
	struct network_op *op = calloc(1, sizeof(*op));
	int r;

	if (!net || !op)
		r = err_set(e, ERR_NO_MEMORY, "out of memory");
	else
		r = files_mkdir_all(l->dir, 0700);
	if (r < 0 && net && op)
		err_errno(e, r, "make %s", l->dir);
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
	struct list link; /* local_network.reserves */
	struct timer *turn;
	struct reservation v;
	backend_reserve_done *done;
	void *arg;
};

void local_close_network(struct backend_network *base, backend_done *done, void *arg)
{
	struct local_network *n = local_network_of(base);
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

const char *local_subnet(struct backend_network *base)
{
	return private_net_subnet(local_network_of(base)->net);
}

static void on_reserved(void *arg)
{
	struct reserve_op *op = arg;

	list_remove(&op->link);
	op->done(op->arg, 0, &op->v, NULL);
	free(op);
}

int local_reserve(struct backend_network *base, const char *name, const char *ip_hint,
		  backend_reserve_done *done, void *arg, struct err *e)
{
	struct local_network *n = local_network_of(base);
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
