/* SPDX-License-Identifier: MIT */
#include "backend/cloud-hypervisor/cloud_hypervisor.h"

#include "backend/cloud-hypervisor/curl.h"
#include "backend/cloud-hypervisor/vm.h"
#include "base/files.h"
#include "base/host.h"
#include "base/kvm.h"
#include "base/scoped.h"
#include "base/str.h"

#include <linux/landlock.h>
#include <string.h>
#include <sys/syscall.h>

/* cloud-hypervisor asks for all of this version's rights, and starts nothing where the kernel lacks one. */
enum { LANDLOCK_ABI = 3 };

/* Where distributions put the firmware that it boots a disk with; the last is the one that the project itself offers. */
static const char *const firmware_paths[] = {
	"/usr/share/cloud-hypervisor/CLOUDHV.fd",
	"/usr/share/cloud-hypervisor/hypervisor-fw",
};

static bool has_landlock(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) >=
	       LANDLOCK_ABI;
}

static void ch_free(struct backend *b)
{
	struct ch *ch = ch_of(b);

	local_backend_done(&ch->local);
	free(ch->program);
	free(ch);
}

static int find_firmware(const struct vm_spec *s, char **ret, struct err *e)
{
	const char *found = NULL;

	for (size_t i = 0; i < sizeof(firmware_paths) / sizeof(firmware_paths[0]) && !found; i++)
		if (files_exist(firmware_paths[i]))
			found = firmware_paths[i];
	if (!found)
		return err_hint(
			e,
			err_set(e, ERR_UNSUPPORTED,
				"%s boots by firmware, and cloud-hypervisor's is not installed (%s "
				"or %s)",
				s->name, firmware_paths[0], firmware_paths[1]),
			"use an image whose kernel can be read, or the backend qemu");
	*ret = strdup(found);
	return *ret ? 0 : err_set(e, ERR_NO_MEMORY, "out of memory");
}

static int create(struct backend *b, struct backend_network *net, const struct vm_spec *spec,
		  const struct reservation *res, struct backend_vm **ret, struct err *e)
{
	struct ch_vm *vm = calloc(1, sizeof(*vm));
	int r;

	if (!vm)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	r = vm_init(local_vm_of(&vm->base), &ch_hypervisor, b, net, spec, res, e);
	if (r < 0) {
		free(vm);
		return r;
	}
	if (spec->n_mount_paths + spec->n_mount_rw_paths > 0)
		r = err_hint(e,
			     err_set(e, ERR_UNSUPPORTED,
				     "%s: the backend cloud-hypervisor has no mounts", spec->name),
			     "use a fixture, or the backend qemu");
	else if (!spec->kernel_path)
		r = find_firmware(spec, &vm->firmware, e);
	if (r < 0)
		vm_release(&vm->base);
	else
		*ret = &vm->base;
	return r;
}

static int adopt(struct backend *b, struct backend_network *net, const struct vm_spec *spec,
		 const struct reservation *res, struct backend_vm **ret, backend_done *done,
		 void *arg, struct err *e)
{
	struct ch_vm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	return vm_adopt(local_vm_of(&vm->base), &ch_hypervisor, b, net, spec, res, ret, done, arg,
			e);
}

static const struct backend_ops ch_ops = {
	.name = "cloud-hypervisor",
	.free = ch_free,
	LOCAL_BACKEND_OPS,
	.create = create,
	.adopt = adopt,
};

static int check_kvm(struct err *e)
{
	const char *accel = getenv("DROVER_ACCEL");

	if (accel && str_equal(accel, "kvm"))
		return 0;
	if (accel && str_equal(accel, "tcg"))
		return err_hint(
			e,
			err_set(e, ERR_UNSUPPORTED,
				"DROVER_ACCEL=tcg: cloud-hypervisor runs guests by KVM only"),
			"use the backend qemu");
	if (!kvm_is_usable())
		return err_hint(e,
				err_set(e, ERR_HOST,
					"cloud-hypervisor runs guests by KVM only, and KVM does "
					"not run guests on this host (/dev/kvm)"),
				"use the backend qemu");
	return 0;
}

struct backend *cloud_hypervisor_backend_new(uv_loop_t *loop, const struct sandbox *sandbox,
					     const char *dir, struct err *e)
{
	scoped(mem) char *program = NULL;
	struct ch *ch;

	if (host_find_cloud_hypervisor(NULL, &program, e) < 0 || check_kvm(e) < 0 ||
	    curl_load(e) < 0)
		return NULL;
	ch = calloc(1, sizeof(*ch));
	if (!ch) {
		err_set(e, ERR_NO_MEMORY, "out of memory");
		return NULL;
	}
	if (local_backend_init(&ch->local, &ch_ops, loop, sandbox, dir, e) < 0) {
		free(ch);
		return NULL;
	}
	ch->program = take_ptr(&program);
	ch->landlock = has_landlock();
	return &ch->local.base;
}
