/* SPDX-License-Identifier: MIT */
/*
 * How it works: opening -> open -> closing -> gone. What takes time is dnsmasq's and slirp4netns's start; open_done runs
 * when both stand, or when one fails, after everything made so far is undone. Closing waits for both to end.
 */
#include "network/private_net.h"

#include "base/clock.h"
#include "base/crashes.h"
#include "base/err.h"
#include "base/files.h"
#include "base/list.h"
#include "base/scoped.h"
#include "loop/keeper.h"
#include "loop/timer.h"
#include "network/dnsmasq.h"
#include "network/egress.h"
#include "network/host_net.h"
#include "network/launcher.h"
#include "network/links.h"
#include "network/nft.h"
#include "network/tap.h"
#include "wire/json.h"

#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>

#define BRIDGE        "br0"
#define EGRESS_IFNAME "egress0"
#define KEPT_NAME     "network"

/* How long a way out that was lost for a shortage waits to be tried again: at first, and at most. */
enum { EGRESS_AGAIN_MS = 250, EGRESS_AGAIN_MAX_MS = 30000 };
enum { OPEN_MS = 20000, FIRST_HOST = 2, LAST_HOST = 254, NETWORK_SIZE = 16 };

struct host {
	char name[NAME_SIZE]; /* "": the address is free */
};

struct private_net {
	uv_loop_t *loop;
	struct launcher launcher;
	char *dir;
	char network[NETWORK_SIZE];    /* "a.b.c" */
	char subnet[SUBNET_SIZE];      /* "a.b.c.0/24" */
	char egress_net[NETWORK_SIZE]; /* slirp4netns's own, "a.b.c" */
	char bridge[IF_NAMESIZE];
	struct host_net *host; /* NULL: private */
	struct host hosts[256];
	bool want_egress;
	bool want_slirp;
	bool has_nat;
	struct dnsmasq *dnsmasq;
	struct egress *egress;
	bool dnsmasq_ready;
	bool egress_ready;
	struct crashes egress_crashes;
	struct timer *egress_again; /* it is missing for a shortage that may pass */
	uint64_t egress_again_ms;   /* the next wait for that; 0: there was none yet */
	struct keeper *keeper;
	bool adopted; /* bridge and NAT were there */
	struct timer *deadline;
	struct timer *deferred;
	bool closing;
	private_net_open_cb *open_done; /* NULL when it has been called */
	void *open_arg;
	struct err open_error;
	private_net_close_cb *close_done;
	void *close_arg;
};

const char *private_net_bridge(const struct private_net *n)
{
	return n->bridge;
}

const char *private_net_subnet(const struct private_net *n)
{
	return n->subnet;
}

static void net_free(struct private_net *n)
{
	launcher_done(&n->launcher);
	free(n->dir);
	free(n);
}

/* Everything has ended. */
static void finish(void *arg)
{
	struct private_net *n = arg;
	private_net_open_cb *open_done = n->open_done;
	private_net_close_cb *close_done = n->close_done;
	struct err e = n->open_error;
	void *open_arg = n->open_arg;
	void *close_arg = n->close_arg;

	if (n->has_nat)
		nft_private_remove();
	if (n->host)
		host_net_close(n->host);
	else
		links_remove(n->bridge, NULL);
	files_remove_tree(n->dir);
	net_free(n);
	if (open_done)
		open_done(open_arg, err_code_number(e.code), NULL, &e);
	if (close_done)
		close_done(close_arg);
}

static void check_gone(struct private_net *n)
{
	if (!n->dnsmasq && !n->egress)
		timer_start(n->loop, 0, finish, n, &n->deferred);
}

static void on_dnsmasq_closed(void *arg)
{
	struct private_net *n = arg;

	n->dnsmasq = NULL;
	check_gone(n);
}

static void on_egress_closed(void *arg)
{
	struct private_net *n = arg;

	n->egress = NULL;
	check_gone(n);
}

static void begin_close(struct private_net *n)
{
	n->closing = true;
	keeper_drop(n->keeper, KEPT_NAME);
	timer_stop(&n->deadline);
	timer_stop(&n->egress_again);
	if (n->dnsmasq)
		dnsmasq_close(n->dnsmasq, on_dnsmasq_closed, n);
	if (n->egress)
		egress_close(n->egress, on_egress_closed, n);
	check_gone(n);
}

void private_net_close(struct private_net *n, private_net_close_cb *done, void *arg)
{
	n->close_done = done;
	n->close_arg = arg;
	begin_close(n);
}

