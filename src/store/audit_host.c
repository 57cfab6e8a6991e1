/* SPDX-License-Identifier: MIT */
/*
 * What clusters hold in the host's own network: its records, and interfaces and tables of the packet filter by their names.
 * Who may not list the tables is told of one for each record, which is written before it is made.
 */
#include "store/audit.h"

#include "base/err.h"
#include "base/files.h"
#include "base/scoped.h"
#include "store/host_record.h"
#include "store/host_tables.h"
#include "store/locks.h"

#include <string.h>

static inline void scoped_interfaces(struct if_nameindex **all)
{
	if (*all)
		if_freenameindex(*all);
}

/* What an audit of the host goes by. */
struct host_audit {
	const struct store *store;
	const struct process_list *processes;
	struct if_nameindex *links; /* NULL: cannot be listed */
	struct name_list tables;    /* that have a name of ours */
	bool tables_known;
	bool out_of_memory;
	struct host_records records;
	audit_tell *tell;
	void *arg;
};

static void note_table(void *arg, const char *name)
{
	struct host_audit *a = arg;
	char key[HOST_KEY_SIZE];

	if (host_table_parse(name, key) && name_list_add(&a->tables, name) < 0)
		a->out_of_memory = true;
}

/* Whose @r is, when it is to be told in an audit of @s: one of @s always, another store's (to root) when it is nobody's. */
static bool is_told(const struct store *s, const struct host_record *r, pid_t *ret_owner)
{
	enum host_owner owner = host_record_owner(r);

	*ret_owner = owner == HOST_OWNER_DEAD ? 0 : r->owner.pid;
	return strcmp(r->root, s->root) == 0 || (geteuid() == 0 && *ret_owner == 0);
}

static void tell_table(const struct host_audit *a, const struct host_record *r, pid_t owner)
{
	char table[HOST_TABLE_SIZE];

	host_table_name(r->key, table);
	if (!a->tables_known || r->net_ns != host_namespace("net") ||
	    name_list_has(&a->tables, table))
		a->tell(a->arg, THING_TABLE, table, r->member, owner);
}

/* The links with @r's key. */
static void tell_links(const struct host_audit *a, const struct host_record *r, pid_t owner)
{
	char key[HOST_KEY_SIZE];
	bool is_tap;

	if (r->net_ns != host_namespace("net"))
		return;
	for (size_t i = 0; a->links && a->links[i].if_index; i++)
		if (host_name_parse(a->links[i].if_name, key, &is_tap) && strcmp(key, r->key) == 0)
			a->tell(a->arg, is_tap ? THING_TAP : THING_BRIDGE, a->links[i].if_name,
				r->member, owner);
}

static void tell_record(const struct host_audit *a, const struct host_record *r)
{
	scoped(mem) char *what = NULL;
	pid_t owner;

	if (r->problem) {
		what = str_format("%s: %s", r->path, r->problem);
		if (geteuid() == 0)
			a->tell(a->arg, THING_UNREADABLE, what, "", 0);
		return;
	}
	if (!is_told(a->store, r, &owner))
		return;
	a->tell(a->arg, THING_RECORD, r->path, r->member, owner);
	tell_table(a, r, owner);
	tell_links(a, r, owner);
}

static pid_t find_owner(const struct process_list *l, pid_t pid)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->all[i].id.pid == pid)
			return l->all[i].owner;
	return 0;
}

/* One that works for another store: it holds the lock for some ms. */
static bool is_helper(pid_t pid)
{
	scoped(mem) char *name = process_name(pid);

	return !name || strcmp(name, "drover-helper") == 0;
}

/*
 * The lock of all that is in the host's network: whose process of this store has it, or who is not drover at all. With
 * nobody and without a record the file should not be there.
 */
static void tell_lock(const struct host_audit *a)
{
	struct held_list held;
	pid_t holder = held_list_read(&held) == 0 ? held_list_find(&held, HOST_LOCK_FILE) : 0;
	pid_t owner = holder ? find_owner(a->processes, holder) : 0;

	free(held.all);
	if (owner || (holder && geteuid() == 0 && !is_helper(holder)))
		a->tell(a->arg, THING_LOCK, HOST_LOCK_FILE, "", owner ? owner : holder);
	else if (!holder && geteuid() == 0 && a->records.n == 0 && files_exist(HOST_LOCK_FILE))
		a->tell(a->arg, THING_LOCK, HOST_LOCK_FILE, "", 0);
}

/* What has a name of ours and no record: for root, who could remove it. */
static void tell_strays(const struct host_audit *a)
{
	char key[HOST_KEY_SIZE];
	bool is_tap;

	for (size_t i = 0; a->links && a->links[i].if_index; i++)
		if (host_name_parse(a->links[i].if_name, key, &is_tap) &&
		    !host_records_find(&a->records, key) &&
		    if_nametoindex(a->links[i].if_name) != 0)
			a->tell(a->arg, is_tap ? THING_TAP : THING_BRIDGE, a->links[i].if_name, "",
				0);
	for (size_t i = 0; i < a->tables.n; i++)
		if (host_table_parse(a->tables.names[i], key) &&
		    !host_records_find(&a->records, key))
			a->tell(a->arg, THING_TABLE, a->tables.names[i], "", 0);
}

int audit_host(const struct store *s, const struct process_list *processes, const struct giveup *g,
	       audit_tell *tell, void *arg, struct err *e)
{
	/* Interfaces and tables first: each had its record before. */
	scoped(interfaces) struct if_nameindex *links = if_nameindex();
	struct host_audit a = {
		.store = s, .processes = processes, .links = links, .tell = tell, .arg = arg};
	int r;

	a.tables_known = host_tables_each(note_table, &a) == 0;
	r = a.out_of_memory ? err_set(e, ERR_NO_MEMORY, "out of memory")
			    : host_records_load(&a.records, e);
	for (size_t i = 0; r == 0 && i < a.records.n; i++) {
		r = giveup_check(g, e);
		if (r == 0)
			tell_record(&a, &a.records.all[i]);
	}
	if (r == 0 && geteuid() == 0)
		tell_strays(&a);
	if (r == 0)
		tell_lock(&a);
	host_records_done(&a.records);
	name_list_done(&a.tables);
	return r;
}

bool audit_host_has_things(void)
{
	scoped(interfaces) struct if_nameindex *links = if_nameindex();
	struct host_audit a = {0};
	char key[HOST_KEY_SIZE];
	bool found = false;
	bool is_tap;

	if (geteuid() != 0)
		return false;
	host_tables_each(note_table, &a);
	found = a.tables.n > 0 || a.out_of_memory || files_exist(HOST_RUN_DIR);
	for (size_t i = 0; links && links[i].if_index; i++)
		found = found || host_name_parse(links[i].if_name, key, &is_tap);
	name_list_done(&a.tables);
	return found;
}
