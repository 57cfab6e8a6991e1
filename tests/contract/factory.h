/* SPDX-License-Identifier: MIT */
/* Where the contract suite gets its backends from. */
#ifndef DROVER_TESTS_FACTORY_H
#define DROVER_TESTS_FACTORY_H

#include "backend/backend.h"

#include <stdbool.h>

enum factory_kind { FACTORY_FAKE, FACTORY_REMOTE };

struct factory {
	enum factory_kind kind;
	char *home;
	int helper_pid;
	void *store; /* FACTORY_REMOTE */
};

/*
 * A backend of @kind whose members take @boot_ms to boot and @stop_ms to stop, and whose member "bad" cannot be
 * created. The loop is the test's. Members "m1" and "bad" may be used. Fails the test when it cannot.
 */
struct backend *factory_open(struct factory *f, enum factory_kind kind, uv_loop_t *loop,
			     unsigned boot_ms, unsigned stop_ms);

/* After backend_free: ends the helper, checks that it ended well, and removes what it left. */
void factory_close(struct factory *f);

/* Ends the helper without grace; FACTORY_REMOTE only. */
void factory_kill(struct factory *f);

#endif
