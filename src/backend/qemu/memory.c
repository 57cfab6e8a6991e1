/* SPDX-License-Identifier: MIT */
/*
 * The guest's memory, and what is captured of it for forks.
 *
 * How it works: the memory is a file without a name (base/memfile.h) that QEMU maps shared. To capture a paused guest QEMU
 * writes its devices alone (a migration that leaves shared memory out), and a work thread copies the memory from that
 * file and then the disk, which QEMU has let go of by then. Most of both has been copied ahead, while the guest ran: what is
 * read then may be torn, and is compared, all of it, when the guest is held. The memory's copy is a file with the
 * devices behind it:
 *
 *   0 .. size   memory, sparse          size ..   QEMU's stream
 *
 * A VM that goes on from such a file maps it privately and loads the stream. It has no such file: when it is captured again
 * the stream has its memory too, since that is not shared. Of a point only the disk is copied, which has it: QEMU's
 * caches of it are in the file when the guest is held. The file loses its name when it is opened: what
 * goes on from it once must not go on from it again, the disk has moved.
 */
#include "backend/qemu/vm.h"

#include "base/copy.h"
#include "base/memfile.h"
#include "base/scoped.h"
#include "base/str.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

struct capture {
	struct qemu_vm *vm; /* NULL: the VM has ended meanwhile */
	uv_work_t work;
	int from; /* the guest's memory, or -1: the stream has it */
	int to;
	off_t size;
	bool disk_only;
	char *disk_from; /* or NULL */
	char *disk_to;
	bool ahead; /* of a VM that runs on: nothing is asked of QEMU */
	bool copying;
	struct err error;
};

static off_t memory_size(const struct qemu_vm *vm)
{
	return (off_t)(vm_memory_mib(vm) * VM_MIB);
}

/* --- Going on ------------------------------------------------------------------------------------------------- */

static int open_captured(struct qemu_vm *vm, int *ret_memory, int *ret_state, struct err *e)
{
	const char *path = vm->spec.memory_path;
	scoped(fd) int memory = open(path, O_RDWR | O_CLOEXEC);
	scoped(fd) int state = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (memory < 0 || state < 0 || fstat(memory, &st) < 0)
		return err_errno(e, -errno, "the memory of %s: %s", vm->spec.name, path);
	if (st.st_size <= memory_size(vm) || lseek(state, memory_size(vm), SEEK_SET) < 0)
		return err_set(e, ERR_INVALID, "the memory of %s is not whole: %s", vm->spec.name,
			       path);
	if (unlink(path) < 0)
		return err_errno(e, -errno, "take the memory of %s: %s", vm->spec.name, path);
	free(vm->spec.memory_path);
	vm->spec.memory_path = NULL;
	vm->resumes = true;
	*ret_memory = take_fd(&memory);
	*ret_state = take_fd(&state);
	return 0;
}

int memory_open(struct qemu_vm *vm, int *ret_memory, int *ret_state, struct err *e)
{
	int fd;

	vm->resumes = false;
	if (vm->spec.memory_path)
		return open_captured(vm, ret_memory, ret_state, e);
	fd = memfile_open();
	if (fd < 0)
		return err_errno(e, fd, "make the memory of %s", vm->spec.name);
	*ret_memory = fd;
	*ret_state = -1;
	return 0;
}

/* Whether QEMU leaves shared memory out of what it saves: for a capture, and never for a point. */
static int leave_memory_out(struct qemu_vm *vm, bool out, qmp_reply_cb *on_reply)
{
	char arguments[200];

	snprintf(arguments, sizeof(arguments),
		 "{\"capabilities\":[{\"capability\":\"x-ignore-shared\",\"state\":%s},"
		 "{\"capability\":\"events\",\"state\":true}]}",
		 out ? "true" : "false");
	return qmp_call_with(vm->qmp, "migrate-set-capabilities", arguments, -1, on_reply, vm);
}

static void on_loading(void *arg, json_t *ret, const char *error)
{
	struct qemu_vm *vm = arg;

	if (error)
		vm_end_with(local_vm_of(&vm->base), ERR_BOOT, error);
}

int memory_load(struct qemu_vm *vm)
{
	char arguments[48];

	snprintf(arguments, sizeof(arguments), "{\"uri\":\"fd:%d\"}", CHILD_FD_STATE);
	if (leave_memory_out(vm, true, on_loading) < 0)
		return -EPIPE;
	return qmp_call_with(vm->qmp, "migrate-incoming", arguments, -1, on_loading, vm);
}

/* --- Copying, in a work thread -------------------------------------------------------------------------------- */

static int copy_memory(const struct capture *c)
{
	return c->from < 0 ? 0 : copy_changes(c->from, c->to, c->size);
}

