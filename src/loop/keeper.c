/* SPDX-License-Identifier: MIT */
#include "loop/keeper.h"

#include "base/fds.h"
#include "base/files.h"
#include "base/list.h"
#include "base/scoped.h"
#include "base/str.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

struct keeper {
	int sock;
	struct kept *all;
	size_t n;
	unsigned restarts;
	char reason[64];
	uv_poll_t poll;
	bool watching;
	struct list awaited;
};

struct awaited {
	struct list link;
	pid_t pid;
	keeper_end_cb *cb;
	void *arg;
};

struct keeper *keeper_new(int sock, struct kept *all, size_t n, unsigned restarts,
			  const char *reason)
{
	struct keeper *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	k->sock = sock;
	k->all = all;
	k->n = n;
	k->restarts = restarts;
	snprintf(k->reason, sizeof(k->reason), "%s", reason);
	list_init(&k->awaited);
	return k;
}

void kept_close(struct kept *e)
{
	for (unsigned i = 0; i < e->n_fds; i++)
		close_fd(&e->fds[i]);
	close_fd(&e->text_fd);
}

void keeper_free(struct keeper *k)
{
	if (!k)
		return;
	for (size_t i = 0; i < k->n; i++)
		kept_close(&k->all[i]);
	free(k->all);
	close_fd(&k->sock);
	free(k);
}

unsigned keeper_restarts(const struct keeper *k)
{
	return k ? k->restarts : 0;
}

const char *keeper_reason(const struct keeper *k)
{
	return k ? k->reason : "";
}

/* --- Ends of processes ----------------------------------------------------------------------------------------- */

static void tell_end(struct awaited *a, int status)
{
	keeper_end_cb *cb = a->cb;
	void *arg = a->arg;

	list_remove(&a->link);
	free(a);
	cb(arg, status);
}

static struct awaited *find_awaited(struct keeper *k, pid_t pid)
{
	list_for_each (pos, &k->awaited) {
		struct awaited *a = list_entry(pos, struct awaited, link);

		if (a->pid == pid)
			return a;
	}
	return NULL;
}

/* Before anybody took the entry. */
static void note_end(struct keeper *k, const struct keep_end *end)
{
	for (size_t i = 0; i < k->n; i++) {
		if (k->all[i].pid != end->pid)
			continue;
		k->all[i].ended = true;
		k->all[i].status = end->status;
	}
}

void keeper_read(struct keeper *k)
{
	struct keep_end end;
	ssize_t n;

	while ((n = recv(k->sock, &end, sizeof(end), MSG_DONTWAIT)) == sizeof(end)) {
		struct awaited *a = find_awaited(k, end.pid);

		if (a)
			tell_end(a, end.status);
		else
			note_end(k, &end);
	}
	if (n == 0 && k->watching)
		uv_poll_stop(&k->poll); /* init has gone, and this process is about to */
}

static void on_message(uv_poll_t *h, int uv_status, int events)
{
	keeper_read(h->data);
}

int keeper_watch(struct keeper *k, uv_loop_t *loop)
{
	int r = k ? uv_poll_init(loop, &k->poll, k->sock) : 0;

	if (!k || r < 0)
		return r;
	k->poll.data = k;
	k->watching = true;
	r = uv_poll_start(&k->poll, UV_READABLE, on_message);
	uv_unref((uv_handle_t *)&k->poll);
	return r;
}

void keeper_unwatch(struct keeper *k)
{
	if (!k || !k->watching)
		return;
	k->watching = false;
	uv_close((uv_handle_t *)&k->poll, NULL);
	while (!list_is_empty(&k->awaited))
		tell_end(list_entry(k->awaited.next, struct awaited, link), -1);
}

int keeper_await(struct keeper *k, pid_t pid, keeper_end_cb *cb, void *arg)
{
	struct awaited *a = k ? calloc(1, sizeof(*a)) : NULL;

	if (!a)
		return -ENOMEM;
	*a = (struct awaited){.pid = pid, .cb = cb, .arg = arg};
	list_append(&k->awaited, &a->link);
	return 0;
}

/* --- Putting ---------------------------------------------------------------------------------------------------- */

static int make_text(const char *text)
{
	scoped(fd) int fd = memfd_create("drover-kept", MFD_CLOEXEC);
	int r = fd < 0 ? -errno : files_write_all(fd, text, strlen(text));

	return r < 0 ? r : take_fd(&fd);
}

static int send_order(struct keeper *k, struct keep_order *o, const char *name, const int *fds,
		      const char *text)
{
	scoped(fd) int text_fd = text ? make_text(text) : -1;
	int all[KEPT_MAX_FDS + 1] = {-1};
	size_t n = 0;
	ssize_t sent;

	if (text && text_fd < 0)
		return text_fd;
	if (strlen(name) >= sizeof(o->name) || o->n_fds > KEPT_MAX_FDS)
		return -EINVAL;
	memcpy(o->name, name, strlen(name) + 1);
	o->has_text = text != NULL;
	if (text)
		all[n++] = text_fd;
	for (unsigned i = 0; i < o->n_fds; i++)
		all[n++] = fds[i];
	sent = fds_send(k->sock, o, sizeof(*o), all, n, 0);
	return sent < 0 ? (int)sent : 0;
}

int keeper_put(struct keeper *k, const char *name, pid_t pid, const int *fds, unsigned n_fds,
	       const char *text)
{
	struct keep_order o = {.what = KEEP_PUT, .pid = pid, .n_fds = n_fds};

	return k ? send_order(k, &o, name, fds, text) : 0;
}

int keeper_text(struct keeper *k, const char *name, const char *text)
{
	struct keep_order o = {.what = KEEP_TEXT};

	return k ? send_order(k, &o, name, NULL, text) : 0;
}

void keeper_drop(struct keeper *k, const char *name)
{
	struct keep_order o = {.what = KEEP_DROP};

	if (k)
		send_order(k, &o, name, NULL, NULL);
}

void keeper_ready(struct keeper *k)
{
	struct keep_order o = {.what = KEEP_READY};

	if (k)
		send_order(k, &o, "", NULL, NULL);
}

/* --- Taking ----------------------------------------------------------------------------------------------------- */

struct kept *keeper_take(struct keeper *k, const char *name)
{
	for (size_t i = 0; k && i < k->n; i++) {
		struct kept *e = &k->all[i];

		if (e->taken || strcmp(e->name, name) != 0)
			continue;
		e->taken = true;
		return e;
	}
	return NULL;
}

struct kept *keeper_next(struct keeper *k, struct kept *prev, const char *prefix)
{
	for (size_t i = prev ? (size_t)(prev - k->all) + 1 : 0; k && i < k->n; i++)
		if (str_starts(k->all[i].name, prefix))
			return &k->all[i];
	return NULL;
}

char *kept_text(const struct kept *e)
{
	struct stat st;
	char *text;

	if (e->text_fd < 0 || fstat(e->text_fd, &st) < 0 || st.st_size > KEPT_TEXT_MAX)
		return NULL;
	text = calloc(1, (size_t)st.st_size + 1);
	if (text && pread(e->text_fd, text, (size_t)st.st_size, 0) != st.st_size) {
		free(text);
		return NULL;
	}
	return text;
}

void keeper_drop_rest(struct keeper *k)
{
	for (size_t i = 0; k && i < k->n; i++) {
		struct kept *e = &k->all[i];

		if (!e->taken) {
			if (e->pid && !e->ended)
				syscall(SYS_pidfd_send_signal, e->fds[0], SIGKILL, NULL, 0);
			keeper_drop(k, e->name);
		}
		kept_close(e);
	}
	if (k)
		k->n = 0;
}
