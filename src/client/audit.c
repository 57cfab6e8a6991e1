/* SPDX-License-Identifier: MIT */
/* What is whose, for a program; src/store/audit.h has the work. */
#include "store/audit.h"

#include "base/scoped.h"
#include "client/client.h"

static struct drover_thing *copy_things(const struct thing_list *l)
{
	struct drover_thing *all = calloc(l->n + 1, sizeof(*all));

	for (size_t i = 0; all && i < l->n; i++) {
		const struct thing *t = &l->all[i];

		snprintf(all[i].kind, sizeof(all[i].kind), "%s", thing_kind_name(t->kind));
		snprintf(all[i].what, sizeof(all[i].what), "%s", t->what);
		snprintf(all[i].member, sizeof(all[i].member), "%s", t->member);
		all[i].owner = (int)t->owner;
	}
	return all;
}

/* A call's store and limits. */
static int begin(const char *home, const struct drover_call *o, struct store *store,
		 struct giveup *giveup, struct err *e)
{
	struct limits l;
	int r = limits_from(o, &l, e);

	*giveup = limits_giveup(&l);
	return r < 0 ? r : store_open(home, store, e);
}

int drover_audit(const char *home, const struct drover_call *o, struct drover_thing **ret,
		 struct drover_error *pe)
{
	scoped(store) struct store store = {0};
	scoped(things) struct thing_list things = {0};
	struct drover_thing *all = NULL;
	struct giveup giveup;
	struct err e = ERR_INIT;
	int r = begin(home, o, &store, &giveup, &e);

	if (r == 0)
		r = store_audit(&store, &giveup, &things, &e);
	if (r == 0 && !(all = copy_things(&things)))
		r = err_set(&e, ERR_NO_MEMORY, "out of memory");
	if (r < 0)
		return public_error(pe, &e, r);
	*ret = all;
	return (int)things.n;
}

int drover_prune(const char *home, const struct drover_call *o, struct drover_error *pe)
{
	scoped(store) struct store store = {0};
	struct giveup giveup;
	struct err e = ERR_INIT;
	int host = 0;
	int r = begin(home, o, &store, &giveup, &e);

	if (r < 0)
		return public_error(pe, &e, r);
	r = store_prune(&store, &giveup, &e);
	if (giveup_check(&giveup, NULL) == 0 && audit_host_has_things())
		host = session_reconcile(&store, &giveup, r < 0 ? NULL : &e);
	r = r < 0 ? r : host;
	return r < 0 ? public_error(pe, &e, r) : 0;
}
