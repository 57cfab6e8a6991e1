/* SPDX-License-Identifier: MIT */
/* Members by name, whether they run or not; and the handle on a cluster that runs already. */
#include "backend/remote/remote.h"
#include "backend/remote/rpc.h"
#include "base/clock.h"
#include "base/files.h"
#include "base/scoped.h"
#include "client/client.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What a helper may take to end once its last member is gone. */
enum { HELPER_END_MS = 5000 };

enum { STATUS_MS = 3000, LOCK_MS = 5000 };

/* --- Asking members ------------------------------------------------------------------------------------------ */

enum answer {
	ANSWER_NONE, /* nobody to ask, or nothing to say yet */
	ANSWER_LATE, /* not in time */
	ANSWER_GIVEN,
};

struct asking {
	unsigned pending;
};

struct question {
	struct asking *asking;
	struct member_status *ret;
	enum answer *ret_answer;
	struct rpc *rpc; /* while it is under way */
};

static void on_status(void *arg, int r, const struct reply *p, int fd, const struct err *e)
{
	struct question *q = arg;

	close_fd(&fd);
	q->rpc = NULL;
	q->asking->pending--;
	if (r < 0 && e->code == ERR_TIMEOUT)
		*q->ret_answer = ANSWER_LATE;
	if (r < 0 || !p->has_status)
		return;
	*q->ret = p->status;
	*q->ret_answer = ANSWER_GIVEN;
}

/* All at once. */
static int ask_all(uv_loop_t *loop, const struct store *store, const struct name_list *names,
		   const struct limits *l, struct member_status *ret, enum answer *ret_answers,
		   struct err *e)
{
	scoped(mem) struct question *questions = calloc(names->n + 1, sizeof(*questions));
	struct asking asking = {0};
	int r;

	if (!questions)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	for (size_t i = 0; i < names->n; i++) {
		const struct name_list one = {&names->names[i], 1};
		const struct request q = {.verb = VERB_STATUS};

		questions[i] = (struct question){&asking, &ret[i], &ret_answers[i], NULL};
		if (store_owner_alive(store, names->names[i]) == 0)
			continue;
		questions[i].rpc = rpc_start(loop, store, &one, &q, 0, STATUS_MS, on_status,
					     &questions[i], NULL);
		asking.pending += questions[i].rpc != NULL;
	}
	/* each ends by its own deadline */
	r = wait_loop(loop, &asking.pending, l->timeout_ms, l->cancel, e);
	for (size_t i = 0; i < names->n; i++)
		rpc_cancel(questions[i].rpc);
	return r;
}

/* --- List ---------------------------------------------------------------------------------------------------- */

static void fill_config(const struct store *store, const char *name, struct drover_member *to)
{
	scoped(config) struct member_config c = {0};
	struct err e = ERR_INIT;

	snprintf(to->name, sizeof(to->name), "%s", name);
	name_cluster(name, to->cluster);
	snprintf(to->state, sizeof(to->state), "stopped");
	if (store_config_load(store, name, &c, &e) < 0) {
		snprintf(to->state, sizeof(to->state), "damaged");
		snprintf(to->message, sizeof(to->message), "%s", e.msg);
		return;
	}
	snprintf(to->image, sizeof(to->image), "%s", c.image ? c.image : "");
	snprintf(to->user, sizeof(to->user), "%s", c.user ? c.user : "");
	snprintf(to->created_at, sizeof(to->created_at), "%s", c.created_at);
	to->cpus = (unsigned)c.cpus;
	to->memory_mb = (unsigned)c.memory_mb;
	to->disk_mb = c.disk_format ? (unsigned)c.disk_mb : 0;
	snprintf(to->ip, sizeof(to->ip), "%s", c.ip);
	store_failure_read(store, name, to->message, sizeof(to->message));
	if (*to->message)
		snprintf(to->state, sizeof(to->state), "error");
}

