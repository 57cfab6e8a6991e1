/* SPDX-License-Identifier: MIT */
/*
 * SSH to a guest, over a connection that somebody else made. Everything here blocks, up to a deadline; one session is used
 * by one thread at a time.
 */
#ifndef DROVER_CLIENT_SSH_H
#define DROVER_CLIENT_SSH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

struct err;
struct ssh_session;

/* What ends a call before it is done. */
struct ssh_limits {
	uint64_t timeout_ms; /* 0: none, for a command */
	int cancel_fd;       /* readable: canceled; or -1 */
	/*
	 * A guest that dies sends no end of the connection, and what waits for it never asks. So this loop runs while the call
	 * waits, and the call ends with *@why once *@is_cut is set from it. NULL: without.
	 */
	uv_loop_t *loop;
	const bool *is_cut;
	const struct err *why;
};

struct ssh_options {
	const char *name; /* the member, for messages */
	const char *user;
	const char *key_path;      /* private key that logs in */
	const char *host_key_path; /* public key file: the only host key that is accepted */
	struct ssh_limits limits;
};

/*
 * Handshake, host key, login over the connected @fd (taken in success and failure). < 0: ERR_DENIED (the key was
 * refused), ERR_PROTOCOL (the host key is another one), ERR_SSH, ERR_TIMEOUT, ERR_CANCELED, or what has cut it.
 */
int ssh_open(int fd, const struct ssh_options *o, struct ssh_session **ret, struct err *e);
void ssh_close(struct ssh_session *s); /* NULL is harmless */

/* @stream: 1 or 2. < 0 gives up the command. */
typedef int ssh_output_fn(void *arg, int stream, const char *data, size_t len);

struct ssh_exec {
	const char *command; /* for the login shell */
	const void *input;
	size_t input_len;
	int input_fd; /* instead of @input when >= 0; borrowed */
	struct ssh_limits limits;
	ssh_output_fn *on_output;
	void *output_arg;
};

/*
 * Runs one command to its end. 0 and the status (128 + N: signal N). After < 0 the session is not to be used again; when
 * *@ret_started is then false the command never began (a kept session that was dead already).
 */
int ssh_run(struct ssh_session *s, const struct ssh_exec *x, int *ret_status, bool *ret_started,
	    struct err *e);

/* @argv as one line that the remote shell takes apart into the same words. Heap, NULL: out of memory. */
char *ssh_quote(const char *const argv[]);

#endif
