/* SPDX-License-Identifier: MIT */
/*
 * drover dial: connects to a member's TCP port. With --fd the connected socket itself goes to whoever holds the other
 * end of stdout (ssh's ProxyUseFdpass); else stdin and stdout are its ends.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/files.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/commands.h"

enum { DIAL_TIMEOUT_MS = 30000, CHUNK = 65536, PORT_MAX = 65535 };

struct dial_settings {
	bool fd;
};

static const struct option_row dial_options[] = {
	{"fd", 0, OPTION_FLAG, offsetof(struct dial_settings, fd), NULL,
	 "pass the connected socket over stdout, which is a unix socket"},
	{0},
};

static int pass_fd(int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	char byte = 0;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	struct msghdr m = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	if (sendmsg(STDOUT_FILENO, &m, MSG_NOSIGNAL) < 0)
		return say_error("cannot pass the connection: %s", strerror(errno));
	return CLI_OK;
}

/* Moves one chunk. > 0, 0 at the end of @from, or -errno. */
static ssize_t move(int from, int to)
{
	char chunk[CHUNK];
	ssize_t n = read(from, chunk, sizeof(chunk));
	int r;

	if (n < 0)
		return errno == EINTR ? 1 : -errno;
	if (n == 0)
		return 0;
	r = files_write_all(to, chunk, (size_t)n);
	return r < 0 ? r : n;
}

static int relay(int fd)
{
	struct pollfd p[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
	ssize_t r = 1;

	/* ends with what the guest says: its half may go on after ours is closed */
	while (r > 0) {
		if (poll(p, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			return say_error("cannot wait: %s", strerror(errno));
		}
		if (p[0].revents) {
			r = move(STDIN_FILENO, fd);
			if (r == 0) {
				shutdown(fd, SHUT_WR);
				p[0].fd = -1;
				r = 1;
			}
		}
		if (r > 0 && p[1].revents)
			r = move(fd, STDOUT_FILENO);
	}
	if (r < 0)
		return say_error("the connection broke: %s", strerror((int)-r));
	return CLI_OK;
}

static int run_dial(const struct command *self, const void *settings, const struct args *a)
{
	const struct dial_settings *s = settings;
	struct drover_cluster *c = NULL;
	struct drover_vm *vm;
	struct drover_error e;
	scoped(fd) int fd = -1;
	int64_t port;

	if (a->count != 2)
		return say_usage(self, "dial needs the name of a member and a port");
	if (str_to_int64(a->names[1], 1, PORT_MAX, &port) < 0)
		return say_usage(self, "'%s' is not a port", a->names[1]);
	vm = member_open(a->names[0], &c, &e);
	if (!vm)
		return say_error("%s", e.message);
	fd = drover_vm_dial(vm, (uint16_t)port, DIAL_TIMEOUT_MS, &e);
	drover_cluster_close(c);
	if (fd < 0)
		return say_error("%s", e.message);
	return s->fd ? pass_fd(fd) : relay(fd);
}

const struct command command_dial = {
	.name = "dial",
	.usage = "[--fd] NAME PORT",
	.summary = "Connect stdin and stdout to a TCP port of a member",
	.options = dial_options,
	.settings_size = sizeof(struct dial_settings),
	.hidden = true,
	.run = run_dial,
};
