/* SPDX-License-Identifier: MIT */
/*
 * Guests that end before they are ready: who waits for one hears at once of what its serial line or its hypervisor tells.
 *
 * How it works: a kernel that panics hangs, or reboots and panics again; its hypervisor notices neither. So the console is
 * read along (panic.h). From the first words on the kernel has LAST_WORDS_MS to say the rest, which is for the log, then the
 * hypervisor is ended and the VM with it. So is one whose initial file system has found no root and sits in a shell. A guest
 * may reset itself in its first boot; one that does so again and again, as after a triple fault, will not be ready. Once a
 * guest is ready all that is its own matter: who works in it may reboot it, or print such words. It is ended for nothing
 * then; that its kernel hangs in a panic, or that it reset itself, is told to who listens (backend_on_guest).
 */
#include "backend/local/vm.h"

enum { LAST_WORDS_MS = 2000, NO_ROOT_MS = 500, MAX_RESETS = 3 };

/*
 * initramfs-tools, of Debian and Ubuntu: "ALERT!  ... does not exist.  Dropping to a shell!". A shell that was asked for
 * (break=) is said otherwise.
 */
static const char no_root_words[] = "Dropping to a shell!";

static bool is_early(const struct local_vm *vm)
{
	return !vm->ready && vm->state != VM_STOPPING;
}

static void end_panicked(void *arg)
{
	struct local_vm *vm = arg;

	timer_stop(&vm->last_words);
	if (!is_early(vm) || vm->error.code != ERR_NONE)
		return;
	err_set(&vm->error, ERR_PANIC, "the guest's kernel panicked: %s", panic_line(&vm->panic));
	if (vm->child)
		child_terminate(vm->child, QUIT_MS);
}

static void end_without_root(void *arg)
{
	struct local_vm *vm = arg;
	char last[ERR_MSG_SIZE / 2];

	if (!is_early(vm) || !vm->console || !vm->child || vm->error.code != ERR_NONE)
		return;
	console_tail(vm->console, last, sizeof(last));
	err_set(&vm->error, ERR_BOOT,
		"the guest found no root file system and sits in a shell; the console's last: %s",
		last);
	child_terminate(vm->child, QUIT_MS);
}

/* False: there is no memory for that. */
static bool await_last_words(struct local_vm *vm, uint64_t ms, timer_cb *end)
{
	timer_stop(&vm->last_words);
	return timer_start(vm->base.backend->loop, ms, end, vm, &vm->last_words) != NULL;
}

static void look_for_root(struct local_vm *vm, const char *data, size_t len)
{
	if (words_end(no_root_words, &vm->no_root, data, len))
		await_last_words(vm, NO_ROOT_MS, end_without_root);
}

/* Of a guest that people work in. */
static void follow(struct local_vm *vm, const char *data, size_t len)
{
	bool hung = vm->panic.stage == PANIC_OVER;

	panic_follow(&vm->panic, data, len);
	if (!vm->ready || hung == (vm->panic.stage == PANIC_OVER))
		return;
	if (hung)
		backend_tell_guest(&vm->base, GUEST_GOES_ON, NULL);
	else
		backend_tell_guest(&vm->base, GUEST_PANICKED, panic_line(&vm->panic));
}

static void on_output(void *arg, const char *data, size_t len)
{
	struct local_vm *vm = arg;
	enum panic_stage before = vm->panic.stage;
	enum panic_stage now;

	if (!is_early(vm)) {
		follow(vm, data, len);
		return;
	}
	now = panic_feed(&vm->panic, data, len);
	if (now == PANIC_OVER)
		end_panicked(vm);
	else if (now == PANIC_NONE)
		look_for_root(vm, data, len);
	else if (before == PANIC_NONE && !await_last_words(vm, LAST_WORDS_MS, end_panicked))
		end_panicked(vm);
}

int vm_open_console(struct local_vm *vm, int fd, struct err *e)
{
	vm->panic = (struct panic){.stage = PANIC_NONE};
	vm->resets = 0;
	vm->no_root = 0;
	vm->console = console_open(vm->base.backend->loop, fd, on_output, vm);
	return vm->console ? 0 : err_set(e, ERR_NO_MEMORY, "out of memory");
}

static void end_resetting(struct local_vm *vm)
{
	char last[ERR_MSG_SIZE / 2];

	console_tail(vm->console, last, sizeof(last));
	err_set(&vm->error, ERR_BOOT, "the guest has reset itself %d times and was not ready%s%s",
		MAX_RESETS, last[0] ? "; the console's last: " : "", last);
	child_terminate(vm->child, QUIT_MS);
}

void vm_was_reset(struct local_vm *vm)
{
	if (!vm->console || !vm->child || vm->error.code != ERR_NONE)
		return;
	console_kick(vm->console); /* what it said before */
	if (!is_early(vm)) {
		vm->panic = (struct panic){.stage = PANIC_NONE};
		backend_tell_guest(&vm->base, GUEST_RESET, NULL);
		return;
	}
	vm->resets++;
	if (vm->panic.stage != PANIC_NONE)
		end_panicked(vm);
	else if (vm->resets == MAX_RESETS && vm->error.code == ERR_NONE)
		end_resetting(vm);
}

void vm_was_put_back(struct local_vm *vm)
{
	bool hung = vm->panic.stage == PANIC_OVER;

	vm->panic = (struct panic){.stage = PANIC_NONE};
	if (hung)
		backend_tell_guest(&vm->base, GUEST_GOES_ON, NULL);
}

const char *vm_panic(struct backend_vm *base)
{
	struct local_vm *vm = local_vm_of(base);

	if (!vm->ready || !vm->console)
		return NULL;
	console_kick(vm->console);
	return vm->panic.stage == PANIC_OVER ? panic_line(&vm->panic) : NULL;
}

void vm_powered_off(struct local_vm *vm, struct err *ret_why)
{
	char last[ERR_MSG_SIZE / 2] = "";

	if (!is_early(vm)) {
		err_set(ret_why, ERR_NOT_RUNNING, "%s powered itself off", vm->spec.name);
		return;
	}
	if (vm->console)
		console_tail(vm->console, last, sizeof(last)); /* reads the rest, too */
	if (vm->panic.stage != PANIC_NONE)
		end_panicked(vm);
	if (vm->error.code != ERR_NONE)
		return;
	err_set(ret_why, ERR_NOT_RUNNING, "the guest powered itself off before it was ready%s%s",
		last[0] ? "; the console's last: " : "", last);
}
