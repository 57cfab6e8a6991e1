/* SPDX-License-Identifier: MIT */
/* What backend.h says, held against every backend. The argument names it: factory.c. Points are in test_points.c. */
#include "contract/bench.h"

#include "network/sandbox.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

/* --- Networks ------------------------------------------------------------------------------------------------ */

static void a_network_is_made_with_and_without_egress(void **unused)
{
	for (int egress = 0; egress < 2; egress++) {
		struct bench t;
		struct said s;

		bench_open_bare(&t, 0, 0);
		s = begin_network(&t, egress);
		assert_int_equal(s.r, 0);
		assert_string_equal(backend_subnet(s.net), kind->subnet);
		backend_close_network(s.net, NULL, NULL);
		bench_close(&t);
	}
}

static void closing_a_network_tells_when_it_is_done(void **unused)
{
	struct said s = {0};
	struct bench t;

	bench_open(&t, 0, 0);
	backend_release(t.vm);
	t.vm = NULL;
	backend_close_network(t.net, on_done, &s);
	t.net = NULL;
	assert_int_equal(s.calls, 0);
	await(&t, &s);
	assert_int_equal(s.r, 0);
	bench_close(&t);
}

static void a_name_gets_the_same_reservation_each_time(void **unused)
{
	struct bench t;
	struct said first;
	struct said again;
	struct said other;

	bench_open(&t, 0, 0);
	first = reserve(&t, "web-1", NULL);
	again = reserve(&t, "web-1", "10.1.2.3");
	other = reserve(&t, "web-2", NULL);
	assert_int_equal(first.r, 0);
	assert_int_equal(strlen(first.reservation.mac), MAC_SIZE - 1);
	assert_string_equal(first.reservation.mac, again.reservation.mac);
	assert_string_equal(first.reservation.ip, again.reservation.ip);
	assert_string_not_equal(first.reservation.mac, other.reservation.mac);
	bench_close(&t);
}

static void reconcile_ends(void **unused)
{
	struct said s = {0};
	struct bench t;

	bench_open(&t, 0, 0);
	assert_int_equal(backend_reconcile(t.b, on_done, &s, &s.e), 0);
	await(&t, &s);
	assert_int_equal(s.r, 0);
	bench_close(&t);
}

/* --- The life of a VM ---------------------------------------------------------------------------------------- */

static void create_boots_nothing(void **unused)
{
	struct bench t;
	enum vm_state state;

	bench_open(&t, 0, 0);
	state = state_of(&t);
	/* a helper's member is "starting" from its registration: protocol 2 */
	assert_int_equal(state, factory_is_remote(kind) ? VM_STARTING : VM_STOPPED);
	bench_close(&t);
}

static void a_vm_starts_has_an_address_stops_and_waits_end(void **unused)
{
	struct said waited = {0};
	struct bench t;
	struct said s;

	bench_open(&t, 0, 0);
	assert_int_equal(start(&t).r, 0);
	s = wait_address(&t, kind->deadline_ms);
	assert_int_equal(s.r, 0);
	assert_int_equal(strncmp(s.ip, kind->address, strlen(kind->address)), 0);
	assert_int_equal(state_of(&t), VM_RUNNING);
	assert_int_equal(backend_wait(t.vm, 0, on_done, &waited, &waited.e), 0);
	assert_int_equal(stop(&t).r, 0);
	await(&t, &waited);
	assert_int_equal(waited.r, 0);
	assert_int_equal(state_of(&t), VM_STOPPED);
	bench_close(&t);
}

static void stopping_a_stopped_vm_succeeds(void **unused)
{
	struct bench t;

	bench_open(&t, 0, 0);
	assert_int_equal(start(&t).r, 0);
	assert_int_equal(stop(&t).r, 0);
	assert_int_equal(stop(&t).r, 0);
	bench_close(&t);
}

