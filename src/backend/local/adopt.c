/* SPDX-License-Identifier: MIT */
/*
 * A VM that outlives the helper that started it: what is left with init (loop/keeper.h), and going on with it.
 *
 * How it works: the entry vm/NAME holds the pidfd, the hypervisor's stdout, and the lines to it, and says the tap's name
 * and whether the guest was ready. It is put as soon as the hypervisor runs and dropped when it has ended. The next
 * helper opens the lines again and asks the hypervisor what the guest does: until then the VM counts as starting.
 */
#include "backend/local/vm.h"

#include "base/scoped.h"
#include "base/str.h"
#include "loop/keeper.h"
#include "network/sandbox.h"
#include "wire/json.h"

#include <string.h>

/* Of the entry's descriptors: the hypervisor's own come after. */
enum { KEPT_PIDFD, KEPT_SAID, KEPT_LINES };

struct vm_key {
	char name[NAME_SIZE + 4];
};

static struct vm_key key_of(const char *name)
{
	struct vm_key key;

	snprintf(key.name, sizeof(key.name), "vm/%s", name);
	return key;
}

struct keeper *local_keeper(const struct backend *b)
{
	const struct sandbox *s = container_of(b, struct local_backend, base)->sandbox;

	return s ? s->keeper : NULL;
}

static int write_text(const struct local_vm *vm, struct buf *b)
{
	struct json_out o;

	json_out_begin(&o, b);
	json_out_string(&o, "ifname", vm->ifname);
	json_out_bool(&o, "ready", vm->ready);
	return json_out_end(&o);
}

int vm_keep(struct local_vm *vm, const int *lines, unsigned n, struct err *e)
{
	scoped(buf) struct buf text = BUF_INIT;
	int fds[KEPT_MAX_FDS] = {child_pidfd(vm->child), stream_fd(vm->said)};
	int r = n <= KEPT_MAX_FDS - KEPT_LINES ? write_text(vm, &text) : -EINVAL;

	for (unsigned i = 0; r == 0 && i < n; i++)
		fds[KEPT_LINES + i] = lines[i];
	if (r == 0)
		r = keeper_put(local_keeper(vm->base.backend), key_of(vm->spec.name).name,
			       child_pid(vm->child), fds, KEPT_LINES + n, text.data);
	return r < 0 ? err_errno(e, r, "tell init of %s", vm->spec.name) : 0;
}

void vm_keep_ready(struct local_vm *vm)
{
	scoped(buf) struct buf text = BUF_INIT;

	/* When it cannot be told: a next helper waits for the banner once more. */
	if (write_text(vm, &text) == 0)
		keeper_text(local_keeper(vm->base.backend), key_of(vm->spec.name).name, text.data);
}

void vm_unkeep(struct local_vm *vm)
{
	keeper_drop(local_keeper(vm->base.backend), key_of(vm->spec.name).name);
}

static void read_text(struct local_vm *vm, const struct kept *kept)
{
	scoped(mem) char *text = kept_text(kept);
	json_t *root = text ? wire_json_parse(text, strlen(text), NULL) : NULL;
	const char *ifname = json_string_value(json_object_get(root, "ifname"));

	snprintf(vm->ifname, sizeof(vm->ifname), "%s", ifname ? ifname : "");
	vm->ready = json_is_true(json_object_get(root, "ready"));
	json_decref(root);
}

static int take_over(struct local_vm *vm, struct kept *kept, struct err *e)
{
	int said;
	int r;

	if (kept->pid == 0 || kept->n_fds < KEPT_LINES)
		return err_set(e, ERR_INTERNAL, "what was left of %s is incomplete", vm->spec.name);
	read_text(vm, kept);
	said = take_fd(&kept->fds[KEPT_SAID]);
	r = vm_take_process(vm, local_keeper(vm->base.backend), kept, said, e);
	if (r == 0)
		r = vm->hypervisor->adopt(vm, &kept->fds[KEPT_LINES], kept->n_fds - KEPT_LINES, e);
	return r;
}

int vm_adopt(struct backend *b, struct backend_network *net, const struct vm_spec *spec,
	     const struct reservation *res, struct backend_vm **ret, backend_done *done, void *arg,
	     struct err *e)
{
	struct kept *kept = keeper_take(local_keeper(b), key_of(spec->name).name);
	scoped(mem) char *format = NULL;
	struct local_vm *vm;
	int r;

	if (!kept)
		return err_set(e, ERR_NOT_FOUND, "no VM of %s was left behind", spec->name);
	find_format(spec, &format, NULL); /* its files may have gone meanwhile */
	vm = vm_new(b, net, spec, res, &format);
	if (!vm)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	r = take_over(vm, kept, e);
	if (r == 0)
		r = vm_await_state(vm, done, arg, e);
	if (r == 0)
		*ret = &vm->base;
	else if (e->code == ERR_INTERNAL)
		vm_release(&vm->base);
	/* else the VM runs on, and so does what is @vm's: this process is about to end, and the next one adopts it. */
	return r;
}
