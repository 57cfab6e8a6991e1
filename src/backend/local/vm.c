/* SPDX-License-Identifier: MIT */
/* One VM's life; vm.h has the picture. */
#include "backend/local/vm.h"

#include "backend/local/tail.h"
#include "base/scoped.h"
#include "base/wait_status.h"
#include "network/private_net.h"

#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum {
	START_MS =
		30000, /* from exec to a running guest: the hypervisor's own work, and the disk's first blocks */
	HANGS_MS = 600000, /* an adopted one is silent while it writes a point, to a slow disk */
	GRACE_MS = 15000,  /* from the power button to the guest's own end */
	GREETED_MS =
		5000, /* how long a connection on which the guest has greeted waits for who dials */
	SAID_MAX = 4096
};

struct local_vm *vm_new(struct backend *b, struct backend_network *net, const struct vm_spec *spec,
			const struct reservation *res, char **format)
{
	const struct hypervisor *h = local_of(b)->hypervisor;
	struct local_vm *vm = h->alloc(b);

	if (!vm)
		return NULL;
	vm->base.backend = b;
	vm->hypervisor = h;
	vm->net = local_network_of(net);
	vm->res = *res;
	vm->disk_format = take_ptr(format);
	vm->state = VM_STOPPED;
	vm->greeted = -1;
	waiters_init(&vm->starts, b->loop);
	waiters_init(&vm->stops, b->loop);
	waiters_init(&vm->waits, b->loop);
	waiters_init(&vm->addresses, b->loop);
	waiters_init(&vm->switches, b->loop);
	waiters_init(&vm->ops, b->loop);
	list_init(&vm->questions);
	if (vm_spec_copy(&vm->spec, spec) < 0) {
		vm_release(&vm->base);
		return NULL;
	}
	return vm;
}

int vm_create(struct backend *b, struct backend_network *net, const struct vm_spec *spec,
	      const struct reservation *res, struct backend_vm **ret, struct err *e)
{
	scoped(mem) char *format = NULL;
	struct local_vm *vm;
	int r = check_spec(spec, &format, e);

	if (r < 0)
		return r;
	vm = vm_new(b, net, spec, res, &format);
	if (!vm)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	r = vm->hypervisor->check(vm, e);
	if (r < 0)
		vm_release(&vm->base);
	else
		*ret = &vm->base;
	return r;
}

bool vm_is_up(const struct local_vm *vm)
{
	return vm->child && (vm->state == VM_RUNNING || vm->state == VM_PAUSING ||
			     vm->state == VM_PAUSED || vm->state == VM_RESUMING);
}

/* Everything that waits for the guest to do something ends with @e, from the loop. */
static void fail_pending(struct local_vm *vm, const struct err *e)
{
	waiters_end(&vm->starts, NULL, e);
	waiters_end(&vm->addresses, NULL, e);
	waiters_end(&vm->switches, NULL, e);
	if (vm->hypervisor->fail)
		vm->hypervisor->fail(vm, e);
	ops_fail(vm, e);
}

static void drop_greeted(void *arg)
{
	struct local_vm *vm = arg;

	timer_stop(&vm->greeted_end);
	close_fd(&vm->greeted);
}

int vm_take_greeted(struct local_vm *vm)
{
	timer_stop(&vm->greeted_end);
	return take_fd(&vm->greeted);
}

static void close_lines(struct local_vm *vm)
{
	drop_greeted(vm);
	timer_stop(&vm->deadline);
	timer_stop(&vm->last_words);
	banner_cancel(vm->banner);
	vm->banner = NULL;
	vm->hypervisor->close(vm);
	console_close(vm->console);
	vm->console = NULL;
	stream_close(vm->said);
	vm->said = NULL;
}

/* Nobody hears of its end any more. */
static void drop_hypervisor(struct local_vm *vm)
{
	if (vm->child) {
		child_kill(vm->child, SIGKILL);
		child_detach(vm->child);
		vm->child = NULL;
		vm_unkeep(vm);
	}
	close_lines(vm);
}

