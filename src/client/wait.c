/* SPDX-License-Identifier: MIT */
/* Waiting for a guest: its console tells by itself; ports and commands are tried until they answer. */
#include "base/buf.h"
#include "base/clock.h"
#include "base/scoped.h"
#include "client/client.h"

#include <regex.h>
#include <string.h>

/* A try's pause: short for a port, which costs one packet; longer for a command, which costs the guest a process. */
enum { DEFAULT_MS = 300000, PORT_AGAIN_MS = 100, COMMAND_AGAIN_MS = 500, LINE_MAX_LEN = 16384 };

struct waiting {
	struct drover_vm *vm;
	struct drover_wait o;
	int64_t end_ms; /* of clock_ms */
};

/* What is left, in ms; 0: nothing. */
static uint64_t time_left(const struct waiting *w)
{
	int64_t left = w->end_ms - clock_ms();

	return left > 0 ? (uint64_t)left : 0;
}

static int init_waiting(struct waiting *w, const struct drover_wait *from, struct err *e)
{
	int r = options_take(&w->o, sizeof(w->o), from, "DROVER_WAIT_INIT", e);

	if (r < 0)
		return r;
	if ((w->o.port != 0) + (w->o.console != NULL) + (w->o.command != NULL) != 1)
		return err_set(e, ERR_INVALID,
			       "a wait is for one of a port, a line of the console and a command");
	w->end_ms = clock_ms() + (w->o.timeout_ms ? w->o.timeout_ms : DEFAULT_MS);
	if (!w->vm->handle)
		return err_set(e, ERR_NOT_RUNNING, "member %s is not running", w->vm->name);
	return vm_await_end(w->vm, e);
}

static int not_any_more(const struct waiting *w, struct err *e)
{
	if (w->vm->end.code == ERR_NOT_RUNNING)
		return err_set(e, ERR_NOT_RUNNING, "member %s is not running any more",
			       w->vm->name);
	return err_set(e, ERR_NOT_RUNNING, "member %s is not running any more: %s", w->vm->name,
		       w->vm->end.msg);
}

/* --- Tries --------------------------------------------------------------------------------------------------- */

/* Lets @ms pass, unless the VM ends or the caller cancels. */
static int pause_for(struct waiting *w, uint64_t ms, struct err *e)
{
	unsigned pending = 1;
	int r;

	w->vm->pending_to_end = &pending;
	r = w->vm->has_ended ? 0 : wait_loop(&w->vm->cluster->loop, &pending, ms, w->o.cancel, e);
	w->vm->pending_to_end = NULL;
	if (w->vm->has_ended)
		return not_any_more(w, e);
	return r < 0 && e->code == ERR_TIMEOUT ? 0 : r;
}

/* Whether what failed may work later; a VM that has ended is told by has_ended, "not running" is one yet to come. */
static bool is_too_early(const struct err *e)
{
	return e->code == ERR_UNREACHABLE || e->code == ERR_TIMEOUT || e->code == ERR_SSH ||
	       e->code == ERR_NOT_RUNNING;
}

static int wait_port(struct waiting *w, struct err *e)
{
	for (;;) {
		uint64_t left = time_left(w);
		int fd = -1;
		int r;

		if (!left)
			return err_set(e, ERR_TIMEOUT, "port %u of %s was not open in time",
				       w->o.port, w->vm->name);
		r = vm_dial_wait(w->vm, w->o.port, left, w->o.cancel, &fd, e);
		close_fd(&fd);
		if (r == 0)
			return 0;
		if (w->vm->has_ended)
			return not_any_more(w, e);
		if (!is_too_early(e))
			return r;
		r = pause_for(w, PORT_AGAIN_MS, e);
		if (r < 0)
			return r;
	}
}

static int drop_output(void *arg, int stream, const char *data, size_t len)
{
	return 0;
}

/* 1: it ended with 0; 0: not; < 0: it cannot be run, now or ever. */
static int try_command(struct waiting *w, uint64_t left, int *ret_status, struct err *e)
{
	struct drover_exec x = DROVER_EXEC_INIT;
	struct drover_result result = {0};
	struct drover_error pe;
	int r;

	x.command = w->o.command;
	x.timeout_ms = left < UINT32_MAX ? (unsigned)left : UINT32_MAX;
	x.on_output = drop_output;
	x.cancel = w->o.cancel;
	r = drover_vm_exec(w->vm, &x, &result, &pe);
	if (r < 0)
		return private_error(e, &pe);
	*ret_status = result.status;
	drover_result_done(&result);
	return *ret_status == 0;
}

