/* SPDX-License-Identifier: MIT */
/* The network part of the contract for VMs of this host: a cluster's private network, whatever runs its VMs. */
#ifndef DROVER_BACKEND_LOCAL_NETWORK_H
#define DROVER_BACKEND_LOCAL_NETWORK_H

#include "backend/backend.h"
#include "base/list.h"

struct private_net;
struct sandbox;

struct local_network {
	struct backend_network base;
	struct private_net *net;
	struct list reserves; /* struct reserve_op */
};

static inline struct local_network *local_network_of(struct backend_network *net)
{
	return container_of(net, struct local_network, base);
}

/* The operations of the contract, of a struct local_backend. */
int local_create_network(struct backend *b, const struct network_config *c,
			 backend_network_done *done, void *arg, struct err *e);
void local_close_network(struct backend_network *net, backend_done *done, void *arg);
const char *local_subnet(struct backend_network *net);
int local_reserve(struct backend_network *net, const char *name, const char *ip_hint,
		  backend_reserve_done *done, void *arg, struct err *e);

#endif
