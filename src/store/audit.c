/* SPDX-License-Identifier: MIT */
#include "store/audit.h"

#include "base/err.h"
#include "base/files.h"
#include "base/scoped.h"
#include "store/captures.h"
#include "store/locks.h"
#include "store/namespaces.h"

#include <string.h>

struct audit {
	const struct store *store;
	const struct giveup *giveup;
	struct process_list processes;
	struct thing_list things;
	struct held_list held;
	struct name_list names; /* of directories in the store and of what live helpers serve */
	bool out_of_memory;
};

const char *thing_kind_name(enum thing_kind kind)
{
	static const char *const names[] = {
#define X(id, name) name,
		THING_MAP(X)
#undef X
	};

	return names[kind];
}

void thing_list_done(struct thing_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->all[i].what);
	free(l->all);
	*l = (struct thing_list){0};
}

/* Takes @what (heap; NULL: out of memory). */
static void add(struct audit *a, enum thing_kind kind, char *what, const char *member, pid_t owner)
{
	struct thing *all = realloc(a->things.all, (a->things.n + 1) * sizeof(*all));
	struct thing *t;

	if (all)
		a->things.all = all;
	if (!all || !what) {
		a->out_of_memory = true;
		free(what);
		return;
	}
	t = &a->things.all[a->things.n++];
	*t = (struct thing){.kind = kind, .what = what, .owner = owner};
	str_copy(t->member, sizeof(t->member), member);
}

/* Then what is still to be told is told to nobody. */
static bool is_over(const struct audit *a)
{
	return giveup_check(a->giveup, NULL) < 0;
}

static bool is_told(const struct audit *a, enum thing_kind kind, const char *what)
{
	for (size_t i = 0; i < a->things.n; i++)
		if (a->things.all[i].kind == kind && strcmp(a->things.all[i].what, what) == 0)
			return true;
	return false;
}

/* --- Processes and what they hold ------------------------------------------------------------------------------ */

static void tell_one(void *arg, enum thing_kind kind, const char *what, const char *member,
		     pid_t owner)
{
	add(arg, kind, what ? strdup(what) : NULL, member, owner);
}

/* The devices of the process's network, its loopback aside. */
static void tell_interfaces(struct audit *a, const struct process *p)
{
	char path[64];
	scoped(mem) char *text = NULL;
	char *save = NULL;

	snprintf(path, sizeof(path), "/proc/%d/net/dev", (int)p->id.pid);
	if (files_read(path, 1 << 20, &text, NULL) < 0)
		return; /* it has gone */
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *colon = strchr(line, ':');

		line += strspn(line, " ");
		if (!colon || str_starts(line, "lo:"))
			continue;
		*colon = '\0';
		add(a, THING_INTERFACE, strdup(line), p->member, p->owner);
	}
}

static bool read_namespace(const char *pid, const char *kind, char *ret, size_t size)
{
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%s/ns/%s", pid, kind);
	n = readlink(path, ret, size - 1);
	if (n < 0)
		return false;
	ret[n] = '\0';
	return true;
}

static void tell_namespaces(struct audit *a, const struct process *p)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", (int)p->id.pid);
	for (size_t i = 0; i < NAMESPACE_KINDS; i++) {
		const char *kind = namespace_kinds[i];
		char its[64];
		char ours[64];

		if (!read_namespace(pid, kind, its, sizeof(its)) ||
		    !read_namespace("self", kind, ours, sizeof(ours)) || strcmp(its, ours) == 0 ||
		    is_told(a, THING_NAMESPACE, its))
			continue;
		add(a, THING_NAMESPACE, strdup(its), p->member, p->owner);
		if (strcmp(kind, "net") == 0)
			tell_interfaces(a, p);
		if (strcmp(kind, "mnt") == 0)
			audit_mounts_of(p, tell_one, a);
	}
}

static void tell_processes(struct audit *a)
{
	for (size_t i = 0; i < a->processes.n; i++) {
		const struct process *p = &a->processes.all[i];

		add(a, THING_PROCESS, str_format("%s, pid %d", p->program, (int)p->id.pid),
		    p->member, p->owner);
	}
	for (size_t i = 0; i < a->processes.n && !is_over(a); i++)
		tell_namespaces(a, &a->processes.all[i]);
}

/* --- Who has a name -------------------------------------------------------------------------------------------- */

