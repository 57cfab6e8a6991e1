/* SPDX-License-Identifier: MIT */
/*
 * drover console: the terminal becomes the member's serial line. "~." at the start of a line leaves, "~~" sends a tilde.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <termios.h>

#include "base/files.h"
#include "cli/cli.h"
#include "cli/commands.h"

enum { CHUNK = 4096 };

struct console {
	int fd;
	bool line_start;
	bool tilde; /* one is held back: what follows says what it means */
	bool left;
	int unwritten; /* errno of stdout, or 0 */
};

/* Sends one byte of the user, unless it belongs to an escape. */
static int type(struct console *c, char byte)
{
	bool escaped = c->tilde;
	int r = 0;

	c->tilde = false;
	if (escaped && byte == '.') {
		c->left = true;
		return 0;
	}
	if (!escaped && c->line_start && byte == '~') {
		c->tilde = true;
		return 0;
	}
	if (escaped && byte != '~')
		r = files_write_all(c->fd, "~", 1);
	c->line_start = byte == '\r' || byte == '\n';
	return r < 0 ? r : files_write_all(c->fd, &byte, 1);
}

/* > 0, 0 at the end of the input, or -errno. */
static int take_input(struct console *c)
{
	char chunk[CHUNK];
	ssize_t n = read(STDIN_FILENO, chunk, sizeof(chunk));
	int r = 0;

	if (n < 0)
		return errno == EINTR ? 1 : -errno;
	for (ssize_t i = 0; i < n && r == 0 && !c->left; i++)
		r = type(c, chunk[i]);
	return r < 0 ? r : n > 0;
}

/* > 0, 0 when the line is gone, or -errno. */
static int show_output(struct console *c)
{
	char chunk[CHUNK];
	ssize_t n = read(c->fd, chunk, sizeof(chunk));
	int r;

	if (n < 0)
		return errno == EINTR ? 1 : -errno;
	if (n == 0)
		return 0;
	r = files_write_all(STDOUT_FILENO, chunk, (size_t)n);
	if (r < 0)
		c->unwritten = -r;
	return r < 0 ? r : 1;
}

/* Until the user leaves or the line ends; the end of the input alone does not end it. */
static int relay(struct console *c)
{
	struct pollfd p[2] = {{.fd = STDIN_FILENO, .events = POLLIN},
			      {.fd = c->fd, .events = POLLIN}};
	int r = 1;

	while (r > 0 && !c->left && !interrupt_signal()) {
		if (poll(p, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (p[1].revents)
			r = show_output(c);
		if (r > 0 && p[0].revents) {
			r = take_input(c);
			if (r == 0) {
				p[0].fd = -1;
				r = 1;
			}
		}
	}
	return r < 0 ? r : 0;
}

static int use_console(int fd)
{
	struct console c = {.fd = fd, .line_start = true};
	struct termios before;
	bool terminal = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &before) == 0;
	int r;

	if (terminal) {
		struct termios raw = before;

		fputs("drover: connected; ~. at the start of a line leaves\n", stderr);
		cfmakeraw(&raw);
		tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
	}
	r = relay(&c);
	if (terminal) {
		tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
		fputs("\n", stderr);
	}
	if (interrupt_signal())
		return CLI_SIGNALED + interrupt_signal();
	if (c.unwritten)
		return say_not_written(c.unwritten);
	if (r < 0)
		return say_error("the console broke: %s", strerror(-r));
	return CLI_OK;
}

static int run_console(const struct command *self, const void *settings, const struct args *a)
{
	struct drover_cluster *c = NULL;
	struct drover_vm *vm;
	struct drover_error e;
	scoped(fd) int fd = -1;

	if (a->count != 1)
		return say_usage(self, "console needs the name of a member");
	vm = member_open(a->names[0], &c, &e);
	if (!vm)
		return say_failed(NULL, &e);
	fd = drover_vm_console(vm, NULL, &e);
	drover_cluster_close(c);
	if (fd < 0)
		return say_failed(NULL, &e);
	interrupt_catch();
	return use_console(fd);
}

const struct command command_console = {
	.name = "console",
	.usage = "NAME",
	.summary = "Connect the terminal to a member's serial console; ~. leaves",
	.run = run_console,
};
