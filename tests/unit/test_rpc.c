/* SPDX-License-Identifier: MIT */
/* What becomes of a request whose helper goes: asked again when nothing can have been done for it, or twice is as once. */
#include "check.h"

#include "backend/remote/rpc.h"
#include "base/err.h"
#include "base/files.h"
#include "base/scoped.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

/* What the helper does with a connection, between connect and write or after. */
enum deed {
	ANSWER,
	GO_BEFORE_THE_WRITE,
	GO_WITHOUT_READING,
	GO_IN_THE_MIDDLE,
	GO_AFTER_READING,
};

enum { DEADLINE_MS = 60000 };

/* A helper in this process, in front of which the client's own sends are seen: it acts exactly then. */
static struct {
	int fd; /* listens */
	int conn;
	const enum deed *deeds;
	int asked; /* sends that began a request */
} helper;

static void helper_go(void)
{
	close(helper.conn);
	helper.conn = -1;
}

static void helper_read(size_t size)
{
	scoped(mem) char *bytes = malloc(size);

	assert_true(recv(helper.conn, bytes, size, 0) > 0);
}

static void helper_after(enum deed deed)
{
	switch (deed) {
	case ANSWER:
		helper_read(65536);
		assert_int_equal(syscall(SYS_sendto, helper.conn, "{}\n", 3, 0, NULL, 0), 3);
		break;
	case GO_AFTER_READING:
		helper_read(65536);
		break;
	case GO_IN_THE_MIDDLE:
		helper_read(16384);
		break;
	default:
		break;
	}
	helper_go();
}

/* In place of the C library's: the client sends. */
ssize_t send(int fd, const void *data, size_t len, int flags)
{
	enum deed deed;
	ssize_t n;

	helper.conn = accept4(helper.fd, NULL, NULL, SOCK_CLOEXEC);
	if (helper.conn < 0) /* the rest of one that was sent in part */
		return syscall(SYS_sendto, fd, data, len, flags, NULL, 0);
	deed = helper.deeds[helper.asked++];
	if (deed == GO_BEFORE_THE_WRITE)
		helper_go();
	n = syscall(SYS_sendto, fd, data, len, flags, NULL, 0);
	if (deed != GO_BEFORE_THE_WRITE)
		helper_after(deed);
	return n;
}

static void helper_listen(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	assert_true(strlen(path) < sizeof(address.sun_path));
	memcpy(address.sun_path, path, strlen(path) + 1);
	helper.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(helper.fd >= 0);
	assert_int_equal(bind(helper.fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(helper.fd, 8), 0);
}

struct outcome {
	int r;
	enum err_code code;
	bool done;
};

static void on_done(void *arg, int r, const struct reply *p, int fd, const struct err *e)
{
	struct outcome *o = arg;

	*o = (struct outcome){.r = r, .code = r < 0 ? e->code : ERR_NONE, .done = true};
	close_fd(&fd);
}

/* Asks @q of a helper that does one of @deeds with each connection; how often it was asked is in helper.asked. */
static struct outcome ask(const struct request *q, const enum deed deeds[])
{
	char root[] = "/tmp/drover-rpc-XXXXXX";
	struct name_list names = {0};
	struct store store = {0};
	struct outcome o = {0};
	scoped(mem) char *path = NULL;
	uv_loop_t loop;

	assert_non_null(mkdtemp(root));
	assert_int_equal(store_open(root, &store, NULL), 0);
	assert_int_equal(name_list_add(&names, "web"), 0);
	path = store_socket_path(&store, "web", "sock");
	helper_listen(path);
	helper.deeds = deeds;
	helper.asked = 0;
	uv_loop_init(&loop);
	assert_non_null(rpc_start(&loop, &store, &names, q, 0, DEADLINE_MS, on_done, &o, NULL));
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	close(helper.fd);
	store_close(&store);
	name_list_done(&names);
	files_remove_tree(root);
	assert_true(o.done);
	return o;
}

static struct outcome ask_verb(enum verb verb, const enum deed deeds[])
{
	const struct request q = {.verb = verb};

	return ask(&q, deeds);
}

static void a_request_that_found_its_helper_gone_is_asked_again(void **state)
{
	static const enum deed deeds[] = {GO_BEFORE_THE_WRITE, ANSWER};
	static const enum verb verbs[] = {VERB_STATUS, VERB_BOOT_MEMBER, VERB_SAVE, VERB_LOAD,
					  VERB_SHUTDOWN};

	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		assert_int_equal(ask_verb(verbs[i], deeds).r, 0);
		assert_int_equal(helper.asked, 2);
	}
}

static void so_is_one_that_nobody_has_read(void **state)
{
	static const enum deed deeds[] = {GO_WITHOUT_READING, ANSWER};

	assert_int_equal(ask_verb(VERB_STATUS, deeds).r, 0);
	assert_int_equal(ask_verb(VERB_SAVE, deeds).r, 0);
	assert_int_equal(helper.asked, 2);
}

static void so_is_one_of_which_a_part_was_read(void **state)
{
	static const enum deed deeds[] = {GO_IN_THE_MIDDLE, GO_IN_THE_MIDDLE};
	struct request q = {.verb = VERB_SAVE, .point = calloc(1, 4 << 20)};

	assert_non_null(q.point);
	memset(q.point, 'x', (4 << 20) - 1);
	assert_int_equal(ask(&q, deeds).code, ERR_UNREACHABLE);
	assert_int_equal(helper.asked, 2);
	request_done(&q);
}

static void one_that_was_read_is_asked_again_when_twice_is_as_once(void **state)
{
	static const enum deed deeds[] = {GO_AFTER_READING, ANSWER};

	assert_int_equal(ask_verb(VERB_STATUS, deeds).r, 0);
	assert_int_equal(ask_verb(VERB_BOOT_MEMBER, deeds).r, 0);
	assert_int_equal(helper.asked, 2);
}

static void one_that_was_read_and_may_be_done_is_not(void **state)
{
	static const enum deed deeds[] = {GO_AFTER_READING, ANSWER};
	static const enum verb verbs[] = {VERB_SAVE, VERB_LOAD, VERB_SHUTDOWN};

	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		assert_int_equal(ask_verb(verbs[i], deeds).code, ERR_UNREACHABLE);
		assert_int_equal(helper.asked, 1);
	}
}

/* A request that a helper dies of must not become the third crash, which ends the cluster. */
static void none_is_asked_a_third_time(void **state)
{
	static const enum deed kinds[] = {GO_BEFORE_THE_WRITE, GO_WITHOUT_READING,
					  GO_AFTER_READING};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		const enum deed deeds[] = {kinds[i], kinds[i], ANSWER};

		assert_int_equal(ask_verb(VERB_STATUS, deeds).code, ERR_UNREACHABLE);
		assert_int_equal(helper.asked, 2);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_request_that_found_its_helper_gone_is_asked_again),
		TEST(so_is_one_that_nobody_has_read),
		TEST(so_is_one_of_which_a_part_was_read),
		TEST(one_that_was_read_is_asked_again_when_twice_is_as_once),
		TEST(one_that_was_read_and_may_be_done_is_not),
		TEST(none_is_asked_a_third_time),
	};
	uv_loop_t loop;

	uv_loop_init(&loop); /* libuv keeps two descriptors from its first loop on */
	uv_loop_close(&loop);
	return RUN_TESTS(tests);
}
