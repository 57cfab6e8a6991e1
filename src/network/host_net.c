/* SPDX-License-Identifier: MIT */
#include "network/host_net.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/files.h"
#include "base/scoped.h"
#include "network/host_lock.h"
#include "network/host_things.h"
#include "network/iptables.h"
#include "network/links.h"
#include "network/nft.h"
#include "network/routes.h"
#include "store/host_record.h"

#include <arpa/inet.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/syscall.h>

struct host_net {
	struct host_record record; /* its texts are borrowed, and only for the making */
	char bridge[IF_NAMESIZE];
};

/* --- May we, and does it lead anywhere --------------------------------------------------------------------------- */

static bool has_net_admin(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};

	return syscall(SYS_capget, &head, data) == 0 &&
	       (data[0].effective & (1U << CAP_NET_ADMIN)) != 0;
}

int host_net_check(struct err *e)
{
	if (geteuid() == 0 && has_net_admin())
		return 0;
	return err_hint(e,
			err_set(e, ERR_DENIED,
				"--network host changes the host's network, which needs root with "
				"CAP_NET_ADMIN"),
			"--network private, the default, needs neither");
}

char *host_net_warning(void)
{
	scoped(buf) struct buf text = BUF_INIT;
	struct err e;

	/* What cannot be told of one is no reason to be silent of the other. */
	nft_what_drops(&text, &e);
	iptables_what_drops(&text);
	return text.len ? buf_take(&text) : NULL;
}

/* --- A subnet that is free --------------------------------------------------------------------------------------- */

static bool is_recorded(const struct host_records *l, const struct host_record *mine)
{
	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->all[i].key, mine->key) != 0 && l->all[i].net_ns == mine->net_ns &&
		    strcmp(l->all[i].subnet, mine->subnet) == 0)
			return true;
	return false;
}

static bool try_subnet(const char *network, const struct routes *routes,
		       const struct host_records *l, struct host_record *r)
{
	char address[IP_SIZE];
	struct in_addr in;

	snprintf(address, sizeof(address), "%s.0", network);
	snprintf(r->subnet, sizeof(r->subnet), "%s/24", address);
	return inet_pton(AF_INET, address, &in) == 1 &&
	       !routes_overlap(routes, ntohl(in.s_addr), 24) && !is_recorded(l, r);
}

/*
 * @wanted, else the first free /24 of some private ranges, from a place on that depends on the cluster: so clusters that
 * stop and start by turns do not take each other's.
 */
static int choose_subnet(const char *wanted, const struct routes *routes,
			 const struct host_records *l, struct host_record *r, struct err *e)
{
	static const char *const ranges[] = {"10.83", "172.31", "192.168"};
	unsigned first = (unsigned)strtoul(r->key, NULL, 16);
	char network[IP_SIZE];

	if (wanted && str_ends(wanted, ".0/24")) {
		snprintf(network, sizeof(network), "%.*s", (int)(strlen(wanted) - 5), wanted);
		if (try_subnet(network, routes, l, r))
			return 0;
	}
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		for (unsigned j = 0; j < 256; j++) {
			snprintf(network, sizeof(network), "%s.%u", ranges[i], (first + j) & 0xff);
			if (try_subnet(network, routes, l, r))
				return 0;
		}
	return err_set(e, ERR_NO_ADDRESS,
		       "this host's routes leave no /24 free in 10.83.0.0/16, 172.31.0.0/16 and "
		       "192.168.0.0/16");
}

/* --- Making ------------------------------------------------------------------------------------------------------- */

/* Ways out where forwarding is off, or was before a cluster that lives turned it on. */
static void choose_uplinks(const struct routes *routes, const struct host_records *l,
			   struct host_record *r)
{
	for (size_t i = 0; i < routes->n_uplinks && r->n_uplinks < HOST_MAX_UPLINKS; i++)
		if (forwarding_is_off(routes->uplinks[i]) ||
		    uplink_is_named(l, r, routes->uplinks[i]))
			memcpy(r->uplinks[r->n_uplinks++], routes->uplinks[i], IF_NAMESIZE);
}

static int fill_record(const struct host_net_owner *o, const char *wanted, bool egress,
		       const struct host_records *l, struct host_record *r, struct err *e)
{
	scoped(routes) struct routes routes = {0};
	int result = routes_read(&routes, e);

	if (result < 0)
		return result;
	r->root = (char *)(uintptr_t)o->root;
	snprintf(r->member, sizeof(r->member), "%s", o->member);
	r->owner = o->id;
	r->pid_ns = o->pid_ns;
	result = choose_subnet(wanted, &routes, l, r, e);
	if (result == 0 && egress)
		choose_uplinks(&routes, l, r);
	return result;
}

static int make_things(const struct host_net *n, bool egress, struct err *e)
{
	const struct host_record *r = &n->record;
	char gateway[SUBNET_SIZE];
	char table[HOST_TABLE_SIZE];
	const struct nft_host filter = {
		.table = table, .bridge = n->bridge, .subnet = r->subnet, .egress = egress};
	int result;

	host_table_name(r->key, table);
	snprintf(gateway, sizeof(gateway), "%.*s1", (int)(strlen(r->subnet) - 4), r->subnet);
	result = links_bridge_make(n->bridge, gateway, e);
	if (result == 0)
		result = nft_host_make(&filter, e);
	if (result == 0 && egress)
		result = forwarding_set(n->bridge, true, e);
	for (size_t i = 0; i < r->n_uplinks && result == 0; i++)
		result = forwarding_set(r->uplinks[i], true, e);
	return result;
}

