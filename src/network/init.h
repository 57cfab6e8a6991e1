/* SPDX-License-Identifier: MIT */
/*
 * Pid 1 of a sandbox: it holds the namespaces, runs the helper as its child, and runs it again when it was killed.
 *
 * How it works: init does next to nothing, so that it has nothing to die of: no loop, no threads, no memory but a table
 * (loop/keeper.h) of what the helper wants to find again. A helper that crashed (a signal, or an exit status but 0) is
 * followed by another, a fork of init, which gets the table. Whatever that helper had started and not entered is killed
 * first. Other processes in the sandbox go on; they become init's children, and init tells the helper of their ends.
 *
 * Init ends with its helper, and with init ends everything in the sandbox: after an orderly exit; after a crash when the
 * cluster is not to survive one (a bound one), when the helper had never been ready, and at the third within a minute.
 */
#ifndef DROVER_NETWORK_INIT_H
#define DROVER_NETWORK_INIT_H

#include <stdbool.h>
#include <sys/types.h>

struct keeper;

struct init_options {
	bool restart;   /* a crashed helper is started again */
	int ready_fd;   /* borrowed by the first helper alone: closed in init; -1: none */
	pid_t launcher; /* init's own child, not the helper's: left alone */
	/* In init, at the last crash, before everything goes: @how is a sentence. May block for a moment. */
	void (*give_up)(void *arg, const char *how);
	void *arg;
};

/*
 * For pid 1, as sandbox_enter left it: single-threaded, SIGTERM, SIGINT and SIGHUP blocked. Returns in each helper: 0
 * with @ret (the helper's; keeper_free), those three signals still blocked. Init itself never returns: it exits with the
 * helper's status, 128 + N for signal N.
 */
int init_enter(const struct init_options *o, struct keeper **ret);

#endif
