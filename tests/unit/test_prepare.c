/* SPDX-License-Identifier: MIT */
/* What a start makes a member of. */
#include "check.h"

#include "client/client.h"

#include <stdlib.h>
#include <string.h>

static int copies_left = -1; /* < 0: memory does not end */

char *strdup(const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy = copies_left == 0 ? NULL : malloc(size);

	if (copies_left > 0)
		copies_left--;
	if (!copy)
		errno = ENOMEM;
	return copy ? memcpy(copy, text, size) : NULL;
}

static void test_a_member_is_configured_with_all_of_its_image_or_not_at_all(void **state)
{
	struct prepare image = {.config = {.image = (char *)"i",
					   .user = (char *)"u",
					   .kernel_path = (char *)"/k",
					   .initrd_path = (char *)"/r",
					   .cmdline = (char *)"quiet",
					   .disk_format = (char *)"qcow2",
					   .provision = (char *)"cloud-init"}};
	const struct settings s = {.cpus = 1, .memory_mb = 512, .backend = "qemu"};
	struct member_config c = {0};
	int r = -1;

	for (int room = 0; r < 0; room++) {
		struct err e = ERR_INIT;

		copies_left = room;
		r = prepare_config(&c, &image, "a", &s, &e);
		copies_left = -1;
		if (r < 0) {
			assert_int_equal(e.code, ERR_NO_MEMORY);
			member_config_done(&c);
		}
	}
	assert_string_equal(c.image, "i");
	assert_string_equal(c.user, "u");
	assert_string_equal(c.kernel_path, "/k");
	assert_string_equal(c.initrd_path, "/r");
	assert_string_equal(c.cmdline, "quiet");
	assert_string_equal(c.disk_format, "qcow2");
	assert_string_equal(c.provision, "cloud-init");
	member_config_done(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_member_is_configured_with_all_of_its_image_or_not_at_all),
	};

	return RUN_TESTS(tests);
}
