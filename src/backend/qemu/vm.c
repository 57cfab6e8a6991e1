/* SPDX-License-Identifier: MIT */
/* What a VM is to QEMU: how it is launched, and what QMP says of it. */
#include "backend/qemu/vm.h"

#include "base/files.h"
#include "base/host.h"
#include "base/scoped.h"
#include "network/private_net.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct local_vm *qemu_alloc(struct backend *b)
{
	struct qemu_vm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return NULL;
	waiters_init(&vm->points, b->loop);
	waiters_init(&vm->captures, b->loop);
	list_init(&vm->listings);
	vm->memory_fd = -1;
	return local_vm_of(&vm->base);
}

static int qemu_check(struct local_vm *vm, struct err *e)
{
	scoped(mem) char *program = files_find_program(QEMU_PROGRAM);
	const char *code;
	const char *variables;
	int r;

	if (!program)
		return err_hint(e,
				err_set(e, ERR_MISSING_PROGRAM, QEMU_PROGRAM " is not installed"),
				"apt-get install qemu-system-x86");
	r = shares_check(&vm->spec, e);
	if (r == 0 && vm->spec.efi_path && !vm->spec.kernel_path)
		r = host_find_uefi(&code, &variables, e);
	return r;
}

/* --- What QMP says ------------------------------------------------------------------------------------------- */

/* A guest that was never up is paused because its memory has been loaded, and it is to go on. */
static void found_paused(struct local_vm *vm)
{
	if (vm->adopting && !vm->ready)
		memory_go_on(qemu_vm_of(vm));
	else
		vm_found_paused(vm);
}

/* QEMU says neither which of its disks it was nor where that lies; they lie in one place. */
static void end_for_space(struct local_vm *vm)
{
	const char *disk = vm->spec.disk_path ? vm->spec.disk_path : vm->spec.points_path;
	scoped(mem) char *text =
		str_format("the file system that holds %s is full, and the guest wrote to it",
			   disk ? disk : "its disk");

	vm_end_with(vm, ERR_NO_SPACE, text ? text : "its disk cannot be written: no space left");
}

static void on_status(void *arg, json_t *ret, const char *error)
{
	struct local_vm *vm = arg;
	const char *status = json_string_value(json_object_get(ret, "status"));

	if (!status)
		return;
	if (strcmp(status, "running") == 0)
		vm_running(vm);
	else if (strcmp(status, "paused") == 0 || strcmp(status, "postmigrate") == 0)
		found_paused(vm); /* the second: when its memory has been captured */
	else if (strcmp(status, "io-error") == 0)
		end_for_space(vm);
	else if (strcmp(status, "internal-error") == 0)
		vm_end_with(vm, ERR_BOOT, "KVM cannot run this guest; DROVER_ACCEL=tcg may");
}

static void on_event(void *arg, const char *event, json_t *data)
{
	struct qemu_vm *vm = arg;

	if (strcmp(event, "MIGRATION") == 0)
		memory_on_migration(vm, data);
	if (strcmp(event, "MIGRATION") == 0 && vm->state == VM_STARTING && vm->ready)
		qmp_call(vm->qmp, "query-status", on_status, vm); /* adopted in a capture */
	if (strcmp(event, "RESET") == 0 && json_is_true(json_object_get(data, "guest")))
		vm_was_reset(local_vm_of(&vm->base));
	/* Not ordered by us: QEMU stops the guest when it cannot go on. */
	if (strcmp(event, "STOP") == 0 && (vm->state == VM_RUNNING || vm->state == VM_STARTING))
		qmp_call(vm->qmp, "query-status", on_status, vm);
}

/* --- Launch -------------------------------------------------------------------------------------------------- */

/* @theirs, @tap and @shares are closed by the caller. */
static int spawn(struct qemu_vm *vm, int theirs[2], int tap, const int shares[], int n_shares,
		 struct err *e)
{
	scoped(fd) int memory = -1;
	scoped(fd) int state = -1;
	struct child_options o = {
		.file = QEMU_PROGRAM,
		.fds = {{tap, CHILD_FD_TAP},
			{theirs[0], CHILD_FD_QMP},
			{theirs[1], CHILD_FD_SERIAL}},
		.n_fds = 3,
	};
	char **argv;
	int r = memory_open(vm, &memory, &state, e);