/* A file system that shares blocks between files does that at once. */
static int copy_disk(const struct capture *c)
{
	scoped(fd) int from = open(c->disk_from, O_RDONLY | O_CLOEXEC);
	scoped(fd) int to = open(c->disk_to, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct stat st;

	if (from < 0 || to < 0 || fstat(from, &st) < 0)
		return -errno;
	if (ioctl(to, FICLONE, from) == 0)
		return ftruncate(to, st.st_size) < 0 ? -errno : 0;
	if (ftruncate(to, st.st_size) < 0)
		return -errno;
	return copy_changes(from, to, st.st_size);
}

static void copy_once(struct capture *c)
{
	int r = copy_memory(c);

	if (r < 0)
		err_errno(&c->error, r, "copy the memory");
	else if (c->disk_from && (r = copy_disk(c)) < 0)
		err_errno(&c->error, r, "copy the disk %s", c->disk_from);
}

/* The first time ahead takes long, and what has changed meanwhile is much; after the second it is little. */
static void copy_work(uv_work_t *work)
{
	struct capture *c = work->data;

	copy_once(c);
	if (c->ahead && c->error.code == ERR_NONE)
		copy_once(c);
}

/* --- Capture -------------------------------------------------------------------------------------------------- */

static void capture_free(struct capture *c)
{
	close_fd(&c->from);
	close_fd(&c->to);
	free(c->disk_from);
	free(c->disk_to);
	free(c);
}

/* @e NULL: it is whole. */
static void capture_end(struct qemu_vm *vm, const struct err *e)
{
	struct capture *c = vm->capture;
	struct err named = e ? *e : (struct err)ERR_INIT;

	if (!c)
		return;
	vm->capture = NULL;
	c->vm = NULL;
	if (vm->qmp && !c->ahead && !c->disk_only)
		leave_memory_out(vm, false, NULL);
	if (!c->copying)
		capture_free(c);
	if (e)
		err_prefix(&named, "capture %s", vm->spec.name);
	waiters_end(&vm->captures, NULL, e ? &named : NULL);
}

static void after_copy(uv_work_t *work, int status)
{
	struct capture *c = work->data;
	struct err e = c->error;

	c->copying = false;
	if (c->vm)
		capture_end(c->vm, e.code == ERR_NONE ? NULL : &e);
	else
		capture_free(c);
}

static int begin_copy(struct capture *c, uv_loop_t *loop)
{
	int r;

	c->work.data = c;
	r = uv_queue_work(loop, &c->work, copy_work, after_copy);
	c->copying = r == 0;
	return r;
}

static void end_without_memory(struct qemu_vm *vm)
{
	struct err e;

	err_set(&e, ERR_NO_MEMORY, "out of memory");
	capture_end(vm, &e);
}

static void on_order(void *arg, json_t *ret, const char *error)
{
	struct err e;

	if (ret)
		return;
	err_set(&e, ERR_INTERNAL, "qemu refused: %s", error);
	capture_end(arg, &e);
}

static void on_going_on(void *arg, json_t *ret, const char *error)
{
	struct local_vm *vm = local_vm_of(&((struct qemu_vm *)arg)->base);

	if (!ret)
		vm_end_with(vm, ERR_BOOT, error);
	else
		vm_running(vm);
}

void memory_go_on(struct qemu_vm *vm)
{
	struct err e = ERR_INIT;

	if (vm->spec.script_path && script_give(vm, &e) < 0)
		vm_end_with(local_vm_of(&vm->base), e.code, e.msg);
	else
		qmp_call(vm->qmp, "cont", on_going_on, vm);
}

void memory_forget_capture(struct qemu_vm *vm)
{
	qmp_call(vm->qmp, "migrate_cancel", NULL, NULL);
	leave_memory_out(vm, false, NULL);
}

void memory_on_migration(struct qemu_vm *vm, json_t *data)
{
	const char *status = json_string_value(json_object_get(data, "status"));
	struct capture *c = vm->capture;
	struct err e;

	if (!status || (strcmp(status, "completed") != 0 && strcmp(status, "failed") != 0))
		return;
	if (!c || c->ahead || c->disk_only) {
		leave_memory_out(vm, false, NULL);
		/* It is loaded, and paused as it was when it was captured. One that is adopted may have been captured. */
		if (vm->state == VM_STARTING && !vm->ready)
			memory_go_on(vm);
		return;
	}
	if (strcmp(status, "failed") == 0) {
		err_set(&e, ERR_IO, "qemu could not write the devices; is there space left?");
		capture_end(vm, &e);
		return;
	}
	if (begin_copy(c, vm->base.backend->loop) < 0)
		end_without_memory(vm);
}

/* What a capture ahead has written is kept; a stream behind it is not. */
static int open_target(const struct qemu_vm *vm, const char *path, struct capture *c, struct err *e)
{
	c->to = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (c->to < 0 || ftruncate(c->to, c->size) < 0)
		return err_errno(e, -errno, "write %s", path);
	if (vm->memory_fd >= 0)
		c->from = fcntl(vm->memory_fd, F_DUPFD_CLOEXEC, 0);
	if (vm->memory_fd >= 0 && c->from < 0)
		return err_errno(e, -errno, "duplicate a descriptor");
	return 0;
}

/* For QEMU: a descriptor that stands behind the memory. */
static int open_behind(const char *path, off_t size, int *ret, struct err *e)
{
	scoped(fd) int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || lseek(fd, size, SEEK_SET) < 0)
		return err_errno(e, -errno, "write %s", path);
	*ret = take_fd(&fd);
	return 0;
}