static void fill_status(const struct member_status *s, struct drover_member *to)
{
	if (strcmp(s->state, WIRE_STATE_DOWNLOADING) == 0)
		snprintf(to->state, sizeof(to->state), "starting");
	else
		memcpy(to->state, s->state, sizeof(to->state));
	memcpy(to->ip, s->ip, sizeof(to->ip));
	snprintf(to->message, sizeof(to->message), "%s", s->error);
	if (s->panic[0] && !s->error[0])
		snprintf(to->message, sizeof(to->message), "its kernel panicked: %s", s->panic);
}

/* After what its configuration says. The address in that is the last one, of a member that may run. */
static void fill_live(enum answer answer, const struct member_status *s, struct drover_member *to)
{
	if (answer != ANSWER_LATE)
		to->ip[0] = '\0';
	if (answer == ANSWER_GIVEN) {
		fill_status(s, to);
	} else if (answer == ANSWER_LATE) {
		snprintf(to->state, sizeof(to->state), "unknown");
		snprintf(to->message, sizeof(to->message),
			 "its helper (pid %d) does not answer: not within %d s", to->pid,
			 STATUS_MS / 1000);
	} else if (to->pid) { /* alive, but with nothing to say yet */
		snprintf(to->state, sizeof(to->state), "starting");
	}
}

/* ask_all with a loop of its own. */
static int ask_alone(const struct store *store, const struct name_list *names,
		     const struct limits *l, struct member_status *ret, enum answer *ret_answers,
		     struct err *e)
{
	uv_loop_t loop;
	int r = loop_init(&loop, e);

	if (r < 0)
		return r;
	r = ask_all(&loop, store, names, l, ret, ret_answers, e);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	return r;
}

int members_ask(const struct store *store, const struct name_list *names, const struct limits *l,
		struct member_status *ret, struct err *e)
{
	scoped(mem) enum answer *answers = calloc(names->n + 1, sizeof(*answers));

	return answers ? ask_alone(store, names, l, ret, answers, e)
		       : err_set(e, ERR_NO_MEMORY, "out of memory");
}

int members_list(const struct store *store, const struct name_list *names, const struct limits *l,
		 struct drover_member *members, struct err *e)
{
	scoped(mem) struct member_status *status = calloc(names->n + 1, sizeof(*status));
	scoped(mem) enum answer *answers = calloc(names->n + 1, sizeof(*answers));
	int r;

	if (!status || !answers)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	r = ask_alone(store, names, l, status, answers, e);
	for (size_t i = 0; i < names->n && r == 0; i++) {
		pid_t pid = store_owner_alive(store, names->names[i]);

		fill_config(store, names->names[i], &members[i]);
		members[i].pid = (int)pid;
		fill_live(answers[i], &status[i], &members[i]);
		if (!pid)
			store_sweep_dead(store, names->names[i]);
	}
	return r;
}

int drover_list(const char *home, const struct drover_call *o, struct drover_member **ret,
		struct drover_error *pe)
{
	scoped(store) struct store store = {0};
	scoped(names) struct name_list names = {0};
	scoped(mem) struct drover_member *members = NULL;
	struct limits l;
	struct err e = ERR_INIT;
	int r = limits_from(o, &l, &e);

	if (r == 0)
		r = store_open(home, &store, &e);
	if (r == 0)
		r = store_list(&store, &names, &e);
	if (r == 0) {
		members = calloc(names.n + 1, sizeof(*members));
		r = members ? 0 : err_set(&e, ERR_NO_MEMORY, "out of memory");
	}
	if (r == 0)
		r = members_list(&store, &names, &l, members, &e);
	if (r < 0)
		return public_error(pe, &e, r);
	*ret = take_ptr(&members);
	return (int)names.n;
}

