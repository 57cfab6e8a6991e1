/* SPDX-License-Identifier: MIT */
#include "backend/fake/fake.h"

#include "backend/fake/internal.h"
#include "base/files.h"
#include "base/scoped.h"
#include "config.h"
#include "loop/stream.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

/* One dialed connection: what comes in goes out. */
struct echo {
	struct list link;
	struct stream *stream;
};

struct record {
	const char *op;
	const char *name;
	const struct vm_spec *spec;
	const char *mac;
	const char *ip_hint;
};

static void record(struct fake *f, const struct record *what)
{
	scoped(buf) struct buf line = BUF_INIT;
	struct json_out o;

	if (f->record_fd < 0)
		return;
	json_out_begin(&o, &line);
	json_out_string(&o, "op", what->op);
	json_out_string_opt(&o, "name", what->name);
	if (what->spec) {
		json_out_string_opt(&o, "disk_path", what->spec->disk_path);
		json_out_string_opt(&o, "seed_path", what->spec->seed_path);
		json_out_string_opt(&o, "efi_path", what->spec->efi_path);
		json_out_strings_opt(&o, "fixture_paths", what->spec->fixture_paths,
				     what->spec->n_fixture_paths);
	}
	json_out_string_opt(&o, "mac", what->mac);
	json_out_string_opt(&o, "ip_hint", what->ip_hint);
	if (json_out_end(&o) == 0)
		files_write_all(f->record_fd, line.data, line.len);
}

/* Whoever dialed has the other end and may keep it for ever: that is no reason for the helper to stay. */
static void close_echoes(struct fake *f)
{
	list_for_each_safe (pos, &f->echoes) {
		struct echo *echo = list_entry(pos, struct echo, link);

		list_remove(&echo->link);
		stream_close(echo->stream);
		free(echo);
	}
}

static void fake_free(struct backend *b)
{
	struct fake *f = fake_of(b);

	close_echoes(f);
	waiters_cancel(&f->ops);
	close_fd(&f->record_fd);
	free(f->fail_create);
	free(f->slow);
	free(f);
}

static bool always(struct backend *b)
{
	return true;
}

static int fake_reconcile(struct backend *b, backend_done *done, void *arg, struct err *e)
{
	return waiters_add_ended(&fake_of(b)->ops, NULL, done, arg, e);
}

struct network_op {
	struct fake_network *net;
	backend_network_done *done;
	void *arg;
};

static void on_network(void *arg)
{
	struct network_op *op = arg;

	op->done(op->arg, 0, &op->net->base, NULL);
	free(op);
}

static int fake_create_network(struct backend *b, const struct network_config *c,
			       backend_network_done *done, void *arg, struct err *e)
{
	struct fake_network *net = calloc(1, sizeof(*net));
	struct network_op *op = calloc(1, sizeof(*op));

	if (!net || !op ||
	    !timer_start(b->loop, (uint64_t)fake_of(b)->network_ms, on_network, op, NULL)) {
		free(net);
		free(op);
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	}
	net->base.backend = b;
	*op = (struct network_op){net, done, arg};
	return 0;
}

static void fake_close_network(struct backend_network *net, backend_done *done, void *arg)
{
	struct backend *b = net->backend;

	record(fake_of(b), &(struct record){.op = "close"});
	close_echoes(fake_of(b));
	free(container_of(net, struct fake_network, base));
	if (done)
		waiters_add_ended(&fake_of(b)->ops, NULL, done, arg, NULL);
}

static const char *fake_subnet(struct backend_network *net)
{
	return "";
}

struct reserve_op {
	struct reservation v;
	backend_reserve_done *done;
	void *arg;
};

static void on_reserved(void *arg)
{
	struct reserve_op *op = arg;

	op->done(op->arg, 0, &op->v, NULL);
	free(op);
}

static int fake_reserve(struct backend_network *net, const char *name, const char *ip_hint,
			backend_reserve_done *done, void *arg, struct err *e)
{
	struct reserve_op *op = calloc(1, sizeof(*op));

	if (!op || !timer_start(net->backend->loop, 0, on_reserved, op, NULL)) {
		free(op);
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	}
	name_mac(DROVER_MAC_SALT, name, op->v.mac);
	op->done = done;
	op->arg = arg;
	record(fake_of(net->backend),
	       &(struct record){
		       .op = "reserve", .name = name, .mac = op->v.mac, .ip_hint = ip_hint});
	return 0;
}

