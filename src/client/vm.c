/* SPDX-License-Identifier: MIT */
/* One member: blocking wrappers of contract operations, and commands over SSH. */
#include "base/buf.h"
#include "base/clock.h"
#include "base/scoped.h"
#include "client/capture.h"

#include <fcntl.h>
#include <string.h>

enum { DIAL_MS = 30000, LOGIN_MS = 60000 };

/*
 * One operation that a call waits for. On the heap: a call that gives up leaves it to its callback, which comes at the
 * latest when the VM is released.
 */
struct op {
	unsigned pending;
	bool abandoned;
	int r;
	int fd;
	enum vm_state state;
	struct err error;
};

static int not_running(const struct drover_vm *vm, struct err *e)
{
	return err_set(e, ERR_NOT_RUNNING, "member %s is not running", vm->name);
}

/* NULL with @e: the member does not run, or there is no memory. */
static struct op *op_new(const struct drover_vm *vm, struct err *e)
{
	struct op *op;

	if (!vm->handle) {
		not_running(vm, e);
		return NULL;
	}
	op = calloc(1, sizeof(*op));
	if (!op) {
		err_set(e, ERR_NO_MEMORY, "out of memory");
		return NULL;
	}
	op->pending = 1;
	op->fd = -1;
	return op;
}

static void op_end(struct op *op, int r, int fd, const struct err *e)
{
	if (op->abandoned) {
		close_fd(&fd);
		free(op);
		return;
	}
	op->pending = 0;
	op->r = r;
	op->fd = fd;
	if (e)
		op->error = *e;
}

static void on_done(void *arg, int r, const struct err *e)
{
	op_end(arg, r, -1, e);
}

static void on_fd(void *arg, int r, int fd, const struct err *e)
{
	op_end(arg, r, r < 0 ? -1 : fd, e);
}

static void on_state(void *arg, enum vm_state state)
{
	struct op *op = arg;

	op->state = state;
	op_end(op, 0, -1, NULL);
}

/* Waits for @op, which began with @began, and ends it. @ret_fd and @ret_state may be NULL. */
static int op_wait(struct drover_vm *vm, struct op *op, int began, const struct limits *l,
		   int *ret_fd, enum vm_state *ret_state, struct err *e)
{
	int r = began;

	if (r == 0) {
		r = wait_loop(&vm->cluster->loop, &op->pending, l->timeout_ms, l->cancel, e);
		if (r < 0 && op->pending) {
			op->abandoned = true;
			return r;
		}
		if (r == 0) /* otherwise it ended while it was given up: too late */
			r = op->r < 0 ? err_copy(e, &op->error) : 0;
		if (r == 0 && ret_fd)
			*ret_fd = take_fd(&op->fd);
		if (r == 0 && ret_state)
			*ret_state = op->state;
		close_fd(&op->fd);
	}
	free(op);
	return r;
}

/* The member is gone: so is everything that leads to it. */
static void vm_forget(struct drover_vm *vm)
{
	ssh_close(vm->ssh);
	vm->ssh = NULL;
	backend_release(vm->handle);
	vm->handle = NULL;
	vm->ip[0] = '\0';
}

typedef int simple_op(struct backend_vm *vm, backend_done *done, void *arg, struct err *e);

static int simple_wait(struct drover_vm *vm, simple_op *begin, const struct limits *l,
		       struct err *e)
{
	struct op *op = op_new(vm, e);

	if (!op)
		return err_code_number(e->code);
	return op_wait(vm, op, begin(vm->handle, on_done, op, e), l, NULL, NULL, e);
}

int vm_stop_wait(struct drover_vm *vm, const struct limits *l, struct err *e)
{
	int r;

	if (!vm->handle)
		return 0;
	ssh_close(vm->ssh);
	vm->ssh = NULL;
	r = simple_wait(vm, backend_stop, l, e);
	if (r == 0)
		vm_forget(vm);
	return r;
}

int vm_dial_wait(struct drover_vm *vm, uint16_t port, uint64_t timeout_ms,
		 struct drover_cancel *cancel, int *ret_fd, struct err *e)
{
	const struct limits l = {.cancel = cancel}; /* the operation has the deadline */
	struct op *op = op_new(vm, e);
	int r;

	if (!op)
		return err_code_number(e->code);
	if (!timeout_ms || timeout_ms > DIAL_MS)
		timeout_ms = DIAL_MS;
	r = backend_dial(vm->handle, port, timeout_ms, on_fd, op, e);
	return op_wait(vm, op, r, &l, ret_fd, NULL, e);
}