/* By n->open_error. What was made is undone; what was taken over runs on, for a next helper: this one is about to end. */
static void end_open(struct private_net *n)
{
	private_net_open_cb *done = n->open_done;

	if (!n->adopted) {
		begin_close(n);
		return;
	}
	timer_stop(&n->deadline);
	n->open_done = NULL;
	if (done)
		done(n->open_arg, err_code_number(n->open_error.code), NULL, &n->open_error);
}

static void fail_open(struct private_net *n, enum err_code code, const char *text)
{
	err_hint(&n->open_error, err_set(&n->open_error, code, "%s", text),
		 "the helper's log says more");
	end_open(n);
}

static void on_deadline(void *arg)
{
	struct private_net *n = arg;

	fail_open(n, ERR_TIMEOUT,
		  n->dnsmasq_ready ? "slirp4netns did not start in time"
				   : "dnsmasq did not start in time");
}

/* A next helper that finds no such entry begins anew. */
static void keep(struct private_net *n)
{
	scoped(buf) struct buf text = BUF_INIT;
	struct json_out o;

	json_out_begin(&o, &text);
	json_out_string(&o, "subnet", n->subnet);
	json_out_bool(&o, "egress", n->want_egress);
	if (json_out_end(&o) == 0)
		keeper_put(n->keeper, KEPT_NAME, 0, NULL, 0, text.data);
}

static void check_open(struct private_net *n)
{
	private_net_open_cb *done = n->open_done;

	if (!done || !n->dnsmasq_ready || (n->want_slirp && !n->egress_ready))
		return;
	timer_stop(&n->deadline);
	n->open_done = NULL;
	keep(n);
	done(n->open_arg, 0, n, NULL);
}

/* It tells only its log why, and keeps files in @n's directory. */
static void fail_dnsmasq(struct private_net *n)
{
	struct statvfs fs;

	if (statvfs(n->dir, &fs) < 0 || fs.f_bavail > 0) {
		fail_open(n, ERR_HOST, "dnsmasq does not start");
		return;
	}
	err_set(&n->open_error, ERR_NO_SPACE,
		"dnsmasq does not start, and the file system that holds %s is full", n->dir);
	end_open(n);
}

static void on_dnsmasq(void *arg, bool ready)
{
	struct private_net *n = arg;

	if (ready) {
		n->dnsmasq_ready = true;
		check_open(n);
	} else if (n->open_done) {
		fail_dnsmasq(n);
	}
}

static int start_egress(struct private_net *n, struct err *e);

/* It is the one part that a network can go on without. */
static void lose_egress(struct private_net *n, const struct err *e)
{
	fprintf(stderr, "network: no way out any more: %s\n", e->msg);
	n->egress_ready = true;
	check_open(n);
}

/* Of this process, and now: a next one may not have it. */
static bool is_shortage(int r)
{
	return r == -EMFILE || r == -ENFILE || r == -ENOMEM;
}

static void start_egress_again(void *arg);

/* Nobody tells that a shortage is over. */
static void await_egress(struct private_net *n)
{
	uint64_t ms = n->egress_again_ms ? n->egress_again_ms : EGRESS_AGAIN_MS;

	n->egress_again_ms = ms * 2 < EGRESS_AGAIN_MAX_MS ? ms * 2 : EGRESS_AGAIN_MAX_MS;
	timer_start(n->loop, ms, start_egress_again, n, &n->egress_again);
}

static void start_egress_again(void *arg)
{
	struct private_net *n = arg;
	struct err e = ERR_INIT;
	int r = start_egress(n, &e);

	if (is_shortage(r)) {
		await_egress(n);
		return;
	}
	n->egress_again_ms = 0;
	fprintf(stderr, "network: slirp4netns %s%s\n",
		r < 0 ? "is not tried again: " : "was started again", r < 0 ? e.msg : "");
}

static void on_egress(void *arg, bool ready)
{
	struct private_net *n = arg;
	struct err e = ERR_INIT;
	int r;

	if (ready) {
		n->egress_ready = true;
		check_open(n);
		return;
	}
	n->egress = NULL;
	if (n->open_done && !n->adopted) {
		fail_open(n, ERR_HOST, "slirp4netns does not start");
		return;
	}
	fprintf(stderr, "network: slirp4netns ended by itself\n");
	if (crashes_add(&n->egress_crashes, clock_ms()))
		r = err_set(&e, ERR_HOST, "slirp4netns ended %d times within a minute",
			    CRASHES_MAX);
	else
		r = start_egress(n, &e);
	if (r == 0)
		fprintf(stderr, "network: slirp4netns was started again\n");
	else
		lose_egress(n, &e);
	if (is_shortage(r))
		await_egress(n);
}

