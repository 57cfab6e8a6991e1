/* SPDX-License-Identifier: MIT */
/* drover-helper: options, identity, and the process around helper_run. */
#include "helper/check.h"
#include "helper/helper.h"

#include "base/fds.h"
#include "base/files.h"
#include "base/giveup.h"
#include "base/scoped.h"
#include "base/wait_status.h"
#include "config.h"
#include "loop/keeper.h"
#include "network/host_net.h"
#include "network/init.h"
#include "network/sandbox.h"
#include "store/audit.h"
#include "store/host_record.h"
#include "store/namespaces.h"

#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* What a helper without members may take to end. */
enum { PREDECESSOR_MS = 10000 };

struct arguments {
	struct name_list members;
	const char *backend;
	const char *network;
	const char *subnet;
	bool no_egress;
	pid_t bound;
	pid_t starter;
	int ready_fd;
	bool remove;
	bool reconcile;
	bool check;
};

static const char usage[] =
	"Usage: drover-helper --members NAME[,NAME...] [--backend NAME] [--network NAME]\n"
	"                     [--subnet CIDR] [--no-egress] [--bound PID | --starter PID]\n"
	"                     [--remove] [--ready-fd N]\n"
	"       drover-helper --reconcile [--ready-fd N]\n"
	"       drover-helper --check | --version | --help\n"
	"\n"
	"Owns the network and the VMs of one cluster. Started by drover and libdrover.\n";

static int parse_members(const char *list, struct name_list *ret, struct err *e)
{
	scoped(mem) char *copy = strdup(list);
	char *rest = copy;
	char *name;

	while (copy && (name = strsep(&rest, ","))) {
		int r = name_check(name, e);

		if (r < 0)
			return r;
		if (name_list_has(ret, name))
			return err_set(e, ERR_INVALID, "member %s is named twice", name);
		if (name_list_add(ret, name) < 0)
			return err_set(e, ERR_NO_MEMORY, "out of memory");
	}
	return 0;
}

static int parse_number(const char *option, const char *text, int64_t min, int64_t *ret,
			struct err *e)
{
	if (str_to_int64(text, min, INT32_MAX, ret) == 0)
		return 0;
	return err_set(e, ERR_INVALID, "--%s: '%s' is no number", option, text);
}

enum {
	OPT_MEMBERS = 256,
	OPT_BACKEND,
	OPT_NETWORK,
	OPT_SUBNET,
	OPT_NO_EGRESS,
	OPT_BOUND,
	OPT_STARTER,
	OPT_READY,
	OPT_REMOVE,
	OPT_RECONCILE,
	OPT_CHECK,
	OPT_VERSION,
	OPT_HELP
};

static const struct option options[] = {
	{"members", required_argument, NULL, OPT_MEMBERS},
	{"backend", required_argument, NULL, OPT_BACKEND},
	{"network", required_argument, NULL, OPT_NETWORK},
	{"subnet", required_argument, NULL, OPT_SUBNET},
	{"no-egress", no_argument, NULL, OPT_NO_EGRESS},
	{"bound", required_argument, NULL, OPT_BOUND},
	{"starter", required_argument, NULL, OPT_STARTER},
	{"ready-fd", required_argument, NULL, OPT_READY},
	{"remove", no_argument, NULL, OPT_REMOVE},
	{"reconcile", no_argument, NULL, OPT_RECONCILE},
	{"check", no_argument, NULL, OPT_CHECK},
	{"version", no_argument, NULL, OPT_VERSION},
	{"help", no_argument, NULL, OPT_HELP},
	{NULL, 0, NULL, 0},
};

