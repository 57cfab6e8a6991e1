/* SPDX-License-Identifier: MIT */
#include "network/host_things.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/files.h"
#include "base/scoped.h"
#include "network/host_lock.h"
#include "network/host_net.h"
#include "network/links.h"
#include "network/nft.h"
#include "store/host_tables.h"

#include <string.h>
#include <sys/stat.h>

/* --- Forwarding --------------------------------------------------------------------------------------------------- */

static void forwarding_path(const char *ifname, char *ret, size_t size)
{
	snprintf(ret, size, "/proc/sys/net/ipv4/conf/%s/forwarding", ifname);
}

bool forwarding_is_off(const char *ifname)
{
	scoped(mem) char *text = NULL;
	char path[96];

	forwarding_path(ifname, path, sizeof(path));
	return files_read(path, 64, &text, NULL) == 0 && text[0] == '0';
}

int forwarding_set(const char *ifname, bool on, struct err *e)
{
	char path[96];
	int r;

	forwarding_path(ifname, path, sizeof(path));
	r = files_write_into(path, on ? "1" : "0");
	return r < 0 ? err_errno(e, r, "write %s", path) : 0;
}

bool uplink_is_named(const struct host_records *all, const struct host_record *but,
		     const char *name)
{
	for (size_t i = 0; i < all->n; i++) {
		const struct host_record *r = &all->all[i];

		if (strcmp(r->key, but->key) == 0 || r->net_ns != but->net_ns)
			continue;
		for (size_t j = 0; j < r->n_uplinks; j++)
			if (strcmp(r->uplinks[j], name) == 0)
				return true;
	}
	return false;
}

/* Off again where this boot had it off, unless the host has meanwhile been told to forward everywhere. */
static int restore_forwarding(const struct host_record *r, const struct host_records *all,
			      struct err *e)
{
	char boot_id[BOOT_ID_SIZE];
	int result = 0;

	if (procid_boot_id(boot_id) < 0 || strcmp(boot_id, r->owner.boot_id) != 0 ||
	    !forwarding_is_off("all"))
		return 0;
	for (size_t i = 0; i < r->n_uplinks && result == 0; i++)
		if (!uplink_is_named(all, r, r->uplinks[i]) && if_nametoindex(r->uplinks[i]) != 0)
			result = forwarding_set(r->uplinks[i], false, e);
	return result;
}

/* --- One record --------------------------------------------------------------------------------------------------- */

/* The links with the key: taps, then the bridge. */
static int remove_links(const char *key, struct err *e)
{
	struct if_nameindex *all = if_nameindex();
	char bridge[IF_NAMESIZE];
	int result = 0;

	if (!all)
		return err_errno(e, -errno, "list the host's interfaces");
	for (size_t i = 0; all[i].if_index && result == 0; i++) {
		char its[HOST_KEY_SIZE];
		bool is_tap;

		if (host_name_parse(all[i].if_name, its, &is_tap) && is_tap &&
		    strcmp(its, key) == 0)
			result = links_remove(all[i].if_name, e);
	}
	if_freenameindex(all);
	host_bridge_name(key, bridge);
	if (result == 0 && if_nametoindex(bridge) != 0)
		result = links_remove(bridge, e);
	return result;
}

int things_remove(struct host_record *r, const struct host_records *all, struct err *e)
{
	char table[HOST_TABLE_SIZE];
	int result = 0;

	if (r->net_ns == host_namespace("net")) {
		host_table_name(r->key, table);
		result = remove_links(r->key, e);
		if (result == 0)
			result = nft_table_remove(table, e);
		if (result == 0)
			result = restore_forwarding(r, all, e);
	}
	if (result == 0)
		result = host_record_remove(r->key, e);
	if (result == 0)
		r->n_uplinks = 0;
	return result;
}

/* --- All of them -------------------------------------------------------------------------------------------------- */