static int start_egress(struct private_net *n, struct err *e)
{
	char cidr[SUBNET_SIZE + 8];
	struct egress_options o = {.launcher = &n->launcher,
				   .keeper = n->keeper,
				   .ifname = EGRESS_IFNAME,
				   .cidr = cidr};

	snprintf(cidr, sizeof(cidr), "%s.0/24", n->egress_net);
	return egress_open(n->loop, &o, on_egress, n, &n->egress, e);
}

/* "a.b.c.0/24" of a private range or not: it is the caller's business; only the form is checked. */
static int take_subnet(struct private_net *n, const char *wanted, struct err *e)
{
	unsigned a, b, c;
	int end = 0;

	if (!wanted)
		wanted = "10.83.0.0/24";
	if (sscanf(wanted, "%3u.%3u.%3u.0/24%n", &a, &b, &c, &end) != 3 || !end || wanted[end] ||
	    a < 1 || a > 223 || a == 127 || b > 255 || c > 255)
		return err_set(e, ERR_INVALID, "subnet '%s' is not of the form a.b.c.0/24", wanted);
	snprintf(n->network, sizeof(n->network), "%u.%u.%u", a, b, c);
	snprintf(n->subnet, sizeof(n->subnet), "%s.0/24", n->network);
	snprintf(n->egress_net, sizeof(n->egress_net), "%s",
		 strcmp(n->network, "10.0.2") == 0 ? "10.0.3" : "10.0.2");
	return 0;
}

static int start_dnsmasq(struct private_net *n, struct err *e)
{
	char server[SUBNET_SIZE + 8];
	struct dnsmasq_options o = {.dir = n->dir,
				    .ifname = n->bridge,
				    .network = n->network,
				    .keeper = n->keeper,
				    .server = n->want_slirp ? server : NULL,
				    .like_host = n->host && n->want_egress};

	snprintf(server, sizeof(server), "%s.3", n->egress_net);
	return dnsmasq_open(n->loop, &o, on_dnsmasq, n, &n->dnsmasq, e);
}

/* Both programs start while this one makes the tables, which takes as long as either of them. */
static int make_parts(struct private_net *n, struct err *e)
{
	int r = n->want_slirp ? start_egress(n, e) : 0;

	if (r < 0 && n->adopted && !is_shortage(r)) {
		lose_egress(n, e); /* dnsmasq is not ready yet, so nobody is told from here */
		r = 0;
	}
	if (r == 0)
		r = start_dnsmasq(n, e);
	if (r < 0 || !n->want_slirp)
		return r;
	r = n->adopted ? 0 : nft_private_make(n->subnet, EGRESS_IFNAME, e);
	n->has_nat = r == 0;
	return r;
}

static int adopt_bridge(struct private_net *n, const struct sandbox *s, struct err *e)
{
	int r = s->on_host ? host_net_adopt(s->owner, &n->host, e) : 0;

	if (r < 0)
		return r;
	snprintf(n->bridge, sizeof(n->bridge), "%s", n->host ? host_net_bridge(n->host) : BRIDGE);
	n->adopted = true;
	return 0;
}

/* The subnet and the way out that an earlier helper's network had; then bridge, NAT and files are there. */
static int take_kept(struct private_net *n, const struct sandbox *s, struct err *e)
{
	struct kept *kept = keeper_take(n->keeper, KEPT_NAME);
	scoped(mem) char *text = kept ? kept_text(kept) : NULL;
	json_t *root = text ? wire_json_parse(text, strlen(text), NULL) : NULL;
	const char *subnet = json_string_value(json_object_get(root, "subnet"));
	int r = 0;

	if (kept)
		r = subnet ? take_subnet(n, subnet, e)
			   : err_set(e, ERR_INTERNAL, "what was left of the network is damaged");
	if (kept && r == 0)
		r = adopt_bridge(n, s, e);
	if (kept && r == 0) {
		n->want_egress = json_is_true(json_object_get(root, "egress"));
		n->want_slirp = n->want_egress && !s->on_host;
	}
	json_decref(root);
	return r;
}

