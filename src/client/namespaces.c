/* SPDX-License-Identifier: MIT */
/* Where a cluster's network is: in the namespaces of its init, which is its supervisor's child. */
#include "base/scoped.h"
#include "client/client.h"
#include "store/audit.h"

#include <fcntl.h>
#include <sys/stat.h>

static pid_t find_supervisor(const struct drover_cluster *c)
{
	pid_t pid = 0;

	for (size_t i = 0; i < c->n_vms && !pid; i++)
		pid = store_owner_alive(&c->store, c->vms[i]->name);
	return pid;
}

static const struct process *find_init(const struct process_list *l, pid_t supervisor)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->all[i].is_helper && l->all[i].parent == supervisor)
			return &l->all[i];
	return NULL;
}

/* *@ret_fd is -1 when @kind is the caller's own. */
static int open_namespace(pid_t pid, const char *kind, int *ret_fd, struct err *e)
{
	char path[64];
	char own[64];
	struct stat a;
	struct stat b;
	scoped(fd) int fd = -1;

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, kind);
	snprintf(own, sizeof(own), "/proc/self/ns/%s", kind);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &a) < 0 || stat(own, &b) < 0)
		return err_errno(e, -errno, "open %s", path);
	*ret_fd = a.st_ino == b.st_ino ? -1 : take_fd(&fd);
	return 0;
}

static void close_all(struct drover_namespaces *n)
{
	close_fd(&n->user);
	close_fd(&n->net);
	close_fd(&n->pid);
}

static int open_namespaces(pid_t pid, struct drover_namespaces *ret, struct err *e)
{
	int r = open_namespace(pid, "net", &ret->net, e);

	if (r < 0 || ret->net < 0)
		return r; /* or the network is the caller's own */
	r = open_namespace(pid, "user", &ret->user, e);
	return r < 0 ? r : open_namespace(pid, "pid", &ret->pid, e);
}

static int find_namespaces(const struct drover_cluster *c, struct drover_namespaces *ret,
			   struct err *e)
{
	scoped(processes) struct process_list all = {0};
	pid_t supervisor = find_supervisor(c);
	const struct process *init;
	int r = store_processes(&c->store, NULL, &all, e);

	if (r < 0)
		return r;
	if (!supervisor)
		return err_set(e, ERR_NOT_RUNNING, "the cluster is not running");
	init = find_init(&all, supervisor);
	if (!init)
		return err_set(e, ERR_UNSUPPORTED,
			       "the cluster of %s has no network of its own (backend fake)",
			       c->vms[0]->name);
	r = open_namespaces(init->id.pid, ret, e);
	if (r == 0 && !procid_is_alive(&init->id)) /* what was opened may be somebody else's */
		r = err_set(e, ERR_NOT_RUNNING, "the cluster is not running any more");
	return r;
}

int drover_cluster_namespaces(struct drover_cluster *c, struct drover_namespaces *ret,
			      struct drover_error *pe)
{
	struct drover_namespaces found = {-1, -1, -1};
	struct err e = ERR_INIT;
	int r = find_namespaces(c, &found, &e);

	if (r < 0) {
		close_all(&found);
		return public_error(pe, &e, r);
	}
	*ret = found;
	return 0;
}
