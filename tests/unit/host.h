/* SPDX-License-Identifier: MIT */
/* For tests of the host's network: empty network and mount namespaces play the host, so nothing real is touched. */
#ifndef DROVER_TEST_HOST_H
#define DROVER_TEST_HOST_H

#include "check.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#define NEED(what)                                                                           \
	do {                                                                                 \
		if (!(what)) {                                                               \
			fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #what); \
			return 1;                                                            \
		}                                                                            \
	} while (0)

/* The host: an interface with an address and the default route, forwarding off. */
#define HOST                                                                         \
	"ip link set lo up && ip link add up0 type bridge && ip link set up0 up && " \
	"ip addr add 192.0.2.2/24 dev up0 && ip route add default via 192.0.2.1 dev up0"

static inline bool sh(const char *command)
{
	return system(command) == 0; /* NOLINT(cert-env33-c): a test's own text */
}

typedef int body_fn(void);

static inline int run_body(body_fn *body)
{
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", "/run", "tmpfs", 0, NULL) < 0 || !sh(HOST))
		return 99;
	return body();
}

static inline void on_a_host(body_fn *body)
{
	int status;
	pid_t pid;

	if (geteuid() != 0 || !sh("unshare -n true 2>/dev/null"))
		skip_for("needs root and network namespaces");
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(run_body(body));
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* A test whose @body runs there, in a process of its own. */
#define ON_A_HOST(name, body)          \
	static void name(void **state) \
	{                              \
		on_a_host(body);       \
	}

#endif