	if (r == 0)
		r = point_take_begin(vm, e);
	if (r < 0)
		return r;
	argv = argv_make(vm, qemu_ways(qemu_of(vm->base.backend)));
	if (!argv)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	o.fds[o.n_fds++] = (struct child_fd){memory, CHILD_FD_MEMORY};
	if (state >= 0)
		o.fds[o.n_fds++] = (struct child_fd){state, CHILD_FD_STATE};
	for (int i = 0; i < n_shares; i++)
		o.fds[o.n_fds++] = (struct child_fd){shares[i], CHILD_FD_SHARE + i};
	o.argv = argv;
	r = vm_spawn(local_vm_of(&vm->base), &o, e);
	argv_free(argv);
	if (r == 0 && !vm->resumes)
		vm->memory_fd = take_fd(&memory);
	return r;
}

/* Takes all of @mine. */
static int open_lines(struct qemu_vm *vm, int mine[2], struct err *e)
{
	uv_loop_t *loop = vm->base.backend->loop;

	vm->qmp = qmp_open(loop, take_fd(&mine[0]), on_event, vm);
	if (vm_open_console(local_vm_of(&vm->base), take_fd(&mine[1]), e) < 0)
		return err_code_number(e->code);
	if (!vm->qmp || qmp_call(vm->qmp, "query-status", on_status, vm) < 0)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	if (vm->resumes && memory_load(vm) < 0)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	return 0;
}

/* What a next helper needs: without memory of its own the guest is one that went on from a captured one. */
static int keep_lines(struct qemu_vm *vm, const int mine[2], struct err *e)
{
	const int lines[] = {mine[0], mine[1], vm->memory_fd};

	return vm_keep(local_vm_of(&vm->base), lines, vm->memory_fd < 0 ? 2 : 3, e);
}

static int qemu_launch(struct local_vm *base, struct err *e)
{
	struct qemu_vm *vm = qemu_vm_of(base);
	int mine[2] = {-1, -1};
	int theirs[2] = {-1, -1};
	int shares[MAX_MOUNTS];
	int n_shares = 0;
	int tap = -1;
	int r = private_net_tap(vm->net->net, &tap, vm->ifname, e);

	for (int i = 0; i < 2 && r == 0; i++) {
		int pair[2];

		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
			r = err_errno(e, -errno, "socketpair");
			break;
		}
		mine[i] = pair[0];
		theirs[i] = pair[1];
	}
	if (r == 0)
		r = n_shares = shares_start(vm, shares, e);
	if (r >= 0)
		r = spawn(vm, theirs, tap, shares, n_shares, e);
	if (r == 0)
		r = keep_lines(vm, mine, e);
	if (r == 0)
		r = open_lines(vm, mine, e);
	for (int i = 0; i < 2; i++) {
		close_fd(&mine[i]);
		close_fd(&theirs[i]);
	}
	for (int i = 0; i < n_shares; i++)
		close_fd(&shares[i]);
	close_fd(&tap);
	return r;
}

/* The tap was given away to QEMU. Not to get at it costs time alone. */
void qemu_vm_abandon(struct backend_vm *base)
{
	struct qemu_vm *vm = vm_of(base);
	scoped(fd) int tap = -1;

	if (!vm->child)
		return;
	tap = (int)syscall(SYS_pidfd_getfd, child_pidfd(vm->child), CHILD_FD_TAP, 0);
	if (tap >= 0)
		private_net_leave_tap(vm->net->net, tap);
}