static int make(const struct host_net_owner *o, const char *wanted, bool egress,
		const struct host_records *l, struct host_net *n, struct err *e)
{
	int r = fill_record(o, wanted, egress, l, &n->record, e);

	if (r == 0)
		r = host_record_save(&n->record, e);
	if (r < 0)
		return r;
	r = make_things(n, egress, e);
	if (r < 0)
		things_remove(&n->record, l, NULL);
	return r;
}

/* Under the lock: all records, and of @n what follows from its owner. */
static int begin(const struct host_net_owner *o, struct host_net *n, struct host_records *l,
		 int *ret_lock, struct err *e)
{
	int r = n ? host_lock(HOST_LOCK_MS, ret_lock, e)
		  : err_set(e, ERR_NO_MEMORY, "out of memory");

	if (r == 0)
		r = host_records_load(l, e);
	if (r < 0)
		return r;
	host_key(o->root, o->member, n->record.key);
	host_bridge_name(n->record.key, n->bridge);
	n->record.net_ns = host_namespace("net");
	return 0;
}

/* Nothing may be recorded under our key but what our own helper left when it was killed. */
static int clear_key(const struct host_net_owner *o, const struct host_net *n,
		     const struct host_records *l, struct err *e)
{
	struct host_record *r = host_records_find(l, n->record.key);

	if (!r)
		return 0;
	if (r->problem)
		return err_set(e, ERR_IO, "%s: %s", r->path, r->problem);
	if (procid_equal(&r->owner, &o->id))
		return things_remove(r, l, e);
	return err_set(e, ERR_EXISTS,
		       "the network %s is recorded for member %s, pid %d, in %s; 'drover prune' "
		       "removes what is dead",
		       n->bridge, r->member, (int)r->owner.pid, r->path);
}

int host_net_open(const struct host_net_owner *o, const char *wanted, bool egress,
		  struct host_net **ret, struct err *e)
{
	scoped(host_records) struct host_records records = {0};
	scoped(mem) struct host_net *n = calloc(1, sizeof(*n));
	scoped(host_lock) int lock = -1;
	int r = begin(o, n, &records, &lock, e);

	if (r == 0)
		r = clear_key(o, n, &records, e);
	if (r == 0)
		r = make(o, wanted, egress, &records, n, e);
	if (r < 0)
		return r;
	*ret = take_ptr(&n);
	return 0;
}

pid_t host_net_holder(const struct host_net_owner *o)
{
	scoped(host_records) struct host_records records = {0};
	struct host_net n = {0};
	const struct host_record *found;
	scoped(host_lock) int lock = -1;

	if (begin(o, &n, &records, &lock, NULL) < 0)
		return 0;
	found = host_records_find(&records, n.record.key);
	if (!found || found->problem || procid_equal(&found->owner, &o->id) ||
	    host_record_owner(found) != HOST_OWNER_LIVES)
		return 0;
	return found->owner.pid;
}

int host_net_adopt(const struct host_net_owner *o, struct host_net **ret, struct err *e)
{
	scoped(host_records) struct host_records records = {0};
	scoped(mem) struct host_net *n = calloc(1, sizeof(*n));
	const struct host_record *found;
	scoped(host_lock) int lock = -1;
	int r = begin(o, n, &records, &lock, e);

	if (r < 0)
		return r;
	found = host_records_find(&records, n->record.key);
	if (!found || found->problem || !procid_equal(&found->owner, &o->id) ||
	    if_nametoindex(n->bridge) == 0)
		return err_set(e, ERR_INTERNAL, "the network %s is there no more", n->bridge);
	memcpy(n->record.subnet, found->subnet, sizeof(n->record.subnet));
	n->record.owner = found->owner;
	*ret = take_ptr(&n);
	return 0;
}

const char *host_net_bridge(const struct host_net *n)
{
	return n->bridge;
}

const char *host_net_subnet(const struct host_net *n)
{
	return n->record.subnet;
}

int host_net_tap(const struct host_net *n, int *ret_fd, char ret_ifname[IF_NAMESIZE], struct err *e)
{
	char pattern[IF_NAMESIZE];

	snprintf(pattern, sizeof(pattern), "%.11st%%d", n->bridge);
	return links_tap_make(n->bridge, pattern, ret_fd, ret_ifname, e);
}

/* --- Removing ----------------------------------------------------------------------------------------------------- */

/* Under the lock: what is recorded under @key, if it is @id's. */
static int remove_recorded(const char *key, const struct procid *id, struct err *e)
{
	scoped(host_records) struct host_records records = {0};
	struct host_record *r;
	scoped(host_lock) int lock = -1;
	int result = host_lock(HOST_LOCK_MS, &lock, e);

	if (result == 0)
		result = host_records_load(&records, e);
	if (result < 0)
		return result;
	r = host_records_find(&records, key);
	if (!r || r->problem || !procid_equal(&r->owner, id))
		return 0;
	return things_remove(r, &records, e);
}

void host_net_close(struct host_net *n)
{
	struct err e;

	if (n && remove_recorded(n->record.key, &n->record.owner, &e) < 0)
		fprintf(stderr, "network: %s\n", e.msg);
	free(n);
}

void host_net_sweep(const struct host_net_owner *o)
{
	char key[HOST_KEY_SIZE];
	struct err e;

	host_key(o->root, o->member, key);
	if (remove_recorded(key, &o->id, &e) < 0)
		fprintf(stderr, "network: %s\n", e.msg);
}
