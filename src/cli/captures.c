/* SPDX-License-Identifier: MIT */
/* Where copies of a cluster start from, and what is said of them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "cli/cli.h"

int capture_read_file(const char *path, struct drover_capture **ret)
{
	scoped(fd) int fd =
		strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
	struct drover_call o = DROVER_CALL_INIT;
	struct drover_error e;

	if (fd < 0)
		return say_error("cannot read %s: %s", path, strerror(errno));
	o.cancel = interrupt_catch();
	if (drover_capture_import(NULL, fd, &o, ret, &e) < 0)
		return interrupt_signal() ? interrupt_or_failed(&e) : say_failed(path, &e);
	return CLI_OK;
}

int capture_open_point(char *from, struct drover_capture **ret)
{
	scoped(targets) struct targets t = {0};
	scoped(mem) char *name = str_format("%.*s", (int)strcspn(from, ":"), from);
	struct drover_call o = DROVER_CALL_INIT;
	struct drover_error e;
	int r;

	if (!name)
		return say_error("out of memory");
	if (targets_find(&name, 1, false, &t) != CLI_OK || t.unknown)
		return CLI_FAILED;
	o.cancel = interrupt_catch();
	r = drover_capture_point(NULL, t.hit[0]->name, strchr(from, ':') + 1, &o, ret, &e);
	return r < 0 ? interrupt_or_failed(&e) : CLI_OK;
}

int cluster_note_left_out(struct drover_cluster *c, const char *what)
{
	const struct drover_call o = interrupt_call();
	scoped(targets) struct targets t = {0};
	int r = targets_find(NULL, 0, true, &t);

	for (size_t i = 0; i < t.total && r == CLI_OK; i++) {
		const char *name = t.members[i].name;
		char anchor[NAME_SIZE];
		struct drover_error e;

		if (t.members[i].pid == 0 &&
		    drover_find_cluster(NULL, &name, 1, &o, anchor, &e) > 0 &&
		    drover_cluster_find(c, anchor))
			fprintf(stderr, "note: %s does not run: the %s is without it\n", name,
				what);
	}
	return r;
}

int capture_open_named(char *from, struct drover_capture **ret)
{
	struct drover_cluster *c = NULL;
	struct drover_call o = DROVER_CALL_INIT;
	struct drover_error e;
	int r;

	if (strchr(from, '/'))
		return capture_read_file(from, ret);
	if (strchr(from, ':'))
		return capture_open_point(from, ret);
	r = cluster_open_named(from, &c);
	if (r != CLI_OK)
		return r;
	r = cluster_note_left_out(c, "copy");
	o.cancel = interrupt_catch();
	if (r == CLI_OK && drover_cluster_capture(c, &o, ret, &e) < 0)
		r = interrupt_or_failed(&e);
	drover_cluster_close(c);
	return r;
}

void clusters_tell(struct drover_cluster *const all[], size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < drover_cluster_size(all[i]); j++)
			puts(drover_vm_name(drover_cluster_vm(all[i], j)));
}

void clusters_close(struct drover_cluster *const all[], size_t n)
{
	for (size_t i = 0; i < n; i++)
		drover_cluster_close(all[i]);
}
