/* SPDX-License-Identifier: MIT */
/* What a stop takes with it: a temporary cluster ends when its last member stops, and its members are removed. */
#include "base/scoped.h"
#include "client/client.h"

#include <string.h>

struct asked {
	struct name_list all;
	struct member_status *status; /* owned; of each, as members_ask fills it */
};

static inline void scoped_asked(struct asked *a)
{
	name_list_done(&a->all);
	free(a->status);
}

static int ask(const struct store *store, const struct limits *l, struct asked *ret, struct err *e)
{
	int r = store_list(store, &ret->all, e);

	if (r < 0)
		return r;
	ret->status = calloc(ret->all.n + 1, sizeof(*ret->status));
	if (!ret->status)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	return members_ask(store, &ret->all, l, ret->status, e);
}

static bool names_one(const char *const names[], size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

/* Whether of the members of the helper @pid one runs that is none of @names. */
static bool others_run(const struct asked *a, int64_t pid, const char *const names[], size_t n)
{
	for (size_t i = 0; i < a->all.n; i++)
		if (a->status[i].running && a->status[i].pid == pid &&
		    !names_one(names, n, a->status[i].name))
			return true;
	return false;
}

static int check(const struct asked *a, const char *const names[], size_t n, struct err *e)
{
	for (size_t i = 0; i < a->all.n; i++) {
		const struct member_status *s = &a->status[i];

		if (s->running && s->temporary && names_one(names, n, s->name) &&
		    !others_run(a, s->pid, names, n))
			return err_set(
				e, ERR_INVALID,
				"%s would be removed when it stops: its cluster, like that of "
				"a 'drover run', ends with the last member that runs",
				s->name);
	}
	return 0;
}

static int check_names(const char *const names[], size_t n, struct err *e)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++)
		r = name_check(names[i], e);
	return r;
}

int drover_check_stop(const char *home, const char *const names[], size_t n,
		      const struct drover_call *o, struct drover_error *pe)
{
	scoped(store) struct store store = {0};
	scoped(asked) struct asked a = {0};
	struct limits l;
	struct err e = ERR_INIT;
	int r = limits_from(o, &l, &e);

	if (r == 0)
		r = check_names(names, n, &e);
	if (r == 0)
		r = store_open(home, &store, &e);
	if (r == 0)
		r = ask(&store, &l, &a, &e);
	if (r == 0)
		r = check(&a, names, n, &e);
	return r < 0 ? public_error(pe, &e, r) : 0;
}
