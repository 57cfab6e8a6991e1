/* SPDX-License-Identifier: MIT */
/*
 * Which members belong together, whether they run or not.
 *
 * How it works: the members of a cluster have its id in their configurations, from their last boot. A member whose partners
 * run belongs to them; one without an id, new or of an older drover, to the rest of its name's cluster and their partners.
 */
#include "base/scoped.h"
#include "client/client.h"

#include <string.h>
#include <sys/random.h>

enum { ID_BYTES = (CLUSTER_ID_SIZE - 1) / 2 };

int cluster_id_make(char ret[CLUSTER_ID_SIZE], struct err *e)
{
	unsigned char bytes[ID_BYTES];

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return err_errno(e, -errno, "make the id of a cluster");
	str_hex(bytes, sizeof(bytes), ret);
	return 0;
}

/* "" when it is not known: @name is new, of an older drover or damaged. */
static void load_id(const struct store *store, const char *name, char ret[CLUSTER_ID_SIZE])
{
	scoped(config) struct member_config c = {0};

	if (store_config_load(store, name, &c, NULL) < 0)
		*ret = '\0';
	else
		memcpy(ret, c.cluster_id, sizeof(c.cluster_id));
}

static bool any_same_prefix(const struct name_list *names, const char *name)
{
	for (size_t i = 0; i < names->n; i++)
		if (name_same_cluster(names->names[i], name))
			return true;
	return false;
}

/* --- The id of a new cluster ----------------------------------------------------------------------------------- */

int cluster_id_find(const struct store *store, const struct name_list *names,
		    char ret[CLUSTER_ID_SIZE], struct err *e)
{
	scoped(names) struct name_list all = {0};
	int r;

	*ret = '\0';
	for (size_t i = 0; i < names->n && !*ret; i++)
		load_id(store, names->names[i], ret);
	if (*ret)
		return 0;
	r = store_list(store, &all, e);
	for (size_t i = 0; i < all.n && r == 0 && !*ret; i++)
		if (any_same_prefix(names, all.names[i]) && !store_owner_alive(store, all.names[i]))
			load_id(store, all.names[i], ret);
	return r == 0 && !*ret ? cluster_id_make(ret, e) : r;
}

int cluster_members(const struct store *store, const char *member, struct name_list *ret,
		    struct err *e)
{
	scoped(names) struct name_list all = {0};
	char id[CLUSTER_ID_SIZE];
	int r = store_list(store, &all, e);

	load_id(store, member, id);
	for (size_t i = 0; i < all.n && r == 0; i++) {
		char its[CLUSTER_ID_SIZE];

		load_id(store, all.names[i], its);
		if (*id && *its ? strcmp(id, its) == 0 : name_same_cluster(all.names[i], member))
			r = name_list_add(ret, all.names[i]) < 0
				    ? err_set(e, ERR_NO_MEMORY, "out of memory")
				    : 0;
	}
	return r;
}

/* --- The running cluster that members are to join -------------------------------------------------------------- */

struct joining {
	const struct store *store; /* borrowed */
	const char *const *names;
	size_t n;
	struct name_list all;         /* members that there are */
	char (*ids)[CLUSTER_ID_SIZE]; /* owned; theirs */
	struct name_list live;        /* those that have a helper and matter to @names */
	struct drover_member *states; /* owned; of @live */
};

static inline void scoped_joining(struct joining *j)
{
	name_list_done(&j->all);
	name_list_done(&j->live);
	free(j->ids);
	free(j->states);
}

/* One that runs, and one of another cluster if there is. */
struct choice {
	const struct drover_member *first;
	const struct drover_member *second; /* NULL: there is none */
	const char *who;                    /* is to join them */
};

static bool runs(const struct drover_member *m)
{
	return m->pid > 0 && strcmp(m->state, "error") != 0;
}

static bool is_steady(const struct drover_member *m)
{
	return strcmp(m->state, "starting") != 0 && strcmp(m->state, "stopping") != 0;
}

static void choose(struct choice *c, const struct drover_member *m, const char *who)
{
	if (c->second)
		return;
	if (!c->first || (c->first->pid == m->pid && !is_steady(c->first) && is_steady(m)))
		c->first = m;
	else if (c->first->pid != m->pid)
		c->second = m;
	else
		return;
	c->who = who;
}

/* NULL: @name does not run. */
static const struct drover_member *find_running(const struct joining *j, const char *name)
{
	for (size_t i = 0; i < j->live.n; i++)
		if (runs(&j->states[i]) && strcmp(j->states[i].name, name) == 0)
			return &j->states[i];
	return NULL;
}

/* "": not known. */
static const char *id_of(const struct joining *j, const char *name)
{
	for (size_t i = 0; i < j->all.n; i++)
		if (strcmp(j->all.names[i], name) == 0)
			return j->ids[i];
	return "";
}

/* Whether @id is that of some member of @name's prefix. */
static bool is_of_prefix(const struct joining *j, const char *name, const char *id)
{
	for (size_t i = 0; i < j->all.n; i++)
		if (*id && strcmp(j->ids[i], id) == 0 && name_same_cluster(j->all.names[i], name))
			return true;
	return false;
}

/* Whether @name, a member or not, belongs to @member. */
static bool belongs(const struct joining *j, const char *name, const char *member)
{
	const char *id = id_of(j, name);

	if (*id)
		return strcmp(id, id_of(j, member)) == 0;
	return name_same_cluster(name, member) || is_of_prefix(j, name, id_of(j, member));
}

/* Only these are asked for their state: any other helper may take its time. */
static bool matters(const struct joining *j, const char *member)
{
	for (size_t i = 0; i < j->n; i++)
		if (strcmp(j->names[i], member) == 0 || belongs(j, j->names[i], member))
			return true;
	return false;
}