static void become_stopped(struct local_vm *vm, const struct err *why)
{
	vm->state = VM_STOPPED;
	fail_pending(vm, why);
	waiters_end(&vm->stops, NULL, NULL);
	waiters_end(&vm->waits, NULL, NULL);
}

static void become_error(struct local_vm *vm)
{
	vm->state = VM_ERROR;
	fail_pending(vm, &vm->error);
	waiters_end(&vm->stops, NULL, NULL);
	waiters_end(&vm->waits, NULL, &vm->error);
}

/* The child's exit completes it. */
void vm_end_with(struct local_vm *vm, enum err_code code, const char *text)
{
	if (vm->error.code == ERR_NONE)
		err_set(&vm->error, code, "%s: %s", vm->spec.name, text);
	child_terminate(vm->child, QUIT_MS);
}

static void describe_death(struct local_vm *vm, int status)
{
	char how[64];
	char said[ERR_MSG_SIZE / 2];
	char serial[ERR_MSG_SIZE / 4];

	wait_status_text(status, how, sizeof(how));
	tail_text(&vm->said_last, said, sizeof(said));
	serial[0] = '\0';
	if (vm->console && !said[0])
		console_tail(vm->console, serial, sizeof(serial));
	err_set(&vm->error, ERR_BOOT, "%s's %s ended with %s%s%s%s%s", vm->spec.name,
		vm->hypervisor->name, how, said[0] ? ": " : "", said,
		serial[0] ? "; the console's last: " : "", serial);
}

static void on_child_exit(void *arg, int status)
{
	struct local_vm *vm = arg;
	struct err why;

	vm->child = NULL;
	vm->adopting = false;
	vm_unkeep(vm);
	if (vm->said)
		stream_kick(vm->said); /* its last words */
	/* A program that ended by itself says it better than what was noticed of its end before. */
	if (vm->state != VM_STOPPING && status != 0 &&
	    (vm->error.code == ERR_NONE || WIFEXITED(status)))
		describe_death(vm, status);
	if (vm->state != VM_STOPPING && vm->error.code == ERR_NONE)
		vm_powered_off(vm, &why);
	close_lines(vm);
	if (vm->state == VM_STOPPING) {
		err_set(&why, ERR_STOPPED, "%s was stopped", vm->spec.name);
		become_stopped(vm, &why);
	} else if (vm->error.code == ERR_NONE) {
		become_stopped(vm, &why);
	} else {
		become_error(vm);
	}
}

