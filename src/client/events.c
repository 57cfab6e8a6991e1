/* SPDX-License-Identifier: MIT */
/*
 * What members do, as a stream for the caller.
 *
 * How it works: one watch stream for each helper. A cluster's events are those of its helper. The events of a store come
 * from every socket in its run directory, and from those that appear there (inotify); which helper listens on a socket is
 * told by the credentials of the connection, so that each is watched once. Members at rest have no helper: they are read
 * from the store once every helper that was there at the start has told its members, so that none that stops meanwhile is
 * missed.
 */
#include "backend/remote/rpc.h"
#include "backend/remote/watch.h"
#include "base/clock.h"
#include "base/files.h"
#include "base/scoped.h"
#include "client/client.h"

#include <string.h>
#include <sys/socket.h>

/* A socket is bound before it listens: how often and how long it is tried. */
enum { CONNECT_AGAIN_MS = 20, CONNECT_TRIES = 100, WATCH_TRIES = 3 };

struct events {
	uv_loop_t *loop;
	const struct store *store;
	struct drover_watch o;
	struct list feeds;
	bool is_store;      /* of all of @store, not of one helper */
	bool told_resting;  /* and of the members that do not run */
	bool refused;       /* a helper tells of no events */
	int result;         /* what the caller's function said */
	unsigned pending;   /* 1 until it is over */
	unsigned directory; /* 1 while @fs is open */
	uv_fs_event_t fs;
};

struct feed {
	struct list link;
	struct events *events;
	struct watch *watch;
	struct timer *again; /* the socket did not listen yet */
	char *path;          /* owned; of a store's */
	unsigned tries;
	pid_t pid;              /* of the helper proper, as the kernel says */
	struct name_list alive; /* the members that it told of */
	unsigned lost;          /* connections, since the last event */
	bool has_told;
};

/* --- Telling ------------------------------------------------------------------------------------------------- */

static void tell(struct events *ev, struct drover_event *what)
{
	if (ev->pending == 0)
		return;
	what->time_ms = clock_unix_ms();
	ev->result = ev->o.on_event(ev->o.arg, what);
	if (ev->result != 0)
		ev->pending = 0;
}

static void tell_gone(struct events *ev, const char *member)
{
	struct drover_event gone = {.member = member,
				    .kind = WIRE_EVENT_GONE,
				    .state = "",
				    .address = "",
				    .stage = "",
				    .code = "",
				    .message = ""};

	tell(ev, &gone);
}

static void name_list_drop(struct name_list *l, const char *name)
{
	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->names[i], name) == 0) {
			memmove(l->names[i], l->names[--l->n], NAME_SIZE);
			return;
		}
}

/* --- One helper ---------------------------------------------------------------------------------------------- */

static void feed_free(struct feed *f)
{
	list_remove(&f->link);
	watch_close(f->watch);
	timer_stop(&f->again);
	name_list_done(&f->alive);
	free(f->path);
	free(f);
}

static void tell_resting(struct events *ev);

static void feed_end(struct feed *f)
{
	struct events *ev = f->events;

	for (size_t i = 0; i < f->alive.n; i++)
		tell_gone(ev, f->alive.names[i]);
	feed_free(f);
	if (ev->is_store)
		tell_resting(ev);
	else
		ev->pending = 0;
}

static pid_t peer_of(int fd)
{
	struct ucred peer = {0};
	socklen_t len = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 ? 0 : peer.pid;
}

static void feed_connect(void *arg);

/* The helper may have been killed and another taken over; when there is none, nobody is reached and it ends. */
static void feed_again(struct feed *f)
{
	watch_close(f->watch);
	f->watch = NULL;
	f->pid = 0;
	if (f->lost++ < WATCH_TRIES)
		feed_connect(f);
	else
		feed_end(f);
}

/* By its own socket, or by that of another member that it has told of: the first may have left. */
static int connect_any(const struct feed *f)
{
	int fd = rpc_connect_path(f->path);

	for (size_t i = 0; i < f->alive.n && fd < 0; i++)
		if (store_owner_alive(f->events->store, f->alive.names[i]))
			fd = rpc_connect(f->events->store, f->alive.names[i]);
	return fd;
}