static int refuse(const struct drover_member *a, const struct drover_member *b, const char *who,
		  struct err *e)
{
	return err_hint(e,
			err_set(e, ERR_INVALID,
				"%s and %s run in different clusters, and %s cannot join both",
				a->name, b->name, who),
			"name members of one cluster only; or `drover down %s`, and it joins the "
			"other one with the next `drover up %s %s`",
			b->name, who, b->name);
}

/* @partners: of members that do not run; @named: those of the names that run. */
static int decide(const struct joining *j, const struct choice *partners,
		  const struct choice *named, const struct drover_member **ret, struct err *e)
{
	bool is_named = !named->first;

	if (partners->second)
		return refuse(partners->first, partners->second, partners->who, e);
	if (!partners->first && named->second)
		return refuse(named->first, named->second, "a third", e);
	*ret = partners->first ? partners->first : named->first;
	for (size_t i = 0; i < j->n && !is_named && partners->first; i++) {
		const struct drover_member *m = find_running(j, j->names[i]);

		is_named = m && m->pid == partners->first->pid;
	}
	if (partners->first && !is_named)
		return refuse(partners->first, named->first, partners->who, e);
	return 0;
}

static int find_cluster(const struct joining *j, const struct drover_member **ret, struct err *e)
{
	struct choice partners = {0};
	struct choice named = {0};

	for (size_t i = 0; i < j->n; i++) {
		const struct drover_member *m = find_running(j, j->names[i]);

		if (m) {
			choose(&named, m, NULL);
			continue;
		}
		for (size_t k = 0; k < j->live.n; k++)
			if (runs(&j->states[k]) && belongs(j, j->names[i], j->states[k].name))
				choose(&partners, &j->states[k], j->names[i]);
	}
	return decide(j, &partners, &named, ret, e);
}

static int load_ids(struct joining *j, struct err *e)
{
	int r = store_list(j->store, &j->all, e);

	if (r < 0)
		return r;
	j->ids = calloc(j->all.n + 1, sizeof(*j->ids));
	if (!j->ids)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	for (size_t i = 0; i < j->all.n; i++)
		load_id(j->store, j->all.names[i], j->ids[i]);
	return 0;
}

static int load_states(struct joining *j, const struct limits *l, struct err *e)
{
	j->states = calloc(j->all.n + 1, sizeof(*j->states));
	if (!j->states)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	for (size_t i = 0; i < j->all.n; i++) {
		const char *name = j->all.names[i];

		if (store_owner_alive(j->store, name) && matters(j, name) &&
		    name_list_add(&j->live, name) < 0)
			return err_set(e, ERR_NO_MEMORY, "out of memory");
	}
	return j->live.n ? members_list(j->store, &j->live, l, j->states, e) : 0;
}

/* *@ret, a state of @j's, is NULL when there is none. */
static int find(struct joining *j, const struct limits *l, const struct drover_member **ret,
		struct err *e)
{
	int r = load_ids(j, e);

	if (r == 0)
		r = load_states(j, l, e);
	return r == 0 ? find_cluster(j, ret, e) : r;
}

int drover_find_cluster(const char *home, const char *const names[], size_t n,
			const struct drover_call *o, char ret[64], struct drover_error *pe)
{
	scoped(store) struct store store = {0};
	scoped(joining) struct joining j = {.store = &store, .names = names, .n = n};
	const struct drover_member *m = NULL;
	struct limits l;
	struct err e = ERR_INIT;
	int r = limits_from(o, &l, &e);

	if (r == 0)
		r = store_open(home, &store, &e);
	if (r == 0)
		r = find(&j, &l, &m, &e);
	if (r < 0)
		return public_error(pe, &e, r);
	snprintf(ret, NAME_SIZE, "%s", m ? m->name : "");
	return m != NULL;
}

/* --- Two starts at once ---------------------------------------------------------------------------------------- */

static int add_cluster(struct name_list *l, const char *member)
{
	char cluster[NAME_SIZE];

	name_cluster(member, cluster);
	return name_list_add_once(l, cluster);
}

/* Of which two starts of one cluster have one in common: those of @j's names, and of all members that they belong to. */
static int find_clusters(struct joining *j, struct name_list *ret, struct err *e)
{
	int r = load_ids(j, e);

	if (r < 0)
		return r;
	for (size_t i = 0; i < j->n && r == 0; i++)
		r = add_cluster(ret, j->names[i]);
	for (size_t i = 0; i < j->all.n && r == 0; i++)
		if (matters(j, j->all.names[i]))
			r = add_cluster(ret, j->all.names[i]);
	return r < 0 ? err_set(e, ERR_NO_MEMORY, "out of memory") : 0;
}

int cluster_gate(const struct store *store, const char *const names[], size_t n,
		 const struct limits *l, int *ret_fd, struct err *e)
{
	const struct giveup giveup = limits_giveup(l);
	scoped(joining) struct joining before = {.store = store, .names = names, .n = n};
	scoped(joining) struct joining now = {.store = store, .names = names, .n = n};
	scoped(names) struct name_list clusters = {0};
	scoped(fd) int fd = -1;
	const struct drover_member *m = NULL;
	int r = find_clusters(&before, &clusters, e);

	if (r == 0)
		r = store_starts_lock(store, &clusters, &giveup, &fd, e);
	if (r == 0)
		r = find(&now, l, &m, e);
	if (r == 0 && m)
		r = err_set(e, ERR_ALREADY_RUNNING,
			    "the cluster that %s belongs to is already running: %s (helper pid %d)",
			    names[0], m->name, m->pid);
	if (r == 0)
		*ret_fd = take_fd(&fd);
	return r;
}
