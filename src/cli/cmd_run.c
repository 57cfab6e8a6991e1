/* SPDX-License-Identifier: MIT */
/*
 * drover run: a cluster for the time of one command. The cluster is bound to this process and its members are
 * temporary, so that the helper removes everything itself should this process be killed.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/files.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/commands.h"

enum { HOME_DEPTH = 3 };

struct run_settings {
	struct member_settings m;
	const char *from;
};

static const struct option_row run_options[] = {
	{"count", 'n', OPTION_MEMBERS, offsetof(struct run_settings, m.count), "N",
	 "how many members (default 1, when none is named)"},
	{"from", 0, OPTION_TEXT, offsetof(struct run_settings, from), "CLUSTER[:POINT]",
	 "on a copy of that running cluster, of that saved point, or of a file of snapshot export"},
	MEMBER_OPTION_ROWS(struct run_settings),
	{0},
};

static int put(const char *value, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int put(const char *value, const char *fmt, ...)
{
	char name[NAME_SIZE + 32];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(name, sizeof(name), fmt, ap);
	va_end(ap);
	return setenv(name, value ? value : "", 1);
}

/* "web-1" as part of a variable's name: WEB_1 */
static void variable_name(const char *name, char ret[NAME_SIZE])
{
	size_t i;

	for (i = 0; name[i] && i < NAME_SIZE - 1; i++) {
		char ch = name[i];

		ret[i] = (char)(ch == '-' ? '_' : ch >= 'a' && ch <= 'z' ? ch - 'a' + 'A' : ch);
	}
	ret[i] = '\0';
}

/* What the command learns of member @i. Returns < 0 when out of memory. */
static int tell_member(struct drover_vm *vm, size_t i)
{
	const char *name = drover_vm_name(vm);
	scoped(mem) char *socket = drover_path(NULL, name, DROVER_PATH_SOCKET);
	scoped(mem) char *known = drover_path(NULL, name, DROVER_PATH_KNOWN_HOSTS);
	char upper[NAME_SIZE];

	variable_name(name, upper);
	if (put(name, "DROVER_MEMBER_%zu", i + 1) < 0 ||
	    put(drover_vm_address(vm), "DROVER_IP_%zu", i + 1) < 0 ||
	    put(drover_vm_address(vm), "DROVER_ADDRESS_%s", upper) < 0 ||
	    put(socket, "DROVER_SOCKET_%zu", i + 1) < 0 ||
	    put(known, "DROVER_KNOWN_HOSTS_%zu", i + 1) < 0)
		return -ENOMEM;
	return 0;
}

/* With DROVER_HOME in its environment the command would look for images there: says where they are. */
static int tell_cache(void)
{
	const char *cache = getenv("XDG_CACHE_HOME");
	const char *home = getenv("HOME");
	scoped(mem) char *path = NULL;

	if (getenv("DROVER_IMAGE_CACHE"))
		return 0;
	if (cache && *cache == '/')
		path = str_format("%s/drover/images", cache);
	else
		path = str_format("%s/.cache/drover/images", home ? home : "");
	return path ? setenv("DROVER_IMAGE_CACHE", path, 1) : -ENOMEM;
}

/* DROVER_HOME as the library found it: a member's directory is <home>/clusters/<cluster>/<name>. */
static int tell_home(const char *name)
{
	const char *set = getenv("DROVER_HOME");
	scoped(mem) char *dir = NULL;

	if (set && *set)
		return 0;
	dir = drover_path(NULL, name, DROVER_PATH_DIR);
	for (int i = 0; dir && i < HOME_DEPTH; i++) {
		char *slash = strrchr(dir, '/');

		if (!slash || slash == dir)
			return 0;
		*slash = '\0';
	}
	if (!dir || tell_cache() < 0)
		return -ENOMEM;
	return setenv("DROVER_HOME", dir, 1);
}

static int tell(struct drover_cluster *c)
{
	size_t n = drover_cluster_size(c);
	char list[16384] = "";
	size_t used = 0;
	char count[24];

	for (size_t i = 0; i < n; i++) {
		struct drover_vm *vm = drover_cluster_vm(c, i);
		int len;

		if (tell_member(vm, i) < 0)
			return -ENOMEM;
		len = snprintf(list + used, sizeof(list) - used, "%s%s", i ? " " : "",
			       drover_vm_name(vm));
		if (len > 0 && used + (size_t)len < sizeof(list))
			used += (size_t)len;
	}
	snprintf(count, sizeof(count), "%zu", n);
	if (put(list, "DROVER_MEMBERS") < 0 || put(count, "DROVER_MEMBER_COUNT") < 0 ||
	    put(drover_cluster_subnet(c), "DROVER_SUBNET") < 0)
		return -ENOMEM;
	return n > 0 ? tell_home(drover_vm_name(drover_cluster_vm(c, 0))) : 0;
}

/* Runs the command beside @c, and removes that. */
static int use_cluster(struct drover_cluster *c, char **argv)
{
	struct drover_error e;
	int r;

	if (interrupt_signal())
		r = CLI_SIGNALED + interrupt_signal();
	else if (tell(c) < 0)
		r = say_error("out of memory");
	else
		r = child_run(argv, NULL, NULL);
	if (drover_cluster_destroy(c, NULL, &e) < 0) {
		say_failed(NULL, &e);
		return r == CLI_OK ? CLI_FAILED : r;
	}
	return r;
}