static int wait_command(struct waiting *w, struct err *e)
{
	struct err why = ERR_INIT;
	int status = -1;

	for (;;) {
		uint64_t left = time_left(w);
		int r;

		if (!left && status >= 0)
			return err_set(
				e, ERR_TIMEOUT,
				"the command in %s did not succeed in time; its status is %d",
				w->vm->name, status);
		if (!left)
			return err_set(e, ERR_TIMEOUT,
				       "the command in %s was not run in time: %.300s", w->vm->name,
				       why.msg);
		r = try_command(w, left, &status, &why);
		if (r > 0)
			return 0;
		if (w->vm->has_ended)
			return not_any_more(w, e);
		if (r < 0 && !is_too_early(&why))
			return err_copy(e, &why);
		r = pause_for(w, COMMAND_AGAIN_MS, e);
		if (r < 0)
			return r;
	}
}

/* --- The console --------------------------------------------------------------------------------------------- */

enum escape { ESCAPE_NONE, ESCAPE_BEGUN, ESCAPE_CSI };

struct reading {
	struct waiting *w;
	uv_poll_t poll;
	unsigned open; /* 1 while @poll is */
	int fd;
	regex_t pattern;
	struct buf line; /* what came of the last one */
	enum escape escape;
	bool fits;
	unsigned pending;
};

/* Whether @c is to be seen: not what is part of an escape sequence, or controls the terminal. */
static bool is_shown(struct reading *r, unsigned char c)
{
	if (r->escape == ESCAPE_BEGUN) {
		r->escape = c == '[' ? ESCAPE_CSI : ESCAPE_NONE;
		return false;
	}
	if (r->escape == ESCAPE_CSI) {
		if (c >= 0x40 && c <= 0x7e)
			r->escape = ESCAPE_NONE;
		return false;
	}
	if (c == 0x1b)
		r->escape = ESCAPE_BEGUN;
	return c >= 0x20 || c == '\t';
}

static void match(struct reading *r)
{
	if (!r->fits && r->line.len > 0)
		r->fits = regexec(&r->pattern, r->line.data, 0, NULL, 0) == 0;
}

static void take(struct reading *r, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (data[i] == '\n') {
			match(r);
			buf_consume(&r->line, r->line.len);
			continue;
		}
		if (is_shown(r, (unsigned char)data[i]) && r->line.len < LINE_MAX_LEN)
			buf_add(&r->line, &data[i], 1);
	}
	match(r); /* a prompt has no end */
}

