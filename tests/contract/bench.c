/* SPDX-License-Identifier: MIT */
#include "contract/bench.h"

#include "loop/timer.h"

#include <string.h>

const struct factory_kind *kind;

static void note(struct said *s, int r, const struct err *e)
{
	s->calls++;
	s->r = r;
	if (e)
		s->e = *e;
	assert_true((r < 0) == (e != NULL));
}

void on_done(void *arg, int r, const struct err *e)
{
	note(arg, r, e);
}

void on_network(void *arg, int r, struct backend_network *net, const struct err *e)
{
	note(arg, r, e);
	((struct said *)arg)->net = net;
}

static void on_reserved(void *arg, int r, const struct reservation *v, const struct err *e)
{
	note(arg, r, e);
	if (v)
		((struct said *)arg)->reservation = *v;
}

void on_address(void *arg, int r, const char *ip, const struct err *e)
{
	struct said *s = arg;

	note(s, r, e);
	snprintf(s->ip, sizeof(s->ip), "%s", ip ? ip : "");
}

void on_state(void *arg, enum vm_state state)
{
	note(arg, 0, NULL);
	((struct said *)arg)->state = state;
}

void on_fd(void *arg, int r, int fd, const struct err *e)
{
	note(arg, r, e);
	((struct said *)arg)->fd = fd;
}

void on_points(void *arg, int r, const struct point *points, size_t n, const struct err *e)
{
	struct said *s = arg;

	note(s, r, e);
	s->n_points = n;
	for (size_t i = 0; i < n && i < sizeof(s->points) / sizeof(s->points[0]); i++)
		s->points[i] = points[i];
}

static void on_too_late(void *arg)
{
	*(bool *)arg = true;
}

void await(struct bench *t, struct said *s)
{
	struct timer *deadline = NULL;
	bool late = false;

	timer_start(&t->loop, kind->deadline_ms, on_too_late, &late, &deadline);
	while (s->calls == 0 && !late)
		uv_run(&t->loop, UV_RUN_ONCE);
	timer_stop(&deadline);
	assert_int_equal(s->calls, 1);
}

struct said begin_network(struct bench *t, bool egress)
{
	struct network_config c = {.egress = egress};
	struct said s = {0};

	assert_int_equal(backend_create_network(t->b, &c, on_network, &s, &s.e), 0);
	assert_int_equal(s.calls, 0);
	await(t, &s);
	return s;
}

struct said reserve(struct bench *t, const char *name, const char *hint)
{
	struct said s = {0};

	assert_int_equal(backend_reserve(t->net, name, hint, on_reserved, &s, &s.e), 0);
	assert_int_equal(s.calls, 0);
	await(t, &s);
	return s;
}

struct backend_vm *create(struct bench *t, const char *name, const struct reservation *v, int want)
{
	struct vm_spec spec = factory_spec(&t->factory, name);
	struct backend_vm *vm = NULL;
	struct err e = ERR_INIT;

	int r = backend_create(t->b, t->net, &spec, v, &vm, &e);

	if (r != want)
		fail_msg("create of %s: %d, %s", name, r, e.msg);
	assert_int_equal(vm != NULL, want == 0);
	return vm;
}

void bench_open_bare(struct bench *t, unsigned boot_ms, unsigned stop_ms)
{
	memset(t, 0, sizeof(*t));
	assert_int_equal(uv_loop_init(&t->loop), 0);
	t->b = factory_open(&t->factory, kind, &t->loop, boot_ms, stop_ms);
}

void bench_open(struct bench *t, unsigned boot_ms, unsigned stop_ms)
{
	struct said s;

	bench_open_bare(t, boot_ms, stop_ms);
	s = begin_network(t, true);
	assert_int_equal(s.r, 0);
	t->net = s.net;
	s = reserve(t, "m1", NULL);
	t->vm = create(t, "m1", &s.reservation, 0);
}

void bench_close(struct bench *t)
{
	backend_release(t->vm);
	if (t->net)
		backend_close_network(t->net, NULL, NULL);
	backend_free(t->b);
	uv_run(&t->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&t->loop), 0);
	factory_close(&t->factory);
}

struct said start(struct bench *t)
{
	struct said s = {0};

	assert_int_equal(backend_start(t->vm, on_done, &s, &s.e), 0);
	assert_int_equal(s.calls, 0);
	await(t, &s);
	return s;
}

struct said stop(struct bench *t)
{
	struct said s = {0};

	assert_int_equal(backend_stop(t->vm, on_done, &s, &s.e), 0);
	assert_int_equal(s.calls, 0);
	await(t, &s);
	return s;
}

enum vm_state state_of(struct bench *t)
{
	struct said s = {0};

	assert_int_equal(backend_state(t->vm, on_state, &s, &s.e), 0);
	await(t, &s);
	return s.state;
}

struct said wait_address(struct bench *t, uint64_t timeout_ms)
{
	struct said s = {0};

	assert_int_equal(backend_wait_address(t->vm, timeout_ms, on_address, &s, &s.e), 0);
	await(t, &s);
	return s;
}