int vm_console_wait(struct drover_vm *vm, const struct limits *l, int *ret_fd, struct err *e)
{
	struct op *op = op_new(vm, e);

	if (!op)
		return err_code_number(e->code);
	return op_wait(vm, op, backend_console(vm->handle, on_fd, op, e), l, ret_fd, NULL, e);
}

/* --- Public, but for exec ------------------------------------------------------------------------------------ */

const char *drover_vm_name(const struct drover_vm *vm)
{
	return vm->name;
}

const char *drover_vm_address(const struct drover_vm *vm)
{
	return vm->ip;
}

const char *drover_vm_user(const struct drover_vm *vm)
{
	return vm->user;
}

static const char *public_state(enum vm_state s)
{
	switch (s) {
	case VM_STARTING:
		return "starting";
	case VM_RUNNING:
	case VM_PAUSING:
		return "running";
	case VM_PAUSED:
	case VM_RESUMING:
		return "paused";
	case VM_STOPPING:
		return "stopping";
	case VM_ERROR:
		return "error";
	case VM_UNKNOWN:
		return "unknown";
	default:
		return "stopped";
	}
}

const char *drover_vm_state(struct drover_vm *vm)
{
	enum vm_state state = VM_STOPPED;
	struct err e = ERR_INIT;
	struct op *op = op_new(vm, &e);

	if (op)
		op_wait(vm, op, backend_state(vm->handle, on_state, op, &e), &(struct limits){0},
			NULL, &state, &e);
	return public_state(state);
}

int drover_vm_stop(struct drover_vm *vm, const struct drover_call *o, struct drover_error *pe)
{
	struct limits l;
	struct err e = ERR_INIT;
	int r = limits_from(o, &l, &e);

	if (r == 0)
		r = vm_stop_wait(vm, &l, &e);
	return r < 0 ? public_error(pe, &e, r) : 0;
}

int drover_vm_destroy(struct drover_vm *vm, const struct drover_call *o, struct drover_error *pe)
{
	struct limits l;
	struct err e = ERR_INIT;
	int r = limits_from(o, &l, &e);

	if (r == 0)
		r = vm_stop_wait(vm, &l, &e);
	if (r == 0)
		r = member_remove_locked(&vm->cluster->store, vm->name, &e);
	return r < 0 ? public_error(pe, &e, r) : 0;
}

static int public_simple(struct drover_vm *vm, simple_op *begin, const struct drover_call *o,
			 struct drover_error *pe)
{
	struct limits l;
	struct err e = ERR_INIT;
	int r = limits_from(o, &l, &e);

	if (r == 0)
		r = simple_wait(vm, begin, &l, &e);
	return r < 0 ? public_error(pe, &e, r) : 0;
}

int drover_vm_pause(struct drover_vm *vm, const struct drover_call *o, struct drover_error *e)
{
	return public_simple(vm, backend_pause, o, e);
}

int drover_vm_resume(struct drover_vm *vm, const struct drover_call *o, struct drover_error *e)
{
	return public_simple(vm, backend_resume, o, e);
}

int drover_vm_kill(struct drover_vm *vm, const struct drover_call *o, struct drover_error *e)
{
	int r = public_simple(vm, backend_kill, o, e);

	if (r == 0)
		vm_forget(vm);
	return r;
}

/* What a program gets is an ordinary descriptor. */
static int public_fd(int r, int fd, const struct err *e, struct drover_error *pe)
{
	if (r < 0)
		return public_error(pe, e, r);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	return fd;
}

int drover_vm_dial(struct drover_vm *vm, uint16_t port, const struct drover_call *o,
		   struct drover_error *pe)
{
	struct limits l;
	struct err e = ERR_INIT;
	int fd = -1;
	int r = limits_from(o, &l, &e);

	if (r == 0)
		r = vm_dial_wait(vm, port, l.timeout_ms, l.cancel, &fd, &e);
	return public_fd(r, fd, &e, pe);
}

int drover_vm_console(struct drover_vm *vm, const struct drover_call *o, struct drover_error *pe)
{
	struct limits l;
	struct err e = ERR_INIT;
	int fd = -1;
	int r = limits_from(o, &l, &e);

	if (r == 0)
		r = vm_console_wait(vm, &l, &fd, &e);
	return public_fd(r, fd, &e, pe);
}

static void cut_off(struct drover_vm *vm, const struct err *why)
{
	vm->is_cut = true;
	vm->cut = *why;
	if (vm->on_cut)
		vm->on_cut(vm->cut_arg);
}