/* Whether a process, or a mount as "ip netns" makes them, keeps the network namespace. */
static bool is_net_ns_alive(uint64_t inode)
{
	scoped(dir) DIR *proc = opendir("/proc");
	scoped(mem) char *mounts = NULL;
	struct dirent *entry;
	char name[40];

	snprintf(name, sizeof(name), " net:[%llu] ", (unsigned long long)inode);
	if (files_read("/proc/self/mountinfo", 16 << 20, &mounts, NULL) == 0 &&
	    strstr(mounts, name))
		return true;
	while (proc && (entry = readdir(proc))) {
		char path[64];
		struct stat st;

		snprintf(path, sizeof(path), "%.20s/ns/net", entry->d_name);
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' &&
		    fstatat(dirfd(proc), path, &st, 0) == 0 && st.st_ino == inode)
			return true;
	}
	return !proc;
}

struct reconcile {
	struct host_records records;
	struct buf problems;
	bool orphans; /* asked for: then all that cannot be judged is told too */
};

static void __attribute__((format(printf, 2, 3))) tell(struct reconcile *c, const char *fmt, ...)
{
	char text[ERR_MSG_SIZE];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	buf_addf(&c->problems, "%s%s", c->problems.len ? "; " : "", text);
}

static void reconcile_record(struct reconcile *c, struct host_record *r)
{
	enum host_owner owner;
	struct err e;

	if (r->problem) {
		if (r->key[0])
			tell(c,
			     "%s: %s; if no cluster uses it: ip link delete drv%s; nft delete table "
			     "ip drover_%s; rm %s",
			     r->path, r->problem, r->key, r->key, r->path);
		else
			tell(c, "%s: %s", r->path, r->problem);
		return;
	}
	owner = host_record_owner(r);
	if (owner == HOST_OWNER_ELSEWHERE && c->orphans)
		tell(c, "%s: its owner, pid %d, is of another pid namespace", r->path,
		     (int)r->owner.pid);
	if (owner != HOST_OWNER_DEAD ||
	    (r->net_ns != host_namespace("net") && is_net_ns_alive(r->net_ns)))
		return;
	if (things_remove(r, &c->records, &e) < 0)
		tell(c, "%s: %s", r->path, e.msg);
}

/* A link that has one of our names and no record: whoever holds its tap, or has something on its bridge, lives. */
static void reconcile_link(struct reconcile *c, const char *name)
{
	char key[HOST_KEY_SIZE];
	struct err e;
	bool is_tap;

	if (!host_name_parse(name, key, &is_tap) || host_records_find(&c->records, key))
		return;
	if (is_tap || !links_is_bare_bridge(name))
		tell(c, "%s has a name of drover's but no record, and is in use: left alone", name);
	else if (links_remove(name, &e) < 0)
		tell(c, "%s", e.msg);
}

static void reconcile_table(void *arg, const char *name)
{
	struct reconcile *c = arg;
	char bridge[IF_NAMESIZE];
	char key[HOST_KEY_SIZE];
	struct err e;

	if (!host_table_parse(name, key) || host_records_find(&c->records, key))
		return;
	host_bridge_name(key, bridge);
	if (if_nametoindex(bridge) == 0 && nft_table_remove(name, &e) < 0)
		tell(c, "%s", e.msg);
}

static void reconcile_orphans(struct reconcile *c)
{
	struct if_nameindex *all = if_nameindex();
	int r;

	for (size_t i = 0; all && all[i].if_index; i++)
		reconcile_link(c, all[i].if_name);
	if_freenameindex(all);
	r = host_tables_each(reconcile_table, c);
	if (r < 0)
		tell(c, "list the tables of nftables: %s", strerror(-r));
}

int host_net_reconcile(bool orphans, struct err *e)
{
	struct reconcile c = {.orphans = orphans};
	scoped(host_lock) int lock = -1;
	int r = host_lock(HOST_LOCK_MS, &lock, e);

	if (r == 0)
		r = host_records_load(&c.records, e);
	if (r < 0)
		return r;
	host_records_remove_drafts();
	for (size_t i = 0; i < c.records.n; i++)
		reconcile_record(&c, &c.records.all[i]);
	if (orphans)
		reconcile_orphans(&c);
	if (c.problems.len)
		r = err_set(e, ERR_IO, "%s", c.problems.data);
	host_records_done(&c.records);
	buf_done(&c.problems);
	return r;
}