/* Another helper took over: who went in between is told by nobody. */
static void tell_restart(struct feed *f, const char *reason)
{
	struct events *ev = f->events;
	int fd = connect_any(f);

	if (fd >= 0) {
		f->pid = peer_of(fd); /* this connection came before that helper listened */
		close(fd);
	}
	for (size_t i = f->alive.n; i-- > 0;) {
		struct drover_event what = {.member = f->alive.names[i],
					    .kind = WIRE_EVENT_RESTARTED,
					    .state = "",
					    .address = "",
					    .stage = "",
					    .code = "",
					    .message = reason};
		char name[NAME_SIZE];

		tell(ev, &what);
		if (store_owner_alive(ev->store, f->alive.names[i]))
			continue;
		memcpy(name, f->alive.names[i], NAME_SIZE);
		name_list_drop(&f->alive, name);
		tell_gone(ev, name);
	}
}

static void on_watch(void *arg, const struct watch_event *w)
{
	struct feed *f = arg;
	struct events *ev = f->events;
	struct drover_event what;

	if (!w) {
		feed_again(f);
		return;
	}
	if (!*w->kind) {
		ev->refused = true;
		return;
	}
	f->lost = 0;
	if (strcmp(w->kind, WIRE_EVENT_PANIC) == 0 && !*w->panic)
		return; /* it goes on: what it does then is told */
	if (strcmp(w->kind, WIRE_EVENT_RESTARTED) == 0) {
		tell_restart(f, w->reason);
		return;
	}
	what = (struct drover_event){
		.member = w->member,
		.kind = w->kind,
		.state = w->state,
		.address = w->ip,
		.stage = w->stage,
		.code = w->code,
		.message = *w->panic ? w->panic : w->error,
	};
	name_list_drop(&f->alive, w->member);
	if (strcmp(w->kind, WIRE_EVENT_GONE) != 0)
		name_list_add(&f->alive, w->member);
	tell(ev, &what);
	f->has_told = true;
	tell_resting(ev);
}

static bool is_watched(const struct events *ev, pid_t pid)
{
	list_for_each (pos, &ev->feeds)
		if (pid > 0 && list_entry(pos, struct feed, link)->pid == pid)
			return true;
	return false;
}

static void feed_connect(void *arg)
{
	struct feed *f = arg;
	struct events *ev = f->events;
	int fd = connect_any(f);
	pid_t pid;

	if (fd == -ECONNREFUSED && f->lost == 0 && f->tries++ < CONNECT_TRIES &&
	    timer_start(ev->loop, CONNECT_AGAIN_MS, feed_connect, f, &f->again))
		return;
	if (fd < 0) {
		feed_end(f);
		return;
	}
	pid = peer_of(fd);
	if (is_watched(ev, pid)) {
		close(fd);
		feed_end(f);
		return;
	}
	f->pid = pid;
	if (watch_open(ev->loop, fd, on_watch, f, &f->watch) < 0)
		feed_again(f); /* it went in between */
}

/* @path is taken. */
static int feed_open(struct events *ev, char *path)
{
	struct feed *f = path ? calloc(1, sizeof(*f)) : NULL;

	if (!f) {
		free(path);
		return -ENOMEM;
	}
	f->events = ev;
	f->path = path;
	list_append(&ev->feeds, &f->link);
	feed_connect(f);
	return 0;
}

/* --- A store ------------------------------------------------------------------------------------------------- */

/* When all helpers that are watched have told their members: those that none of them has. */
static void tell_resting(struct events *ev)
{
	scoped(mem) struct drover_member *members = NULL;
	int n;

	if (!ev->is_store || ev->told_resting || ev->pending == 0)
		return;
	list_for_each (pos, &ev->feeds)
		if (!list_entry(pos, struct feed, link)->has_told)
			return;
	ev->told_resting = true;
	n = drover_list(ev->store->root, NULL, &members, NULL);
	for (int i = 0; i < n; i++) {
		struct drover_event what = {.member = members[i].name,
					    .kind = WIRE_EVENT_STATE,
					    .state = members[i].state,
					    .address = "",
					    .stage = "",
					    .code = "",
					    .message = members[i].message};

		if (members[i].pid == 0)
			tell(ev, &what);
	}
}

static void on_directory(uv_fs_event_t *h, const char *file, int events, int status)
{
	struct events *ev = h->data;
	char *path = NULL;

	if (status < 0 || !file || !str_ends(file, ".sock") || ev->pending == 0)
		return;
	path = str_format("%s/%s", ev->store->run, file);
	if (!path || !files_exist(path)) {
		free(path);
		return; /* it went */
	}
	feed_open(ev, path);
}

