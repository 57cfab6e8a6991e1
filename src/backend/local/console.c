/* SPDX-License-Identifier: MIT */
#include "backend/local/console.h"

#include "backend/local/tail.h"
#include "base/err.h"
#include "base/files.h"
#include "base/list.h"
#include "base/scoped.h"
#include "base/str.h"
#include "loop/stream.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { SCROLLBACK = 64 << 10, MAX_QUEUED = 1 << 20, DRAIN_MS = 2000 };

struct console {
	uv_loop_t *loop;
	struct stream *guest; /* NULL when the hypervisor closed it */
	struct buf last;
	int log_fd; /* -1: none */
	struct list clients;
	console_output_cb *on_output;
	void *arg;
};

struct client {
	struct list link;
	struct console *console;
	struct stream *stream;
};

static void client_free(struct client *client)
{
	list_remove(&client->link);
	stream_close(client->stream);
	free(client);
}

static void on_client_read(void *arg, const char *data, ssize_t len, int fd)
{
	struct client *client = arg;
	struct console *c = client->console;

	close_fd(&fd);
	if (len <= 0)
		client_free(client);
	else if (c->guest && stream_queued(c->guest) < MAX_QUEUED)
		stream_write(c->guest, data, (size_t)len);
}

static void on_guest_read(void *arg, const char *data, ssize_t len, int fd)
{
	struct console *c = arg;

	close_fd(&fd);
	if (len <= 0) {
		stream_close(c->guest);
		c->guest = NULL;
		return;
	}
	tail_add(&c->last, data, (size_t)len, SCROLLBACK);
	c->on_output(c->arg, data, (size_t)len);
	/* A regular file: as quick as the page cache. One that cannot be written any more is given up. */
	if (c->log_fd >= 0 && files_write_all(c->log_fd, data, (size_t)len) < 0)
		close_fd(&c->log_fd);
	list_for_each_safe (pos, &c->clients) {
		struct client *client = list_entry(pos, struct client, link);

		/* A dead peer tells by its own read. */
		if (stream_write(client->stream, data, (size_t)len) == 0 &&
		    stream_queued(client->stream) > MAX_QUEUED)
			client_free(client);
	}
}

struct console *console_open(uv_loop_t *loop, int fd, console_output_cb *on_output, void *arg)
{
	struct console *c = calloc(1, sizeof(*c));

	if (!c) {
		close(fd);
		return NULL;
	}
	c->loop = loop;
	c->on_output = on_output;
	c->arg = arg;
	c->log_fd = -1;
	list_init(&c->clients);
	c->guest = stream_open(loop, fd, on_guest_read, c);
	if (!c->guest) {
		free(c);
		return NULL;
	}
	return c;
}

void console_begin_log(const char *path)
{
	scoped(mem) char *new = str_format("%s.new", path);
	scoped(mem) char *last = str_format("%s.1", path);
	struct stat st;
	scoped(fd) int fd = -1;

	if (!new || !last || stat(path, &st) < 0 || st.st_size == 0)
		return;
	fd = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	unlink(last);
	if (link(path, last) < 0 || rename(new, path) < 0)
		unlink(new);
}

int console_reconnect(struct console *c, int fd)
{
	struct stream *guest;

	console_kick(c);
	guest = stream_open(c->loop, fd, on_guest_read, c);
	if (!guest)
		return -ENOMEM;
	stream_close(c->guest);
	c->guest = guest;
	return 0;
}

int console_log(struct console *c, const char *path, struct err *e)
{
	c->log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	return c->log_fd < 0 ? err_errno(e, -errno, "open %s", path) : 0;
}

int console_attach(struct console *c, int *ret_fd, struct err *e)
{
	struct client *client;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(e, -errno, "socketpair");
	client = calloc(1, sizeof(*client));
	if (client)
		client->stream = stream_open(c->loop, pair[0], on_client_read, client);
	else
		close(pair[0]);
	if (!client || !client->stream) {
		free(client);
		close(pair[1]);
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	}
	client->console = c;
	list_append(&c->clients, &client->link);
	if (c->last.len)
		stream_write(client->stream, c->last.data, c->last.len);
	*ret_fd = pair[1];
	return 0;
}

void console_kick(struct console *c)
{
	if (c->guest)
		stream_kick(c->guest);
}

void console_tail(struct console *c, char *ret, size_t size)
{
	console_kick(c);
	tail_text(&c->last, ret, size);
}

void console_close(struct console *c)
{
	if (!c)
		return;
	while (!list_is_empty(&c->clients)) {
		struct client *client = list_entry(c->clients.next, struct client, link);

		list_remove(&client->link);
		stream_close_drained(client->stream, DRAIN_MS);
		free(client);
	}
	stream_close(c->guest);
	close_fd(&c->log_fd);
	buf_done(&c->last);
	free(c);
}
