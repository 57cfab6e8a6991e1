/* SPDX-License-Identifier: MIT */
/*
 * Other sizes for a member that exists, at its next boot. What was kept of its memory (points, a copy that has not gone on
 * yet) fits the old size only, so it is in the way.
 */
#include "base/files.h"
#include "base/scoped.h"
#include "client/client.h"
#include "guest/guest.h"
#include "guest/image.h"

#include <string.h>

int sizes_configure(struct prepare *p, const struct settings *s, struct err *e)
{
	struct member_config *c = &p->config;
	const struct member_config was = *c; /* of which the numbers are looked at */

	if (s->wanted_cpus)
		c->cpus = s->wanted_cpus;
	if (s->memory_mb)
		c->memory_mb = s->memory_mb;
	if (s->wanted_disk_mb && c->disk_format)
		c->disk_mb = s->wanted_disk_mb;
	if (s->wanted_disk_mb && !c->disk_format)
		settings_progress(s, "", "warning", -1, "%s has no disk that could grow", c->name);
	if (c->disk_mb < was.disk_mb)
		return err_hint(e,
				err_set(e, ERR_INVALID,
					"the disk of %s has %lld MB: it can grow, not shrink",
					c->name, (long long)was.disk_mb),
				"make another member, or leave the size of the disk out");
	p->is_grown = c->disk_mb > was.disk_mb;
	p->is_resized = p->is_grown || c->cpus != was.cpus || c->memory_mb != was.memory_mb;
	return 0;
}

static int refuse(const struct prepare *p, const char *what, const char *hint, struct err *e)
{
	return err_hint(e,
			err_set(e, ERR_INVALID,
				"member %s keeps its sizes: it has %s that fits no other",
				p->config.name, what),
			"%s", hint);
}

/* The file that keeps its points, looked at; @grow: it is a disk that becomes as large as the configuration says. */
static int look(const struct prepare *p, const char *file, bool grow, struct err *e)
{
	scoped(mem) char *path = store_member_path(p->store, p->config.name, file);
	uint64_t bytes = 0;
	bool has_points = false;
	int r;

	if (!path)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	if (!files_exist(path))
		return 0;
	r = image_file_look(path, &bytes, &has_points, e);
	if (r < 0)
		return r;
	if (has_points)
		return refuse(p, "a point",
			      "boot it as it is, and `drover snapshot rm` its points first", e);
	if (grow && bytes < (uint64_t)p->config.disk_mb << 20)
		return disk_grow(path, (uint64_t)p->config.disk_mb, e);
	return 0;
}

int sizes_apply(const struct prepare *p, struct err *e)
{
	scoped(mem) char *memory = store_member_path(p->store, p->config.name, MEMBER_MEMORY);
	int r;

	if (!p->is_resized || p->is_fake)
		return 0;
	if (!memory)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	if (files_exist(memory))
		return refuse(p, "memory", "boot it as it is first", e);
	r = look(p, MEMBER_POINTS, false, e);
	return r < 0 ? r : look(p, MEMBER_DISK, p->is_grown, e);
}
