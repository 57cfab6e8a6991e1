/* SPDX-License-Identifier: MIT */
/* One VM's life; vm.h has the picture. */
#include "backend/qemu/vm.h"

#include "backend/qemu/tail.h"
#include "base/scoped.h"
#include "network/private_net.h"

#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum {
	START_MS =
		30000, /* from exec to a running guest: QEMU's own work, and the disk's first blocks */
	GRACE_MS = 15000, /* from the power button to the guest's own end */
	QUIT_MS = 2000,   /* from SIGTERM, which QEMU answers by flushing its disks, to SIGKILL */
	SAID_MAX = 4096
};

bool vm_is_up(const struct qemu_vm *vm)
{
	return vm->qmp && (vm->state == VM_RUNNING || vm->state == VM_PAUSING ||
			   vm->state == VM_PAUSED || vm->state == VM_RESUMING);
}

/* Everything that waits for the guest to do something ends with @e, from the loop. */
static void fail_pending(struct qemu_vm *vm, const struct err *e)
{
	waiters_end(&vm->starts, NULL, e);
	waiters_end(&vm->addresses, NULL, e);
	waiters_end(&vm->switches, NULL, e);
	waiters_end(&vm->points, NULL, e);
	ops_fail(vm, e);
}

static void close_lines(struct qemu_vm *vm)
{
	timer_stop(&vm->deadline);
	banner_cancel(vm->banner);
	vm->banner = NULL;
	qmp_close(vm->qmp);
	vm->qmp = NULL;
	console_close(vm->console);
	vm->console = NULL;
	stream_close(vm->said);
	vm->said = NULL;
}

static void become_stopped(struct qemu_vm *vm, const struct err *why)
{
	vm->state = VM_STOPPED;
	fail_pending(vm, why);
	waiters_end(&vm->stops, NULL, NULL);
	waiters_end(&vm->waits, NULL, NULL);
}

static void become_error(struct qemu_vm *vm)
{
	vm->state = VM_ERROR;
	fail_pending(vm, &vm->error);
	waiters_end(&vm->stops, NULL, NULL);
	waiters_end(&vm->waits, NULL, &vm->error);
}

/* The child's exit completes it. */
void vm_end_with(struct qemu_vm *vm, enum err_code code, const char *text)
{
	if (vm->error.code == ERR_NONE)
		err_set(&vm->error, code, "%s: %s", vm->spec.name, text);
	child_terminate(vm->child, QUIT_MS);
}

static void describe_death(struct qemu_vm *vm, int status)
{
	char how[64];
	char said[ERR_MSG_SIZE / 2];
	char serial[ERR_MSG_SIZE / 4];

	child_status_text(status, how, sizeof(how));
	tail_text(&vm->said_last, said, sizeof(said));
	serial[0] = '\0';
	if (vm->console && !said[0])
		console_tail(vm->console, serial, sizeof(serial));
	err_set(&vm->error, ERR_BOOT, "%s's qemu ended with %s%s%s%s%s", vm->spec.name, how,
		said[0] ? ": " : "", said, serial[0] ? "; the console's last: " : "", serial);
}

static void on_exit_of_qemu(void *arg, int status)
{
	struct qemu_vm *vm = arg;
	struct err why;

	vm->child = NULL;
	if (vm->said)
		stream_kick(vm->said); /* its last words */
	if (vm->state != VM_STOPPING && vm->error.code == ERR_NONE && status != 0)
		describe_death(vm, status);
	close_lines(vm);
	if (vm->state == VM_STOPPING) {
		err_set(&why, ERR_STOPPED, "%s was stopped", vm->spec.name);
		become_stopped(vm, &why);
	} else if (vm->error.code == ERR_NONE) {
		err_set(&why, ERR_NOT_RUNNING, "%s powered itself off", vm->spec.name);
		become_stopped(vm, &why);
	} else {
		become_error(vm);
	}
}

