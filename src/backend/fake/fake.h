/* SPDX-License-Identifier: MIT */
/*
 * A backend without VMs: it proves coordination, nothing else. It needs no privileges, no namespaces, no files.
 *
 * Its network reports no subnet; addresses 203.0.113.N are known only after boot. dial and console give one end of a
 * socket whose other end echoes. Environment, read once by fake_backend_new:
 *   DROVER_FAKE_RECORD=FILE          a JSON line per reserve, create, stop and close is appended
 *   DROVER_FAKE_FAIL_CREATE=MEMBER   that member's create fails
 *   DROVER_FAKE_FAIL_COUNT=N         only its first N creates (default: all)
 *   DROVER_FAKE_NETWORK_MS=N         until there is a network (default 0)
 *   DROVER_FAKE_BOOT_MS=N            from start to the address (default 0)
 *   DROVER_FAKE_SLOW=MEMBER          of that member alone; the others boot at once
 *   DROVER_FAKE_STOP_MS=N            from stop to stopped, kill is at once (default 0)
 *   DROVER_FAKE_POINT_MS=N           from the save of a point until it is whole (default 0)
 *   DROVER_FAKE_PANIC_MS=N           from the address until the guest's kernel panics (default: it never does)
 */
#ifndef DROVER_BACKEND_FAKE_H
#define DROVER_BACKEND_FAKE_H

#include "backend/backend.h"

/* NULL with @e set: out of memory, or the record file cannot be opened. */
struct backend *fake_backend_new(uv_loop_t *loop, struct err *e);

#endif
