/* SPDX-License-Identifier: MIT */
/*
 * What clusters hold in the host's own network, from its records and the names of its interfaces. Bridges and taps are
 * told as they are there; a table of the packet filter is told when its record is, which is written before it is made.
 */
#include "store/audit.h"

#include "base/err.h"
#include "base/files.h"
#include "base/scoped.h"
#include "store/host_record.h"

#include <string.h>

static inline void scoped_interfaces(struct if_nameindex **all)
{
	if (*all)
		if_freenameindex(*all);
}

/* Whose @r is, when it is to be told in an audit of @s: one of @s always, another store's (to root) when it is nobody's. */
static bool is_told(const struct store *s, const struct host_record *r, pid_t *ret_owner)
{
	enum host_owner owner = host_record_owner(r);

	*ret_owner = owner == HOST_OWNER_DEAD ? 0 : r->owner.pid;
	return strcmp(r->root, s->root) == 0 || (geteuid() == 0 && *ret_owner == 0);
}

/* The links with @r's key. */
static void tell_links(const struct if_nameindex *all, const struct host_record *r, pid_t owner,
		       audit_tell *tell, void *arg)
{
	char key[HOST_KEY_SIZE];
	bool is_tap;

	if (r->net_ns != host_namespace("net"))
		return;
	for (size_t i = 0; all && all[i].if_index; i++)
		if (host_name_parse(all[i].if_name, key, &is_tap) && strcmp(key, r->key) == 0)
			tell(arg, is_tap ? "tap" : "bridge", all[i].if_name, r->member, owner);
}

static void tell_record(const struct store *s, const struct if_nameindex *all,
			const struct host_record *r, audit_tell *tell, void *arg)
{
	scoped(mem) char *what = NULL;
	char table[HOST_TABLE_SIZE];
	pid_t owner;

	if (r->problem) {
		what = str_format("%s: %s", r->path, r->problem);
		if (geteuid() == 0)
			tell(arg, "unreadable", what, "", 0);
		return;
	}
	if (!is_told(s, r, &owner))
		return;
	host_table_name(r->key, table);
	tell(arg, "record", r->path, r->member, owner);
	tell(arg, "table", table, r->member, owner);
	tell_links(all, r, owner, tell, arg);
}

int audit_host(const struct store *s, audit_tell *tell, void *arg, struct err *e)
{
	/* Interfaces first: each had its record before. */
	scoped(interfaces) struct if_nameindex *all = if_nameindex();
	scoped(host_records) struct host_records records = {0};
	char key[HOST_KEY_SIZE];
	bool is_tap;
	int r = host_records_load(&records, e);

	if (r < 0)
		return r;
	for (size_t i = 0; i < records.n; i++)
		tell_record(s, all, &records.all[i], tell, arg);
	for (size_t i = 0; all && all[i].if_index && geteuid() == 0; i++)
		if (host_name_parse(all[i].if_name, key, &is_tap) &&
		    !host_records_find(&records, key) && if_nametoindex(all[i].if_name) != 0)
			tell(arg, is_tap ? "tap" : "bridge", all[i].if_name, "", 0);
	return 0;
}

bool audit_host_has_things(void)
{
	scoped(interfaces) struct if_nameindex *all = if_nameindex();
	char key[HOST_KEY_SIZE];
	bool is_tap;

	if (geteuid() != 0)
		return false;
	if (host_records_exist())
		return true; /* there may be tables, too, which only a helper can see */
	for (size_t i = 0; all && all[i].if_index; i++)
		if (host_name_parse(all[i].if_name, key, &is_tap))
			return true;
	return false;
}