int names_check_idle(const struct store *store, const char *const names[], size_t n,
		     struct name_list *ret, bool *any_new, struct err *e)
{
	if (n == 0)
		return err_set(e, ERR_INVALID, "a cluster needs at least one member");
	for (size_t i = 0; i < n; i++) {
		pid_t pid;
		int r = name_check(names[i], e);

		if (r < 0)
			return r;
		for (size_t j = 0; j < i; j++)
			if (strcmp(names[i], names[j]) == 0)
				return err_set(e, ERR_INVALID, "member %s is named twice",
					       names[i]);
		pid = store_owner_alive(store, names[i]);
		if (pid)
			return err_set(e, ERR_ALREADY_RUNNING,
				       "member %s is already running (helper pid %d)", names[i],
				       (int)pid);
		if (!store_member_exists(store, names[i]))
			*any_new = true;
		if (name_list_add(ret, names[i]) < 0)
			return err_set(e, ERR_NO_MEMORY, "out of memory");
	}
	return 0;
}

/* --- Open ---------------------------------------------------------------------------------------------------- */

int cluster_attach(struct drover_cluster *c, const char *name, struct err *e)
{
	scoped(config) struct member_config config = {0};
	struct drover_vm *vm = cluster_add_vm(c, name);

	if (!vm || remote_backend_know(c->backend, name) < 0)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	vm->handle = remote_vm_attach(c->backend, name);
	if (!vm->handle)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	if (store_config_load(&c->store, name, &config, NULL) < 0)
		return 0; /* it runs, whatever became of its file */
	snprintf(vm->user, sizeof(vm->user), "%s", config.user ? config.user : "");
	vm->is_fake = strcmp(config.backend, "fake") == 0;
	c->no_egress = c->no_egress || config.no_egress;
	if (!*c->id)
		memcpy(c->id, config.cluster_id, sizeof(c->id));
	snprintf(c->network_kind, sizeof(c->network_kind), "%s",
		 *config.network ? config.network : "private");
	return 0;
}

/* Every member that the same helper runs. */
static int attach_all(struct drover_cluster *c, pid_t pid, struct name_list *ret, struct err *e)
{
	scoped(names) struct name_list all = {0};
	int r = store_list(&c->store, &all, e);

	for (size_t i = 0; i < all.n && r == 0; i++) {
		if (store_owner_alive(&c->store, all.names[i]) != pid)
			continue;
		r = cluster_attach(c, all.names[i], e);
		if (r == 0 && name_list_add(ret, all.names[i]) < 0)
			r = err_set(e, ERR_NO_MEMORY, "out of memory");
	}
	return r;
}

static int read_addresses(struct drover_cluster *c, const struct name_list *names,
			  const struct limits *l, struct err *e)
{
	scoped(mem) struct member_status *status = calloc(names->n + 1, sizeof(*status));
	scoped(mem) enum answer *answers = calloc(names->n + 1, sizeof(*answers));
	int r;

	if (!status || !answers)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	r = ask_all(&c->loop, &c->store, names, l, status, answers, e);
	for (size_t i = 0; i < names->n && r == 0; i++)
		if (answers[i] == ANSWER_GIVEN)
			memcpy(c->vms[i]->ip, status[i].ip, sizeof(c->vms[i]->ip));
	return r;
}

static int find_owner(const struct store *store, const char *member, pid_t *ret, struct err *e)
{
	int r = name_check(member, e);

	if (r < 0)
		return r;
	*ret = store_owner_alive(store, member);
	if (*ret)
		return 0;
	if (!store_member_exists(store, member))
		return err_set(e, ERR_NOT_FOUND, "there is no member '%s'", member);
	return err_set(e, ERR_NOT_RUNNING, "member %s is not running", member);
}

/* @l, of which @g tells how much is left. */
static int open_cluster(struct store *store, const char *member, pid_t pid, struct limits l,
			struct drover_cluster **ret, struct err *e)
{
	const struct giveup g = limits_giveup(&l);
	scoped(names) struct name_list names = {0};
	struct drover_cluster *c = cluster_new(store, member, e);
	int r = c ? attach_all(c, pid, &names, e) : err_code_number(e->code);

