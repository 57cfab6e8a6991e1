/* SPDX-License-Identifier: MIT */
/*
 * Mounts: those that a process of ours sees and the caller does not, and those of the caller's that lie on files of the
 * store. A mount is known by its device, its root and its place, since a copied namespace has the same.
 */
#include "store/audit.h"

#include "base/files.h"
#include "base/scoped.h"

#include <string.h>

enum { MOUNTS_MAX = 16 << 20 };

char *audit_read_mounts(const char *pid)
{
	char path[64];
	char *text = NULL;

	snprintf(path, sizeof(path), "/proc/%s/mountinfo", pid);
	return files_read(path, MOUNTS_MAX, &text, NULL) == 0 ? text : NULL;
}

/*
 * Of the line "ID PARENT MAJOR:MINOR ROOT PLACE ...", which is cut: the third to the fifth field between blanks, and the
 * fifth. false: it is none.
 */
static bool parse(char *line, const char **ret_key, const char **ret_place)
{
	char *at = line;

	for (int i = 0; i < 5; i++) {
		at = strchr(at + (i > 0), ' ');
		if (!at)
			return false;
		if (i == 1)
			*ret_key = at;
		if (i == 3)
			*ret_place = at + 1;
	}
	at[1] = '\0'; /* the blank after the place belongs to the key */
	return true;
}

void audit_mounts_of(const struct process *p, audit_tell *tell, void *arg)
{
	char pid[16];
	scoped(mem) char *ours = audit_read_mounts("self");
	scoped(mem) char *theirs = NULL;
	char *save = NULL;

	snprintf(pid, sizeof(pid), "%d", (int)p->id.pid);
	theirs = ours ? audit_read_mounts(pid) : NULL;
	if (!theirs)
		return; /* it has gone */
	for (char *line = strtok_r(theirs, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *key = "";
		const char *place = "";
		scoped(mem) char *what = NULL;

		if (!parse(line, &key, &place) || strstr(ours, key))
			continue;
		what = str_format("%.*s, seen by pid %s", (int)strlen(place) - 1, place, pid);
		tell(arg, THING_MOUNT, what, p->member, p->owner);
	}
}

/* The member whose directory, or what is in it, is at "CLUSTER/NAME..." of the store's clusters; or "". */
static void find_member(const char *rest, char ret[NAME_SIZE])
{
	const char *slash = strchr(rest, '/');

	ret[0] = '\0';
	if (slash)
		snprintf(ret, NAME_SIZE, "%.*s", (int)strcspn(slash + 1, "/"), slash + 1);
}

void audit_mounts_here(const struct store *s, audit_tell *tell, void *arg)
{
	scoped(mem) char *clusters = str_format("%s/clusters/", s->root);
	scoped(mem) char *run = str_format("%s/", s->run);
	scoped(mem) char *ours = audit_read_mounts("self");
	char *save = NULL;

	if (!clusters || !run || !ours)
		return;
	for (char *line = strtok_r(ours, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char member[NAME_SIZE] = "";
		scoped(mem) char *what = NULL;
		const char *key = "";
		const char *place = "";

		if (!parse(line, &key, &place))
			continue;
		what = strndup(place, strlen(place) - 1);
		if (what && str_starts(what, clusters))
			find_member(what + strlen(clusters), member);
		else if (!what || !str_starts(what, run))
			continue;
		tell(arg, THING_MOUNT, what, member, 0);
	}
}