static int order(struct qemu_vm *vm, int state)
{
	/* 0.4 MB of devices; all of the memory when it is not a file of ours */
	static const char unlimited[] = "{\"max-bandwidth\":17179869184}";
	int r = leave_memory_out(vm, true, on_order);

	if (r == 0)
		r = qmp_call_with(vm->qmp, "migrate-set-parameters", unlimited, -1, on_order, vm);
	if (r < 0) {
		close(state);
		return r;
	}
	r = qmp_call_with(vm->qmp, "getfd", "{\"fdname\":\"state\"}", state, on_order, vm);
	if (r == 0)
		r = qmp_call_with(vm->qmp, "migrate", "{\"uri\":\"fd:state\"}", -1, on_order, vm);
	return r;
}

static int check_capture(const struct qemu_vm *vm, bool ahead, struct err *e)
{
	if (vm->state != VM_PAUSED && !(ahead && vm->state == VM_RUNNING))
		return err_set(e, ERR_NOT_RUNNING, "%s is %s, and only a paused VM is captured",
			       vm->spec.name, vm_state_name(vm->state));
	if (vm->capture || !list_is_empty(&vm->points.pending))
		return err_set(e, ERR_BUSY, "%s is being saved already", vm->spec.name);
	if (vm->shares)
		return err_set(
			e, ERR_UNSUPPORTED,
			"%s has mounts: what a server of the host holds open cannot be copied",
			vm->spec.name);
	return 0;
}

static int capture_new(struct qemu_vm *vm, const char *memory_path, const char *disk_path,
		       struct capture **ret, struct err *e)
{
	struct capture *c = calloc(1, sizeof(*c));
	const char *disk = vm->spec.disk_path;
	int r;

	if (!c)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	*c = (struct capture){
		.vm = vm, .from = -1, .to = -1, .size = memory_size(vm), .disk_only = !memory_path};
	if (c->disk_only && !disk)
		disk = vm->spec.points_path;
	r = c->disk_only ? 0 : open_target(vm, memory_path, c, e);
	if (r == 0 && disk) {
		c->disk_from = strdup(disk);
		c->disk_to = strdup(disk_path);
		if (!c->disk_from || !c->disk_to)
			r = err_set(e, ERR_NO_MEMORY, "out of memory");
	}
	if (r < 0)
		capture_free(c);
	else
		*ret = c;
	return r;
}

static int capture_begin(struct qemu_vm *vm, struct capture *c, backend_done *done, void *arg,
			 struct err *e)
{
	int r = waiters_add(&vm->captures, done, arg, 0, "", e);

	if (r < 0)
		capture_free(c);
	else
		vm->capture = c;
	return r;
}

/* QEMU writes the devices; the copy begins when it has. */
static int begin_devices(struct qemu_vm *vm, const struct capture *c, const char *memory_path,
			 struct err *e)
{
	int state = -1;
	int r = open_behind(memory_path, c->size, &state, e);

	if (r == 0 && order(vm, state) < 0)
		r = err_set(e, ERR_NOT_RUNNING, "%s does not run any more", vm->spec.name);
	return r;
}

static int capture(struct backend_vm *base, bool ahead, const char *memory_path,
		   const char *disk_path, backend_done *done, void *arg, struct err *e)
{
	struct qemu_vm *vm = vm_of(base);
	struct capture *c = NULL;
	int r = check_capture(vm, ahead, e);

	if (r == 0)
		r = capture_new(vm, memory_path, disk_path, &c, e);
	if (r < 0)
		return r;
	c->ahead = ahead;
	if (!ahead && memory_path)
		r = begin_devices(vm, c, memory_path, e);
	if (r < 0) {
		capture_free(c);
		return r;
	}
	r = capture_begin(vm, c, done, arg, e);
	if (r == 0 && (ahead || !memory_path) && begin_copy(c, base->backend->loop) < 0)
		end_without_memory(vm);
	return r;
}

int memory_capture(struct backend_vm *base, const char *memory_path, const char *disk_path,
		   backend_done *done, void *arg, struct err *e)
{
	return capture(base, false, memory_path, disk_path, done, arg, e);
}

int memory_capture_ahead(struct backend_vm *base, const char *memory_path, const char *disk_path,
			 backend_done *done, void *arg, struct err *e)
{
	return capture(base, true, memory_path, disk_path, done, arg, e);
}

void memory_fail(struct qemu_vm *vm, const struct err *e)
{
	if (e) {
		capture_end(vm, e);
		return;
	}
	if (vm->capture) {
		vm->capture->vm = NULL;
		if (!vm->capture->copying)
			capture_free(vm->capture);
		vm->capture = NULL;
	}
	waiters_cancel(&vm->captures);
}