	if (r == 0)
		r = read_addresses(c, &names, &l, e);
	l.timeout_ms = giveup_left_ms(&g);
	if (r == 0)
		r = cluster_make_network(c, NULL, &l, e); /* there is one: this tells its subnet */
	if (r < 0) {
		cluster_free(c);
		return r;
	}
	c->detached = true; /* not held by this handle */
	c->helper = pid;
	c->session.pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	*ret = c;
	return 0;
}

int drover_cluster_open(const char *home, const char *member, const struct drover_call *o,
			struct drover_cluster **ret, struct drover_error *pe)
{
	scoped(store) struct store store = {0};
	struct limits l;
	struct err e = ERR_INIT;
	pid_t pid = 0;
	int r = limits_from(o, &l, &e);

	if (r == 0)
		r = store_open(home, &store, &e);
	if (r == 0)
		r = find_owner(&store, member, &pid, &e);
	if (r == 0)
		r = open_cluster(&store, member, pid, l, ret, &e);
	return r < 0 ? public_error(pe, &e, r) : 0;
}

/* --- Stop and remove ----------------------------------------------------------------------------------------- */

/*
 * A helper drops a member's pidfile and socket first and its lock at once after, and writes the pidfile at once after it
 * has taken the lock: waits for either, where the lock is held and the member has no helper. Both are events in the
 * member's directory.
 */
static void await_lock(const struct store *store, const char *name)
{
	scoped(mem) char *dir = store_member_path(store, name, NULL);
	scoped(mem) char *path = store_member_path(store, name, ".lock");
	scoped(lock) int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	scoped(fd) int events = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	const struct giveup g = {.cancel_fd = -1, .end_ms = clock_ms() + LOCK_MS};
	char drained[4096];

	if (fd < 0 || events < 0 || !dir ||
	    inotify_add_watch(events, dir, IN_CLOSE_WRITE | IN_MOVED_TO) < 0)
		return;
	while (flock(fd, LOCK_EX | LOCK_NB) < 0 && store_owner_alive(store, name) == 0)
		if (giveup_wait(&g, events, POLLIN, -1, NULL) < 0 ||
		    read(events, drained, sizeof(drained)) < 0)
			return;
}

void member_await_owner(const struct store *store, const char *name)
{
	await_lock(store, name);
}

/* store_member_lock, after a helper that is just leaving has let go. Blocks for that, shortly. */
static int member_lock(const struct store *store, const char *name, int *ret_fd, struct err *e)
{
	await_lock(store, name);
	return store_member_lock(store, name, ret_fd, e);
}

int lock_list_add(struct lock_list *l, const struct store *store, const char *name, struct err *e)
{
	int *fds = realloc(l->fds, (l->n + 1) * sizeof(*fds));
	int r;

	if (!fds)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	l->fds = fds;
	l->fds[l->n] = -1;
	r = member_lock(store, name, &l->fds[l->n], e);
	l->n += r == 0;
	return r;
}

void lock_list_release(struct lock_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		unlock_fd(&l->fds[i]);
	free(l->fds);
	*l = (struct lock_list){0};
}

int member_remove_locked(const struct store *store, const char *name, struct err *e)
{
	scoped(mem) char *dir = store_member_path(store, name, NULL);
	scoped(lock) int lock = -1;
	int r;

	if (!dir)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	if (!files_exist(dir))
		return 0;
	r = member_lock(store, name, &lock, e);
	return r < 0 ? r : store_member_remove(store, name, e);
}

void helper_await_end(const struct store *store, pid_t pid, int pidfd)
{
	if (pidfd >= 0 && !store_owner_serves(store, pid))
		giveup_wait(NULL, pidfd, POLLIN, HELPER_END_MS, NULL);
}

/* Stops a member that runs, without a handle on the rest of its cluster. */
static int stop_running(const char *home, const char *name, const struct limits *l, struct err *e)
{
	scoped(store) struct store store = {0};
	scoped(fd) int pidfd = -1;
	struct drover_cluster *c;
	pid_t pid;
	int r = store_open(home, &store, e);

	if (r < 0)
		return r;
	pid = store_owner_alive(&store, name);
	pidfd = pid ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
	c = cluster_new(&store, name, e);
	r = c ? cluster_attach(c, name, e) : err_code_number(e->code);
	if (r == 0)
		r = vm_stop_wait(c->vms[0], l, e);
	if (r == 0)
		helper_await_end(&c->store, pid, pidfd);
	cluster_free(c);
	return r;
}

