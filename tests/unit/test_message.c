/* SPDX-License-Identifier: MIT */
#include "check.h"

#include "base/scoped.h"
#include "wire/message.h"

#include <string.h>

static void expect_bad(const char *text, enum err_code code)
{
	struct request q;
	struct err e = ERR_INIT;

	assert_true(request_decode(text, strlen(text), &q, &e) < 0);
	assert_int_equal(e.code, code);
	assert_true(e.msg[0] != '\0');
	request_done(&q);
}

static void expect_line(struct buf *b, const char *want)
{
	assert_string_equal(b->data, want);
	buf_done(b);
}

static void every_verb_is_known_by_its_name(void **state)
{
	for (int v = VERB_NONE + 1; v < VERB_MAX; v++)
		assert_int_equal(verb_from_name(verb_name((enum verb)v)), v);
	assert_int_equal(verb_from_name("no such"), VERB_NONE);
	assert_int_equal(verb_from_name(NULL), VERB_NONE);
}

static void a_request_is_decoded_and_encoded_again(void **state)
{
	static const char text[] =
		"{\"cmd\":\"boot-member\",\"spec\":{\"name\":\"a\",\"disk_path\":\"/d\",\"seed_path\":\"\","
		"\"fixture_paths\":[\"/x\",\"/y\"],\"cpus\":2,\"memory_bytes\":4294967296},\"id\":\"7\"}\n";
	struct request q;
	struct err e = ERR_INIT;
	struct buf out = BUF_INIT;

	assert_int_equal(request_decode(text, sizeof(text) - 1, &q, &e), 0);
	assert_string_equal(q.spec.name, "a");
	assert_int_equal(q.spec.n_fixture_paths, 2);
	assert_true(q.spec.memory_bytes == 4294967296ULL);
	assert_int_equal(request_encode(&q, &out), 0);
	expect_line(&out, text);
	request_done(&q);
}

static void a_bad_request_is_named(void **state)
{
	expect_bad("{", ERR_BAD_REQUEST);
	expect_bad("[]", ERR_BAD_REQUEST);
	expect_bad("{}", ERR_BAD_REQUEST);
	expect_bad("{\"cmd\":1}", ERR_BAD_REQUEST);
	expect_bad("{\"cmd\":\"x\"}", ERR_UNKNOWN_COMMAND);
	expect_bad("{\"cmd\":\"status\",\"id\":1.5}", ERR_BAD_REQUEST);
	expect_bad("{\"cmd\":\"status\",\"port\":\"x\"}", ERR_BAD_REQUEST);
	expect_bad("{\"cmd\":\"status\",\"id\":1,\"all\":0}", ERR_BAD_REQUEST);
	expect_bad("{\"cmd\":\"status\",\"id\":99999999999999999999}", ERR_BAD_REQUEST);
	expect_bad("{\"cmd\":\"dial\",\"port\":\"22\"}", ERR_BAD_REQUEST);
	expect_bad("{\"cmd\":\"boot-member\"}", ERR_INVALID);
	expect_bad("{\"cmd\":\"boot-member\",\"spec\":{\"name\":\"../x\"}}", ERR_BAD_NAME);
	expect_bad("{\"cmd\":\"boot-member\",\"spec\":{\"name\":\"a\",\"cpus\":-1}}",
		   ERR_BAD_REQUEST);
	expect_bad("{\"cmd\":\"boot-member\",\"spec\":{\"name\":\"a\",\"fixture_paths\":[1]}}",
		   ERR_BAD_REQUEST);
}

static void an_error_reply_keeps_the_id(void **state)
{
	static const char text[] = "{\"id\":5,\"cmd\":\"x\"}";
	struct request q;
	struct err e = ERR_INIT;
	struct buf out = BUF_INIT;

	assert_true(request_decode(text, sizeof(text) - 1, &q, &e) < 0);
	assert_string_equal(q.id, "5");
	reply_error(&out, q.id, &e);
	expect_line(
		&out,
		"{\"error\":\"unknown command \\\"x\\\"\",\"code\":\"unknown_command\",\"id\":5}\n");
	request_done(&q);
}

static void an_error_reply_has_a_hint_only_where_there_is_one(void **state)
{
	struct err e = ERR_INIT;
	struct buf out = BUF_INIT;

	err_hint(&e, err_set(&e, ERR_HOST, "no tun"), "modprobe tun");
	reply_error(&out, "1", &e);
	expect_line(&out, "{\"error\":\"no tun\",\"code\":\"host_not_ready\","
			  "\"hint\":\"modprobe tun\",\"id\":1}\n");
	err_set(&e, ERR_BUSY, "busy");
	reply_error(&out, "1", &e);
	expect_line(&out, "{\"error\":\"busy\",\"code\":\"busy\",\"id\":1}\n");
}