static int take_option(int option, struct arguments *a, struct err *e)
{
	int64_t number = 0;
	int r = 0;

	switch (option) {
	case OPT_MEMBERS:
		return parse_members(optarg, &a->members, e);
	case OPT_BACKEND:
		a->backend = optarg;
		return 0;
	case OPT_NETWORK:
		a->network = optarg;
		return 0;
	case OPT_SUBNET:
		a->subnet = optarg;
		return 0;
	case OPT_NO_EGRESS:
		a->no_egress = true;
		return 0;
	case OPT_BOUND:
		r = parse_number("bound", optarg, 1, &number, e);
		a->bound = (pid_t)number;
		return r;
	case OPT_STARTER:
		r = parse_number("starter", optarg, 1, &number, e);
		a->starter = (pid_t)number;
		return r;
	case OPT_READY:
		r = parse_number("ready-fd", optarg, 0, &number, e);
		a->ready_fd = (int)number;
		return r;
	case OPT_REMOVE:
		a->remove = true;
		return 0;
	case OPT_RECONCILE:
		a->reconcile = true;
		return 0;
	case OPT_CHECK:
		a->check = true;
		return 0;
	default:
		return err_set(e, ERR_INVALID,
			       "unknown or incomplete option; see drover-helper --help");
	}
}

static int check_network(const struct arguments *a, struct err *e)
{
	if (strcmp(a->network, "private") == 0)
		return 0;
	if (strcmp(a->network, "host") != 0)
		return err_set(e, ERR_UNSUPPORTED,
			       "unknown network '%s': there are private and host", a->network);
	if (strcmp(a->backend, "fake") == 0)
		return err_set(e, ERR_UNSUPPORTED, "backend 'fake' has no network on the host");
	return 0;
}

/* 1: done (help, version), 0: go on, < 0: error. */
static int parse_arguments(int argc, char **argv, struct arguments *a, struct err *e)
{
	int option;
	int first = 0;

	opterr = 0;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		int r;

		if (option == OPT_HELP || option == OPT_VERSION) {
			fputs(option == OPT_HELP ? usage : "drover-helper " DROVER_VERSION "\n",
			      stdout);
			return 1;
		}
		/* The first error counts; the rest is read for --ready-fd, which is to hear of it. */
		r = take_option(option, a, first < 0 ? NULL : e);
		if (first == 0)
			first = r;
	}
	if (first < 0)
		return first;
	if (optind < argc)
		return err_set(e, ERR_INVALID, "unexpected argument '%s'", argv[optind]);
	if (!a->reconcile && !a->check && a->members.n == 0)
		return err_set(e, ERR_INVALID, "no VM names provided; see drover-helper --help");
	if (a->bound && a->starter)
		return err_set(e, ERR_INVALID, "--bound and --starter do not go together");
	return check_network(a, e);
}

