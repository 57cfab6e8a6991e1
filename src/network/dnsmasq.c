/* SPDX-License-Identifier: MIT */
/*
 * How it works: dnsmasq watches two directories by inotify, one of DHCP hosts and one of names. A file is written beside
 * them and renamed in. inotify is looked at before any packet, so what is there is known to the next request. That it
 * stands is told by its pid file, which it writes when all sockets are bound.
 */
#include "network/dnsmasq.h"

#include "base/clock.h"
#include "base/crashes.h"
#include "base/err.h"
#include "base/files.h"
#include "base/scoped.h"
#include "base/str.h"
#include "base/wait_status.h"
#include "loop/child.h"
#include "loop/keeper.h"
#include "loop/timer.h"

#include <string.h>

enum {
	CLOSE_MS = 2000, /* then SIGKILL */
	MAX_ARGS = 32
};

#define KEPT_NAME "dnsmasq"

struct dnsmasq {
	uv_loop_t *loop;
	uv_fs_event_t watch; /* on dir, for the pid file */
	struct child *child; /* NULL when it has ended */
	char *dir;
	char *ifname;
	char network[IP_SIZE];
	char server[IP_SIZE]; /* "": none */
	bool like_host;
	struct keeper *keeper;
	struct timer *turn; /* an adopted one is ready */
	struct crashes crashes;
	bool ready;
	bool closing;
	dnsmasq_cb *cb;
	dnsmasq_close_cb *on_close;
	void *arg;
};

static void dnsmasq_free(struct dnsmasq *d)
{
	free(d->dir);
	free(d->ifname);
	free(d);
}

static void on_watch_closed(uv_handle_t *h)
{
	struct dnsmasq *d = h->data;
	dnsmasq_close_cb *done = d->on_close;
	void *arg = d->arg;

	dnsmasq_free(d);
	if (done)
		done(arg);
}

static void on_dir_change(uv_fs_event_t *h, const char *name, int events, int status)
{
	struct dnsmasq *d = h->data;
	scoped(mem) char *path = str_format("%s/dnsmasq.pid", d->dir);

	if (d->ready || d->closing || !d->child || !path || !files_exist(path))
		return;
	d->ready = true;
	d->cb(d->arg, true);
}

static int start(struct dnsmasq *d, struct err *e);

static void on_ended(void *arg, int status)
{
	struct dnsmasq *d = arg;
	struct err e = ERR_INIT;
	char text[64];

	d->child = NULL;
	keeper_drop(d->keeper, KEPT_NAME);
	if (d->closing) {
		uv_close((uv_handle_t *)&d->watch, on_watch_closed);
		return;
	}
	wait_status_text(status, text, sizeof(text));
	fprintf(stderr, "network: dnsmasq ended by itself: %s\n", text);
	if (d->ready && !crashes_add(&d->crashes, clock_ms())) {
		if (start(d, &e) == 0) {
			fprintf(stderr, "network: dnsmasq was started again\n");
			return;
		}
		fprintf(stderr, "network: dnsmasq cannot be started again: %s\n", e.msg);
	} else if (d->ready) {
		fprintf(stderr,
			"network: dnsmasq is not started again: it ended %d times within a "
			"minute\n",
			CRASHES_MAX);
	}
	d->cb(d->arg, false);
}

/* When that fails, a next helper starts another. */
static void keep(struct dnsmasq *d)
{
	const int pidfd = child_pidfd(d->child);

	keeper_put(d->keeper, KEPT_NAME, child_pid(d->child), &pidfd, 1, NULL);
}

static int start(struct dnsmasq *d, struct err *e)
{
	scoped(mem) char *pid_file = str_format("--pid-file=%s/dnsmasq.pid", d->dir);
	scoped(mem) char *leases = str_format("--dhcp-leasefile=%s/leases", d->dir);
	scoped(mem) char *hosts = str_format("--dhcp-hostsdir=%s/dhcp", d->dir);
	scoped(mem) char *names = str_format("--hostsdir=%s/names", d->dir);
	scoped(mem) char *interface = str_format("--interface=%s", d->ifname);
	scoped(mem) char *range = str_format("--dhcp-range=%s.0,static,infinite", d->network);
	scoped(mem) char *router = str_format("--dhcp-option=option:router,%s.1", d->network);
	scoped(mem) char *dns = str_format("--dhcp-option=option:dns-server,%s.1", d->network);
	scoped(mem) char *server = str_format("--server=%s", d->server);
	char *argv[MAX_ARGS] = {
		(char *)(uintptr_t) "dnsmasq",
		(char *)(uintptr_t) "--keep-in-foreground",
		(char *)(uintptr_t) "--conf-file=/dev/null",
		(char *)(uintptr_t) "--user=root",
		(char *)(uintptr_t) "--group=",
		(char *)(uintptr_t) "--log-facility=-",
		(char *)(uintptr_t) "--bind-interfaces",
		(char *)(uintptr_t) "--except-interface=lo",
		(char *)(uintptr_t) "--no-hosts",
		(char *)(uintptr_t) "--no-ping",
		(char *)(uintptr_t) "--dhcp-authoritative",
		(char *)(uintptr_t) "--dhcp-rapid-commit",
		(char *)(uintptr_t) "--domain-needed",
		(char *)(uintptr_t) "--domain=drover.internal",
		(char *)(uintptr_t) "--local=/drover.internal/",
		(char *)(uintptr_t) "--expand-hosts",
		pid_file,
		leases,
		hosts,
		names,
		interface,
		range,
		router,
		dns,
		d->like_host ? (char *)(uintptr_t) "--resolv-file=/etc/resolv.conf"
			     : (char *)(uintptr_t) "--no-resolv",
		d->server[0] ? server : NULL,
		NULL,
	};
	struct child_options o = {.file = argv[0], .argv = argv, .fds = {{2, 2}}, .n_fds = 1};
	int r;

	if (!pid_file || !leases || !hosts || !names || !interface || !range || !router || !dns ||
	    !server)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	unlink(strchr(pid_file, '=') + 1);
	r = child_spawn(d->loop, &o, on_ended, d, &d->child, e);
	if (r < 0 && e && e->code == ERR_MISSING_PROGRAM)
		err_hint(e, r, "apt-get install dnsmasq-base");
	if (r == 0)
		keep(d);
	return r;
}

