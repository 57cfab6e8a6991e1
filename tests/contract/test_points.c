/* SPDX-License-Identifier: MIT */
/* What the contract says of points: save, load, drop and points. */
#include "contract/bench.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef int point_op(struct backend_vm *vm, const char *point, backend_done *done, void *arg,
		     struct err *e);

/* A proxy hears of a refusal later than who asks directly. */
static struct said point(struct bench *t, point_op *op, const char *name)
{
	struct said s = {0};

	s.r = op(t->vm, name, on_done, &s, &s.e);
	assert_int_equal(s.calls, 0);
	if (s.r == 0)
		await(t, &s);
	return s;
}

static struct said points(struct bench *t)
{
	struct said s = {0};

	assert_int_equal(backend_points(t->vm, on_points, &s, &s.e), 0);
	assert_int_equal(s.calls, 0);
	await(t, &s);
	assert_int_equal(s.r, 0);
	return s;
}

typedef int capture_fn(struct backend_vm *vm, const char *memory_path, const char *disk_path,
		       backend_done *done, void *arg, struct err *e);

static struct said capture_by(struct bench *t, capture_fn *f, const char *memory, const char *disk)
{
	struct said s = {0};

	s.r = f(t->vm, memory, disk, on_done, &s, &s.e);
	assert_int_equal(s.calls, 0);
	if (s.r == 0)
		await(t, &s);
	return s;
}

static struct said capture(struct bench *t, const char *memory, const char *disk)
{
	return capture_by(t, backend_capture, memory, disk);
}

static struct said capture_ahead(struct bench *t, const char *memory, const char *disk)
{
	return capture_by(t, backend_capture_ahead, memory, disk);
}

/* False for a backend without points, which says so and lets the VM go on: then the bench is closed. */
static bool open_running(struct bench *t)
{
	bench_open(t, 0, 0);
	assert_int_equal(start(t).r, 0);
	assert_int_equal(wait_address(t, kind->deadline_ms).r, 0);
	if (!kind->no_points)
		return true;
	assert_int_equal(point(t, backend_save, "clean").e.code, ERR_UNSUPPORTED);
	assert_int_equal(point(t, backend_load, "clean").e.code, ERR_UNSUPPORTED);
	assert_int_equal(capture(t, "/tmp/captured", "/tmp/captured.disk").e.code, ERR_UNSUPPORTED);
	assert_int_equal(state_of(t), VM_RUNNING);
	bench_close(t);
	return false;
}

void a_point_is_saved_told_loaded_and_dropped(void **unused)
{
	struct bench t;
	struct said told;

	if (!open_running(&t))
		return;
	assert_int_equal(points(&t).n_points, 0);
	assert_int_equal(point(&t, backend_save, "clean").r, 0);
	told = points(&t);
	assert_int_equal(told.n_points, 1);
	assert_string_equal(told.points[0].name, "clean");
	assert_true(told.points[0].saved_at > 0);
	assert_int_equal(point(&t, backend_save, "clean").r, 0); /* in place of the older */
	assert_int_equal(point(&t, backend_save, "other").r, 0);
	assert_int_equal(points(&t).n_points, 2);
	assert_int_equal(point(&t, backend_load, "clean").r, 0);
	assert_int_equal(point(&t, backend_drop, "other").r, 0);
	told = points(&t);
	assert_int_equal(told.n_points, 1);
	assert_string_equal(told.points[0].name, "clean");
	assert_int_equal(state_of(&t), VM_RUNNING);
	bench_close(&t);
}

void a_point_that_is_not_there_is_refused(void **unused)
{
	struct bench t;

	if (!open_running(&t))
		return;
	assert_int_equal(point(&t, backend_load, "none").e.code, ERR_NOT_FOUND);
	assert_int_equal(point(&t, backend_drop, "none").e.code, ERR_NOT_FOUND);
	assert_int_equal(point(&t, backend_save, "a b").e.code, ERR_BAD_NAME);
	assert_int_equal(state_of(&t), VM_RUNNING);
	bench_close(&t);
}

