/* SPDX-License-Identifier: MIT */
#include "store/namespaces.h"

#include "base/buf.h"
#include "base/files.h"
#include "base/lock.h"
#include "base/scoped.h"
#include "store/host_record.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

enum { RECORDS_MAX = 256, FILE_MAX = 1 << 20 };

const char *const namespace_kinds[NAMESPACE_KINDS] = {"user", "pid", "mnt", "net"};

struct namespace_set namespaces_here(void)
{
	struct namespace_set ret;

	for (size_t i = 0; i < NAMESPACE_KINDS; i++)
		ret.numbers[i] = host_namespace(namespace_kinds[i]);
	return ret;
}

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static bool parse(const char *line, struct namespace_record *r)
{
	uint64_t *n = r->of.numbers;

	*r = (struct namespace_record){0};
	return sscanf(line,
		      "%63s %d %" SCNu64 " %36s %" SCNd64 " %" SCNu64 " %" SCNu64 " %" SCNu64
		      " %" SCNu64,
		      r->member, &r->owner.pid, &r->owner.start_ticks, r->owner.boot_id,
		      &r->ended_ns, &n[0], &n[1], &n[2], &n[3]) == 9;
}

static int add(struct namespace_records *l, const struct namespace_record *r)
{
	struct namespace_record *all = realloc(l->all, (l->n + 1) * sizeof(*all));

	if (!all)
		return -ENOMEM;
	l->all = all;
	l->all[l->n++] = *r;
	return 0;
}

static int load(const char *path, struct namespace_records *ret)
{
	struct namespace_records l = {0};
	scoped(mem) char *text = NULL;
	char boot[BOOT_ID_SIZE];
	char *save = NULL;
	int r = files_read(path, FILE_MAX, &text, NULL);

	if (r == 0)
		r = procid_boot_id(boot);
	else if (r == -ENOENT)
		r = 0;
	for (char *line = r == 0 && text ? strtok_r(text, "\n", &save) : NULL; line && r == 0;
	     line = strtok_r(NULL, "\n", &save)) {
		struct namespace_record one;

		if (parse(line, &one) && strcmp(one.owner.boot_id, boot) == 0)
			r = add(&l, &one);
	}
	if (r < 0)
		namespace_records_done(&l);
	else
		*ret = l;
	return r;
}

/* The youngest of @l, so that the file stays small. */
static int save(const char *path, const struct namespace_records *l)
{
	scoped(buf) struct buf b = {0};
	int r = 0;

	for (size_t i = l->n > RECORDS_MAX ? l->n - RECORDS_MAX : 0; i < l->n && r == 0; i++) {
		const struct namespace_record *one = &l->all[i];
		const uint64_t *n = one->of.numbers;

		r = buf_addf(&b,
			     "%s %d %" PRIu64 " %s %" PRId64 " %" PRIu64 " %" PRIu64 " %" PRIu64
			     " %" PRIu64 "\n",
			     one->member, (int)one->owner.pid, one->owner.start_ticks,
			     one->owner.boot_id, one->ended_ns, n[0], n[1], n[2], n[3]);
	}
	return r < 0 ? r : files_publish(path, b.data ? b.data : "", b.len, 0600);
}

/* @ended's record (may be NULL), and those whose supervisor was killed. */
static void end_dead(struct namespace_records *l, const struct procid *ended)
{
	for (size_t i = 0; i < l->n; i++) {
		struct namespace_record *one = &l->all[i];
		bool is_it = ended && procid_equal(&one->owner, ended);

		if (one->ended_ns == 0 && (is_it || !procid_is_alive(&one->owner)))
			one->ended_ns = now_ns();
	}
}

/* With @made (may be NULL) added. One at a time: the lock is the directory's, since the file is replaced. */
static int change(const struct store *s, const struct namespace_record *made,
		  const struct procid *ended)
{
	scoped(mem) char *path = str_format("%s/namespaces", s->root);
	scoped(lock) int lock = open(s->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	scoped(namespace_records) struct namespace_records l = {0};
	int r;

	if (!path || lock < 0)
		return path ? -errno : -ENOMEM;
	r = lock_take(lock, NULL);
	if (r == 0)
		r = load(path, &l);
	if (r < 0)
		return r;
	if (!made) /* in a new pid namespace nobody can be seen to live */
		end_dead(&l, ended);
	r = made ? add(&l, made) : 0;
	return r < 0 ? r : save(path, &l);
}

int namespaces_note(const struct store *s, const char *member, const struct procid *owner,
		    const struct namespace_set *before)
{
	struct namespace_record made = {.owner = *owner, .of = namespaces_here()};

	for (size_t i = 0; i < NAMESPACE_KINDS; i++)
		if (made.of.numbers[i] == before->numbers[i])
			made.of.numbers[i] = 0;
	str_copy(made.member, sizeof(made.member), member);
	return change(s, &made, NULL);
}

void namespaces_end(const struct store *s, const struct procid *owner)
{
	change(s, NULL, owner);
}

int namespaces_load(const struct store *s, struct namespace_records *ret)
{
	scoped(mem) char *path = str_format("%s/namespaces", s->root);

	return path ? load(path, ret) : -ENOMEM;
}

void namespace_records_done(struct namespace_records *l)
{
	free(l->all);
	*l = (struct namespace_records){0};
}