static int make_dirs(const struct dnsmasq *d, struct err *e)
{
	scoped(mem) char *dhcp = str_format("%s/dhcp", d->dir);
	scoped(mem) char *names = str_format("%s/names", d->dir);
	int r = dhcp && names ? files_mkdir_all(dhcp, 0700) : -ENOMEM;

	if (r == 0)
		r = files_mkdir_all(names, 0700);
	return r < 0 ? err_errno(e, r, "make %s", d->dir) : 0;
}

static void on_adopted(void *arg)
{
	struct dnsmasq *d = arg;

	if (d->closing)
		return;
	d->ready = true;
	d->cb(d->arg, true);
}

/* Goes on with the one that an earlier helper started, or starts one. */
static int start_or_adopt(struct dnsmasq *d, struct err *e)
{
	struct kept *kept = keeper_take(d->keeper, KEPT_NAME);

	if (!kept || kept->ended)
		return start(d, e);
	if (!timer_start(d->loop, 0, on_adopted, d, &d->turn))
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	return child_adopt(d->loop, d->keeper, kept, on_ended, d, &d->child, e);
}

int dnsmasq_open(uv_loop_t *loop, const struct dnsmasq_options *o, dnsmasq_cb *cb, void *arg,
		 struct dnsmasq **ret, struct err *e)
{
	struct dnsmasq *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	d->loop = loop;
	d->cb = cb;
	d->arg = arg;
	d->like_host = o->like_host;
	d->keeper = o->keeper;
	d->dir = strdup(o->dir);
	d->ifname = strdup(o->ifname);
	snprintf(d->network, sizeof(d->network), "%s", o->network);
	snprintf(d->server, sizeof(d->server), "%s", o->server ? o->server : "");
	r = d->dir && d->ifname ? make_dirs(d, e) : err_set(e, ERR_NO_MEMORY, "out of memory");
	if (r < 0) {
		dnsmasq_free(d);
		return r;
	}
	uv_fs_event_init(loop, &d->watch);
	d->watch.data = d;
	r = uv_fs_event_start(&d->watch, on_dir_change, d->dir, 0);
	if (r < 0)
		err_errno(e, r, "watch %s", d->dir);
	else
		r = start_or_adopt(d, e);
	if (r < 0) {
		timer_stop(&d->turn);
		uv_close((uv_handle_t *)&d->watch, on_watch_closed); /* frees it */
		return r;
	}
	*ret = d;
	return 0;
}

/* Puts @text into the file @name of the directory @sub, whole at once. */
static int put(const struct dnsmasq *d, const char *sub, const char *name, const char *text,
	       struct err *e)
{
	scoped(mem) char *draft = str_format("%s/draft", d->dir);
	scoped(mem) char *path = str_format("%s/%s/%s", d->dir, sub, name);
	int r = draft && path ? files_publish(draft, text, strlen(text), 0600) : -ENOMEM;

	if (r == 0 && rename(draft, path) < 0)
		r = -errno;
	return r < 0 ? err_errno(e, r, "cannot write %s", path ? path : name) : 0;
}

/* By an earlier helper; told once more, it complains of two with one address. */
static bool is_told(const struct dnsmasq *d, const char *name, const char *host)
{
	scoped(mem) char *path = str_format("%s/dhcp/%s", d->dir, name);
	scoped(mem) char *text = NULL;

	return path && files_read(path, 4096, &text, NULL) == 0 && strcmp(text, host) == 0;
}

int dnsmasq_add(struct dnsmasq *d, const char *name, const char *mac, const char *ip, struct err *e)
{
	char host[MAC_SIZE + IP_SIZE + NAME_SIZE + 16];
	char line[IP_SIZE + NAME_SIZE + 4];
	int r;

	snprintf(host, sizeof(host), "%s,%s,%s,infinite\n", mac, ip, name);
	snprintf(line, sizeof(line), "%s %s\n", ip, name);
	if (is_told(d, name, host))
		return 0;
	r = put(d, "names", name, line, e);
	return r < 0 ? r : put(d, "dhcp", name, host, e);
}

void dnsmasq_close(struct dnsmasq *d, dnsmasq_close_cb *done, void *arg)
{
	d->closing = true;
	timer_stop(&d->turn);
	d->on_close = done;
	d->arg = arg;
	if (d->child)
		child_terminate(d->child, CLOSE_MS);
	else
		uv_close((uv_handle_t *)&d->watch, on_watch_closed);
}
