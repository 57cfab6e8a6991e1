/* SPDX-License-Identifier: MIT */
/*
 * Points: memory, devices and disk at one instant, kept inside the member's own qcow2 disk, so that they go with it. A
 * member without a disk has a qcow2 file for them alone, which no device of the guest shows.
 *
 * How it works: what the disk has is asked first, so that what cannot be is refused before the guest is held. QEMU then
 * stops the guest, saves or loads, and lets it go on when it ran; it answers when all is done. vm.points has the one
 * who waits; a stop or QEMU's end takes him out, and a late reply finds nobody.
 */
#include "backend/qemu/vm.h"

#include "base/files.h"
#include "base/scoped.h"
#include "base/str.h"

#include <string.h>
#include <unistd.h>

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
		vm_was_put_back(local_vm_of(&vm->base));
		waiters_end(&vm->points, NULL, NULL);
		return;
	}
	point_fail(vm, ERR_BOOT, "load", why);
	vm_end_with(local_vm_of(&vm->base), ERR_BOOT, "a saved point is damaged and did not load");
}

/* Where points are kept, in the reply to query-block: the disk, or the file beside it; NULL: nowhere. */
static json_t *snapshots_in(json_t *blocks)
{
	json_t *one;
	json_t *found = NULL;
	size_t i;

	json_array_foreach (blocks, i, one) {
		const char *device = json_string_value(json_object_get(one, "device"));
		json_t *image = json_object_get(json_object_get(one, "inserted"), "image");

		if (device && (strcmp(device, "disk") == 0 || strcmp(device, "points") == 0) &&
		    json_object_get(image, "snapshots"))
			found = json_object_get(image, "snapshots");
	}
	return found;
}

/* *@ret is heap. 0, or -ENOMEM. */
static int points_in(json_t *query_block, struct point **ret, size_t *ret_n)
{
	json_t *list = snapshots_in(query_block);
	struct point *points = calloc(json_array_size(list) + 1, sizeof(*points));
	size_t n = 0;
	json_t *one;
	size_t i;

	if (!points)
		return -ENOMEM;
	json_array_foreach (list, i, one) {
		const char *name = json_string_value(json_object_get(one, "name"));
		int64_t bytes = json_integer_value(json_object_get(one, "vm-state-size"));

		/* A snapshot without memory is somebody else's, of the image that the disk was made from. */
		if (!name || bytes == 0 || backend_point_check(name, NULL) < 0)
			continue;
		snprintf(points[n].name, sizeof(points[n].name), "%s", name);
		points[n].bytes = bytes;
		points[n].saved_at = json_integer_value(json_object_get(one, "date-sec"));
		n++;
	}
	*ret = points;
	*ret_n = n;
	return 0;
}

static bool has_point(json_t *blocks, const char *point)
{
	json_t *one;
	size_t i;

	json_array_foreach (snapshots_in(blocks), i, one) {
		const char *name = json_string_value(json_object_get(one, "name"));

		if (name && strcmp(name, point) == 0)
			return true;
	}
	return false;
}

/* True when the disk has the point; else who waits is told. */
static bool check_has(struct qemu_vm *vm, json_t *blocks, const char *what)
{
	if (!vm_is_up(local_vm_of(&vm->base)))
		return false; /* being stopped: nobody waits any more */
	if (has_point(blocks, vm->point))
		return true;
	point_fail(vm, ERR_NOT_FOUND, what, "there is no such point");
	return false;
}

static void send_line(struct qemu_vm *vm, const char *what, const char *command,
		      qmp_reply_cb *on_reply)
{
	char line[POINT_SIZE + 16];

	snprintf(line, sizeof(line), "%s %s", command, vm->point);
	if (qmp_call_human(vm->qmp, line, on_reply, vm) < 0)
		point_fail(vm, ERR_NOT_RUNNING, what, "it does not run any more");
}

static void on_disk_for_load(void *arg, json_t *ret, const char *error)
{
	if (check_has(arg, ret, "load"))
		send_line(arg, "load", "loadvm", on_loaded);
}

static void on_dropped(void *arg, json_t *ret, const char *error)
{
	struct qemu_vm *vm = arg;
	const char *why = complaint(ret, error);

	if (why)
		point_fail(vm, ERR_IO, "drop", why);
	else
		waiters_end(&vm->points, NULL, NULL);
}

static void on_disk_for_drop(void *arg, json_t *ret, const char *error)
{
	if (check_has(arg, ret, "drop"))
		send_line(arg, "drop", "delvm", on_dropped);
}

/* Whether @vm may begin with @point now; then it has it. */
static int point_claim(struct qemu_vm *vm, const char *point, struct err *e)
{
	int r = backend_point_check(point, e);

	if (r < 0)
		return r;
	if (vm->state != VM_RUNNING && vm->state != VM_PAUSED)
		return err_set(e, ERR_NOT_RUNNING, "%s is %s", vm->spec.name,
			       vm_state_name(vm->state));
	if (!list_is_empty(&vm->points.pending))
		return err_set(e, ERR_BUSY, "%s is still busy with point '%s'", vm->spec.name,
			       vm->point);
	if (vm->spec.disk_path ? !str_equal(vm->disk_format, "qcow2") : !vm->spec.points_path)
		return err_set(e, ERR_UNSUPPORTED,
			       "%s has no qcow2 disk, and a point is kept in one", vm->spec.name);
	if (vm->shares)
		return err_set(e, ERR_UNSUPPORTED,
			       "%s has mounts, which no point can put back; a fixture can be kept",
			       vm->spec.name);
	snprintf(vm->point, sizeof(vm->point), "%s", point);
	return 0;
}

