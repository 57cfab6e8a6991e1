/* SPDX-License-Identifier: MIT */
/*
 * drover net exec: a program of the host inside a cluster's network. It sees the host's files, but for /etc/resolv.conf,
 * which names the cluster's own name server there, and /proc; those are mounts in a namespace of the program's own.
 *
 * It runs in the cluster's pid namespace, for there the kernel ends it, and all that it has started, with the cluster.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/files.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/commands.h"

#define RESOLV_CONF "/etc/resolv.conf"

#define OWN_RESOLV_CONF "/proc/resolv.conf"

static int write_file(const char *path, const char *text)
{
	scoped(fd) int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	if (file < 0 || fchmod(file, 0644) < 0)
		return -errno;
	return files_write_all(file, text, strlen(text));
}

/* Lays a file with @text over RESOLV_CONF, and what /proc is for a moment under it. 0 or -errno. */
static int cover_file(const char *text)
{
	int r = write_file(OWN_RESOLV_CONF, text);

	/* a host without the file has nobody who reads it */
	if (r == 0 && mount(OWN_RESOLV_CONF, RESOLV_CONF, NULL, MS_BIND, NULL) < 0 &&
	    errno != ENOENT)
		r = -errno;
	return r;
}

/*
 * The gateway of "a.b.c.0/24" answers for names. The file is in a file system of its own, which is attached until its mount
 * is made: Linux clones no mount of a detached one before 6.15. /proc is mounted next, so nobody misses it. 0 or -errno.
 */
static int use_name_server(const char *subnet)
{
	scoped(mem) char *text = NULL;
	const char *dot = strrchr(subnet, '.');
	int r;

	if (!dot)
		return 0;
	text = str_format("nameserver %.*s.1\n", (int)(dot - subnet), subnet);
	if (!text)
		return -ENOMEM;
	if (mount("tmpfs", "/proc", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return -errno;
	r = cover_file(text);
	if (umount2("/proc", MNT_DETACH) < 0 && r == 0)
		r = -errno;
	return r;
}

/* In the child, which is the first of this program's that is in the pid namespace. */
static int make_mounts(void *arg)
{
	const char *subnet = arg;
	int r;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return say_error("cannot make a mount namespace: %s", strerror(errno));
	r = use_name_server(subnet);
	if (r < 0)
		return say_error("cannot put the cluster's name server into %s: %s", RESOLV_CONF,
				 strerror(-r));
	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return say_error("cannot mount /proc: %s", strerror(errno));
	return CLI_OK;
}

static int find_network(const char *member, struct drover_namespaces *ret, char **ret_subnet)
{
	struct drover_cluster *c = NULL;
	struct drover_error e;
	int r;

	if (drover_cluster_open(NULL, member, NULL, &c, &e) < 0)
		return say_failed(NULL, &e);
	*ret_subnet = strdup(drover_cluster_subnet(c));
	r = drover_cluster_namespaces(c, ret, &e);
	drover_cluster_close(c);
	if (r < 0)
		return say_failed(NULL, &e);
	return *ret_subnet ? CLI_OK : say_error("out of memory");
}

static int enter(const char *member, const struct drover_namespaces *n)
{
	if ((n->user >= 0 && setns(n->user, CLONE_NEWUSER) < 0) ||
	    setns(n->net, CLONE_NEWNET) < 0 || (n->pid >= 0 && setns(n->pid, CLONE_NEWPID) < 0))
		return say_error("cannot enter the network of %s: %s", member, strerror(errno));
	return CLI_OK;
}

/* All descriptors end with this process. */
static int run_in_network(const char *member, char **argv)
{
	struct drover_namespaces n = {-1, -1, -1};
	scoped(mem) char *subnet = NULL;

	if (find_network(member, &n, &subnet) != CLI_OK)
		return CLI_FAILED;
	if (!interrupt_catch())
		return say_error("out of memory or descriptors");
	if (n.net < 0)
		return child_run(argv, NULL, NULL); /* it is the host's own */
	if (enter(member, &n) != CLI_OK)
		return CLI_FAILED;
	return child_run(argv, make_mounts, subnet);
}

static const char *running_member(const struct targets *t)
{
	for (size_t i = 0; i < t->count; i++)
		if (t->hit[i]->pid > 0)
			return t->hit[i]->name;
	return NULL;
}

static int exec_in_network(char *const pattern[1], char **argv)
{
	scoped(targets) struct targets t = {0};
	struct drover_error e;
	const char *member;

	if (targets_find(pattern, 1, false, &t) != CLI_OK || t.unknown)
		return CLI_FAILED;
	member = running_member(&t);
	if (!member) {
		member_not_running(pattern[0], &e);
		return say_failed(NULL, &e);
	}
	return run_in_network(member, argv);
}

static int run_net(const struct command *self, const void *settings, const struct args *a)
{
	char **tail = a->tail;
	size_t n = a->tail_count;

	if (a->count == 0)
		return say_usage(self, "net needs to know what: exec");
	if (strcmp(a->names[0], "exec") != 0)
		return say_usage(self, "net cannot '%s': there is exec", a->names[0]);
	if (n == 0)
		return say_usage(self, "net exec needs the name of a cluster");
	if (n > 1 && !strcmp(tail[1], "--")) {
		tail[1] = tail[0];
		tail++;
		n--;
	}
	if (n < 2)
		return say_usage(self, "net exec needs a command to run in the network of '%s'",
				 tail[0]);
	return exec_in_network(tail, tail + 1);
}

const struct command command_net = {
	.name = "net",
	.usage = "exec NAME|CLUSTER [--] PROGRAM [ARGUMENT...]",
	.summary = "Run a program of the host inside a cluster's network",
	.shape = ARGS_STOP_AT_FIRST,
	.run = run_net,
};