static void on_vm_ended(void *arg, int r, const struct err *e)
{
	struct drover_vm *vm = arg;

	vm->is_awaited = false;
	vm->has_ended = !e || e->code != ERR_CANCELED; /* else the handle was released */
	if (e)
		vm->end = *e;
	else
		err_set(&vm->end, ERR_NOT_RUNNING, "%s does not run any more", vm->name);
	if (!vm->has_ended)
		return;
	if (vm->pending_to_end)
		*vm->pending_to_end = 0;
	cut_off(vm, &vm->end);
}

static void on_guest(void *arg, enum guest_news news, const char *line)
{
	struct drover_vm *vm = arg;
	struct err why = ERR_INIT;

	if (vm->has_ended)
		return;
	if (news == GUEST_GOES_ON) {
		vm->is_cut = false;
		return;
	}
	if (news == GUEST_PANICKED)
		err_set(&why, ERR_PANIC, "%s: its kernel panicked: %s", vm->name, line);
	else
		err_set(&why, ERR_SSH, "%s has reset itself, which ended what ran in it", vm->name);
	cut_off(vm, &why);
}

/* One wait, from the first call on until the handle is released or the VM ends. */
int vm_await_end(struct drover_vm *vm, struct err *e)
{
	int r;

	if (vm->is_awaited)
		return 0;
	vm->has_ended = vm->is_cut = false;
	backend_on_guest(vm->handle, on_guest, vm);
	r = backend_wait(vm->handle, 0, on_vm_ended, vm, e);
	vm->is_awaited = r == 0;
	return r;
}

/* --- SSH ----------------------------------------------------------------------------------------------------- */

/* One exec's state: what it is asked, how long it has, what it collects. */
struct exec {
	struct drover_vm *vm;
	struct drover_exec x;
	char *command;
	int64_t end_ms; /* of clock_ms; 0: no deadline */
	struct buf out;
	struct buf err;
};

static inline void scoped_exec(struct exec *x)
{
	free(x->command);
	buf_done(&x->out);
	buf_done(&x->err);
}

/* The call's own limit has come, whatever was waited for by then. */
static int exec_too_late(const struct exec *x, struct err *e)
{
	return err_set(e, ERR_TIMEOUT, "%s: not done within %g s", x->vm->name,
		       (double)x->x.timeout_ms / 1000);
}

/* What is left of the command's time, in ms; 0: no limit. */
static int exec_time_left(const struct exec *x, uint64_t *ret, struct err *e)
{
	*ret = 0;
	if (!x->end_ms)
		return 0;
	if (clock_ms() >= x->end_ms)
		return exec_too_late(x, e);
	*ret = clock_left_ms(x->end_ms);
	return 0;
}

static struct ssh_limits exec_limits(const struct exec *x, uint64_t left)
{
	return (struct ssh_limits){
		.timeout_ms = left,
		.cancel_fd = x->x.cancel ? x->x.cancel->event_fd : -1,
		.loop = &x->vm->cluster->loop,
		.is_cut = &x->vm->is_cut,
		.why = &x->vm->cut,
	};
}

static int ensure_ssh(struct exec *x, struct err *e)
{
	struct drover_vm *vm = x->vm;
	struct ssh_limits l;
	uint64_t left;
	int fd = -1;
	int r = exec_time_left(x, &left, e);

	if (r < 0 || vm->ssh)
		return r;
	r = vm_dial_wait(vm, SSH_PORT, left, x->x.cancel, &fd, e);
	if (r == 0)
		r = exec_time_left(x, &left, e);
	if (r < 0) {
		close_fd(&fd);
		return r;
	}
	l = exec_limits(x, left ? left : LOGIN_MS);
	r = vm_ssh_open(&vm->cluster->store, vm->name, vm->user, fd, &l, &vm->ssh, e);
	if (r < 0 && e->code == ERR_TIMEOUT && !left)
		err_set(e, ERR_TIMEOUT, "%s takes a connection, but no login within %d s", vm->name,
			LOGIN_MS / 1000);
	return r;
}

static int collect(void *arg, int stream, const char *data, size_t len)
{
	struct exec *x = arg;

	return buf_add(stream == 1 ? &x->out : &x->err, data, len);
}

/*
 * What has become of the guest since the last call. One that hangs in its panic runs nothing, and one that has reset itself
 * does not know the session of before.
 */
static int look_at_guest(struct drover_vm *vm, struct err *e)
{
	int r = vm_await_end(vm, e);

	if (r < 0)
		return r;
	uv_run(&vm->cluster->loop, UV_RUN_NOWAIT);
	if (!vm->is_cut || vm->has_ended)
		return 0;
	if (vm->cut.code == ERR_PANIC)
		return err_copy(e, &vm->cut);
	ssh_close(vm->ssh);
	vm->ssh = NULL;
	vm->is_cut = false;
	return 0;
}