/* As many descriptors as there may be; and no core files, which would hold the memory of guests. */
static void set_limits(void)
{
	struct rlimit limit = {0, 0};

	setrlimit(RLIMIT_CORE, &limit);

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* Whatever this process starts says whose it is, also when all that could tell is dead: see store/processes.c. */
static int mark_children(const struct helper_options *o, struct err *e)
{
	scoped(mem) char *mark =
		str_format("%d %llu %s %s %s", (int)o->identity.pid,
			   (unsigned long long)o->identity.start_ticks, o->identity.boot_id,
			   o->members.names[0], o->store->root);

	if (!mark || setenv("DROVER_OWNER", mark, 1) < 0)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	return 0;
}

/* Everything that is to be known of the host's processes: pid 1 of the sandbox sees them no more. */
static int identify(const struct arguments *a, struct helper_options *o, struct err *e)
{
	pid_t client = a->bound ? a->bound : a->starter;
	int r;

	if (client) {
		o->client_pidfd = (int)syscall(SYS_pidfd_open, client, 0);
		if (o->client_pidfd < 0 && errno == ESRCH)
			return err_set(e, ERR_NOT_FOUND, "--%s: there is no process %d",
				       a->bound ? "bound" : "starter", (int)client);
	}
	r = procid_of(getpid(), &o->identity);
	return r < 0 ? err_errno(e, r, "read /proc/self") : mark_children(o, e);
}

/* --remove: what ends with the cluster. A member that somebody else took over in the meantime is left alone. */
static void remove_members(const struct store *store, const struct name_list *names)
{
	for (size_t i = 0; i < names->n; i++) {
		scoped(lock) int lock = -1;

		if (store_member_lock(store, names->names[i], &lock, NULL) == 0)
			store_member_remove(store, names->names[i], NULL);
	}
}

/* Runs the helper in this process; after an orderly end nothing is left for a supervisor to do. */
static int run_here(const struct arguments *a, struct helper_options *o, struct err *e)
{
	struct name_list served = {0};
	int r;

	o->served = &served;
	r = helper_run(o, e);
	if (r == 0 && a->remove)
		remove_members(o->store, &served);
	o->served = NULL;
	name_list_done(&served);
	return r;
}

/* Without namespaces: this process is its own supervisor. */
static int run_plain(const struct arguments *a, struct helper_options *o, struct err *e)
{
	int r = run_here(a, o, e);

	if (r == 0)
		store_log_end(o->store, a->members.names[0]);
	return r;
}

/* The same cluster's last helper, which has no member any more, may be taking the network down. */
static void await_predecessor(const struct host_net_owner *owner, const struct store *store)
{
	pid_t pid = host_net_holder(owner);
	scoped(fd) int pidfd = pid ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;

	if (pidfd >= 0 && !store_owner_serves(store, pid))
		giveup_wait(NULL, pidfd, POLLIN, PREDECESSOR_MS, NULL);
}

/* Before the sandbox, from inside which no other cluster's owner can be seen. */
static int prepare_host(const struct host_net_owner *owner, struct helper_options *o,
			char **ret_warning, struct err *e)
{
	struct err why = ERR_INIT;
	int r = host_net_check(e);

	if (r < 0)
		return r;
	await_predecessor(owner, o->store);
	r = host_net_reconcile(false, &why);
	/* It would stay busy inside, from where the holder cannot be seen. */
	if (why.code == ERR_BUSY)
		return err_copy(e, &why);
	if (r < 0)
		fprintf(stderr, "network: %s\n", why.msg);
	*ret_warning = host_net_warning();
	if (*ret_warning)
		fprintf(stderr, "network: %s\n", *ret_warning);
	o->warning = *ret_warning;
	return 0;
}

/* In init, before everything goes: ls tells it of each member. */
static void give_up(void *arg, const char *how)
{
	const struct helper_options *o = arg;

	store_fail_owner(o->store, o->identity.pid, how);
}

/* In pid 1. Returns in each helper that it starts. A bound cluster ends with its helper: its client's hold is lost. */
static void enter_init(struct helper_options *o, struct sandbox *s)
{
	const struct init_options init = {
		.restart = !o->bound && helper_can_adopt(o->backend),
		.ready_fd = o->ready_fd,
		.launcher = s->launcher,
		.give_up = give_up,
		.arg = o,
	};

	init_enter(&init, &s->keeper);
	o->keeper = s->keeper;
	if (keeper_restarts(o->keeper) > 0)
		o->ready_fd = -1; /* was told by the first */
}

/* Without the record the cluster runs as well; audit then misses what somebody keeps of it. */
static void note_namespaces(const struct helper_options *o, const struct namespace_set *before)
{
	int r = namespaces_note(o->store, o->members.names[0], &o->identity, before);

	if (r < 0)
		fprintf(stderr, "write %s/namespaces: %s\n", o->store->root, strerror(-r));
}

/*
 * In the supervisor: init has ended with @code, and all that ran with it. @owner: of what is in the host's network; NULL:
 * nothing is. Returns the exit code.
 */
static int clean_up(const struct arguments *a, const struct helper_options *o,
		    const struct host_net_owner *owner, int code)
{
	scoped(mem) char *net = store_network_path(o->store, a->members.names[0], o->identity.pid);
	bool violent = code > WAIT_SIGNALED;

	if (owner)
		host_net_sweep(owner);
	if (net && violent)
		files_remove_tree(net); /* the network's files; the rest of it is gone */
	store_sweep_owner(o->store, o->identity.pid, a->remove && violent);
	if (violent && a->remove)
		remove_members(o->store, &a->members);
	namespaces_end(o->store, &o->identity);
	if (code == 0 || code == HELPER_CLIENT_GONE || (violent && a->remove))
		store_log_end(o->store, a->members.names[0]);
	return code == HELPER_CLIENT_GONE ? 0 : code;
}

/* The helper in namespaces of its own: 0, the exit code, or < 0. This process becomes its supervisor. */
static int run_sandboxed(const struct arguments *a, struct helper_options *o, struct err *e)
{
	const struct host_net_owner owner = {.root = o->store->root,
					     .member = a->members.names[0],
					     .id = o->identity,
					     .pid_ns = host_namespace("pid")};
	const struct namespace_set before = namespaces_here();
	bool on_host = strcmp(a->network, "host") == 0;
	scoped(mem) char *warning = NULL;
	struct sandbox sandbox;
	int code = 0;
	int r = on_host ? prepare_host(&owner, o, &warning, e) : 0;

	if (r == 0)
		r = sandbox_enter(on_host, &sandbox, &code, e);
	if (r < 0) {
		helper_tell_failure(o->ready_fd, e);
		return r;
	}
	if (r > 0)
		return clean_up(a, o, on_host ? &owner : NULL, code);
	note_namespaces(o, &before);
	enter_init(o, &sandbox);
	sandbox.owner = &owner;
	o->sandbox = &sandbox;
	o->namespaced = sandbox.is_user_ns;
	r = run_here(a, o, e);
	o->sandbox = NULL;
	keeper_free(o->keeper);
	sandbox_leave(&sandbox);
	return r;
}

/* What is nobody's: of the store, and (root) in the host's network, of whatever store. */
static int reconcile(const struct store *store, int ready_fd, struct err *e)
{
	int r = store_prune(store, NULL, e);
	int host = 0;

	if (host_net_check(NULL) == 0)
		host = host_net_reconcile(true, r < 0 ? NULL : e);
	r = r < 0 ? r : host;
	if (r < 0)
		helper_tell_failure(ready_fd, e);
	else if (ready_fd >= 0)
		files_write_all(ready_fd, "ready\n", strlen("ready\n"));
	return r;
}

static int serve(const struct arguments *a, struct err *e)
{
	scoped(store) struct store store = {0};
	struct helper_options o = {
		.store = &store,
		.members = a->members,
		.backend = a->backend,
		.subnet = a->subnet,
		.no_egress = a->no_egress,
		.bound = a->bound != 0,
		.temporary = a->remove,
		.client_pidfd = -1,
		.ready_fd = a->ready_fd,
	};
	int r;

	if (a->check) {
		r = helper_check();
		return r < 0 ? err_errno(e, r, "tell of the host") : 0;
	}
	r = store_open(NULL, &store, e);
	if (r == 0 && a->reconcile)
		return reconcile(&store, a->ready_fd, e);
	if (r == 0)
		r = identify(a, &o, e);
	if (r < 0) {
		helper_tell_failure(o.ready_fd, e);
		return r;
	}
	return strcmp(a->backend, "fake") == 0 ? run_plain(a, &o, e) : run_sandboxed(a, &o, e);
}

int main(int argc, char **argv)
{
	struct arguments a = {.backend = "qemu", .network = "private", .ready_fd = -1};
	struct err e = ERR_INIT;
	int r;

	umask(077);
	signal(SIGPIPE, SIG_IGN);
	set_limits();
	r = parse_arguments(argc, argv, &a, &e);
	fds_close_but(a.ready_fd); /* a lock that the caller holds is not ours to hold */
	if (r < 0)
		helper_tell_failure(a.ready_fd, &e);
	r = r == 0 ? serve(&a, &e) : r > 0 ? 0 : r;
	name_list_done(&a.members);
	if (r < 0) {
		fprintf(stderr, "drover-helper: %s%s%s\n", e.msg, *e.hint ? "; " : "", e.hint);
		return 1;
	}
	return r;
}