static int fake_create(struct backend *b, struct backend_network *net, const struct vm_spec *spec,
		       const struct reservation *res, struct backend_vm **ret, struct err *e)
{
	struct fake *f = fake_of(b);
	struct fake_vm *vm;

	record(f,
	       &(struct record){.op = "create", .name = spec->name, .spec = spec, .mac = res->mac});
	if (str_equal(f->fail_create, spec->name) && f->fail_count-- > 0)
		return err_set(e, ERR_BOOT, "fake backend: forced Create failure for \"%s\"",
			       spec->name);
	vm = calloc(1, sizeof(*vm));
	if (!vm)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	vm->base.backend = b;
	vm->state = VM_STOPPED;
	snprintf(vm->name, sizeof(vm->name), "%s", spec->name);
	waiters_init(&vm->on_stopped, b->loop);
	waiters_init(&vm->stops, b->loop);
	waiters_init(&vm->on_address, b->loop);
	waiters_init(&vm->ops, b->loop);
	list_init(&vm->questions);
	fake_points_init(vm);
	*ret = &vm->base;
	return 0;
}

static const char panic_line[] = "Kernel panic - not syncing: fake";

static void on_panicked(void *arg)
{
	struct fake_vm *vm = arg;

	vm->panicked = true;
	backend_tell_guest(&vm->base, GUEST_PANICKED, panic_line);
}

static const char *fake_panic(struct backend_vm *base)
{
	return vm_of(base)->panicked ? panic_line : NULL;
}

static void on_booted(void *arg)
{
	struct fake_vm *vm = arg;
	struct fake *f = fake_of(vm->base.backend);

	vm->state = VM_RUNNING;
	snprintf(vm->ip, sizeof(vm->ip), "203.0.113.%u", f->next_address % 254 + 1);
	f->next_address++;
	waiters_end(&vm->on_address, vm->ip, NULL);
	if (f->panic_ms)
		timer_start(f->base.loop, (uint64_t)f->panic_ms, on_panicked, vm, &vm->panicking);
}

static int fake_start(struct backend_vm *base, backend_done *done, void *arg, struct err *e)
{
	struct fake_vm *vm = vm_of(base);
	struct fake *f = fake_of(base->backend);
	uint64_t ms = f->slow && !str_equal(f->slow, vm->name) ? 0 : (uint64_t)f->boot_ms;
	int r;

	if (vm->state != VM_STOPPED)
		return err_set(e, ERR_ALREADY_RUNNING, "%s is already running", vm->name);
	r = waiters_add_ended(&vm->ops, NULL, done, arg, e);
	if (r < 0)
		return r;
	vm->state = VM_STARTING;
	if (!timer_start(base->backend->loop, ms, on_booted, vm, &vm->boot))
		vm->state = VM_ERROR;
	return 0;
}

static void cancel_boot(struct fake_vm *vm)
{
	struct err stopped;

	timer_stop(&vm->boot);
	timer_stop(&vm->panicking);
	vm->panicked = false;
	err_set(&stopped, ERR_STOPPED, "%s was stopped", vm->name);
	waiters_end(&vm->on_address, NULL, &stopped);
}

static void become_stopped(void *arg)
{
	struct fake_vm *vm = arg;

	timer_stop(&vm->stopping);
	cancel_boot(vm);
	vm->state = VM_STOPPED;
	waiters_end(&vm->stops, NULL, NULL);
	waiters_end(&vm->on_stopped, NULL, NULL);
}

static int add_stop(struct fake_vm *vm, backend_done *done, void *arg, struct err *e)
{
	int r = waiters_add(&vm->stops, done, arg, 0, "", e);

	if (r == 0)
		record(fake_of(vm->base.backend), &(struct record){.op = "stop", .name = vm->name});
	return r;
}

static int fake_stop(struct backend_vm *base, backend_done *done, void *arg, struct err *e)
{
	struct fake_vm *vm = vm_of(base);
	struct fake *f = fake_of(base->backend);
	int r = add_stop(vm, done, arg, e);

	if (r < 0)
		return r;
	if (f->stop_ms == 0 || vm->state == VM_STOPPED) {
		become_stopped(vm);
	} else if (!vm->stopping) {
		vm->state = VM_STOPPING;
		cancel_boot(vm);
		timer_start(base->backend->loop, (uint64_t)f->stop_ms, become_stopped, vm,
			    &vm->stopping);
	}
	return 0;
}

/* Answered with the next turn, or canceled with the VM. */
struct question {
	struct list link;
	struct fake_vm *vm;
	struct timer *turn;
	backend_state_done *state; /* one of the three */
	backend_dial_done *dialed;
	backend_stats_done *stats;
	void *arg;
	int fd; /* for dialed */
};