/* @r, or the panic by which the guest did not answer: that may be known only by now. */
static int blame_panic(struct drover_vm *vm, int r, struct err *e)
{
	if (e->code == ERR_CANCELED || !vm->handle)
		return r;
	uv_run(&vm->cluster->loop, UV_RUN_NOWAIT);
	return vm->is_cut && vm->cut.code == ERR_PANIC ? err_copy(e, &vm->cut) : r;
}

static int exec_once(struct exec *x, int *ret_status, bool *ret_started, struct err *e)
{
	struct ssh_exec run = {
		.command = x->command,
		.input = x->x.input,
		.input_len = x->x.input ? x->x.input_len : 0,
		.input_fd = x->x.input_fd > 0 || x->x.use_input_fd ? x->x.input_fd : -1,
		.on_output = x->x.on_output ? x->x.on_output : collect,
		.output_arg = x->x.on_output ? x->x.output_arg : x,
	};
	uint64_t left = 0;
	int r;

	*ret_started = false;
	r = look_at_guest(x->vm, e);
	if (r == 0)
		r = ensure_ssh(x, e);
	if (r == 0)
		r = exec_time_left(x, &left, e);
	run.limits = exec_limits(x, left);
	if (r == 0)
		r = ssh_run(x->vm->ssh, &run, ret_status, ret_started, e);
	if (r < 0) {
		r = blame_panic(x->vm, r, e);
		ssh_close(x->vm->ssh);
		x->vm->ssh = NULL;
	}
	return r;
}

static int init_exec(struct exec *x, const struct drover_exec *from, struct err *e)
{
	int r = options_take(&x->x, sizeof(x->x), from, "DROVER_EXEC_INIT", e);

	if (r < 0)
		return r;
	if (x->x.argv ? !x->x.argv[0] : !x->x.command)
		return err_set(e, ERR_INVALID, "there is no command to run");
	if (x->vm->is_fake)
		return err_set(e, ERR_UNSUPPORTED, "backend 'fake' runs no commands");
	if (!x->vm->handle)
		return not_running(x->vm, e);
	x->command = x->x.argv ? ssh_quote(x->x.argv) : strdup(x->x.command);
	if (!x->command)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	if (x->x.timeout_ms)
		x->end_ms = clock_ms() + x->x.timeout_ms;
	return cancel_check(x->x.cancel, e);
}

/* A guest that is asked to power off closes its connections before the member ends: that is what there is to say. */
static int tell_stop(struct drover_vm *vm, struct err *e)
{
	const char *state = drover_vm_state(vm);

	if (strcmp(state, "stopping") != 0 && strcmp(state, "stopped") != 0)
		return err_code_number(e->code);
	return err_set(e, ERR_NOT_RUNNING, "member %s is %s", vm->name, state);
}

int drover_vm_exec(struct drover_vm *vm, const struct drover_exec *from, struct drover_result *ret,
		   struct drover_error *pe)
{
	scoped(exec) struct exec x = {.vm = vm, .x = DROVER_EXEC_INIT};
	struct drover_result result = {0};
	struct err e = ERR_INIT;
	bool started = false;
	int r = init_exec(&x, from, &e);

	if (r == 0) {
		bool kept = vm->ssh != NULL;

		r = exec_once(&x, &result.status, &started, &e);
		/* A session kept from before may have died since: the command has not begun, so begin it anew. */
		if (r < 0 && kept && !started && e.code == ERR_SSH)
			r = exec_once(&x, &result.status, &started, &e);
	}
	if (r < 0 && e.code == ERR_TIMEOUT && x.end_ms && clock_ms() >= x.end_ms)
		r = exec_too_late(&x, &e);
	if (r < 0 && e.code == ERR_SSH)
		r = tell_stop(vm, &e);
	if (r < 0)
		return public_error(pe, &e, r);
	result.out_len = x.out.len;
	result.err_len = x.err.len;
	result.out = buf_take(&x.out);
	result.err = buf_take(&x.err);
	if (!result.out || !result.err) {
		drover_result_done(&result);
		return public_error(pe, &e, err_set(&e, ERR_NO_MEMORY, "out of memory"));
	}
	*ret = result;
	return 0;
}

void drover_result_done(struct drover_result *r)
{
	if (!r)
		return;
	free(r->out);
	free(r->err);
	r->out = NULL;
	r->err = NULL;
}