/* The next name of a list like "a,b", from *@at on: false at its end. */
static bool next_name(const char **at, char ret[NAME_SIZE])
{
	size_t len = *at ? strcspn(*at, ",") : 0;

	if (len == 0)
		return false;
	snprintf(ret, NAME_SIZE, "%.*s", (int)len, *at);
	*at += len;
	*at += strspn(*at, ",");
	return true;
}

/* The live helper that was started for @name, whatever its pidfile says yet or no more. */
static pid_t find_helper(const struct process_list *l, const char *name)
{
	for (size_t i = 0; i < l->n; i++) {
		const struct process *p = &l->all[i];
		const char *at = p->is_helper && p->owner ? p->members : NULL;
		char its[NAME_SIZE];

		while (next_name(&at, its))
			if (strcmp(its, name) == 0)
				return p->owner;
	}
	return 0;
}

static pid_t find_owner(const struct audit *a, const char *name)
{
	pid_t pid = store_owner_alive(a->store, name);

	return pid ? pid : find_helper(&a->processes, name);
}

static void add_name(struct audit *a, const char *name)
{
	if (name_list_add_once(&a->names, name) < 0)
		a->out_of_memory = true;
}

static void collect_helper_names(struct audit *a)
{
	for (size_t i = 0; i < a->processes.n; i++) {
		const char *at = a->processes.all[i].members;
		char name[NAME_SIZE];

		while (next_name(&at, name))
			if (name_is_valid(name))
				add_name(a, name);
	}
}

/* --- The store -------------------------------------------------------------------------------------------------- */

/* What files_replace leaves when it is killed in between: NAME.XXXXXX. */
static bool is_draft(const char *file)
{
	static const char *const names[] = {"config.json.", "owner.", "pid."};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (str_starts(file, names[i]) && strlen(file) == strlen(names[i]) + 6)
			return true;
	return false;
}

static void tell_files(struct audit *a, const char *name, const char *path, pid_t owner)
{
	scoped(dir) DIR *dir = opendir(path);
	struct dirent *entry;

	while (dir && !is_over(a) && (entry = readdir(dir))) {
		const char *file = entry->d_name;

		if (strcmp(file, MEMBER_PID) == 0 || strcmp(file, MEMBER_OWNER) == 0)
			add(a, THING_PIDFILE, str_format("%s/%s", path, file), name, owner);
		else if (is_draft(file))
			add(a, THING_FILE, str_format("%s/%s", path, file), name, owner);
	}
}

static bool is_held_now(const char *lock)
{
	struct held_list now;
	bool is_held = held_list_read(&now) == 0 && held_list_find(&now, lock) != 0;

	free(now.all);
	return is_held;
}

static void tell_member(struct audit *a, const char *name)
{
	scoped(mem) char *path = store_member_path(a->store, name, NULL);
	scoped(mem) char *lock = store_member_path(a->store, name, ".lock");
	pid_t owner = find_owner(a, name);
	uint64_t ticks;
	pid_t holder;
	bool is_held;

	if (!path || !lock) {
		a->out_of_memory = true;
		return;
	}
	holder = held_list_find(&a->held, lock);
	is_held = holder != 0;
	if (holder && procid_start_ticks(holder, &ticks) < 0) {
		holder = 0; /* who took it has left it to another, or has just gone */
		is_held = owner || is_held_now(lock);
	}
	if (is_held) /* any process of a cluster may have taken it: its owner answers for it */
		add(a, THING_LOCK, strdup(lock), name, owner ? owner : holder);
	owner = owner ? owner : holder;
	if (!store_member_exists(a->store, name))
		add(a, THING_DIRECTORY, strdup(path), name, owner);
	tell_files(a, name, path, owner);
}

static void tell_cluster(struct audit *a, const char *cluster)
{
	scoped(mem) char *path = str_format("%s/clusters/%s", a->store->root, cluster);
	scoped(dir) DIR *dir = path ? opendir(path) : NULL;
	struct dirent *entry;
	bool empty = true;

	if (!dir && errno != ENOENT && errno != ENOTDIR)
		add(a, THING_UNREADABLE, str_format("%s: %s", path, strerror(errno)), "", 0);
	while (dir && !is_over(a) && (entry = readdir(dir))) {
		char derived[NAME_SIZE];

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		empty = false;
		if (!name_is_valid(entry->d_name))
			continue;
		name_cluster(entry->d_name, derived);
		if (strcmp(derived, cluster) != 0)
			continue;
		add_name(a, entry->d_name);
		tell_member(a, entry->d_name);
	}
	if (dir && empty)
		add(a, THING_DIRECTORY, strdup(path), "", 0);
}