static void several_stops_all_end(void **unused)
{
	struct said s[3] = {{0}};
	struct bench t;

	bench_open(&t, 0, 50);
	assert_int_equal(start(&t).r, 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(backend_stop(t.vm, on_done, &s[i], &s[i].e), 0);
	for (int i = 0; i < 3; i++) {
		await(&t, &s[i]);
		assert_int_equal(s[i].r, 0);
	}
	bench_close(&t);
}

static void a_second_start_is_refused(void **unused)
{
	struct bench t;
	struct said s = {0};
	int r;

	bench_open(&t, 0, 0);
	assert_int_equal(start(&t).r, 0);
	r = backend_start(t.vm, on_done, &s, &s.e);
	if (r == 0)
		await(&t, &s); /* a proxy learns it later */
	assert_int_equal(s.e.code, ERR_ALREADY_RUNNING);
	bench_close(&t);
}

static void a_stop_during_a_boot_cancels_the_boot(void **unused)
{
	struct said booted = {0};
	struct said address = {0};
	struct bench t;

	bench_open(&t, NEVER_MS, 0);
	assert_int_equal(backend_start(t.vm, on_done, &booted, &booted.e), 0);
	assert_int_equal(backend_wait_address(t.vm, 0, on_address, &address, &address.e), 0);
	while (state_of(&t) != VM_STARTING)
		;
	if (!factory_is_remote(kind))
		await(&t, &booted); /* the hypervisor runs; the guest does not yet */
	assert_int_equal(stop(&t).r, 0);
	if (factory_is_remote(kind)) {
		await(&t, &booted);
		assert_int_equal(booted.e.code, ERR_STOPPED);
	}
	await(&t, &address);
	assert_true(address.r < 0);
	bench_close(&t);
}

static void a_wait_for_an_address_has_a_deadline(void **unused)
{
	struct said booted = {0};
	struct bench t;
	struct said s;

	bench_open(&t, NEVER_MS, 0);
	assert_int_equal(backend_start(t.vm, on_done, &booted, &booted.e), 0);
	s = wait_address(&t, 50);
	assert_int_equal(s.e.code, ERR_TIMEOUT);
	bench_close(&t);
}

static void a_wait_for_the_end_has_a_deadline(void **unused)
{
	struct said s = {0};
	struct bench t;

	bench_open(&t, 0, 0);
	assert_int_equal(start(&t).r, 0);
	assert_int_equal(backend_wait(t.vm, 50, on_done, &s, &s.e), 0);
	await(&t, &s);
	assert_int_equal(s.e.code, ERR_TIMEOUT);
	bench_close(&t);
}

static void release_ends_what_is_pending_at_once_and_with_canceled(void **unused)
{
	struct said booted = {0};
	struct said waited = {0};
	struct said address = {0};
	struct bench t;

	bench_open(&t, NEVER_MS, 0);
	assert_int_equal(backend_start(t.vm, on_done, &booted, &booted.e), 0);
	assert_int_equal(backend_wait(t.vm, 0, on_done, &waited, &waited.e), 0);
	assert_int_equal(backend_wait_address(t.vm, 0, on_address, &address, &address.e), 0);
	backend_release(t.vm);
	t.vm = NULL;
	assert_int_equal(booted.calls, 1);
	assert_int_equal(waited.calls, 1);
	assert_int_equal(address.calls, 1);
	assert_int_equal(waited.e.code, ERR_CANCELED);
	assert_int_equal(address.e.code, ERR_CANCELED);
	bench_close(&t);
}

static void release_ends_questions_too(void **unused)
{
	struct said state = {0};
	struct said fd = {.fd = -1};
	struct bench t;

	bench_open(&t, 0, 0);
	assert_int_equal(start(&t).r, 0);
	assert_int_equal(backend_state(t.vm, on_state, &state, &state.e), 0);
	assert_int_equal(backend_console(t.vm, on_fd, &fd, &fd.e), 0);
	backend_release(t.vm);
	t.vm = NULL;
	assert_int_equal(state.calls, 1);
	assert_int_equal(fd.calls, 1);
	assert_int_equal(fd.e.code, ERR_CANCELED);
	bench_close(&t);
}

static void a_failure_is_told_at_once(void **unused)
{
	struct bench t;
	struct said s;

	bench_open(&t, 0, 0);
	s = reserve(&t, "bad", NULL);
	backend_release(t.vm);
	if (!factory_is_remote(kind)) {
		t.vm = create(&t, "bad", &s.reservation, err_code_number(kind->bad));
	} else {
		t.vm = create(&t, "bad", &s.reservation, 0);
		s = start(&t);
		assert_int_equal(s.e.code, kind->bad);
		assert_non_null(strstr(s.e.msg, kind->bad_text));
		assert_int_equal(state_of(&t), VM_ERROR);
		s = wait_address(&t, kind->deadline_ms);
		assert_int_equal(s.e.code, ERR_BOOT); /* "status" tells the sentence alone */
		assert_non_null(strstr(s.e.msg, kind->bad_text));
	}
	bench_close(&t);
}

/* --- What a backend may leave out ---------------------------------------------------------------------------- */

static void a_vm_pauses_and_resumes(void **unused)
{
	struct said paused = {0};
	struct said resumed = {0};
	struct bench t;

	bench_open(&t, 0, 0);
	assert_int_equal(start(&t).r, 0);
	assert_int_equal(wait_address(&t, kind->deadline_ms).r, 0);
	assert_int_equal(backend_pause(t.vm, on_done, &paused, &paused.e), 0);
	await(&t, &paused);
	assert_int_equal(state_of(&t), VM_PAUSED);
	assert_int_equal(backend_resume(t.vm, on_done, &resumed, &resumed.e), 0);
	await(&t, &resumed);
	assert_int_equal(state_of(&t), VM_RUNNING);
	bench_close(&t);
}

static void a_kill_overtakes_a_stop(void **unused)
{
	struct said stopped = {0};
	struct said killed = {0};
	struct bench t;

	bench_open(&t, 0, NEVER_MS);
	assert_int_equal(start(&t).r, 0);
	assert_int_equal(wait_address(&t, kind->deadline_ms).r, 0);
	assert_int_equal(backend_stop(t.vm, on_done, &stopped, &stopped.e), 0);
	while (state_of(&t) != VM_STOPPING)
		;
	assert_int_equal(backend_kill(t.vm, on_done, &killed, &killed.e), 0);
	await(&t, &killed);
	await(&t, &stopped);
	assert_int_equal(killed.r, 0);
	assert_int_equal(stopped.r, 0);
	bench_close(&t);
}

static void dial_and_console_give_sockets(void **unused)
{
	struct said dialed = {.fd = -1};
	struct said console = {.fd = -1};
	struct bench t;

	bench_open(&t, 0, 0);
	assert_int_equal(start(&t).r, 0);
	assert_int_equal(wait_address(&t, kind->deadline_ms).r, 0);
	assert_int_equal(backend_dial(t.vm, 22, kind->deadline_ms, on_fd, &dialed, &dialed.e), 0);
	await(&t, &dialed);
	assert_int_equal(backend_console(t.vm, on_fd, &console, &console.e), 0);
	await(&t, &console);
	assert_true(dialed.fd >= 0 && console.fd >= 0);
	close(dialed.fd);
	close(console.fd);
	bench_close(&t);
}

/* --- Only a proxy can lose its helper ------------------------------------------------------------------------ */

static void a_dead_helper_is_a_stopped_vm(void **unused)
{
	struct said waited = {0};
	struct bench t;

	bench_open(&t, 0, 0);
	assert_int_equal(start(&t).r, 0);
	assert_int_equal(wait_address(&t, kind->deadline_ms).r, 0);
	assert_int_equal(backend_wait(t.vm, 0, on_done, &waited, &waited.e), 0);
	factory_kill(&t.factory);
	await(&t, &waited);
	assert_int_equal(waited.r, 0);
	assert_int_equal(state_of(&t), VM_STOPPED);
	assert_int_equal(stop(&t).r, 0);
	bench_close(&t);
}

/*
 * The helper has read neither: it knows the member only by the boot, so nobody listens where the stop goes. @stale: a helper
 * that was killed has left its socket there.
 */
static void overtake_boot(bool stale)
{
	struct said booted = {0};
	struct said stopped = {0};
	struct said s;
	struct bench t;
	int early;

	bench_open(&t, 0, 0);
	backend_release(t.vm);
	s = reserve(&t, "m2", NULL);
	t.vm = create(&t, "m2", &s.reservation, 0);
	if (stale)
		factory_leave_socket(&t.factory, "m2");
	factory_hold(&t.factory);
	assert_int_equal(backend_start(t.vm, on_done, &booted, &booted.e), 0);
	assert_int_equal(backend_stop(t.vm, on_done, &stopped, &stopped.e), 0);
	for (int turn = 0; turn < 10;
	     turn++) /* the refused connection is told in the next one or two */
		uv_run(&t.loop, UV_RUN_NOWAIT);
	early = stopped.calls;
	factory_go_on(&t.factory);
	assert_int_equal(early, 0);
	await(&t, &stopped);
	assert_int_equal(stopped.r, 0);
	assert_int_equal(booted.calls, 1);
	assert_int_equal(state_of(&t), VM_STOPPED);
	bench_close(&t);
}

static void a_stop_that_overtakes_the_boot_of_a_member_that_joins_ends_it(void **unused)
{
	overtake_boot(false);
}

static void such_a_stop_waits_beside_the_socket_of_a_dead_helper(void **unused)
{
	overtake_boot(true);
}

/* Whether the backend cannot, or nobody left anything: the helper then knows what to do without. */
static void adopt_without_a_vm_that_was_left_is_refused(void **unused)
{
	struct vm_spec spec = {.name = (char[]){"m2"}, .cpus = 1, .memory_bytes = 256 << 20};
	struct said s = {0};
	struct backend_vm *vm = NULL;
	struct reservation v;
	struct bench t;

	bench_open(&t, 0, 0);
	v = reserve(&t, "m2", NULL).reservation;
	assert_true(backend_adopt(t.b, t.net, &spec, &v, &vm, on_done, &s, &s.e) < 0);
	assert_true(s.e.code == ERR_NOT_FOUND || s.e.code == ERR_UNSUPPORTED);
	assert_int_equal(s.calls, 0);
	assert_null(vm);
	bench_close(&t);
}

#define COMMON_TESTS                                                                              \
	TEST(a_network_is_made_with_and_without_egress),                                          \
		TEST(closing_a_network_tells_when_it_is_done),                                    \
		TEST(a_name_gets_the_same_reservation_each_time), TEST(reconcile_ends),           \
		TEST(create_boots_nothing), TEST(a_vm_starts_has_an_address_stops_and_waits_end), \
		TEST(stopping_a_stopped_vm_succeeds), TEST(several_stops_all_end),                \
		TEST(a_second_start_is_refused), TEST(a_stop_during_a_boot_cancels_the_boot),     \
		TEST(a_wait_for_an_address_has_a_deadline),                                       \
		TEST(a_wait_for_the_end_has_a_deadline),                                          \
		TEST(release_ends_what_is_pending_at_once_and_with_canceled),                     \
		TEST(release_ends_questions_too), TEST(a_failure_is_told_at_once),                \
		TEST(a_vm_pauses_and_resumes), TEST(a_kill_overtakes_a_stop),                     \
		TEST(dial_and_console_give_sockets),                                              \
		TEST(adopt_without_a_vm_that_was_left_is_refused), POINT_TESTS

static int run_suite(void)
{
	static const struct CMUnitTest direct_tests[] = {COMMON_TESTS};
	static const struct CMUnitTest remote_tests[] = {
		COMMON_TESTS, TEST(a_dead_helper_is_a_stopped_vm),
		TEST(a_stop_that_overtakes_the_boot_of_a_member_that_joins_ends_it),
		TEST(such_a_stop_waits_beside_the_socket_of_a_dead_helper)};
	uv_loop_t loop;

	/* libuv opens two descriptors with its first loop and keeps them */
	uv_loop_init(&loop);
	uv_loop_close(&loop);
	return factory_is_remote(kind) ? RUN_TESTS(remote_tests) : RUN_TESTS(direct_tests);
}

/* The tests as pid 1 of the namespaces that a helper would make; the first process passes their status on. */
static int run_sandboxed(void)
{
	struct sandbox sandbox;
	struct err e = ERR_INIT;
	int code = 0;
	int r = sandbox_enter(false, &sandbox, &code, &e);

	if (r < 0)
		fprintf(stderr, "%s\n", e.msg);
	if (r != 0)
		return r < 0 ? 1 : code;
	factory_use_sandbox(&sandbox);
	r = run_suite();
	sandbox_leave(&sandbox);
	return r;
}

int main(int argc, char **argv)
{
	kind = factory_kind(argc > 1 ? argv[1] : "fake");
	if (!kind) {
		fprintf(stderr, "no such backend: %s\n", argv[1]);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	return kind->has_guests && !factory_is_remote(kind) ? run_sandboxed() : run_suite();
}
