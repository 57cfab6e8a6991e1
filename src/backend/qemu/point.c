/* SPDX-License-Identifier: MIT */
/*
 * Points: memory, devices and disk at one instant, kept inside the member's own qcow2 disk, so that they go with it.
 *
 * How it works: what the disk has is asked first, so that what cannot be is refused before the guest is held. QEMU then
 * stops the guest, saves or loads, and lets it go on when it ran; it answers when all is done. vm.points has the one
 * who waits; a stop or QEMU's end takes him out, and a late reply finds nobody.
 */
#include "backend/qemu/vm.h"

#include "base/scoped.h"
#include "base/str.h"

#include <string.h>

/* What the reply to a line of the human monitor complains of, or NULL. */
static const char *complaint(json_t *ret, const char *error)
{
	const char *text = ret ? json_string_value(ret) : error;

	return text && *text ? text : NULL;
}

static void point_fail(struct qemu_vm *vm, enum err_code code, const char *what, const char *why)
{
	scoped(mem) char *line = str_format("%.*s", (int)strcspn(why, "\r\n"), why);
	struct err e;

	err_set(&e, code, "%s: %s '%s': %s", vm->spec.name, what, vm->point, line ? line : "");
	waiters_end(&vm->points, NULL, &e);
}

static void on_saved(void *arg, json_t *ret, const char *error)
{
	struct qemu_vm *vm = arg;
	const char *why = complaint(ret, error);

	if (why)
		point_fail(vm, strstr(why, "No space left") ? ERR_NO_SPACE : ERR_IO, "save", why);
	else
		waiters_end(&vm->points, NULL, NULL);
}

/* The disk has the point and yet it did not load: what is in memory now is neither before nor after. */
static void on_loaded(void *arg, json_t *ret, const char *error)
{
	struct qemu_vm *vm = arg;
	const char *why = complaint(ret, error);

	if (!why) {
		waiters_end(&vm->points, NULL, NULL);
		return;
	}
	point_fail(vm, ERR_BOOT, "load", why);
	vm_end_with(local_vm_of(&vm->base), ERR_BOOT, "a saved point is damaged and did not load");
}

/* The image of the member's disk in the reply to query-block, or NULL. */
static json_t *image_of_disk(json_t *blocks)
{
	json_t *one;
	size_t i;

	json_array_foreach (blocks, i, one) {
		const char *device = json_string_value(json_object_get(one, "device"));

		if (device && strcmp(device, "disk") == 0)
			return json_object_get(json_object_get(one, "inserted"), "image");
	}
	return NULL;
}

static bool has_point(json_t *image, const char *point)
{
	json_t *one;
	size_t i;

	json_array_foreach (json_object_get(image, "snapshots"), i, one) {
		const char *name = json_string_value(json_object_get(one, "name"));

		if (name && strcmp(name, point) == 0)
			return true;
	}
	return false;
}

static void on_disk_for_load(void *arg, json_t *ret, const char *error)
{
	struct qemu_vm *vm = arg;
	char line[NAME_SIZE + 16];

	if (!vm_is_up(local_vm_of(&vm->base)))
		return; /* being stopped: nobody waits any more */
	if (!has_point(image_of_disk(ret), vm->point)) {
		point_fail(vm, ERR_NOT_FOUND, "load", "there is no such point; save one first");
		return;
	}
	snprintf(line, sizeof(line), "loadvm %s", vm->point);
	if (qmp_call_human(vm->qmp, line, on_loaded, vm) < 0)
		point_fail(vm, ERR_NOT_RUNNING, "load", "it does not run any more");
}

/* Whether @vm may begin with @point now; then it has it. */
static int point_claim(struct qemu_vm *vm, const char *point, struct err *e)
{
	int r = name_check(point, e);

	if (r < 0)
		return r;
	if (vm->state != VM_RUNNING && vm->state != VM_PAUSED)
		return err_set(e, ERR_NOT_RUNNING, "%s is %s", vm->spec.name,
			       vm_state_name(vm->state));
	if (!list_is_empty(&vm->points.pending))
		return err_set(e, ERR_BUSY, "%s is still busy with point '%s'", vm->spec.name,
			       vm->point);
	if (!vm->spec.disk_path || !vm->disk_format || strcmp(vm->disk_format, "qcow2") != 0)
		return err_set(e, ERR_UNSUPPORTED,
			       "%s has no qcow2 disk, and a point is kept in one", vm->spec.name);
	snprintf(vm->point, sizeof(vm->point), "%s", point);
	return 0;
}

int point_save(struct backend_vm *base, const char *point, backend_done *done, void *arg,
	       struct err *e)
{
	struct qemu_vm *vm = vm_of(base);
	char line[NAME_SIZE + 16];
	int r = point_claim(vm, point, e);

	if (r < 0)
		return r;
	snprintf(line, sizeof(line), "savevm %s", vm->point);
	if (qmp_call_human(vm->qmp, line, on_saved, vm) < 0)
		return err_set(e, ERR_NOT_RUNNING, "%s does not run any more", vm->spec.name);
	return waiters_add(&vm->points, done, arg, 0, "", e);
}

int point_load(struct backend_vm *base, const char *point, backend_done *done, void *arg,
	       struct err *e)
{
	struct qemu_vm *vm = vm_of(base);
	int r = point_claim(vm, point, e);

	if (r < 0)
		return r;
	if (qmp_call(vm->qmp, "query-block", on_disk_for_load, vm) < 0)
		return err_set(e, ERR_NOT_RUNNING, "%s does not run any more", vm->spec.name);
	return waiters_add(&vm->points, done, arg, 0, "", e);
}