static void on_directory_closed(uv_handle_t *h)
{
	struct events *ev = h->data;

	ev->directory = 0;
}

static int watch_directory(struct events *ev, struct err *e)
{
	int r = uv_fs_event_init(ev->loop, &ev->fs);

	if (r == 0) {
		ev->directory = 1;
		ev->fs.data = ev;
		r = uv_fs_event_start(&ev->fs, on_directory, ev->store->run, 0);
	}
	return r < 0 ? err_errno(e, r, "watch %s", ev->store->run) : 0;
}

static int open_sockets(struct events *ev, struct err *e)
{
	scoped(dir) DIR *dir = opendir(ev->store->run);
	struct dirent *entry;
	int r = 0;

	if (!dir)
		return err_errno(e, -errno, "read %s", ev->store->run);
	ev->told_resting = true; /* not before all are opened */
	while (r == 0 && (entry = readdir(dir)))
		if (str_ends(entry->d_name, ".sock"))
			r = feed_open(ev, str_format("%s/%s", ev->store->run, entry->d_name));
	ev->told_resting = false;
	if (r < 0)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	tell_resting(ev);
	return 0;
}

/* --- The calls ----------------------------------------------------------------------------------------------- */

static int init_events(struct events *ev, const struct drover_watch *o, struct err *e)
{
	int r = options_take(&ev->o, sizeof(ev->o), o, "DROVER_WATCH_INIT", e);

	list_init(&ev->feeds);
	ev->pending = 1;
	if (r < 0)
		return r;
	return ev->o.on_event ? 0 : err_set(e, ERR_INVALID, "a watch needs a function to tell");
}

/* Runs until it is over and closes all; 1 or 0 as the header says, or < 0. */
static int run_events(struct events *ev, struct err *e)
{
	int r = wait_loop(ev->loop, &ev->pending, ev->o.timeout_ms, ev->o.cancel, e);

	if (r < 0)
		return r;
	if (ev->result < 0)
		return err_set(e, ERR_CANCELED, "canceled");
	return ev->result > 0;
}

static void close_feeds(struct events *ev)
{
	ev->pending = 0;
	while (!list_is_empty(&ev->feeds))
		feed_free(list_entry(ev->feeds.next, struct feed, link));
	if (ev->directory) {
		uv_close((uv_handle_t *)&ev->fs, on_directory_closed);
		wait_loop(ev->loop, &ev->directory, 0, NULL, NULL);
	}
}

static const char *running_member(const struct drover_cluster *c)
{
	for (size_t i = 0; i < c->n_vms; i++)
		if (store_owner_alive(&c->store, c->vms[i]->name))
			return c->vms[i]->name;
	return NULL;
}

int drover_cluster_events(struct drover_cluster *c, const struct drover_watch *o,
			  struct drover_error *pe)
{
	struct events ev = {.loop = &c->loop, .store = &c->store};
	const char *door = running_member(c);
	struct err e = ERR_INIT;
	int r = init_events(&ev, o, &e);

	if (r == 0 && !door)
		return 0; /* it has ended */
	if (r == 0 && feed_open(&ev, store_socket_path(&c->store, door, "sock")) < 0)
		r = err_set(&e, ERR_NO_MEMORY, "out of memory");
	if (r == 0)
		r = run_events(&ev, &e);
	close_feeds(&ev);
	if (r == 0 &&
	    ev.refused) /* a connection that just ended says nothing: killed processes do so before they are gone */
		r = err_set(&e, ERR_UNSUPPORTED, "the helper of %s tells of no events", door);
	return r < 0 ? public_error(pe, &e, r) : r;
}

int drover_events(const char *home, const struct drover_watch *o, struct drover_error *pe)
{
	scoped(store) struct store store = {0};
	struct err e = ERR_INIT;
	uv_loop_t loop;
	struct events ev = {.loop = &loop, .store = &store, .is_store = true};
	int r = init_events(&ev, o, &e);

	if (r == 0)
		r = store_open(home, &store, &e);
	if (r == 0)
		r = loop_init(&loop, &e);
	if (r < 0)
		return public_error(pe, &e, r);
	r = watch_directory(&ev, &e);
	if (r == 0)
		r = open_sockets(&ev, &e);
	if (r == 0)
		r = run_events(&ev, &e);
	close_feeds(&ev);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	return r < 0 ? public_error(pe, &e, r) : r;
}
