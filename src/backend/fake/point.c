/* SPDX-License-Identifier: MIT */
#include "backend/fake/internal.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_POINTS = 64 };

struct points_question {
	struct list link;
	struct fake_vm *vm;
	struct timer *turn;
	backend_points_done *done;
	void *arg;
};

void fake_points_init(struct fake_vm *vm)
{
	waiters_init(&vm->saves, vm->base.backend->loop);
	list_init(&vm->asked);
}

void fake_points_cancel(struct fake_vm *vm)
{
	struct err canceled;

	err_set(&canceled, ERR_CANCELED, "canceled");
	while (!list_is_empty(&vm->asked)) {
		struct points_question *q =
			list_entry(vm->asked.next, struct points_question, link);

		list_remove(&q->link);
		timer_stop(&q->turn);
		q->done(q->arg, err_code_number(ERR_CANCELED), NULL, 0, &canceled);
		free(q);
	}
	timer_stop(&vm->saving);
	/* ends what is due too: with the next turn nobody would be there */
	waiters_cancel(&vm->saves);
	free(vm->points);
	vm->points = NULL;
	vm->n_points = 0;
}

static struct point *find(struct fake_vm *vm, const char *point)
{
	for (size_t i = 0; i < vm->n_points; i++)
		if (strcmp(vm->points[i].name, point) == 0)
			return &vm->points[i];
	return NULL;
}

static int check(const struct fake_vm *vm, const char *point, struct err *e)
{
	int r = backend_point_check(point, e);

	if (r == 0 && vm->state != VM_RUNNING && vm->state != VM_PAUSED)
		r = err_set(e, ERR_NOT_RUNNING, "%s is %s", vm->name, vm_state_name(vm->state));
	if (r == 0 && !list_is_empty(&vm->saves.due))
		r = err_set(e, ERR_BUSY, "%s is still busy with a point", vm->name);
	return r;
}

static void on_saved(void *arg)
{
	struct fake_vm *vm = arg;

	timer_stop(&vm->saving);
	waiters_end(&vm->saves, NULL, NULL);
}

static int end_save(struct fake_vm *vm, backend_done *done, void *arg, struct err *e)
{
	struct fake *f = fake_of(vm->base.backend);
	int r;

	if (!f->point_ms)
		return waiters_add_ended(&vm->saves, NULL, done, arg, e);
	r = waiters_add(&vm->saves, done, arg, 0, "", e);
	if (r == 0 && !timer_start(f->base.loop, (uint64_t)f->point_ms, on_saved, vm, &vm->saving))
		waiters_end(&vm->saves, NULL, NULL);
	return r;
}

int fake_save(struct backend_vm *base, const char *point, backend_done *done, void *arg,
	      struct err *e)
{
	struct fake_vm *vm = vm_of(base);
	struct point *p;
	int r = check(vm, point, e);

	if (r < 0)
		return r;
	if (!vm->points)
		vm->points = calloc(MAX_POINTS, sizeof(*vm->points));
	p = vm->points ? find(vm, point) : NULL;
	if (!p && (!vm->points || vm->n_points == MAX_POINTS))
		return err_set(e, ERR_NO_SPACE, "%s has %d points already", vm->name, MAX_POINTS);
	if (!p)
		p = &vm->points[vm->n_points++];
	snprintf(p->name, sizeof(p->name), "%s", point);
	p->bytes = 1;
	p->saved_at = (int64_t)time(NULL);
	return end_save(vm, done, arg, e);
}

/* 0, with the point in *@ret or, when there is none, how the operation is to end. */
static int look_up(struct fake_vm *vm, const char *point, struct point **ret, struct err *how,
		   struct err *e)
{
	int r = check(vm, point, e);

	if (r < 0)
		return r;
	*how = (struct err)ERR_INIT;
	*ret = find(vm, point);
	if (!*ret)
		err_set(how, ERR_NOT_FOUND, "%s: '%s': there is no such point", vm->name, point);
	return 0;
}

int fake_load(struct backend_vm *base, const char *point, backend_done *done, void *arg,
	      struct err *e)
{
	struct point *p;
	struct err how;
	int r = look_up(vm_of(base), point, &p, &how, e);

	return r < 0 ? r : waiters_add_ended(&vm_of(base)->saves, p ? NULL : &how, done, arg, e);
}

int fake_drop(struct backend_vm *base, const char *point, backend_done *done, void *arg,
	      struct err *e)
{
	struct fake_vm *vm = vm_of(base);
	struct point *p;
	struct err how;
	int r = look_up(vm, point, &p, &how, e);

	if (r < 0)
		return r;
	if (p)
		*p = vm->points[--vm->n_points];
	return waiters_add_ended(&vm->saves, p ? NULL : &how, done, arg, e);
}

static void on_turn(void *arg)
{
	struct points_question *q = arg;

	list_remove(&q->link);
	timer_stop(&q->turn);
	q->done(q->arg, 0, q->vm->points, q->vm->n_points, NULL);
	free(q);
}

int fake_points(struct backend_vm *base, backend_points_done *done, void *arg, struct err *e)
{
	struct fake_vm *vm = vm_of(base);
	struct points_question *q = calloc(1, sizeof(*q));

	if (q)
		*q = (struct points_question){.vm = vm, .done = done, .arg = arg};
	if (!q || !timer_start(base->backend->loop, 0, on_turn, q, &q->turn)) {
		free(q);
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	}
	list_append(&vm->asked, &q->link);
	return 0;
}
