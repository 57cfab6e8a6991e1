/* SPDX-License-Identifier: MIT */
/* rest.c and events.c against fake_program.py, which plays cloud-hypervisor's side and misbehaves as it is told. */
#include "unit/check.h"

#include "backend/cloud-hypervisor/events.h"
#include "backend/cloud-hypervisor/rest.h"
#include "base/curl.h"
#include "base/err.h"
#include "loop/child.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { LONG_MS = 20000, SHORT_MS = 300 };

struct bench {
	uv_loop_t loop;
	char dir[32];
	char socket[64];
	struct child *program;
	struct rest *rest;
	struct events *events;
};

struct said {
	int calls;
	bool good;
	char version[32];
	char error[512];
	struct bench *close; /* closed by the callback */
};

static void on_reply(void *arg, json_t *ret, const char *error)
{
	struct said *s = arg;
	const char *version = json_string_value(json_object_get(ret, "version"));

	s->calls++;
	s->good = ret != NULL;
	assert_true((ret == NULL) == (error != NULL));
	snprintf(s->version, sizeof(s->version), "%s", version ? version : "");
	snprintf(s->error, sizeof(s->error), "%s", error ? error : "");
	if (s->close) {
		rest_close(s->close->rest);
		s->close->rest = NULL;
	}
}

static void on_end(void *arg, int status)
{
	*(struct child **)arg = NULL;
}

static int listen_at(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 16), 0);
	return fd;
}

static void bench_open(struct bench *t, const char *mode, events_cb *on_event, void *arg)
{
	char *argv[] = {getenv("FAKE_PROGRAM"),    (char *)"--api-socket", (char *)"fd=3",
			(char *)"--event-monitor", (char *)"fd=4",         NULL};
	struct child_options o = {.file = argv[0], .argv = argv, .n_fds = 3};
	struct err e = ERR_INIT;
	int pair[2];
	int api;

	*t = (struct bench){.dir = "/tmp/drv-XXXXXX"};
	assert_non_null(argv[0]);
	uv_loop_init(&t->loop);
	assert_non_null(mkdtemp(t->dir));
	snprintf(t->socket, sizeof(t->socket), "%s/api", t->dir);
	api = listen_at(t->socket);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	o.fds[0] = (struct child_fd){api, 3};
	o.fds[1] = (struct child_fd){pair[1], 4};
	o.fds[2] = (struct child_fd){2, 2};
	setenv("FAKE_CH", mode, 1);
	assert_int_equal(child_spawn(&t->loop, &o, on_end, &t->program, &t->program, &e), 0);
	close(api);
	close(pair[1]);
	t->events = events_open(&t->loop, pair[0], on_event, arg);
	t->rest = rest_open(&t->loop, t->socket);
	assert_non_null(t->events);
	assert_non_null(t->rest);
}

static void no_event(void *arg, const char *source, const char *event) {}

static void bench_close(struct bench *t)
{
	rest_close(t->rest);
	events_close(t->events);
	if (t->program)
		child_kill(t->program, SIGKILL);
	while (t->program)
		uv_run(&t->loop, UV_RUN_ONCE);
	uv_run(&t->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&t->loop), 0);
	unlink(t->socket);
	rmdir(t->dir);
}

static void await(struct bench *t, const struct said *s)
{
	while (s->calls == 0)
		uv_run(&t->loop, UV_RUN_ONCE);
	assert_int_equal(s->calls, 1);
}

/* What a ping of a program in @mode says. */
static struct said ping(const char *mode, unsigned timeout_ms)
{
	struct said s = {0};
	struct bench t;

	bench_open(&t, mode, no_event, NULL);
	assert_int_equal(rest_call(t.rest, "vmm.ping", NULL, timeout_ms, on_reply, &s), 0);
	assert_int_equal(s.calls, 0);
	await(&t, &s);
	bench_close(&t);
	return s;
}

static void a_call_is_answered(void **unused)
{
	struct said s = ping("", LONG_MS);

	assert_string_equal(s.error, "");
	assert_string_equal(s.version, "53.0.0");
}

static void a_refusal_is_a_sentence(void **unused)
{
	assert_string_equal(ping("text", LONG_MS).error, "an older version's plain text");
}

static void a_list_of_causes_is_one_line(void **unused)
{
	json_t *body = json_object();
	struct said s = {0};
	struct bench t;

	bench_open(&t, "refuse", no_event, NULL);
	assert_int_equal(rest_call(t.rest, "vm.create", body, LONG_MS, on_reply, &s), 0);
	json_decref(body);
	await(&t, &s);
	assert_non_null(strstr(s.error, "The VM could not be created: the disk is"));
	assert_null(strchr(s.error, '\n'));
	bench_close(&t);
}

static void what_is_no_json_is_told(void **unused)
{
	assert_string_equal(ping("no-json", LONG_MS).error, "the reply is no JSON");
}