/* What run makes it removes: a member that is there already is somebody's. */
static int check_new(const struct names *names)
{
	scoped(targets) struct targets t = {0};
	int r = targets_find(NULL, 0, false, &t);

	for (size_t i = 0; i < names->count && r == CLI_OK; i++)
		if (targets_member(&t, names->v[i]))
			r = say_error("member %s is there already, and run removes its members "
				      "when the command ends: take another name",
				      names->v[i]);
	return r;
}

/* Told before a cluster is booted for it. */
static int check_command(const char *command)
{
	scoped(mem) char *path = files_find_program(command);
	int why = path || strchr(command, '/') ? errno : ENOENT;

	if (path)
		return CLI_OK;
	say_error("cannot run '%s': %s", command, strerror(why));
	return why == ENOENT ? CLI_NOT_FOUND : CLI_NOT_RUN;
}

static int run_cluster(const struct names *names, const struct member_settings *m,
		       const struct shares *shares, char **argv)
{
	scoped(progress) struct progress *p = progress_new(members_style(m));
	struct drover_cluster *c = NULL;
	struct drover_options o;
	struct drover_error e;

	if (!p)
		return say_error("out of memory");
	o = members_options(m, p, interrupt_catch());
	o.temporary = true;
	o.shares = shares->v;
	o.n_shares = shares->count;
	if (drover_cluster_start((const char *const *)names->v, names->count, &o, &c, &e) < 0)
		return interrupt_or_failed(&e);
	return use_cluster(c, argv);
}

/* What members are made of is what the original's are: there is nothing to say about it. */
static int check_from(const struct command *self, const struct member_settings *m,
		      const struct args *a)
{
	bool says_more = m->image || m->backend || m->hypervisor || m->firmware || m->kernel ||
			 m->initrd || m->append || m->network || m->cpus || m->mem || m->disk ||
			 m->count || m->no_egress || m->fixtures.count || m->mounts.count;

	if (a->count > 1)
		return say_usage(self, "run --from takes one name for the copy, not %zu", a->count);
	if (a->count == 1 && name_check_usage(self, a->names[0]) != CLI_OK)
		return CLI_USAGE;
	if (says_more)
		return say_usage(self, "run --from makes a copy as it is: beside it go --quiet and "
				       "--json only");
	return CLI_OK;
}

static int run_copy(const struct run_settings *s, const char *name, char **argv)
{
	scoped(progress) struct progress *p = progress_new(members_style(&s->m));
	scoped(mem) char *from = strdup(s->from);
	struct drover_options o = DROVER_OPTIONS_INIT;
	struct drover_capture *k = NULL;
	struct drover_cluster *c = NULL;
	struct drover_error e;
	int r;

	if (!p || !from)
		return say_error("out of memory");
	r = capture_open_named(from, &k);
	if (r != CLI_OK)
		return r;
	o.on_progress = progress_on_event;
	o.progress_arg = p;
	o.cancel = interrupt_catch();
	o.temporary = true;
	r = drover_capture_start(k, name, 1, &o, &c, &e);
	drover_capture_close(k);
	return r < 0 ? interrupt_or_failed(&e) : use_cluster(c, argv);
}

static int run_run(const struct command *self, const void *settings, const struct args *a)
{
	const struct run_settings *s = settings;
	scoped(names) struct names names = {0};
	scoped(shares) struct shares shares = {0};
	char prefix[NAME_SIZE];
	char *own = prefix;
	unsigned count = s->m.count;
	int r;

	if (a->tail_count == 0 && a->count > 0)
		return say_usage(self, "run needs a command after '--': drover run -- %s",
				 a->names[0]);
	if (a->tail_count == 0)
		return say_usage(self, "run needs a command after '--'");
	if (count > 0 && a->count > 1)
		return say_usage(self, "option -n takes one prefix at most, not %zu names",
				 a->count);
	snprintf(prefix, sizeof(prefix), "run-%d", (int)getpid());
	r = check_command(a->tail[0]);
	if (r != CLI_OK)
		return r;
	if (s->from) {
		r = check_from(self, &s->m, a);
		return r == CLI_OK ? run_copy(s, a->count ? a->names[0] : prefix, a->tail) : r;
	}
	if (count == 0 && a->count == 0)
		count = 1;
	r = members_check_program(self, &s->m);
	if (r == CLI_OK)
		r = names_make(self, a->count > 0 ? a->names : &own, a->count, count, &names);
	if (r == CLI_OK)
		r = shares_make(self, &s->m, &shares);
	if (r == CLI_OK)
		r = check_new(&names);
	if (r != CLI_OK)
		return r;
	return run_cluster(&names, &s->m, &shares, a->tail);
}

const struct command command_run = {
	.name = "run",
	.usage = "[OPTIONS] [-n N] [NAME...] -- COMMAND [ARGUMENT...] | "
		 "--from CLUSTER[:POINT] [NAME] -- COMMAND [ARGUMENT...]",
	.summary = "Run a command with a cluster that lives as long as it",
	.options = run_options,
	.settings_size = sizeof(struct run_settings),
	.shape = ARGS_NAMES_AND_TAIL,
	.run = run_run,
};
