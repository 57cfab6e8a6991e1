/* SPDX-License-Identifier: MIT */
/*
 * drover net exec: a program of the host inside a cluster's network. It sees the host's files, but for /etc/resolv.conf,
 * which names the cluster's own name server there; that is a mount in a namespace of the program's own.
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

enum { NOT_RUN_STATUS = 126, NOT_FOUND_STATUS = 127 };

#define RESOLV_CONF "/etc/resolv.conf"

/* A file system of one file, which has no name outside. Returns the descriptor of that file's mount, or -errno. */
static int make_file(const char *text)
{
	scoped(fd) int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	scoped(fd) int root = -1;
	scoped(fd) int file = -1;
	int r;

	if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	root = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	if (root < 0)
		return -errno;
	file = openat(root, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	if (file < 0 || fchmod(file, 0644) < 0)
		return -errno;
	r = files_write_all(file, text, strlen(text));
	if (r < 0)
		return r;
	r = open_tree(root, "file", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	return r < 0 ? -errno : r;
}

/* The gateway of "a.b.c.0/24" answers for names. 0 or -errno. */
static int use_name_server(const char *subnet)
{
	scoped(mem) char *text = NULL;
	scoped(fd) int file = -1;
	const char *dot = strrchr(subnet, '.');

	if (!dot)
		return 0;
	text = str_format("nameserver %.*s.1\n", (int)(dot - subnet), subnet);
	if (!text)
		return -ENOMEM;
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return -errno;
	file = make_file(text);
	if (file < 0)
		return file;
	/* a host without the file has nobody who reads it */
	if (move_mount(file, "", AT_FDCWD, RESOLV_CONF,
		       MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS) < 0)
		return errno == ENOENT ? 0 : -errno;
	return 0;
}

static int enter(const char *member)
{
	struct drover_cluster *c = NULL;
	struct drover_error e;
	scoped(mem) char *subnet = NULL;
	scoped(fd) int user = -1;
	scoped(fd) int net = -1;
	int r;

	if (drover_cluster_open(NULL, member, &c, &e) < 0)
		return say_error("%s", e.message);
	subnet = strdup(drover_cluster_subnet(c));
	r = drover_cluster_namespaces(c, &user, &net, &e);
	drover_cluster_close(c);
	if (r < 0)
		return say_error("%s", e.message);
	if (net < 0)
		return CLI_OK; /* the host's own */
	if ((user >= 0 && setns(user, CLONE_NEWUSER) < 0) || setns(net, CLONE_NEWNET) < 0)
		return say_error("cannot enter the network of %s: %s", member, strerror(errno));
	r = use_name_server(subnet ? subnet : "");
	if (r < 0)
		return say_error("cannot put the cluster's name server into %s: %s", RESOLV_CONF,
				 strerror(-r));
	return CLI_OK;
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
	const char *member;
	int status;

	if (targets_find(pattern, 1, false, &t) != CLI_OK || t.unknown)
		return CLI_FAILED;
	member = running_member(&t);
	if (!member)
		return say_error("'%s' is not running; 'drover up' boots it", pattern[0]);
	if (enter(member) != CLI_OK)
		return CLI_FAILED;
	interrupt_reset();
	execvp(argv[0], argv);
	status = errno == ENOENT ? NOT_FOUND_STATUS : NOT_RUN_STATUS;
	say_error("cannot run '%s': %s", argv[0], strerror(errno));
	return status;
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
	.usage = "exec NAME|CLUSTER [--] COMMAND [ARGUMENT...]",
	.summary = "Run a program of the host inside a cluster's network",
	.shape = ARGS_STOP_AT_FIRST,
	.run = run_net,
};
