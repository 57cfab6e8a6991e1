/* SPDX-License-Identifier: MIT */
/*
 * The serial line: one socket to the hypervisor, any number of clients that all see the same output and may all type.
 * A new client first gets what came last (up to 64 KiB); one that does not read is dropped.
 */
#ifndef DROVER_BACKEND_LOCAL_CONSOLE_H
#define DROVER_BACKEND_LOCAL_CONSOLE_H

#include <stddef.h>
#include <uv.h>

struct console;
struct err;

/* What the guest writes, as it comes; @data is borrowed. console_close is not allowed inside. */
typedef void console_output_cb(void *arg, const char *data, size_t len);

/* Takes @fd, the hypervisor's other end; who reads along is told first of all. NULL: out of memory. */
struct console *console_open(uv_loop_t *loop, int fd, console_output_cb *on_output, void *arg);

/*
 * A boot's log begins anew: what the file @path has goes to PATH.1, whose content goes. Who reads along sees another file in
 * its place, and never none. Best effort: where it cannot be, the log goes on in the old file.
 */
void console_begin_log(const char *path);

/*
 * Goes on with another line to the same guest, for a hypervisor that makes a new one when its guest resets itself. Takes
 * @fd. Clients, log and what was said stay; what the old line still holds is read first. 0 or -ENOMEM, with the old one kept.
 */
int console_reconnect(struct console *c, int fd);

/*
 * Adds all that the guest says from now on to the file @path, for a hypervisor that writes none itself. 0 or < 0 with @e.
 */
int console_log(struct console *c, const char *path, struct err *e);

/* One more client: its end of a socket, the caller's. 0 or < 0 with @e. */
int console_attach(struct console *c, int *ret_fd, struct err *e);

/* The last lines that fit into @size bytes, made printable, newlines as " | "; "" when nothing was said. */
void console_tail(struct console *c, char *ret, size_t size);

/* Reads what has come meanwhile. */
void console_kick(struct console *c);

/* Clients see the end, after what is queued for them. NULL is harmless. */
void console_close(struct console *c);

#endif