static void question_end(struct question *q, const struct err *e)
{
	static const struct vm_stats nothing = {0};
	int r = e ? err_code_number(e->code) : 0;

	list_remove(&q->link);
	timer_stop(&q->turn);
	if (e)
		close_fd(&q->fd);
	if (q->state)
		q->state(q->arg, q->vm->state);
	else if (q->dialed)
		q->dialed(q->arg, r, q->fd, e);
	else
		q->stats(q->arg, r, e ? NULL : &nothing, e);
	free(q);
}

static void on_question(void *arg)
{
	question_end(arg, NULL);
}

/* Takes the descriptor of @template on success. */
static int ask(const struct question *template, struct err *e)
{
	struct fake_vm *vm = template->vm;
	struct question *q = calloc(1, sizeof(*q));

	if (q)
		*q = *template;
	if (!q || !timer_start(vm->base.backend->loop, 0, on_question, q, &q->turn)) {
		free(q);
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	}
	list_append(&vm->questions, &q->link);
	return 0;
}

static void cancel_questions(struct fake_vm *vm)
{
	struct err canceled;

	err_set(&canceled, ERR_CANCELED, "canceled");
	while (!list_is_empty(&vm->questions))
		question_end(list_entry(vm->questions.next, struct question, link), &canceled);
}

static int fake_state(struct backend_vm *base, backend_state_done *done, void *arg, struct err *e)
{
	return ask(&(struct question){.vm = vm_of(base), .state = done, .arg = arg, .fd = -1}, e);
}

static int fake_wait(struct backend_vm *base, uint64_t timeout_ms, backend_done *done, void *arg,
		     struct err *e)
{
	struct fake_vm *vm = vm_of(base);

	if (vm->state == VM_STOPPED)
		return waiters_add_ended(&vm->ops, NULL, done, arg, e);
	return waiters_add(&vm->on_stopped, done, arg, timeout_ms, "the VM did not stop in time",
			   e);
}

static int fake_wait_address(struct backend_vm *base, uint64_t timeout_ms,
			     backend_address_done *done, void *arg, struct err *e)
{
	struct fake_vm *vm = vm_of(base);
	struct err stopped;
	int r = waiters_add_address(&vm->on_address, done, arg, timeout_ms,
				    "the VM had no address in time", e);

	if (r < 0)
		return r;
	if (vm->state == VM_RUNNING || vm->state == VM_PAUSED)
		waiters_end(&vm->on_address, vm->ip, NULL);
	else if (vm->state == VM_STOPPED) {
		err_set(&stopped, ERR_NOT_RUNNING, "%s is not running", vm->name);
		waiters_end(&vm->on_address, NULL, &stopped);
	}
	return 0;
}

static void fake_release(struct backend_vm *base)
{
	struct fake_vm *vm = vm_of(base);

	timer_stop(&vm->boot);
	timer_stop(&vm->panicking);
	timer_stop(&vm->stopping);
	cancel_questions(vm);
	fake_points_cancel(vm);
	waiters_cancel(&vm->ops);
	waiters_cancel(&vm->stops);
	waiters_cancel(&vm->on_address);
	waiters_cancel(&vm->on_stopped);
	free(vm);
}

static int fake_kill(struct backend_vm *base, backend_done *done, void *arg, struct err *e)
{
	struct fake_vm *vm = vm_of(base);
	int r = add_stop(vm, done, arg, e);

	if (r == 0)
		become_stopped(vm);
	return r;
}

static int set_state(struct backend_vm *base, enum vm_state from, enum vm_state to,
		     backend_done *done, void *arg, struct err *e)
{
	struct fake_vm *vm = vm_of(base);
	int r;

	if (vm->state != from && vm->state != to)
		return err_set(e, ERR_NOT_RUNNING, "%s is %s", vm->name, vm_state_name(vm->state));
	r = waiters_add_ended(&vm->ops, NULL, done, arg, e);
	if (r == 0)
		vm->state = to;
	return r;
}

static int fake_pause(struct backend_vm *base, backend_done *done, void *arg, struct err *e)
{
	return set_state(base, VM_RUNNING, VM_PAUSED, done, arg, e);
}

static int fake_resume(struct backend_vm *base, backend_done *done, void *arg, struct err *e)
{
	return set_state(base, VM_PAUSED, VM_RUNNING, done, arg, e);
}

static void on_echo(void *arg, const char *data, ssize_t len, int fd)
{
	struct echo *echo = arg;

	close_fd(&fd);
	if (len > 0 && stream_write(echo->stream, data, (size_t)len) == 0)
		return;
	list_remove(&echo->link);
	stream_close(echo->stream);
	free(echo);
}