/* The bridge with its /24: of the host, or of our own namespace, where every one is free. */
static int make_bridge(struct private_net *n, const struct private_net_options *o, struct err *e)
{
	char gateway[IP_SIZE + 8];
	int r;

	if (o->sandbox->on_host) {
		r = host_net_open(o->sandbox->owner, o->subnet, o->egress, &n->host, e);
		if (r < 0)
			return r;
		snprintf(n->bridge, sizeof(n->bridge), "%s", host_net_bridge(n->host));
		return take_subnet(n, host_net_subnet(n->host), e);
	}
	snprintf(n->bridge, sizeof(n->bridge), "%s", BRIDGE);
	r = take_subnet(n, o->subnet, e);
	if (r < 0)
		return r;
	if (keeper_restarts(n->keeper) > 0) {
		/* Of a helper that was killed while it made them. */
		nft_private_remove();
		links_remove(n->bridge, NULL);
	}
	snprintf(gateway, sizeof(gateway), "%s.1", n->network);
	return links_bridge_make(n->bridge, gateway, e);
}

int private_net_open(uv_loop_t *loop, const struct private_net_options *o,
		     private_net_open_cb *done, void *arg, struct err *e)
{
	struct private_net *n = calloc(1, sizeof(*n));
	int r;

	if (!n)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	n->loop = loop;
	launcher_init(&n->launcher, o->sandbox);
	n->keeper = o->sandbox->keeper;
	n->want_egress = o->egress;
	n->want_slirp = o->egress && !o->sandbox->on_host;
	n->dir = strdup(o->dir);
	r = n->dir ? take_kept(n, o->sandbox, e) : err_set(e, ERR_NO_MEMORY, "out of memory");
	if (r == 0 && !n->adopted) {
		files_remove_tree(n->dir); /* hosts of a helper that died here would answer */
		r = files_mkdir_all(n->dir, 0700);
		if (r < 0)
			err_errno(e, r, "make %s", n->dir);
	}
	if (r == 0 && !n->adopted) {
		r = make_bridge(n, o, e);
		if (r < 0)
			files_remove_tree(n->dir);
	}
	if (r < 0) {
		net_free(n);
		return r;
	}
	r = make_parts(n, e);
	if (r < 0 && n->adopted)
		return r; /* nor is @n freed: its parts are as end_open has them */
	if (r < 0) {
		begin_close(n); /* nobody is told */
		return r;
	}
	n->open_done = done;
	n->open_arg = arg;
	timer_start(loop, OPEN_MS, on_deadline, n, &n->deadline);
	return 0;
}

/* The last part of @ip when it is a member's address in this network, else 0. */
static unsigned host_number(const struct private_net *n, const char *ip)
{
	size_t len = strlen(n->network);
	int64_t number;

	if (!ip || strncmp(ip, n->network, len) != 0 || ip[len] != '.' ||
	    str_to_int64(ip + len + 1, FIRST_HOST, LAST_HOST, &number) < 0)
		return 0;
	return (unsigned)number;
}

/* The number that @name has, or gets; 0 when all are taken. */
static unsigned choose(const struct private_net *n, const char *name, const char *ip_hint)
{
	unsigned hint = host_number(n, ip_hint);

	for (unsigned i = FIRST_HOST; i <= LAST_HOST; i++)
		if (strcmp(n->hosts[i].name, name) == 0)
			return i;
	if (hint && !n->hosts[hint].name[0])
		return hint;
	for (unsigned i = FIRST_HOST; i <= LAST_HOST; i++)
		if (!n->hosts[i].name[0])
			return i;
	return 0;
}

int private_net_reserve(struct private_net *n, const char *name, const char *mac,
			const char *ip_hint, char ret_ip[IP_SIZE], struct err *e)
{
	unsigned number = choose(n, name, ip_hint);
	char ip[IP_SIZE];
	int r = 0;

	if (number == 0)
		return err_set(e, ERR_NO_ADDRESS, "all addresses of %s are taken", n->subnet);
	snprintf(ip, sizeof(ip), "%s.%u", n->network, number);
	if (!n->hosts[number].name[0])
		r = dnsmasq_add(n->dnsmasq, name, mac, ip, e);
	if (r < 0)
		return r;
	snprintf(n->hosts[number].name, NAME_SIZE, "%s", name);
	memcpy(ret_ip, ip, IP_SIZE);
	return 0;
}

int private_net_tap(struct private_net *n, int *ret_fd, char ret_ifname[IF_NAMESIZE], struct err *e)
{
	if (n->host)
		return host_net_tap(n->host, ret_fd, ret_ifname, e);
	return links_tap_make(n->bridge, "vm%d", ret_fd, ret_ifname, e);
}

void private_net_leave_tap(const struct private_net *n, int fd)
{
	if (!n->host)
		tap_keep(fd, NULL);
}
