/* SPDX-License-Identifier: MIT */
/*
 * The processes of a store, read from /proc.
 *
 * How they are known: a helper by its program's name and the DROVER_HOME that it was started with; what it starts by
 * DROVER_OWNER in its environment, which names the helper's whole identity. Of the helpers that were forked from one
 * another the topmost is the supervisor, which lives in our pid namespace; where it is missing they are orphans.
 */
#include "store/audit.h"

#include "base/err.h"
#include "base/files.h"
#include "base/scoped.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>

enum { PROC_FILE_MAX = 4 << 20, END_MS = 5000 };

/* Reads /proc/@pid/@name: heap text, or NULL. */
static char *read_proc(pid_t pid, const char *name, size_t *ret_len)
{
	char path[64];
	char *text = NULL;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	return files_read(path, PROC_FILE_MAX, &text, ret_len) == 0 ? text : NULL;
}

/* The value that follows @key in a block of texts that each end with a NUL: "KEY=" in an environment. Borrowed. */
static const char *find_variable(const char *block, size_t len, const char *key)
{
	for (const char *p = block; p && p < block + len; p += strlen(p) + 1)
		if (str_starts(p, key))
			return p + strlen(key);
	return NULL;
}

/* The argument after @option, or NULL. */
static const char *find_argument(const char *block, size_t len, const char *option)
{
	for (const char *p = block; p && p < block + len; p += strlen(p) + 1)
		if (strcmp(p, option) == 0 && p + strlen(p) + 1 < block + len)
			return p + strlen(p) + 1;
	return NULL;
}

/* A line "Key:\tvalue" of /proc/PID/status. Borrowed, or NULL. */
static const char *find_status(const char *status, const char *key)
{
	const char *p = strstr(status, key);

	return p ? p + strlen(key) : NULL;
}

/* How many pid namespaces /proc/PID/status tells of. */
static unsigned count_levels(const char *status)
{
	const char *p = find_status(status, "\nNSpid:");
	unsigned n = 0;

	for (; p && *p && *p != '\n'; p++)
		if (*p == '\t')
			n++;
	return n;
}

static bool read_status(struct process *p)
{
	scoped(mem) char *status = read_proc(p->id.pid, "status", NULL);
	const char *parent = status ? find_status(status, "\nPPid:") : NULL;

	if (!parent)
		return false;
	p->parent = (pid_t)strtol(parent, NULL, 10);
	p->levels = count_levels(status);
	return true;
}

/* DROVER_OWNER: "pid ticks boot-id member root". True when it names @s. */
static bool read_mark(const struct store *s, const char *mark, struct process *p)
{
	struct procid owner = {0};
	unsigned long long ticks = 0;
	int at = 0;

	if (sscanf(mark, "%d %llu %36s %63s %n", &owner.pid, &ticks, owner.boot_id, p->member,
		   &at) != 4 ||
	    at == 0 || strcmp(mark + at, s->root) != 0)
		return false;
	owner.start_ticks = ticks;
	p->owner = procid_is_alive(&owner) ? owner.pid : 0;
	return true;
}

static void read_program(const char *args, struct process *p)
{
	const char *slash = strrchr(args, '/');

	snprintf(p->program, sizeof(p->program), "%s", slash ? slash + 1 : args);
	str_make_printable(p->program);
}

/* 1: it is one of @s; 0: it is not, or it is gone meanwhile; < 0: out of memory. */
static int look(const struct store *s, pid_t pid, struct process *p)
{
	size_t env_len = 0;
	size_t args_len = 0;
	scoped(mem) char *env = read_proc(pid, "environ", &env_len);
	scoped(mem) char *args = NULL;
	const char *mark = env ? find_variable(env, env_len, "DROVER_OWNER=") : NULL;
	const char *home = env ? find_variable(env, env_len, "DROVER_HOME=") : NULL;
	const char *names;

	if (!mark && !home)
		return 0; /* most processes: nothing more is read of them */
	args = read_proc(pid, "cmdline", &args_len);
	if (!args || args_len == 0 || procid_of(pid, &p->id) < 0 || !read_status(p))
		return 0;
	read_program(args, p);
	names = find_argument(args, args_len, "--members");
	if (strcmp(p->program, "drover-helper") == 0 && names && home &&
	    strcmp(home, s->root) == 0) {
		p->is_helper = true;
		snprintf(p->member, sizeof(p->member), "%.*s", (int)strcspn(names, ","), names);
		p->members = strdup(names);
		return p->members ? 1 : -ENOMEM;
	}
	return mark && read_mark(s, mark, p);
}

