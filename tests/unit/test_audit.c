/* SPDX-License-Identifier: MIT */
/*
 * An audit that is given up in the middle of a step looks at nothing more. This program's own readdir counts what is
 * looked at, and cancels at a given entry.
 */
#include "check.h"

#include "base/err.h"
#include "base/files.h"
#include "base/scoped.h"
#include "base/str.h"
#include "store/audit.h"
#include "store/namespaces.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

enum { CLUSTERS = 50, TRIES = 40 };

static char home[64];
static unsigned reads;
static unsigned cancel_at; /* 0: never */
static int cancel_fd = -1;

struct dirent *readdir(DIR *dir)
{
	static struct dirent *(*real)(DIR *);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "readdir64");
	if (++reads == cancel_at)
		eventfd_write(cancel_fd, 1);
	return real(dir);
}

static void make_member(const struct store *s, const char *name)
{
	scoped(mem) char *pid = store_member_path(s, name, "pid");
	struct err e = ERR_INIT;

	assert_int_equal(store_member_mkdir(s, name, &e), 0);
	assert_int_equal(files_replace(pid, "1\n", 2, 0600), 0);
}

static void open_store(struct store *s)
{
	struct err e = ERR_INIT;

	strcpy(home, "/tmp/drv-XXXXXX");
	assert_non_null(mkdtemp(home));
	assert_int_equal(store_open(home, s, &e), 0);
	for (int i = 0; i < CLUSTERS; i++) {
		char name[16];

		snprintf(name, sizeof(name), "c%d-x", i);
		make_member(s, name);
	}
}

static void close_store(struct store *s)
{
	store_close(s);
	assert_int_equal(files_remove_tree(home), 0);
}

/* How many entries an audit reads that is canceled at entry @at; 0: it came to its end before. */
static unsigned audit_until(const struct store *s, unsigned at,
			    int (*work)(const struct store *, const struct giveup *, struct err *))
{
	struct giveup g = GIVEUP_NEVER;
	struct err e = ERR_INIT;
	int r;

	g.cancel_fd = cancel_fd = eventfd(0, EFD_CLOEXEC);
	assert_true(cancel_fd >= 0);
	reads = 0;
	cancel_at = at;
	r = work(s, &g, &e);
	cancel_at = 0;
	close(cancel_fd);
	if (r == 0)
		return 0;
	assert_int_equal(r, -ECANCELED);
	assert_int_equal(e.code, ERR_CANCELED);
	return reads;
}

static int audit(const struct store *s, const struct giveup *g, struct err *e)
{
	struct thing_list things = {0};
	int r = store_audit(s, g, &things, e);

	thing_list_done(&things);
	return r;
}

/* Wherever it is canceled. */
static void expect_stops(const struct store *s,
			 int (*work)(const struct store *, const struct giveup *, struct err *))
{
	unsigned total;

	reads = 0;
	assert_int_equal(work(s, NULL, &(struct err){0}), 0);
	total = reads;
	assert_true(total > CLUSTERS);
	for (unsigned i = 0; i < TRIES; i++) {
		unsigned at = 1 + i * (total - 1) / TRIES;
		unsigned seen = audit_until(s, at, work);

		if (seen > at)
			print_error("canceled at entry %u of %u, read on to %u\n", at, total, seen);
		assert_true(seen <= at);
	}
}

static void a_canceled_audit_reads_no_further_entry(void **state)
{
	struct store s;

	(void)state;
	open_store(&s);
	expect_stops(&s, audit);
	close_store(&s);
}

/* With a record of a cluster that has ended, all processes are looked at once more. */
static void a_canceled_search_for_kept_namespaces_reads_no_further_entry(void **state)
{
	const struct namespace_set none = {{1, 1, 1, 1}};
	const struct procid dead = {.pid = 1, .start_ticks = 1, .boot_id = ""};
	struct procid owner = dead;
	struct store s;

	(void)state;
	open_store(&s);
	assert_int_equal(procid_of(getpid(), &owner), 0);
	owner.start_ticks++; /* somebody who has ended */
	assert_int_equal(namespaces_note(&s, "c1-x", &owner, &none), 0);
	expect_stops(&s, audit);
	close_store(&s);
}

static void a_canceled_prune_removes_nothing_more(void **state)
{
	struct store s;

	(void)state;
	open_store(&s);
	assert_true(audit_until(&s, 3, store_prune) <= 3);
	for (int i = 0; i < CLUSTERS; i++) {
		scoped(mem) char *path = NULL;
		char name[16];

		snprintf(name, sizeof(name), "c%d-x", i);
		path = store_member_path(&s, name, "pid");
		assert_true(files_exist(path));
	}
	close_store(&s);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_canceled_audit_reads_no_further_entry),
		TEST(a_canceled_search_for_kept_namespaces_reads_no_further_entry),
		TEST(a_canceled_prune_removes_nothing_more),
	};

	return RUN_TESTS(tests);
}
