/* SPDX-License-Identifier: MIT */
/* What VMs have used: one request to each helper, side by side. */
#include "backend/remote/remote.h"
#include "backend/remote/rpc.h"
#include "base/scoped.h"
#include "client/client.h"

#include <string.h>

enum { STATS_MS = 30000 };

/* The answers of all helpers. */
struct gathering {
	unsigned pending;
	struct drover_stats *rows; /* owned */
	size_t n;
	struct err first; /* the first failure */
};

struct asked {
	struct gathering *gathering;
	struct rpc *rpc; /* while it is under way */
};

static void fill(struct drover_stats *to, const char *member, const struct vm_stats *from)
{
	*to = (struct drover_stats){
		.cpu_ms = from->cpu_ms,
		.memory_bytes = from->memory_bytes,
		.disk_read_bytes = from->disk_read_bytes,
		.disk_written_bytes = from->disk_written_bytes,
		.net_received_bytes = from->net_received_bytes,
		.net_sent_bytes = from->net_sent_bytes,
	};
	snprintf(to->member, sizeof(to->member), "%s", member);
}

static int add_rows(struct gathering *g, const struct reply *p)
{
	struct vm_stats stats;
	const char *name;

	for (size_t i = 0; (name = remote_stats_row(p, i, &stats)); i++) {
		struct drover_stats *rows = reallocarray(g->rows, g->n + 1, sizeof(*rows));

		if (!rows)
			return -ENOMEM;
		g->rows = rows;
		fill(&rows[g->n++], name, &stats);
	}
	return 0;
}

static void on_stats(void *arg, int r, const struct reply *p, int fd, const struct err *e)
{
	struct asked *asked = arg;
	struct gathering *g = asked->gathering;
	struct err memory;

	close_fd(&fd);
	asked->rpc = NULL;
	g->pending--;
	if (r == 0 && add_rows(g, p) < 0) {
		r = err_set(&memory, ERR_NO_MEMORY, "out of memory");
		e = &memory;
	}
	/* who ended between the question and the answer has nothing to tell */
	if (r < 0 && e->code != ERR_UNREACHABLE && g->first.code == ERR_NONE)
		g->first = *e;
}

static int ask(struct asked *asked, uv_loop_t *loop, const struct store *store,
	       const struct name_list *doors, struct err *e)
{
	const struct request q = {.verb = VERB_STATS};

	asked->rpc = rpc_start(loop, store, doors, &q, 0, STATS_MS, on_stats, asked, e);
	asked->gathering->pending += asked->rpc != NULL;
	return asked->rpc ? 0 : err_code_number(e->code);
}

/* Takes the rows out of @g, in success only. Their number. */
static int finish(struct gathering *g, int r, struct drover_stats **ret, struct err *e)
{
	if (r == 0 && g->first.code != ERR_NONE)
		r = err_copy(e, &g->first);
	if (r == 0 && !g->rows && !(g->rows = calloc(1, sizeof(*g->rows))))
		r = err_set(e, ERR_NO_MEMORY, "out of memory");
	if (r < 0) {
		free(g->rows);
		return r;
	}
	*ret = g->rows;
	return (int)g->n;
}

int cluster_stats(struct drover_cluster *c, const struct limits *l, struct drover_stats **ret,
		  struct err *e)
{
	struct gathering g = {.first = ERR_INIT};
	struct name_list doors = {0};
	struct asked asked = {&g, NULL};
	int r = cluster_doors(c, &doors, e);

	if (r == 0 && doors.n > 0)
		r = ask(&asked, &c->loop, &c->store, &doors, e);
	if (r == 0)
		r = wait_loop(&c->loop, &g.pending, l->timeout_ms, l->cancel, e);
	rpc_cancel(asked.rpc);
	name_list_done(&doors);
	return finish(&g, r, ret, e);
}

int drover_cluster_stats(struct drover_cluster *c, const struct drover_call *o,
			 struct drover_stats **ret, struct drover_error *pe)
{
	struct limits l;
	struct err e = ERR_INIT;
	int r = limits_from(o, &l, &e);

	if (r == 0)
		r = cluster_stats(c, &l, ret, &e);

	return r < 0 ? public_error(pe, &e, r) : r;
}

int drover_vm_stats(struct drover_vm *vm, const struct drover_call *o, struct drover_stats *ret,
		    struct drover_error *pe)
{
	scoped(mem) struct drover_stats *rows = NULL;
	struct err e = ERR_INIT;
	int n = vm->handle ? drover_cluster_stats(vm->cluster, o, &rows, pe) : 0;

	if (n < 0)
		return n;
	for (int i = 0; rows && i < n; i++)
		if (strcmp(rows[i].member, vm->name) == 0) {
			*ret = rows[i];
			return 0;
		}
	return public_error(pe, &e,
			    err_set(&e, ERR_NOT_RUNNING, "member %s is not running", vm->name));
}

/* The first member of @names with that helper's pid is @i. */
static bool is_first_of(const pid_t *pids, size_t i)
{
	for (size_t j = 0; j < i; j++)
		if (pids[j] == pids[i])
			return false;
	return true;
}

/* Asks each helper by the first member that it runs, and waits for what they say. */
static int ask_all(struct gathering *g, uv_loop_t *loop, const struct store *store,
		   const struct limits *l, struct err *e)
{
	scoped(names) struct name_list names = {0};
	scoped(mem) pid_t *pids = NULL;
	scoped(mem) struct asked *asked = NULL;
	int r = store_list(store, &names, e);

	if (r == 0 && (!(pids = calloc(names.n + 1, sizeof(*pids))) ||
		       !(asked = calloc(names.n + 1, sizeof(*asked)))))
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	for (size_t i = 0; i < names.n && r == 0; i++) {
		const struct name_list one = {&names.names[i], 1};

		asked[i].gathering = g;
		pids[i] = store_owner_alive(store, names.names[i]);
		if (pids[i] && is_first_of(pids, i))
			r = ask(&asked[i], loop, store, &one, e);
	}
	if (r == 0) /* each ends by its own deadline */
		r = wait_loop(loop, &g->pending, l->timeout_ms, l->cancel, e);
	for (size_t i = 0; asked && i < names.n; i++)
		rpc_cancel(asked[i].rpc);
	return r;
}

int drover_stats(const char *home, const struct drover_call *o, struct drover_stats **ret,
		 struct drover_error *pe)
{
	scoped(store) struct store store = {0};
	struct gathering g = {.first = ERR_INIT};
	struct limits l;
	struct err e = ERR_INIT;
	uv_loop_t loop;
	int r = limits_from(o, &l, &e);

	if (r == 0)
		r = store_open(home, &store, &e);
	if (r == 0)
		r = loop_init(&loop, &e);
	if (r < 0)
		return public_error(pe, &e, r);
	r = ask_all(&g, &loop, &store, &l, &e);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	r = finish(&g, r, ret, &e);
	return r < 0 ? public_error(pe, &e, r) : r;
}
