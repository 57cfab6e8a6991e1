/* SPDX-License-Identifier: MIT */
/* Where the contract suite gets its backends from, and what is theirs alone. */
#ifndef DROVER_TESTS_FACTORY_H
#define DROVER_TESTS_FACTORY_H

#include "backend/backend.h"

#include <stdbool.h>

struct sandbox;

/* What the suite may expect of a backend where the contract leaves it a choice. */
struct factory_kind {
	const char *name;
	const char *
		helper_backend; /* "fake", "qemu": the remote backend in front of such a helper; NULL: direct */
	/* A direct one with real guests. */
	struct backend *(*open)(uv_loop_t *loop, const struct sandbox *sandbox, const char *dir,
				struct err *e);
	bool has_guests;
	bool no_points;      /* it keeps none */
	const char *subnet;  /* "" when addresses are known only after boot */
	const char *address; /* what the first member's begins with */
	enum err_code bad;   /* what the member "bad" fails with, and a part of the sentence */
	const char *bad_text;
	unsigned deadline_ms; /* for one operation */
};

/* By name; NULL when there is none such. */
const struct factory_kind *factory_kind(const char *name);

static inline bool factory_is_remote(const struct factory_kind *kind)
{
	return kind->helper_backend != NULL;
}

struct factory {
	const struct factory_kind *kind;
	char *home;
	int helper_pid;
	void *store; /* remote, and those with guests */
	bool never;  /* guests that never get an address are wanted */
	struct vm_spec spec;
};

/* What the VMs of a direct one run in; borrowed until the last factory is closed. */
void factory_use_sandbox(const struct sandbox *sandbox);

/*
 * A backend of @kind. Members of the fake take @boot_ms to boot and @stop_ms to stop; of real ones, those with
 * FACTORY_NEVER_MS to boot have a kernel and nothing else. The member "bad" cannot be created. The loop is the test's.
 * Members "m1" and "bad" may be used. Fails the test when it cannot.
 */
enum { FACTORY_NEVER_MS = 3600000 };
struct backend *factory_open(struct factory *f, const struct factory_kind *kind, uv_loop_t *loop,
			     unsigned boot_ms, unsigned stop_ms);

/* The spec of @name; its texts are borrowed until factory_close. */
struct vm_spec factory_spec(const struct factory *f, const char *name);

/* After backend_free: ends the helper, checks that it ended well, and removes what it left. */
void factory_close(struct factory *f);

/* Leaves a socket at which nobody listens where @name's helper is to; remote only. */
void factory_leave_socket(const struct factory *f, const char *name);

/* Between the two the helper reads nothing, whoever connects; remote only, and with real guests without effect. */
void factory_hold(struct factory *f);
void factory_go_on(struct factory *f);
/* Ends the helper without grace; remote only. */
void factory_kill(struct factory *f);

#endif