/* Nothing of what it says meanwhile is lost: it waits in the sockets, which init holds too. */
static int qemu_adopt(struct local_vm *base, int *lines, unsigned n, struct err *e)
{
	struct qemu_vm *vm = qemu_vm_of(base);
	uv_loop_t *loop = vm->base.backend->loop;
	int r;

	if (n != 2 && n != 3)
		return err_set(e, ERR_INTERNAL, "what was left of %s is incomplete", vm->spec.name);
	vm->memory_fd = n == 3 ? take_fd(&lines[2]) : -1;
	vm->resumes = n == 2;
	if (qmp_adopt(loop, take_fd(&lines[0]), on_event, vm, &vm->qmp) == -ENOMEM)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	r = vm_open_console(base, take_fd(&lines[1]), e);
	/* A QEMU that does not listen any more has ended, which is told; one that hangs meets the deadline. */
	if (vm->qmp && vm->ready)
		memory_forget_capture(vm); /* the helper may have been killed in one */
	if (vm->qmp)
		qmp_call(vm->qmp, "query-status", on_status, vm);
	return r < 0 ? r : shares_adopt(vm, e);
}

static void qemu_close(struct local_vm *base)
{
	struct qemu_vm *vm = qemu_vm_of(base);

	timer_stop(&vm->going_on);
	qmp_close(vm->qmp);
	vm->qmp = NULL;
	close_fd(&vm->memory_fd);
	shares_end(vm);
}

/* --- Orders -------------------------------------------------------------------------------------------------- */

static bool qemu_power_button(struct local_vm *base, bool paused)
{
	struct qemu_vm *vm = qemu_vm_of(base);

	if (!vm->qmp || (paused && qmp_call(vm->qmp, "cont", NULL, NULL) < 0))
		return false;
	return qmp_call(vm->qmp, "system_powerdown", NULL, NULL) == 0;
}

/*
 * QEMU tells that a capture is written before its thread for that has ended, and until then lets no guest go on. The thread's end is
 * told by no event; a host with much to do has been seen to keep it waiting.
 */
static const char not_yet[] = "Migration is not finalized yet";
enum { GO_ON_AGAIN_MS = 5 };

static void on_held(void *arg, json_t *ret, const char *error);

static void go_on_again(void *arg)
{
	if (qmp_call(qemu_vm_of(arg)->qmp, "cont", on_held, arg) < 0)
		vm_switched(arg, "it does not run any more");
}

static void on_held(void *arg, json_t *ret, const char *error)
{
	struct qemu_vm *vm = qemu_vm_of(arg);

	if (!ret && vm->state == VM_RESUMING && strcmp(error, not_yet) == 0 &&
	    timer_start(vm->base.backend->loop, GO_ON_AGAIN_MS, go_on_again, arg, &vm->going_on))
		return;
	vm_switched(arg, ret ? NULL : error);
}

static int qemu_hold(struct local_vm *base, bool pause)
{
	return qmp_call(qemu_vm_of(base)->qmp, pause ? "stop" : "cont", on_held, base);
}

static void add_drive(json_t *drive, struct vm_stats *s)
{
	json_t *stats = json_object_get(drive, "stats");

	s->disk_read_bytes += json_integer_value(json_object_get(stats, "rd_bytes"));
	s->disk_written_bytes += json_integer_value(json_object_get(stats, "wr_bytes"));
}

static void on_blockstats(void *arg, json_t *ret, const char *error)
{
	int64_t unknown = ret ? 0 : -1;
	struct vm_stats s = {.disk_read_bytes = unknown, .disk_written_bytes = unknown};
	json_t *drive;
	size_t i;

	json_array_foreach (ret, i, drive)
		add_drive(drive, &s);
	vm_answer_stats(arg, &s);
}

static int qemu_ask_stats(struct local_vm *base)
{
	return qmp_call(qemu_vm_of(base)->qmp, "query-blockstats", on_blockstats, base);
}

static void qemu_fail(struct local_vm *base, const struct err *e)
{
	points_fail(qemu_vm_of(base), e);
	memory_fail(qemu_vm_of(base), e);
}

static void qemu_free_vm(struct local_vm *base)
{
	free(qemu_vm_of(base));
}

const struct hypervisor qemu_hypervisor = {
	.name = "qemu",
	.alloc = qemu_alloc,
	.check = qemu_check,
	.launch = qemu_launch,
	.adopt = qemu_adopt,
	.close = qemu_close,
	.power_button = qemu_power_button,
	.hold = qemu_hold,
	.ask_stats = qemu_ask_stats,
	.fail = qemu_fail,
	.free = qemu_free_vm,
};