static int open_echo(struct fake_vm *vm, backend_dial_done *done, void *arg, struct err *e)
{
	struct fake *f = fake_of(vm->base.backend);
	struct echo *echo = calloc(1, sizeof(*echo));
	int pair[2];
	int r;

	if (!echo || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		free(echo);
		return err_set(e, ERR_IO, "fake backend: no socket pair");
	}
	echo->stream = stream_open(f->base.loop, pair[0], on_echo, echo);
	if (echo->stream)
		r = ask(&(struct question){.vm = vm, .dialed = done, .arg = arg, .fd = pair[1]}, e);
	else
		r = err_set(e, ERR_NO_MEMORY, "out of memory");
	if (r < 0) {
		stream_close(echo->stream);
		close(pair[1]);
		free(echo);
		return r;
	}
	list_append(&f->echoes, &echo->link);
	return 0;
}

static int fake_dial(struct backend_vm *base, uint16_t port, uint64_t timeout_ms,
		     backend_dial_done *done, void *arg, struct err *e)
{
	return open_echo(vm_of(base), done, arg, e);
}

static int fake_console(struct backend_vm *base, backend_dial_done *done, void *arg, struct err *e)
{
	return open_echo(vm_of(base), done, arg, e);
}

static int fake_stats(struct backend_vm *base, backend_stats_done *done, void *arg, struct err *e)
{
	return ask(&(struct question){.vm = vm_of(base), .stats = done, .arg = arg, .fd = -1}, e);
}

static const struct backend_ops fake_ops = {
	.name = "fake",
	.free = fake_free,
	.nested_virt_supported = always,
	.supports_clustering = always,
	.reconcile = fake_reconcile,
	.create_network = fake_create_network,
	.close_network = fake_close_network,
	.subnet = fake_subnet,
	.reserve = fake_reserve,
	.create = fake_create,
	.start = fake_start,
	.stop = fake_stop,
	.state = fake_state,
	.wait = fake_wait,
	.wait_address = fake_wait_address,
	.release = fake_release,
	.kill = fake_kill,
	.pause = fake_pause,
	.resume = fake_resume,
	.save = fake_save,
	.load = fake_load,
	.drop = fake_drop,
	.points = fake_points,
	.dial = fake_dial,
	.console = fake_console,
	.stats = fake_stats,
	.panic = fake_panic,
};

static int read_number(const char *name, int64_t *ret, struct err *e)
{
	const char *text = getenv(name);

	if (text && str_to_int64(text, 0, 3600000, ret) < 0)
		return err_set(e, ERR_INVALID, "%s: '%s' is no number from 0 to 3600000", name,
			       text);
	return 0;
}

static int read_environment(struct fake *f, struct err *e)
{
	const char *record_path = getenv("DROVER_FAKE_RECORD");
	const char *fail_create = getenv("DROVER_FAKE_FAIL_CREATE");
	const char *slow = getenv("DROVER_FAKE_SLOW");
	int r = read_number("DROVER_FAKE_BOOT_MS", &f->boot_ms, e);

	f->fail_count = INT64_MAX;
	if (r == 0)
		r = read_number("DROVER_FAKE_STOP_MS", &f->stop_ms, e);
	if (r == 0)
		r = read_number("DROVER_FAKE_NETWORK_MS", &f->network_ms, e);
	if (r == 0)
		r = read_number("DROVER_FAKE_PANIC_MS", &f->panic_ms, e);
	if (r == 0)
		r = read_number("DROVER_FAKE_POINT_MS", &f->point_ms, e);
	if (r == 0)
		r = read_number("DROVER_FAKE_FAIL_COUNT", &f->fail_count, e);
	if (r < 0)
		return r;
	if (fail_create && *fail_create)
		f->fail_create = strdup(fail_create);
	if (slow && *slow)
		f->slow = strdup(slow);
	if (!record_path || !*record_path)
		return 0;
	f->record_fd = open(record_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	return f->record_fd < 0 ? err_errno(e, -errno, "open DROVER_FAKE_RECORD %s", record_path)
				: 0;
}

struct backend *fake_backend_new(uv_loop_t *loop, struct err *e)
{
	struct fake *f = calloc(1, sizeof(*f));

	if (!f) {
		err_set(e, ERR_NO_MEMORY, "out of memory");
		return NULL;
	}
	f->base.ops = &fake_ops;
	f->base.loop = loop;
	f->record_fd = -1;
	list_init(&f->echoes);
	waiters_init(&f->ops, loop);
	if (read_environment(f, e) < 0) {
		fake_free(&f->base);
		return NULL;
	}
	return &f->base;
}