static void a_reply_that_is_cut_off_is_an_error(void **unused)
{
	assert_false(ping("truncated", LONG_MS).good);
}

static void a_reply_without_end_is_an_error(void **unused)
{
	assert_false(ping("flood", LONG_MS).good);
}

static void a_server_that_hangs_meets_the_deadline(void **unused)
{
	assert_string_equal(ping("hang", SHORT_MS).error, "no answer in time");
}

static void one_call_that_hangs_holds_up_no_other(void **unused)
{
	struct said first = {0};
	struct said second = {0};
	struct bench t;

	bench_open(&t, "hang", no_event, NULL);
	rest_call(t.rest, "vmm.ping", NULL, LONG_MS, on_reply, &first);
	rest_call(t.rest, "vmm.ping", NULL, SHORT_MS, on_reply, &second);
	await(&t, &second);
	assert_int_equal(first.calls, 0);
	bench_close(&t); /* the first is never told */
	assert_int_equal(first.calls, 0);
}

static void a_death_ends_the_call(void **unused)
{
	struct said s = {0};
	struct bench t;

	bench_open(&t, "die", no_event, NULL);
	rest_call(t.rest, "vm.boot", json_null(), LONG_MS, on_reply, &s);
	await(&t, &s);
	assert_false(s.good);
	bench_close(&t);
}

static void nobody_there_is_an_error(void **unused)
{
	struct said s = {0};
	struct bench t;

	bench_open(&t, "", no_event, NULL);
	unlink(t.socket);
	rest_call(t.rest, "vmm.ping", NULL, LONG_MS, on_reply, &s);
	await(&t, &s);
	assert_false(s.good);
	bench_close(&t);
}

static void a_reply_may_close(void **unused)
{
	struct bench t;
	struct said s = {.close = &t};

	bench_open(&t, "", no_event, NULL);
	rest_call(t.rest, "vmm.ping", NULL, LONG_MS, on_reply, &s);
	await(&t, &s);
	assert_null(t.rest);
	bench_close(&t);
}

struct heard {
	struct bench *bench;
	int n;
};

static void on_event(void *arg, const char *source, const char *event)
{
	struct heard *h = arg;

	h->n++;
	assert_string_equal(source, "vmm");
	assert_string_equal(event, "shutdown");
	events_close(h->bench->events);
	h->bench->events = NULL;
}

static void an_event_in_pieces_is_heard_once_and_may_close(void **unused)
{
	struct bench t;
	struct heard h = {.bench = &t};
	struct said s = {0};

	bench_open(&t, "", on_event, &h);
	rest_call(t.rest, "vm.power-button", json_null(), LONG_MS, on_reply, &s);
	while (t.program)
		uv_run(&t.loop, UV_RUN_ONCE);
	assert_int_equal(h.n, 1);
	bench_close(&t);
}

static void on_any_event(void *arg, const char *source, const char *event)
{
	++*(int *)arg;
}

static void what_is_no_event_ends_the_reading_only(void **unused)
{
	static const char text[] =
		"{\"source\":\"vm\",\"event\":\"booted\"}\n\n{\"x\":1} ]{\"source\":\"vm\","
		"\"event\":\"late\"}";
	struct events *v;
	uv_loop_t loop;
	int pair[2];
	int n = 0;

	uv_loop_init(&loop);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	v = events_open(&loop, pair[0], on_any_event, &n);
	assert_int_equal(write(pair[1], text, sizeof(text) - 1), sizeof(text) - 1);
	uv_run(&loop, UV_RUN_DEFAULT); /* ends: nothing is read any more */
	assert_int_equal(n, 1);
	events_close(v);
	close(pair[1]);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_call_is_answered),
		TEST(a_refusal_is_a_sentence),
		TEST(a_list_of_causes_is_one_line),
		TEST(what_is_no_json_is_told),
		TEST(a_reply_that_is_cut_off_is_an_error),
		TEST(a_reply_without_end_is_an_error),
		TEST(a_server_that_hangs_meets_the_deadline),
		TEST(one_call_that_hangs_holds_up_no_other),
		TEST(a_death_ends_the_call),
		TEST(nobody_there_is_an_error),
		TEST(a_reply_may_close),
		TEST(an_event_in_pieces_is_heard_once_and_may_close),
		TEST(what_is_no_event_ends_the_reading_only),
	};
	struct err e = ERR_INIT;
	uv_loop_t loop;

	signal(SIGPIPE, SIG_IGN);
	/* libuv opens two descriptors with its first loop and keeps them */
	uv_loop_init(&loop);
	uv_loop_close(&loop);
	if (curl_load(CURL_GLOBAL_NOTHING, &e) < 0) {
		fprintf(stderr, "%s\n", e.msg);
		return 1;
	}
	return RUN_TESTS(tests);
}