static void on_said(void *arg, const char *data, ssize_t len, int fd)
{
	struct local_vm *vm = arg;

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

/* Who waits for the address dials next, and a connection costs an emulated guest a new process of its server. */
static void on_banner(void *arg, int fd)
{
	struct local_vm *vm = arg;

	vm->banner = NULL;
	vm->greeted = fd;
	if (!timer_start(vm->base.backend->loop, GREETED_MS, drop_greeted, vm, &vm->greeted_end))
		drop_greeted(vm);
	vm->ready = true;
	vm_keep_ready(vm);
	waiters_end(&vm->addresses, vm->res.ip, NULL);
}

static void on_start_deadline(void *arg)
{
	struct local_vm *vm = arg;

	vm_end_with(vm, ERR_TIMEOUT,
		    vm->ready ? "its program has not said for long what the guest does"
			      : "the guest did not begin to run in time");
}

void vm_running(struct local_vm *vm)
{
	struct whereabouts at;

	if (vm->state != VM_STARTING)
		return;
	timer_stop(&vm->deadline);
	vm->state = VM_RUNNING;
	vm->adopting = false;
	waiters_end(&vm->starts, NULL, NULL);
	if (vm->ready)
		return; /* adopted: it has answered before */
	at = (struct whereabouts){private_net_bridge(vm->net->net), vm->res.ip, vm->res.mac};
	vm->banner = banner_wait(vm->base.backend->loop, &at, on_banner, vm);
	if (!vm->banner)
		vm_end_with(vm, ERR_NO_MEMORY, "out of memory");
}

void vm_found_paused(struct local_vm *vm)
{
	if (!vm->adopting || vm->state != VM_STARTING)
		return;
	timer_stop(&vm->deadline);
	vm->state = VM_PAUSED;
	vm->adopting = false;
	waiters_end(&vm->starts, NULL, NULL);
}

int vm_spawn(struct local_vm *vm, struct child_options *o, struct err *e)
{
	uv_loop_t *loop = vm->base.backend->loop;
	int pair[2];
	int r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(e, -errno, "socketpair");
	o->fds[o->n_fds++] = (struct child_fd){pair[1], 1};
	o->fds[o->n_fds++] = (struct child_fd){pair[1], 2};
	o->new_session = true;
	r = child_spawn(loop, o, on_child_exit, vm, &vm->child, e);
	close(pair[1]);
	vm->said = stream_open(loop, pair[0], on_said, vm);
	return r == 0 && !vm->said ? err_set(e, ERR_NO_MEMORY, "out of memory") : r;
}

int vm_take_process(struct local_vm *vm, struct keeper *k, struct kept *kept, int said,
		    struct err *e)
{
	uv_loop_t *loop = vm->base.backend->loop;
	int r;

	vm->said = stream_open(loop, said, on_said, vm);
	r = child_adopt(loop, k, kept, on_child_exit, vm, &vm->child, e);
	return r == 0 && !vm->said ? err_set(e, ERR_NO_MEMORY, "out of memory") : r;
}

int vm_await_state(struct local_vm *vm, backend_done *done, void *arg, struct err *e)
{
	int r = waiters_add(&vm->starts, done, arg, 0, "", e);

	if (r < 0)
		return r;
	vm->state = VM_STARTING;
	vm->adopting = true;
	timer_start(vm->base.backend->loop, vm->ready ? HANGS_MS : START_MS, on_start_deadline, vm,
		    &vm->deadline);
	return 0;
}

int vm_start(struct backend_vm *base, backend_done *done, void *arg, struct err *e)
{
	struct local_vm *vm = local_vm_of(base);
	int r;

	if (vm->child)
		return err_set(e, ERR_ALREADY_RUNNING, "%s is already running", vm->spec.name);
	vm->error = (struct err)ERR_INIT;
	vm->ready = false;
	buf_done(&vm->said_last);
	if (vm->spec.serial_log_path)
		console_begin_log(vm->spec.serial_log_path);
	r = vm->hypervisor->launch(vm, e);
	if (r == 0)
		r = waiters_add(&vm->starts, done, arg, 0, "", e);
	if (r < 0) {
		drop_hypervisor(vm);
		return r;
	}
	vm->state = VM_STARTING;
	timer_start(base->backend->loop, START_MS, on_start_deadline, vm, &vm->deadline);
	return 0;
}

/* --- Stop ---------------------------------------------------------------------------------------------------- */

static void on_grace_over(void *arg)
{
	struct local_vm *vm = arg;

	child_terminate(vm->child, QUIT_MS);
}

/* The guest is asked by its power button; one that is not ready, or whose hypervisor does not listen, is not asked. */
static bool ask_guest(struct local_vm *vm, bool paused)
{
	return vm->ready && vm->hypervisor->power_button(vm, paused) &&
	       timer_start(vm->base.backend->loop, GRACE_MS, on_grace_over, vm, &vm->deadline);
}

/* True when there is nothing to stop: then the stops end with the next turn. */
static bool is_over(struct local_vm *vm)
{
	if (vm->child)
		return false;
	vm->state = VM_STOPPED;
	waiters_end(&vm->stops, NULL, NULL);
	return true;
}

static void begin_stop(struct local_vm *vm)
{
	struct err stopped;

	vm->state = VM_STOPPING;
	timer_stop(&vm->deadline);
	drop_greeted(vm);
	banner_cancel(vm->banner);
	vm->banner = NULL;
	err_set(&stopped, ERR_STOPPED, "%s was stopped", vm->spec.name);
	fail_pending(vm, &stopped);
}

int vm_stop(struct backend_vm *base, backend_done *done, void *arg, struct err *e)
{
	struct local_vm *vm = local_vm_of(base);
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
	struct local_vm *vm = local_vm_of(base);
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
	struct local_vm *vm = local_vm_of(base);
	int r = waiters_add(&vm->waits, done, arg, timeout_ms, "the VM did not stop in time", e);

	if (r == 0 && !vm->child)
		waiters_end(&vm->waits, NULL, vm->state == VM_ERROR ? &vm->error : NULL);
	return r;
}

int vm_wait_address(struct backend_vm *base, uint64_t timeout_ms, backend_address_done *done,
		    void *arg, struct err *e)
{
	struct local_vm *vm = local_vm_of(base);
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
	struct local_vm *vm = local_vm_of(base);

	drop_hypervisor(vm);
	vm->state = VM_STOPPED;
	ops_cancel(vm);
	waiters_cancel(&vm->starts);
	waiters_cancel(&vm->addresses);
	waiters_cancel(&vm->switches);
	if (vm->hypervisor->fail)
		vm->hypervisor->fail(vm, NULL);
	waiters_cancel(&vm->ops);
	waiters_cancel(&vm->stops);
	waiters_cancel(&vm->waits);
	buf_done(&vm->said_last);
	vm_spec_done(&vm->spec);
	free(vm->disk_format);
	vm->hypervisor->free(vm);
}

/* --- Pause and resume ---------------------------------------------------------------------------------------- */

void vm_switched(struct local_vm *vm, const char *error)
{
	bool pausing = vm->state == VM_PAUSING;
	struct err e;

	if (!pausing && vm->state != VM_RESUMING)
		return; /* stopped meanwhile */
	if (!error) {
		vm->state = pausing ? VM_PAUSED : VM_RUNNING;
		waiters_end(&vm->switches, NULL, NULL);
		return;
	}
	vm->state = pausing ? VM_RUNNING : VM_PAUSED;
	err_set(&e, ERR_INTERNAL, "%s: %s refused: %s", vm->spec.name, vm->hypervisor->name, error);
	waiters_end(&vm->switches, NULL, &e);
}

struct switching {
	enum vm_state from;
	enum vm_state by;
	enum vm_state to;
};

static int switch_state(struct local_vm *vm, const struct switching *s, backend_done *done,
			void *arg, struct err *e)
{
	if (vm->state == s->to)
		return waiters_add_ended(&vm->ops, NULL, done, arg, e);
	if (vm->state != s->from && vm->state != s->by)
		return err_set(e, ERR_NOT_RUNNING, "%s is %s", vm->spec.name,
			       vm_state_name(vm->state));
	if (vm->state == s->from && vm->hypervisor->hold(vm, s->to == VM_PAUSED) < 0)
		return err_set(e, ERR_NOT_RUNNING, "%s does not run any more", vm->spec.name);
	vm->state = s->by;
	return waiters_add(&vm->switches, done, arg, 0, "", e);
}

int vm_pause(struct backend_vm *vm, backend_done *done, void *arg, struct err *e)
{
	static const struct switching pausing = {VM_RUNNING, VM_PAUSING, VM_PAUSED};

	return switch_state(local_vm_of(vm), &pausing, done, arg, e);
}

int vm_resume(struct backend_vm *vm, backend_done *done, void *arg, struct err *e)
{
	static const struct switching resuming = {VM_PAUSED, VM_RESUMING, VM_RUNNING};

	return switch_state(local_vm_of(vm), &resuming, done, arg, e);
}
