/* SPDX-License-Identifier: MIT */
/* Whether a login that failed is tried again. */
#ifndef DROVER_CLIENT_LOGIN_H
#define DROVER_CLIENT_LOGIN_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum { LOGIN_REFUSED_S = 120 };

/* Zeroed at first. */
struct login_tries {
	int64_t refused_since; /* when the guest denied the first login; 0: it has not */
};

/*
 * A login may come too early: sshd drops connections while it starts, and answers before the key is in place where cloud-init
 * writes it. The guest tells nobody, so that is tried again until @end_ms; but a key that is refused for LOGIN_REFUSED_S
 * is refused for good. @code: how this try failed. @now_ms and @end_ms: of clock_ms.
 */
bool login_may_come(struct login_tries *t, enum err_code code, int64_t now_ms, int64_t end_ms);

#endif