int drover_stop(const char *home, const char *name, const struct drover_call *o,
		struct drover_error *pe)
{
	scoped(store) struct store store = {0};
	struct limits l;
	struct err e = ERR_INIT;
	pid_t pid = 0;
	int r = limits_from(o, &l, &e);

	if (r == 0)
		r = store_open(home, &store, &e);
	if (r == 0)
		r = find_owner(&store, name, &pid, &e);
	if (r == 0)
		r = stop_running(home, name, &l, &e);
	host_reconcile(&store, NULL);
	return r < 0 ? public_error(pe, &e, r) : 0;
}

/* What an interrupted start left has a directory and no configuration: that can be removed too. */
static bool leaves_traces(const struct store *store, const char *name)
{
	scoped(mem) char *dir = store_member_path(store, name, NULL);

	return dir && files_exist(dir);
}

int drover_remove(const char *home, const char *name, const struct drover_call *o,
		  struct drover_error *pe)
{
	scoped(store) struct store store = {0};
	struct limits l;
	struct err e = ERR_INIT;
	int r = limits_from(o, &l, &e);

	if (r == 0)
		r = store_open(home, &store, &e);
	if (r == 0)
		r = name_check(name, &e);
	if (r == 0 && !leaves_traces(&store, name))
		r = err_set(&e, ERR_NOT_FOUND, "there is no member '%s'", name);
	if (r == 0 && store_owner_alive(&store, name))
		r = stop_running(home, name, &l, &e);
	if (r == 0)
		r = member_remove_locked(&store, name, &e);
	return r < 0 ? public_error(pe, &e, r) : 0;
}

/* --- Paths --------------------------------------------------------------------------------------------------- */

/* A helper's log has the name of the member it was started for: of the cluster's logs, the one written last. */
static char *helper_log(const struct store *store, const char *name)
{
	scoped(names) struct name_list all = {0};
	scoped(mem) char *best = store_log_path(store, name);
	struct timespec newest = {0};
	struct stat st;

	if (best && stat(best, &st) == 0)
		newest = st.st_mtim;
	if (cluster_members(store, name, &all, NULL) < 0)
		return take_ptr(&best);
	for (size_t i = 0; i < all.n; i++) {
		scoped(mem) char *path = store_log_path(store, all.names[i]);

		if (!path || stat(path, &st) < 0)
			continue;
		if (st.st_mtim.tv_sec < newest.tv_sec ||
		    (st.st_mtim.tv_sec == newest.tv_sec && st.st_mtim.tv_nsec <= newest.tv_nsec))
			continue;
		newest = st.st_mtim;
		free(best);
		best = take_ptr(&path);
	}
	return take_ptr(&best);
}

char *drover_path(const char *home, const char *name, enum drover_path which)
{
	scoped(store) struct store store = {0};

	if ((which != DROVER_PATH_KEY && name_check(name, NULL) < 0) ||
	    store_open(home, &store, NULL) < 0)
		return NULL;
	switch (which) {
	case DROVER_PATH_DIR:
		return store_member_path(&store, name, NULL);
	case DROVER_PATH_SERIAL_LOG:
		return store_member_path(&store, name, MEMBER_SERIAL_LOG);
	case DROVER_PATH_HELPER_LOG:
		return helper_log(&store, name);
	case DROVER_PATH_KNOWN_HOSTS:
		return store_member_path(&store, name, MEMBER_KNOWN_HOSTS);
	case DROVER_PATH_KEY:
		return str_format("%s/" STORE_KEY, store.root);
	case DROVER_PATH_SOCKET:
		return store_socket_path(&store, name, "sock");
	}
	return NULL;
}