static struct process *find_process(const struct process_list *l, pid_t pid)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->all[i].id.pid == pid)
			return &l->all[i];
	return NULL;
}

/* Helpers belong to their supervisor, which is in the same pid namespace as whoever asks. */
static void find_supervisors(struct process_list *l, unsigned levels)
{
	for (size_t i = 0; i < l->n; i++) {
		struct process *top = &l->all[i];
		struct process *above;

		if (!top->is_helper)
			continue;
		while ((above = find_process(l, top->parent)) && above->is_helper)
			top = above;
		l->all[i].owner = top->levels == levels ? top->id.pid : 0;
	}
}

static int add_process(struct process_list *l, const struct process *p)
{
	struct process *all = realloc(l->all, (l->n + 1) * sizeof(*all));

	if (!all)
		return -ENOMEM;
	l->all = all;
	l->all[l->n++] = *p;
	return 0;
}

int store_processes(const struct store *s, const struct giveup *g, struct process_list *ret,
		    struct err *e)
{
	scoped(dir) DIR *dir = opendir("/proc");
	struct process_list l = {0};
	struct process self = {.id.pid = getpid()};
	struct dirent *entry;
	int given_up = 0;
	int r = 0;

	if (!dir || !read_status(&self))
		return err_errno(e, dir ? -EIO : -errno, "read /proc");
	while (r >= 0 && given_up == 0 && (entry = readdir(dir))) {
		struct process p = {0};
		int64_t pid;

		given_up = giveup_check(g, e);
		if (str_to_int64(entry->d_name, 1, INT32_MAX, &pid) < 0 || pid == getpid())
			continue;
		r = look(s, (pid_t)pid, &p);
		if (r == 1)
			r = add_process(&l, &p);
		if (r < 0)
			free(p.members);
	}
	if (r < 0 || given_up < 0) {
		process_list_done(&l);
		return given_up < 0 ? given_up : err_set(e, ERR_NO_MEMORY, "out of memory");
	}
	find_supervisors(&l, self.levels);
	*ret = l;
	return 0;
}

char *process_name(pid_t pid)
{
	char path[64];
	char *name = NULL;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	if (files_read(path, 64, &name, NULL) < 0)
		return NULL;
	name[strcspn(name, "\n")] = '\0';
	return name;
}

void process_list_done(struct process_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->all[i].members);
	free(l->all);
	*l = (struct process_list){0};
}

/* By pidfd and after a second look, so that nobody else is hit; waits for its end. */
static int end_process(const struct process *p, const struct giveup *g, struct err *e)
{
	scoped(fd) int pidfd = (int)syscall(SYS_pidfd_open, p->id.pid, 0);
	int r;

	if (pidfd < 0 || !procid_is_alive(&p->id))
		return 0;
	if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
		return err_errno(e, -errno, "end %s, pid %d", p->program, (int)p->id.pid);
	r = giveup_wait(g, pidfd, POLLIN, END_MS, e);
	if (r == 0)
		return err_set(e, ERR_TIMEOUT, "%s, pid %d, does not end", p->program,
			       (int)p->id.pid);
	return r < 0 ? r : 0;
}

int store_end_orphans(const struct process_list *l, const struct giveup *g, struct err *e)
{
	int first = 0;

	for (size_t i = 0; i < l->n; i++) {
		int r = l->all[i].owner ? 0 : end_process(&l->all[i], g, first < 0 ? NULL : e);

		first = first < 0 ? first : r;
	}
	return first;
}
