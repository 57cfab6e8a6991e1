/* SPDX-License-Identifier: MIT */
/* QMP over a connection that another process used until it was killed, at any byte. */
#include "check.h"

#include "backend/qemu/vm.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct heard {
	unsigned events;
	char last[32];
};

static void on_event(void *arg, const char *event, json_t *data)
{
	struct heard *h = arg;

	h->events++;
	snprintf(h->last, sizeof(h->last), "%s", event);
}

/* What an adopted connection hears of @said; the first bytes that it says itself go to @ret_sent. */
static struct heard hear(const char *said, char *ret_sent, size_t size)
{
	struct heard h = {0};
	struct qmp *q;
	uv_loop_t loop;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(write(pair[1], said, strlen(said)), strlen(said));
	uv_loop_init(&loop);
	assert_int_equal(qmp_adopt(&loop, pair[0], on_event, &h, &q), 0);
	assert_non_null(q);
	assert_true(recv(pair[1], ret_sent, size, MSG_DONTWAIT) > 0);
	uv_run(&loop, UV_RUN_NOWAIT);
	uv_run(&loop, UV_RUN_NOWAIT);
	qmp_close(q);
	close(pair[1]);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	return h;
}

static void the_rest_of_a_line_is_passed_over(void **state)
{
	char sent[64];
	struct heard h = hear("us\": \"running\"}, \"id\": 3}\r\n{\"event\": \"STOP\"}\r\n", sent,
			      sizeof(sent));

	assert_int_equal(h.events, 1);
	assert_string_equal(h.last, "STOP");
}

static void a_whole_first_line_is_heard(void **state)
{
	char sent[64];
	struct heard h = hear("{\"event\": \"SHUTDOWN\"}\r\n", sent, sizeof(sent));

	assert_int_equal(h.events, 1);
	assert_string_equal(h.last, "SHUTDOWN");
}

static void so_is_one_after_an_end_of_line(void **state)
{
	char sent[64];
	struct heard h = hear("\r\n{\"event\": \"RESUME\"}\r\n", sent, sizeof(sent));

	assert_int_equal(h.events, 1);
	assert_string_equal(h.last, "RESUME");
}

static void what_was_half_said_is_ended_first(void **state)
{
	char sent[64];

	hear("\r\n", sent, sizeof(sent));
	assert_int_equal((unsigned char)sent[0], 0xff);
}

static void on_switched(void *arg, int r, const struct err *e)
{
	*(int *)arg = r;
}

/* Answers the orders that came with @reply, to be formatted with the id of each. */
static void answer(int fd, const char *reply)
{
	char orders[1024] = "";
	const char *at = orders;

	assert_true(recv(fd, orders, sizeof(orders) - 1, MSG_DONTWAIT) > 0);
	while ((at = strstr(at, "\"id\":")))
		dprintf(fd, "{%s,\"id\":%d}\n", reply, atoi(at += strlen("\"id\":")));
}

static void a_guest_goes_on_although_qemu_says_that_its_capture_has_not_quite_ended(void **state)
{
	static const char not_yet[] = "\"error\":{\"class\":\"GenericError\","
				      "\"desc\":\"Migration is not finalized yet\"}";
	struct backend b = {0};
	struct local_vm *vm = qemu_hypervisor.alloc(&b);
	uv_loop_t loop;
	int result = 1;
	int pair[2];

	assert_non_null(vm);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	uv_loop_init(&loop);
	b.loop = &loop;
	vm->base.backend = &b;
	vm->hypervisor = &qemu_hypervisor;
	vm->state = VM_RESUMING;
	waiters_init(&vm->switches, &loop);
	qemu_vm_of(vm)->qmp = qmp_open(&loop, pair[0], on_event, NULL);
	assert_int_equal(waiters_add(&vm->switches, on_switched, &result, 0, "", NULL), 0);
	assert_int_equal(qemu_hypervisor.hold(vm, false), 0);
	answer(pair[1], not_yet); /* to both, of which the first is not about the guest */
	uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(vm->state, VM_RESUMING);
	while (qemu_vm_of(vm)->going_on)
		uv_run(&loop, UV_RUN_ONCE);
	answer(pair[1], "\"return\":{}");
	while (result == 1)
		uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(result, 0);
	assert_int_equal(vm->state, VM_RUNNING);
	qemu_hypervisor.close(vm);
	qemu_hypervisor.free(vm);
	close(pair[1]);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(the_rest_of_a_line_is_passed_over),
		TEST(a_whole_first_line_is_heard),
		TEST(so_is_one_after_an_end_of_line),
		TEST(what_was_half_said_is_ended_first),
		TEST(a_guest_goes_on_although_qemu_says_that_its_capture_has_not_quite_ended),
	};
	uv_loop_t loop;

	uv_loop_init(&loop); /* libuv keeps two descriptors from its first loop on */
	uv_loop_close(&loop);
	return RUN_TESTS(tests);
}