void a_vm_goes_on_after_save_and_load_as_it_was_before(void **unused)
{
	struct said paused = {0};
	struct bench t;

	if (!open_running(&t))
		return;
	assert_int_equal(point(&t, backend_save, "run").r, 0);
	assert_int_equal(state_of(&t), VM_RUNNING);
	assert_int_equal(backend_pause(t.vm, on_done, &paused, &paused.e), 0);
	await(&t, &paused);
	assert_int_equal(point(&t, backend_save, "still").r, 0);
	assert_int_equal(state_of(&t), VM_PAUSED);
	assert_int_equal(point(&t, backend_load, "run").r, 0);
	assert_int_equal(state_of(&t), VM_PAUSED);
	bench_close(&t);
}

void a_save_ends_when_its_vm_is_released(void **unused)
{
	struct said saved = {0};
	struct bench t;

	if (!open_running(&t))
		return;
	assert_int_equal(backend_save(t.vm, "clean", on_done, &saved, &saved.e), 0);
	backend_release(t.vm);
	t.vm = NULL;
	assert_int_equal(saved.calls, 1);
	assert_true(saved.r == 0 ||
		    saved.e.code == ERR_CANCELED); /* it may have been done already */
	bench_close(&t);
}

/* @t's VM ends, and one of the same name goes on from @memory. */
static void go_on(struct bench *t, const char *memory)
{
	struct vm_spec spec = factory_spec(&t->factory, "m1");
	struct said reserved = reserve(t, "m1", NULL);
	struct err e = ERR_INIT;

	assert_int_equal(stop(t).r, 0);
	backend_release(t->vm);
	spec.memory_path = (char *)memory;
	assert_int_equal(backend_create(t->b, t->net, &spec, &reserved.reservation, &t->vm, &e), 0);
	assert_int_equal(start(t).r, 0);
	assert_int_equal(wait_address(t, kind->deadline_ms).r, 0);
	assert_int_equal(state_of(t), VM_RUNNING);
	assert_int_equal(access(memory, F_OK), -1); /* taken: nothing goes on from it twice */
}

void a_paused_vm_is_captured_and_another_goes_on_from_it(void **unused)
{
	struct said paused = {0};
	struct said resumed = {0};
	char memory[128];
	char disk[160];
	struct bench t;

	if (!open_running(&t))
		return;
	snprintf(memory, sizeof(memory), "%s/captured", t.factory.home ? t.factory.home : "/tmp");
	snprintf(disk, sizeof(disk), "%s.disk", memory);
	if (!t.b->ops->capture) {
		assert_int_equal(capture(&t, memory, disk).e.code, ERR_UNSUPPORTED);
		assert_int_equal(capture_ahead(&t, memory, disk).e.code, ERR_UNSUPPORTED);
		bench_close(&t);
		return;
	}
	assert_int_equal(capture(&t, memory, disk).e.code, ERR_NOT_RUNNING); /* it is not paused */
	assert_int_equal(capture_ahead(&t, memory, disk).r, 0);
	assert_int_equal(state_of(&t), VM_RUNNING);
	assert_int_equal(backend_pause(t.vm, on_done, &paused, &paused.e), 0);
	await(&t, &paused);
	assert_int_equal(capture(&t, memory, disk).r, 0);
	assert_int_equal(state_of(&t), VM_PAUSED);
	assert_int_equal(backend_resume(t.vm, on_done, &resumed, &resumed.e), 0);
	await(&t, &resumed);
	assert_int_equal(state_of(&t), VM_RUNNING);
	assert_int_equal(point(&t, backend_save, "after").r, 0); /* with its memory: */
	assert_int_equal(point(&t, backend_load, "after").r, 0);
	go_on(&t, memory);
	bench_close(&t);
}