static int tell_clusters(struct audit *a, struct err *e)
{
	scoped(mem) char *path = str_format("%s/clusters", a->store->root);
	scoped(dir) DIR *dir = path ? opendir(path) : NULL;
	struct dirent *entry;

	if (!dir)
		return err_errno(e, -errno, "read %s", path ? path : "clusters");
	while (!is_over(a) && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			tell_cluster(a, entry->d_name);
	return 0;
}

/* What a client that was killed has captured and left; one that lives holds its lock. */
static void tell_captures(struct audit *a)
{
	scoped(mem) char *all = str_format("%s/captures", a->store->root);
	scoped(dir) DIR *dir = all ? opendir(all) : NULL;
	const struct dirent *entry;

	while (dir && !is_over(a) && (entry = readdir(dir))) {
		scoped(mem) char *path = str_format("%s/%s", all, entry->d_name);
		scoped(mem) char *lock = path ? str_format("%s/.lock", path) : NULL;

		if (entry->d_name[0] != '.' && lock)
			add(a, THING_DIRECTORY, strdup(path), "", held_list_find(&a->held, lock));
	}
}

/* The name whose sockets are called @file, or NULL. Borrowed. */
static const char *name_of_socket(const struct audit *a, const char *file)
{
	for (size_t i = 0; i < a->names.n; i++) {
		char key[SOCKET_KEY_LEN + 1];

		name_socket_key(a->names.names[i], key);
		if (str_starts(file, key) && file[SOCKET_KEY_LEN] == '.')
			return a->names.names[i];
	}
	return NULL;
}

/* The supervisor that has its network's files in "KEY.PID.net", or 0: not who runs the member now, if that is another. */
static pid_t network_owner(const struct audit *a, const char *file)
{
	const char *dot = strchr(file, '.');
	pid_t pid = dot ? (pid_t)strtol(dot + 1, NULL, 10) : 0;
	scoped(mem) char *name = NULL;
	struct procid id;

	for (size_t i = 0; i < a->processes.n; i++)
		if (pid && a->processes.all[i].owner == pid)
			return pid;
	/* it may have been started after the processes were listed; one that waits to be reaped has ended */
	if (pid <= 0 || procid_of(pid, &id) < 0 || !procid_is_alive(&id))
		return 0;
	name = process_name(pid);
	return name && strcmp(name, "drover-helper") == 0 ? pid : 0;
}

static pid_t run_owner(const struct audit *a, const char *file, const char *name)
{
	if (str_ends(file, ".net"))
		return network_owner(a, file);
	return name ? find_owner(a, name) : 0;
}

static int tell_run(struct audit *a, struct err *e)
{
	scoped(dir) DIR *dir = opendir(a->store->run);
	struct dirent *entry;

	if (!dir)
		return err_errno(e, -errno, "read %s", a->store->run);
	while (!is_over(a) && (entry = readdir(dir))) {
		const char *file = entry->d_name;
		const char *name = name_of_socket(a, file);

		if (strcmp(file, ".") == 0 || strcmp(file, "..") == 0)
			continue;
		add(a,
		    entry->d_type == DT_DIR   ? THING_DIRECTORY
		    : entry->d_type == DT_REG ? THING_FILE
					      : THING_SOCKET,
		    str_format("%s/%s", a->store->run, file), name ? name : "",
		    run_owner(a, file, name));
	}
	return 0;
}

/* What is mounted there is whoever's runs there. */
static void tell_mount(void *arg, enum thing_kind kind, const char *what, const char *member,
		       pid_t owner)
{
	tell_one(arg, kind, what, member, *member ? find_owner(arg, member) : owner);
}

static int begin(struct audit *a, const struct store *s, const struct giveup *g, struct err *e)
{
	int r;

	*a = (struct audit){.store = s, .giveup = g};
	r = store_processes(s, g, &a->processes, e);
	if (r < 0)
		return r;
	a->out_of_memory = held_list_read(&a->held) < 0;
	collect_helper_names(a);
	tell_processes(a);
	tell_captures(a);
	r = tell_clusters(a, e);
	if (r == 0)
		r = tell_run(a, e);
	if (r == 0)
		r = giveup_check(g, e);
	if (r < 0)
		return r;
	audit_mounts_here(s, tell_mount, a);
	r = audit_namespaces(s, g, tell_one, a);
	if (r < 0)
		return err_errno(e, r, "read %s/namespaces", s->root);
	r = giveup_check(g, e);
	return r < 0 ? r : audit_host(s, &a->processes, g, tell_one, a, e);
}

static void end(struct audit *a)
{
	process_list_done(&a->processes);
	thing_list_done(&a->things);
	name_list_done(&a->names);
	free(a->held.all);
}

int store_audit(const struct store *s, const struct giveup *g, struct thing_list *ret,
		struct err *e)
{
	struct audit a;
	int r = begin(&a, s, g, e);

	if (r == 0 && a.out_of_memory)
		r = err_set(e, ERR_NO_MEMORY, "out of memory");
	if (r == 0) {
		*ret = a.things;
		a.things = (struct thing_list){0};
	}
	end(&a);
	return r;
}

/* --- Prune ------------------------------------------------------------------------------------------------------ */

static bool is_removable(const struct thing *t)
{
	return t->owner == 0 && (t->kind == THING_PIDFILE || t->kind == THING_SOCKET ||
				 t->kind == THING_DIRECTORY || t->kind == THING_FILE);
}

static int remove_path(const char *path, struct err *e)
{
	int r = files_remove_tree(path);

	return r < 0 ? err_errno(e, r, "remove %s", path) : 0;
}

/* What is nobody's of one member. Its lock is held by whoever makes, runs or removes it: then nothing is ours to do. */
static int prune_member(const struct audit *a, const char *name, struct err *e)
{
	const struct store *s = a->store;
	scoped(mem) char *dir = store_member_path(s, name, NULL);
	scoped(lock) int lock = -1;
	int r = 0;

	if (!dir || !files_exist(dir) || store_member_lock(s, name, &lock, NULL) < 0 ||
	    find_owner(a, name))
		return 0;
	for (size_t i = 0; i < a->things.n && r == 0; i++) {
		const struct thing *t = &a->things.all[i];

		if (is_removable(t) && strcmp(t->member, name) == 0 && strcmp(t->what, dir) != 0)
			r = remove_path(t->what, e);
	}
	if (r == 0 && !store_member_exists(s, name))
		r = store_member_remove(s, name, e);
	return r;
}

static bool is_at_home(const struct audit *a, const char *name)
{
	scoped(mem) char *dir = store_member_path(a->store, name, NULL);

	return !dir || files_exist(dir);
}

/*
 * Files that no member's directory stands for, and those of networks whose supervisor is dead: nobody can be about to use
 * them. Empty directories of clusters: rmdir says.
 */
static int prune_nameless(const struct audit *a, const struct giveup *g, struct err *e)
{
	int first = 0;

	for (size_t i = 0; i < a->things.n; i++) {
		const struct thing *t = &a->things.all[i];
		bool is_net = str_ends(t->what, ".net");
		int r = giveup_check(g, first < 0 ? NULL : e);

		if (r < 0)
			return first < 0 ? first : r;
		if (!is_removable(t) || (*t->member && !is_net && is_at_home(a, t->member)))
			continue;
		if (t->kind == THING_DIRECTORY && !is_net)
			rmdir(t->what);
		else
			r = remove_path(t->what, first < 0 ? NULL : e);
		first = first < 0 ? first : r;
	}
	return first;
}

/* What lies in the store, once its orphans are ended. */
static int prune_files(struct audit *a, const struct giveup *g, struct err *e)
{
	int first = 0;
	int r;

	for (size_t i = 0; i < a->names.n; i++) {
		r = giveup_check(g, first < 0 ? NULL : e);

		if (r < 0)
			return first < 0 ? first : r;
		r = prune_member(a, a->names.names[i], first < 0 ? NULL : e);
		first = first < 0 ? first : r;
	}
	r = prune_nameless(a, g, first < 0 ? NULL : e);
	first = first < 0 ? first : r;
	store_logs_remove(a->store, NULL);
	r = captures_sweep(a->store, g, first < 0 ? NULL : e);
	return first < 0 ? first : r;
}

int store_prune(const struct store *s, const struct giveup *g, struct err *e)
{
	scoped(processes) struct process_list processes = {0};
	struct audit a = {0};
	int first = store_processes(s, g, &processes, e);
	int r;

	if (first < 0)
		return first;
	first = store_end_orphans(&processes, g, e);
	if (giveup_check(g, NULL) < 0)
		return first < 0 ? first : giveup_check(g, e);
	r = begin(&a, s, g, first < 0 ? NULL : e);
	first = first < 0 ? first : r;
	if (!is_over(&a)) {
		r = prune_files(&a, g, first < 0 ? NULL : e);
		first = first < 0 ? first : r;
	}
	end(&a);
	return first;
}