static void on_said(void *arg, const char *data, ssize_t len, int fd)
{
	struct qemu_vm *vm = arg;

	close_fd(&fd);
	if (len <= 0) {
		stream_close(vm->said);
		vm->said = NULL;
		return;
	}
	tail_add(&vm->said_last, data, (size_t)len, SAID_MAX);
	fwrite(data, 1, (size_t)len, stderr); /* the helper's log */
}

/* --- Start --------------------------------------------------------------------------------------------------- */

static void on_banner(void *arg)
{
	struct qemu_vm *vm = arg;

	vm->banner = NULL;
	vm->ready = true;
	waiters_end(&vm->addresses, vm->res.ip, NULL);
}

static void on_start_deadline(void *arg)
{
	vm_end_with(arg, ERR_TIMEOUT, "qemu did not run the guest in time");
}

static void become_running(struct qemu_vm *vm)
{
	if (vm->state != VM_STARTING)
		return;
	timer_stop(&vm->deadline);
	vm->state = VM_RUNNING;
	waiters_end(&vm->starts, NULL, NULL);
	vm->banner = banner_wait(vm->base.backend->loop, vm->res.ip, on_banner, vm);
	if (!vm->banner)
		vm_end_with(vm, ERR_NO_MEMORY, "out of memory");
}

static void on_status(void *arg, json_t *ret, const char *error)
{
	struct qemu_vm *vm = arg;
	const char *status = json_string_value(json_object_get(ret, "status"));

	if (!status)
		return;
	if (strcmp(status, "running") == 0)
		become_running(vm);
	else if (strcmp(status, "io-error") == 0)
		vm_end_with(vm, ERR_NO_SPACE,
			    "a disk of the guest cannot be written: no space left");
	else if (strcmp(status, "internal-error") == 0)
		vm_end_with(vm, ERR_BOOT, "KVM cannot run this guest; DROVER_ACCEL=tcg may");
}

static void on_event(void *arg, const char *event, json_t *data)
{
	struct qemu_vm *vm = arg;

	/* Not ordered by us: QEMU stops the guest when it cannot go on. */
	if (strcmp(event, "STOP") == 0 && (vm->state == VM_RUNNING || vm->state == VM_STARTING))
		qmp_call(vm->qmp, "query-status", on_status, vm);
}

/* @mine, the parent's ends, and @theirs are closed by the caller. */
static int spawn(struct qemu_vm *vm, int theirs[3], int tap, struct err *e)
{
	struct child_options o = {
		.file = QEMU_PROGRAM,
		.fds = {{theirs[2], 1},
			{theirs[2], 2},
			{tap, CHILD_FD_TAP},
			{theirs[0], CHILD_FD_QMP},
			{theirs[1], CHILD_FD_SERIAL}},
		.n_fds = 5,
		.new_session = true,
	};
	char **argv = argv_make(vm, qemu_use_kvm(qemu_of(vm->base.backend)));
	int r;

	if (!argv)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	o.argv = argv;
	r = child_spawn(vm->base.backend->loop, &o, on_exit_of_qemu, vm, &vm->child, e);
	argv_free(argv);
	return r;
}

/* Takes all of @mine. */
static int open_lines(struct qemu_vm *vm, int mine[3], struct err *e)
{
	uv_loop_t *loop = vm->base.backend->loop;

	vm->qmp = qmp_open(loop, take_fd(&mine[0]), on_event, vm);
	vm->console = console_open(loop, take_fd(&mine[1]));
	vm->said = stream_open(loop, take_fd(&mine[2]), on_said, vm);
	if (!vm->qmp || !vm->console || !vm->said ||
	    qmp_call(vm->qmp, "query-status", on_status, vm) < 0)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	return 0;
}

