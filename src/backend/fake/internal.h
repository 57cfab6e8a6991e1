/* SPDX-License-Identifier: MIT */
/* What the files of this folder share: fake.c the backend and a VM's life, point.c its points. */
#ifndef DROVER_BACKEND_FAKE_INTERNAL_H
#define DROVER_BACKEND_FAKE_INTERNAL_H

#include "backend/backend.h"
#include "backend/waiter.h"
#include "base/list.h"
#include "loop/timer.h"

struct fake {
	struct backend base;
	int record_fd; /* or -1 */
	char *fail_create;
	int64_t fail_count; /* creates of that member that fail */
	int64_t network_ms;
	int64_t boot_ms;
	char *slow; /* whose boot alone takes boot_ms; NULL: everybody's */
	int64_t stop_ms;
	int64_t panic_ms; /* 0: never */
	int64_t point_ms; /* of a save */
	unsigned next_address;
	struct list echoes;
	struct waiters ops; /* end with the next turn */
};

struct fake_network {
	struct backend_network base;
};

struct fake_vm {
	struct backend_vm base;
	char name[NAME_SIZE];
	enum vm_state state;
	char ip[IP_SIZE];
	struct timer *boot;
	struct timer *stopping;
	struct timer *panicking;
	bool panicked;
	struct waiters on_stopped; /* wait */
	struct waiters stops;      /* stop and kill */
	struct waiters on_address; /* wait_address */
	struct waiters ops;        /* end with the next turn */
	struct list questions;     /* struct question: too */
	struct point *points;      /* owned */
	size_t n_points;
	struct waiters saves; /* save, load, drop: end with the next turn, a save after point_ms */
	struct timer *saving;
	struct list asked; /* struct points_question: too */
};

static inline struct fake *fake_of(struct backend *b)
{
	return container_of(b, struct fake, base);
}

static inline struct fake_vm *vm_of(struct backend_vm *vm)
{
	return container_of(vm, struct fake_vm, base);
}

/* point.c: names and times alone; there is nothing to go back to. */
void fake_points_init(struct fake_vm *vm);
void fake_points_cancel(struct fake_vm *vm);
int fake_save(struct backend_vm *base, const char *point, backend_done *done, void *arg,
	      struct err *e);
int fake_load(struct backend_vm *base, const char *point, backend_done *done, void *arg,
	      struct err *e);
int fake_drop(struct backend_vm *base, const char *point, backend_done *done, void *arg,
	      struct err *e);
int fake_points(struct backend_vm *base, backend_points_done *done, void *arg, struct err *e);

#endif