int point_save(struct backend_vm *base, const char *point, backend_done *done, void *arg,
	       struct err *e)
{
	struct qemu_vm *vm = vm_of(base);
	char line[POINT_SIZE + 16];
	int r = point_claim(vm, point, e);

	if (r < 0)
		return r;
	snprintf(line, sizeof(line), "savevm %s", vm->point);
	if (qmp_call_human(vm->qmp, line, on_saved, vm) < 0)
		return err_set(e, ERR_NOT_RUNNING, "%s does not run any more", vm->spec.name);
	return waiters_add(&vm->points, done, arg, 0, "", e);
}

/* What the disk has is asked first. */
static int claim_and_ask(struct qemu_vm *vm, const char *point, qmp_reply_cb *on_disk,
			 struct err *e)
{
	int r = point_claim(vm, point, e);

	if (r == 0 && qmp_call(vm->qmp, "query-block", on_disk, vm) < 0)
		r = err_set(e, ERR_NOT_RUNNING, "%s does not run any more", vm->spec.name);
	return r;
}

int point_load(struct backend_vm *base, const char *point, backend_done *done, void *arg,
	       struct err *e)
{
	struct qemu_vm *vm = vm_of(base);
	int r = claim_and_ask(vm, point, on_disk_for_load, e);

	return r < 0 ? r : waiters_add(&vm->points, done, arg, 0, "", e);
}

int point_drop(struct backend_vm *base, const char *point, backend_done *done, void *arg,
	       struct err *e)
{
	struct qemu_vm *vm = vm_of(base);
	int r = claim_and_ask(vm, point, on_disk_for_drop, e);

	return r < 0 ? r : waiters_add(&vm->points, done, arg, 0, "", e);
}

/* --- Going on from one ----------------------------------------------------------------------------------------- */

/* Once: the disk has moved when it is started again, and the point would take back what it did since. */
int point_take_begin(struct qemu_vm *vm, struct err *e)
{
	const char *path = vm->spec.point_path;
	scoped(mem) char *name = NULL;
	int r;

	vm->begins_at[0] = '\0';
	if (!path)
		return 0;
	r = files_read(path, POINT_SIZE - 1, &name, NULL);
	if (r < 0)
		return err_errno(e, r, "the point that %s goes on from: %s", vm->spec.name, path);
	r = backend_point_check(name, e);
	if (r < 0)
		return r;
	if (unlink(path) < 0)
		return err_errno(e, -errno, "take %s", path);
	snprintf(vm->begins_at, sizeof(vm->begins_at), "%s", name);
	free(vm->spec.point_path);
	vm->spec.point_path = NULL;
	return 0;
}

/* --- Which there are ------------------------------------------------------------------------------------------- */

struct listing {
	struct list link;
	struct timer *turn; /* set: it failed, and that is due to be told */
	struct err e;
	backend_points_done *done;
	void *arg;
};

static void listing_end(struct listing *l, int r, const struct point *points, size_t n)
{
	list_remove(&l->link);
	timer_stop(&l->turn);
	l->done(l->arg, r, points, n, r < 0 ? &l->e : NULL);
	free(l);
}

static void on_listing_failed(void *arg)
{
	struct listing *l = arg;

	listing_end(l, err_code_number(l->e.code), NULL, 0);
}

void points_fail(struct qemu_vm *vm, const struct err *e)
{
	list_for_each_safe (pos, &vm->listings) {
		struct listing *l = list_entry(pos, struct listing, link);

		if (l->turn && e)
			continue;
		if (e)
			l->e = *e;
		else
			err_set(&l->e, ERR_CANCELED, "canceled");
		if (!e)
			on_listing_failed(l);
		else
			timer_start(vm->base.backend->loop, 0, on_listing_failed, l, &l->turn);
	}
	if (e)
		waiters_end(&vm->points, NULL, e);
	else
		waiters_cancel(&vm->points);
}

/* Replies come in the order of the questions. */
static void on_disk_for_list(void *arg, json_t *ret, const char *error)
{
	struct qemu_vm *vm = arg;
	struct listing *l = NULL;
	scoped(mem) struct point *points = NULL;
	size_t n = 0;
	int r;

	list_for_each (pos, &vm->listings) {
		l = list_entry(pos, struct listing, link);
		if (!l->turn)
			break;
		l = NULL;
	}
	if (!l)
		return;
	r = points_in(ret, &points, &n);
	if (r < 0)
		err_set(&l->e, ERR_NO_MEMORY, "out of memory");
	listing_end(l, r, points, n);
}

int point_list(struct backend_vm *base, backend_points_done *done, void *arg, struct err *e)
{
	struct qemu_vm *vm = vm_of(base);
	struct listing *l;

	if (!vm_is_up(local_vm_of(base)))
		return err_set(e, ERR_NOT_RUNNING, "%s is %s", vm->spec.name,
			       vm_state_name(vm->state));
	l = calloc(1, sizeof(*l));
	if (!l)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	*l = (struct listing){.done = done, .arg = arg};
	if (qmp_call(vm->qmp, "query-block", on_disk_for_list, vm) < 0) {
		free(l);
		return err_set(e, ERR_NOT_RUNNING, "%s does not run any more", vm->spec.name);
	}
	list_append(&vm->listings, &l->link);
	return 0;
}
