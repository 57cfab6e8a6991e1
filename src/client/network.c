/* SPDX-License-Identifier: MIT */
/* Which network a cluster gets, and what dead clusters left in the host's. */
#include "backend/remote/remote.h"
#include "base/scoped.h"
#include "client/client.h"
#include "store/host_record.h"

#include <string.h>

struct network_wait {
	unsigned pending;
	struct drover_cluster *cluster;
	struct err error;
	int r;
};

static void on_network(void *arg, int r, struct backend_network *net, const struct err *e)
{
	struct network_wait *w = arg;

	w->pending = 0;
	w->r = r;
	if (r < 0)
		w->error = *e;
	else
		w->cluster->network = net;
}

int cluster_make_network(struct drover_cluster *c, const char *subnet, const struct limits *l,
			 struct err *e)
{
	struct network_config config = {.egress = !c->no_egress,
					.subnet = subnet && *subnet ? subnet : NULL};
	struct network_wait w = {.pending = 1, .cluster = c};
	int r = backend_create_network(c->backend, &config, on_network, &w, e);

	if (r < 0)
		return r;
	/* The operation has a deadline of its own, so the wait ends. */
	r = wait_loop(&c->loop, &w.pending, l->timeout_ms, l->cancel, e);
	if (r < 0) {
		remote_cancel_asked(c->backend);
		return r;
	}
	if (w.r < 0)
		return err_copy(e, &w.error);
	snprintf(c->subnet, sizeof(c->subnet), "%s", backend_subnet(c->network));
	return 0;
}

/* "a.b.c.d" is in "a.b.c.0/24". */
static void subnet_of(const char *ip, char ret[SUBNET_SIZE])
{
	const char *dot = strrchr(ip, '.');

	if (dot)
		snprintf(ret, SUBNET_SIZE, "%.*s.0/24", (int)(dot - ip), ip);
}

void settings_find_network(struct settings *s, const struct store *store,
			   const struct name_list *names)
{
	for (size_t i = 0; i < names->n; i++) {
		scoped(config) struct member_config config = {0};
		bool was_on_host;

		if (store_config_load(store, names->names[i], &config, NULL) < 0)
			continue; /* it is new, or booting it says what is wrong */
		was_on_host = strcmp(config.network, "host") == 0;
		if (!s->network)
			s->network = was_on_host ? "host" : "private";
		if (was_on_host && !*s->subnet)
			subnet_of(config.ip, s->subnet);
		s->no_egress = s->no_egress || config.no_egress;
	}
	if (!s->network)
		s->network = "private";
	if (strcmp(s->network, "host") != 0)
		*s->subnet = '\0'; /* every one is free in a network of its own */
}

/* Some record's owner has died. Only root could do anything about it. */
static bool has_stale_records(void)
{
	scoped(host_records) struct host_records records = {0};

	if (geteuid() != 0 || host_records_load(&records, NULL) < 0)
		return false;
	for (size_t i = 0; i < records.n; i++)
		if (!records.all[i].problem &&
		    host_record_owner(&records.all[i]) == HOST_OWNER_DEAD)
			return true;
	return false;
}

void host_reconcile(const struct store *store, const struct settings *s)
{
	const struct giveup g = cancel_giveup(s ? s->cancel : NULL);
	struct err e;

	if (has_stale_records() && session_reconcile(store, &g, &e) < 0 && s)
		settings_progress(s, "", "warning", -1, "%s", e.msg);
}