static void on_console(uv_poll_t *h, int status, int events)
{
	struct reading *r = h->data;
	char data[4096];
	ssize_t n = status < 0 ? 0 : read(r->fd, data, sizeof(data));

	if (n > 0)
		take(r, data, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		uv_poll_stop(h); /* the end of the VM is told by itself */
	if (r->fits)
		r->pending = 0;
}

static void on_console_closed(uv_handle_t *h)
{
	struct reading *r = h->data;

	r->open = 0;
}

static int no_line(const struct waiting *w, struct err *e)
{
	return err_set(e, ERR_TIMEOUT, "no line of the console of %s matched '%.200s' in time",
		       w->vm->name, w->o.console);
}

static int read_console(struct reading *r, struct err *e)
{
	struct waiting *w = r->w;
	uv_loop_t *loop = &w->vm->cluster->loop;
	int result = uv_poll_init(loop, &r->poll, r->fd);

	if (result < 0)
		return err_errno(e, result, "watch the console");
	r->open = 1;
	r->pending = 1;
	r->poll.data = r;
	uv_poll_start(&r->poll, UV_READABLE, on_console);
	w->vm->pending_to_end = &r->pending;
	result = w->vm->has_ended ? 0 : wait_loop(loop, &r->pending, time_left(w), w->o.cancel, e);
	w->vm->pending_to_end = NULL;
	uv_close((uv_handle_t *)&r->poll, on_console_closed);
	wait_loop(loop, &r->open, 0, NULL, NULL);
	if (r->fits)
		return 0;
	if (result < 0 && e->code == ERR_TIMEOUT)
		return no_line(w, e);
	return result < 0 ? result : not_any_more(w, e);
}

/* As soon as there is one: a member that is being made has none yet. */
static int open_console(struct waiting *w, struct err *e)
{
	for (;;) {
		const struct limits l = {.timeout_ms = time_left(w) + 1, .cancel = w->o.cancel};
		int fd = -1;
		int r = vm_console_wait(w->vm, &l, &fd, e);

		if (r == 0)
			return fd;
		if (w->vm->has_ended)
			return not_any_more(w, e);
		if (e->code == ERR_TIMEOUT)
			return no_line(w, e);
		if (e->code != ERR_NOT_RUNNING || !time_left(w))
			return err_code_number(e->code);
		r = pause_for(w, PORT_AGAIN_MS, e);
		if (r < 0)
			return r;
	}
}

static int wait_console(struct waiting *w, struct err *e)
{
	struct reading r = {.w = w, .fd = -1};
	char why[128];
	int result = regcomp(&r.pattern, w->o.console, REG_EXTENDED | REG_NOSUB);

	if (result != 0) {
		regerror(result, &r.pattern, why, sizeof(why));
		return err_set(e, ERR_INVALID, "'%.200s' is no regular expression: %s",
			       w->o.console, why);
	}
	result = open_console(w, e);
	if (result >= 0) {
		r.fd = result;
		result = read_console(&r, e);
	}
	close_fd(&r.fd);
	buf_done(&r.line);
	regfree(&r.pattern);
	return result;
}

int drover_vm_wait_for(struct drover_vm *vm, const struct drover_wait *from,
		       struct drover_error *pe)
{
	struct waiting w = {.vm = vm};
	struct err e = ERR_INIT;
	int r = init_waiting(&w, from, &e);

	if (r == 0 && w.o.port)
		r = wait_port(&w, &e);
	else if (r == 0 && w.o.console)
		r = wait_console(&w, &e);
	else if (r == 0)
		r = wait_command(&w, &e);
	return r < 0 ? public_error(pe, &e, r) : 0;
}

/* --- By name, from before it runs or is there ---------------------------------------------------------------- */

struct arrival {
	const char *name;
	bool was_told; /* of it at all */
	struct err e;  /* why a start of it has failed */
};

static int on_arrival(void *arg, const struct drover_event *ev)
{
	struct arrival *a = arg;
	bool is_first = !a->was_told; /* what it was before the wait */

	if (strcmp(ev->member, a->name) != 0)
		return 0;
	a->was_told = true;
	if (strcmp(ev->kind, "state") != 0)
		return 0;
	if (strcmp(ev->state, "error") == 0 && !is_first) {
		err_set(&a->e, err_code_from_name(ev->code), "%s", ev->message);
		err_prefix(&a->e, "%s", a->name);
		return 1;
	}
	return strcmp(ev->state, "running") == 0;
}

static int wait_arrival(const char *home, const char *name, const struct waiting *w, struct err *e)
{
	struct arrival a = {.name = name, .e = ERR_INIT};
	struct drover_watch watch = DROVER_WATCH_INIT;
	struct drover_error pe;

	watch.on_event = on_arrival;
	watch.arg = &a;
	watch.timeout_ms = (unsigned)time_left(w) + 1;
	watch.cancel = w->o.cancel;
	if (drover_events(home, &watch, &pe) < 0) {
		private_error(e, &pe);
		return e->code == ERR_TIMEOUT
			       ? err_set(e, ERR_TIMEOUT, "%s was not running in time", name)
			       : err_code_number(e->code);
	}
	return a.e.code == ERR_NONE ? 0 : err_copy(e, &a.e);
}

int drover_wait(const char *home, const char *name, const struct drover_wait *from,
		struct drover_error *pe)
{
	struct waiting w = {0};
	struct drover_call open = DROVER_CALL_INIT;
	struct drover_cluster *c = NULL;
	struct drover_vm *vm;
	struct err e = ERR_INIT;
	int r = options_take(&w.o, sizeof(w.o), from, "DROVER_WAIT_INIT", &e);

	if (r == 0)
		r = name_check(name, &e);
	w.end_ms = clock_ms() + (w.o.timeout_ms ? w.o.timeout_ms : DEFAULT_MS);
	if (r == 0)
		r = wait_arrival(home, name, &w, &e);
	if (r < 0)
		return public_error(pe, &e, r);
	if (!w.o.port && !w.o.console && !w.o.command)
		return 0;
	open.timeout_ms = (unsigned)time_left(&w) + 1;
	open.cancel = w.o.cancel;
	r = drover_cluster_open(home, name, &open, &c, pe);
	if (r < 0)
		return r;
	vm = drover_cluster_find(c, name);
	w.o.timeout_ms = (unsigned)time_left(&w) + 1;
	r = vm ? drover_vm_wait_for(vm, &w.o, pe)
	       : public_error(
			 pe, &e,
			 err_set(&e, ERR_NOT_RUNNING, "member %s is not running any more", name));
	drover_cluster_close(c);
	return r;
}