static int launch(struct qemu_vm *vm, struct err *e)
{
	int mine[3] = {-1, -1, -1};
	int theirs[3] = {-1, -1, -1};
	int tap = -1;
	int r = private_net_tap(vm->net->net, &tap, vm->ifname, e);

	for (int i = 0; i < 3 && r == 0; i++) {
		int pair[2];

		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
			r = err_errno(e, -errno, "socketpair");
			break;
		}
		mine[i] = pair[0];
		theirs[i] = pair[1];
	}
	if (r == 0)
		r = spawn(vm, theirs, tap, e);
	if (r == 0)
		r = open_lines(vm, mine, e);
	for (int i = 0; i < 3; i++) {
		close_fd(&mine[i]);
		close_fd(&theirs[i]);
	}
	close_fd(&tap);
	return r;
}

int vm_start(struct backend_vm *base, backend_done *done, void *arg, struct err *e)
{
	struct qemu_vm *vm = vm_of(base);
	int r;

	if (vm->child)
		return err_set(e, ERR_ALREADY_RUNNING, "%s is already running", vm->spec.name);
	vm->error = (struct err)ERR_INIT;
	vm->ready = false;
	buf_done(&vm->said_last);
	r = launch(vm, e);
	if (r == 0)
		r = waiters_add(&vm->starts, done, arg, 0, "", e);
	if (r < 0) {
		if (vm->child) {
			child_kill(vm->child, SIGKILL);
			child_detach(vm->child);
			vm->child = NULL;
		}
		close_lines(vm);
		return r;
	}
	vm->state = VM_STARTING;
	timer_start(base->backend->loop, START_MS, on_start_deadline, vm, &vm->deadline);
	return 0;
}

/* --- Stop ---------------------------------------------------------------------------------------------------- */

static void on_grace_over(void *arg)
{
	struct qemu_vm *vm = arg;

	child_terminate(vm->child, QUIT_MS);
}

/* The guest is asked by its power button; one that is not ready, or whose QEMU does not listen, is not asked. */
static bool ask_guest(struct qemu_vm *vm, bool paused)
{
	if (!vm->ready || !vm->qmp)
		return false;
	if (paused && qmp_call(vm->qmp, "cont", NULL, NULL) < 0)
		return false;
	return qmp_call(vm->qmp, "system_powerdown", NULL, NULL) == 0 &&
	       timer_start(vm->base.backend->loop, GRACE_MS, on_grace_over, vm, &vm->deadline);
}

/* True when there is nothing to stop: then the stops end with the next turn. */
static bool is_over(struct qemu_vm *vm)
{
	if (vm->child)
		return false;
	vm->state = VM_STOPPED;
	waiters_end(&vm->stops, NULL, NULL);
	return true;
}

static void begin_stop(struct qemu_vm *vm)
{
	struct err stopped;

	vm->state = VM_STOPPING;
	timer_stop(&vm->deadline);
	banner_cancel(vm->banner);
	vm->banner = NULL;
	err_set(&stopped, ERR_STOPPED, "%s was stopped", vm->spec.name);
	fail_pending(vm, &stopped);
}

int vm_stop(struct backend_vm *base, backend_done *done, void *arg, struct err *e)
{
	struct qemu_vm *vm = vm_of(base);
	bool paused = vm->state == VM_PAUSED || vm->state == VM_PAUSING;
	int r = waiters_add(&vm->stops, done, arg, 0, "", e);

	if (r < 0)
		return r;
	if (is_over(vm) || vm->state == VM_STOPPING)
		return 0;
	begin_stop(vm);
	if (!ask_guest(vm, paused))
		child_terminate(vm->child, QUIT_MS);
	return 0;
}

int vm_kill(struct backend_vm *base, backend_done *done, void *arg, struct err *e)
{
	struct qemu_vm *vm = vm_of(base);
	int r = waiters_add(&vm->stops, done, arg, 0, "", e);

	if (r < 0)
		return r;
	if (is_over(vm))
		return 0;
	if (vm->state != VM_STOPPING)
		begin_stop(vm);
	child_kill(vm->child, SIGKILL);
	return 0;
}

int vm_wait(struct backend_vm *base, uint64_t timeout_ms, backend_done *done, void *arg,
	    struct err *e)
{
	struct qemu_vm *vm = vm_of(base);
	int r = waiters_add(&vm->waits, done, arg, timeout_ms, "the VM did not stop in time", e);