static void a_kernel_that_has_panicked_is_told_beside_the_reference(void **state)
{
	struct member_status s = {.name = "solo", .state = "running", .panic = "Kernel panic: x"};
	struct reply p;
	struct err e = ERR_INIT;
	struct buf out = BUF_INIT;

	reply_status(&out, NULL, &s);
	assert_int_equal(reply_decode(out.data, out.len, &p, &e), 0);
	assert_string_equal(p.status.panic, "Kernel panic: x");
	assert_string_equal(p.status.error, "");
	reply_done(&p);
	expect_line(&out, "{\"status\":{\"name\":\"solo\",\"pid\":0,\"running\":false,\"ip\":\"\","
			  "\"state\":\"running\",\"panic\":\"Kernel panic: x\"}}\n");
}

static void a_member_that_goes_with_its_cluster_is_told_beside_the_reference(void **state)
{
	struct member_status s = {.name = "solo", .state = "running", .temporary = true};
	struct reply p;
	struct err e = ERR_INIT;
	struct buf out = BUF_INIT;

	reply_status(&out, NULL, &s);
	assert_int_equal(reply_decode(out.data, out.len, &p, &e), 0);
	assert_true(p.status.temporary);
	reply_done(&p);
	expect_line(&out, "{\"status\":{\"name\":\"solo\",\"pid\":0,\"running\":false,\"ip\":\"\","
			  "\"state\":\"running\",\"temporary\":true}}\n");
}

static void replies_are_the_references_bytes(void **state)
{
	struct member_status s = {.name = "solo", .pid = 7, .running = true, .state = "starting"};
	struct reservation v = {.mac = "aa:bb:cc:dd:ee:ff"};
	struct err e = {.code = ERR_IO, .msg = "a<b>&c\xe2\x80\xa8"};
	struct buf out = BUF_INIT;

	reply_empty(&out, NULL);
	expect_line(&out, "{}\n");
	reply_subnet(&out, NULL, "");
	expect_line(&out, "{}\n");
	reply_subnet(&out, NULL, "10.0.0.0/24");
	expect_line(&out, "{\"subnet\":\"10.0.0.0/24\"}\n");
	reply_reservation(&out, NULL, &v);
	expect_line(&out, "{\"reservation\":{\"mac\":\"aa:bb:cc:dd:ee:ff\"}}\n");
	reply_status(&out, NULL, &s);
	expect_line(&out, "{\"status\":{\"name\":\"solo\",\"pid\":7,\"running\":true,\"ip\":\"\","
			  "\"state\":\"starting\"}}\n");
	reply_error(&out, NULL, &e);
	expect_line(&out,
		    "{\"error\":\"a\\u003cb\\u003e\\u0026c\\u2028\",\"code\":\"io_error\"}\n");
}

static void a_reply_is_read_and_a_foreign_one_is_checked(void **state)
{
	static const char error[] = "{\"error\":\"no\",\"code\":\"busy\",\"hint\":\"wait\"}";
	static const char old[] = "{\"error\":\"no code\"}";
	static const char long_name[] = "{\"reservation\":{\"mac\":\"aa:bb:cc:dd:ee:ff:00:11\"}}";
	struct reply p;
	struct err e = ERR_INIT;

	assert_int_equal(reply_decode(error, sizeof(error) - 1, &p, &e), 0);
	assert_int_equal(p.error.code, ERR_BUSY);
	assert_string_equal(p.error.hint, "wait");
	reply_done(&p);
	assert_int_equal(reply_decode(old, sizeof(old) - 1, &p, &e), 0);
	assert_int_equal(p.error.code, ERR_INTERNAL);
	assert_string_equal(p.error.msg, "no code");
	reply_done(&p);
	assert_true(reply_decode(long_name, sizeof(long_name) - 1, &p, &e) < 0);
	assert_int_equal(e.code, ERR_BAD_REQUEST);
}

static void a_spec_is_copied_whole(void **state)
{
	static const char text[] =
		"{\"cmd\":\"boot-member\",\"spec\":{\"name\":\"a\",\"cmdline\":\"x y\","
		"\"credential_paths\":[\"/c\"]}}";
	struct request q;
	struct vm_spec copy;

	assert_int_equal(request_decode(text, sizeof(text) - 1, &q, NULL), 0);
	assert_int_equal(vm_spec_copy(&copy, &q.spec), 0);
	request_done(&q);
	assert_string_equal(copy.cmdline, "x y");
	assert_string_equal(copy.credential_paths[0], "/c");
	vm_spec_done(&copy);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(every_verb_is_known_by_its_name),
		TEST(a_request_is_decoded_and_encoded_again),
		TEST(a_bad_request_is_named),
		TEST(an_error_reply_keeps_the_id),
		TEST(an_error_reply_has_a_hint_only_where_there_is_one),
		TEST(a_kernel_that_has_panicked_is_told_beside_the_reference),
		TEST(a_member_that_goes_with_its_cluster_is_told_beside_the_reference),
		TEST(replies_are_the_references_bytes),
		TEST(a_reply_is_read_and_a_foreign_one_is_checked),
		TEST(a_spec_is_copied_whole),
	};

	return RUN_TESTS(tests);
}
