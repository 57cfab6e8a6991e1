/* SPDX-License-Identifier: MIT */
/* What the contract's tests do with a backend: operations that are waited for, and what they said. */
#ifndef DROVER_TESTS_BENCH_H
#define DROVER_TESTS_BENCH_H

#include "unit/check.h"

#include "contract/factory.h"

#include "base/err.h"

enum { NEVER_MS = FACTORY_NEVER_MS };

/* Which backend: set once, by main. */
extern const struct factory_kind *kind;

/* What an operation said; one a pending operation. */
struct said {
	int calls;
	int r;
	struct err e;
	struct backend_network *net;
	struct reservation reservation;
	enum vm_state state;
	char ip[IP_SIZE];
	int fd;
	struct point points[8]; /* the first of them */
	size_t n_points;
};

struct bench {
	uv_loop_t loop;
	struct factory factory;
	struct backend *b;
	struct backend_network *net;
	struct backend_vm *vm;
};

/* Callbacks: @arg is a struct said. */
void on_done(void *arg, int r, const struct err *e);
void on_network(void *arg, int r, struct backend_network *net, const struct err *e);
void on_address(void *arg, int r, const char *ip, const struct err *e);
void on_state(void *arg, enum vm_state state);
void on_fd(void *arg, int r, int fd, const struct err *e);
void on_points(void *arg, int r, const struct point *points, size_t n, const struct err *e);

/* Runs the loop until @s was called, which it was not from inside the operation. */
void await(struct bench *t, struct said *s);

/* A backend without network and VM; with both, the VM being "m1". */
void bench_open_bare(struct bench *t, unsigned boot_ms, unsigned stop_ms);
void bench_open(struct bench *t, unsigned boot_ms, unsigned stop_ms);
void bench_close(struct bench *t);

struct said begin_network(struct bench *t, bool egress);
struct said reserve(struct bench *t, const char *name, const char *hint);
/* Fails the test unless create gives @want. */
struct backend_vm *create(struct bench *t, const char *name, const struct reservation *v, int want);
struct said start(struct bench *t);
struct said stop(struct bench *t);
enum vm_state state_of(struct bench *t);
struct said wait_address(struct bench *t, uint64_t timeout_ms);

/* test_points.c */
#define POINT_TESTS                                                      \
	TEST(a_point_is_saved_told_loaded_and_dropped),                  \
		TEST(a_point_that_is_not_there_is_refused),              \
		TEST(a_vm_goes_on_after_save_and_load_as_it_was_before), \
		TEST(a_save_ends_when_its_vm_is_released),               \
		TEST(a_paused_vm_is_captured_and_another_goes_on_from_it)
void a_point_is_saved_told_loaded_and_dropped(void **unused);
void a_point_that_is_not_there_is_refused(void **unused);
void a_vm_goes_on_after_save_and_load_as_it_was_before(void **unused);
void a_save_ends_when_its_vm_is_released(void **unused);
void a_paused_vm_is_captured_and_another_goes_on_from_it(void **unused);

#endif