	if (r == 0 && !vm->child)
		waiters_end(&vm->waits, NULL, vm->state == VM_ERROR ? &vm->error : NULL);
	return r;
}

int vm_wait_address(struct backend_vm *base, uint64_t timeout_ms, backend_address_done *done,
		    void *arg, struct err *e)
{
	struct qemu_vm *vm = vm_of(base);
	struct err why;
	int r = waiters_add_address(&vm->addresses, done, arg, timeout_ms,
				    "the guest did not answer on SSH in time", e);

	if (r < 0)
		return r;
	if (vm->state == VM_ERROR) {
		waiters_end(&vm->addresses, NULL, &vm->error);
	} else if (!vm->child || vm->state == VM_STOPPING) {
		err_set(&why, ERR_NOT_RUNNING, "%s is not running", vm->spec.name);
		waiters_end(&vm->addresses, NULL, &why);
	} else if (vm->ready) {
		waiters_end(&vm->addresses, vm->res.ip, NULL);
	}
	return 0;
}

void vm_release(struct backend_vm *base)
{
	struct qemu_vm *vm = vm_of(base);

	if (vm->child) {
		child_kill(vm->child, SIGKILL);
		child_detach(vm->child);
		vm->child = NULL;
	}
	close_lines(vm);
	vm->state = VM_STOPPED;
	ops_cancel(vm);
	waiters_cancel(&vm->starts);
	waiters_cancel(&vm->addresses);
	waiters_cancel(&vm->switches);
	waiters_cancel(&vm->points);
	waiters_cancel(&vm->ops);
	waiters_cancel(&vm->stops);
	waiters_cancel(&vm->waits);
	buf_done(&vm->said_last);
	vm_spec_done(&vm->spec);
	free(vm->disk_format);
	free(vm);
}

/* --- Pause and resume ---------------------------------------------------------------------------------------- */

static void on_switched(void *arg, json_t *ret, const char *error)
{
	struct qemu_vm *vm = arg;
	bool pausing = vm->state == VM_PAUSING;
	struct err e;

	if (!pausing && vm->state != VM_RESUMING)
		return; /* stopped meanwhile */
	if (ret) {
		vm->state = pausing ? VM_PAUSED : VM_RUNNING;
		waiters_end(&vm->switches, NULL, NULL);
		return;
	}
	vm->state = pausing ? VM_RUNNING : VM_PAUSED;
	err_set(&e, ERR_INTERNAL, "%s: qemu refused: %s", vm->spec.name, error);
	waiters_end(&vm->switches, NULL, &e);
}

struct switching {
	enum vm_state from;
	enum vm_state by;
	enum vm_state to;
	const char *command;
};

static int switch_state(struct qemu_vm *vm, const struct switching *s, backend_done *done,
			void *arg, struct err *e)
{
	int r;

	if (vm->state == s->to)
		return done_later(&vm->ops, done, arg, e);
	if (vm->state != s->from && vm->state != s->by)
		return err_set(e, ERR_NOT_RUNNING, "%s is %s", vm->spec.name,
			       vm_state_name(vm->state));
	if (vm->state == s->from && qmp_call(vm->qmp, s->command, on_switched, vm) < 0)
		return err_set(e, ERR_NOT_RUNNING, "%s does not run any more", vm->spec.name);
	vm->state = s->by;
	r = waiters_add(&vm->switches, done, arg, 0, "", e);
	return r;
}

int vm_pause(struct backend_vm *vm, backend_done *done, void *arg, struct err *e)
{
	static const struct switching pausing = {VM_RUNNING, VM_PAUSING, VM_PAUSED, "stop"};

	return switch_state(vm_of(vm), &pausing, done, arg, e);
}

int vm_resume(struct backend_vm *vm, backend_done *done, void *arg, struct err *e)
{
	static const struct switching resuming = {VM_PAUSED, VM_RESUMING, VM_RUNNING, "cont"};

	return switch_state(vm_of(vm), &resuming, done, arg, e);
}
