/* SPDX-License-Identifier: MIT */
#include "check.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/files.h"
#include "base/scoped.h"
#include "guest/template.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char home[256];
static char images[300];
static char kernel[300];
static char other[300];
static struct store st;

static int group_setup(void **state)
{
	snprintf(home, sizeof(home), "/tmp/drover-template.XXXXXX");
	assert_non_null(mkdtemp(home));
	snprintf(images, sizeof(images), "%s/images", home);
	snprintf(kernel, sizeof(kernel), "%s/kernel", home);
	snprintf(other, sizeof(other), "%s/other", home);
	st = (struct store){.images = images};
	assert_int_equal(files_publish(kernel, "kernel", 6, 0600), 0);
	assert_int_equal(files_publish(other, "kernel", 6, 0600), 0);
	return 0;
}

static int group_teardown(void **state)
{
	return files_remove_tree(home);
}

static struct template_of usual(void)
{
	return (struct template_of){.image = "tiny",
				    .user = "root",
				    .kernel = kernel,
				    .hypervisor = kernel,
				    .cmdline = "quiet",
				    .cpus = 1,
				    .memory_mb = 256,
				    .disk_mb = 10240};
}

static void key_of(const struct template_of *t, char ret[TEMPLATE_KEY_SIZE])
{
	struct err e = ERR_INIT;

	assert_int_equal(template_key(t, ret, &e), 0);
	assert_int_equal(strlen(ret), TEMPLATE_KEY_SIZE - 1);
}

static void a_key_is_the_same_for_the_same_and_changes_with_each_thing(void **state)
{
	struct template_of all[10];
	char keys[10][TEMPLATE_KEY_SIZE];
	char again[TEMPLATE_KEY_SIZE];

	for (size_t i = 0; i < 10; i++)
		all[i] = usual();
	all[1].user = "drover";
	all[2].disk = other;
	all[3].kernel = other;
	all[4].initrd = other;
	all[5].hypervisor = other;
	all[6].cmdline = "loud";
	all[7].cpus = 2;
	all[8].memory_mb = 512;
	all[9].disk_mb = 20480;
	for (size_t i = 0; i < 10; i++)
		key_of(&all[i], keys[i]);
	for (size_t i = 0; i < 10; i++)
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(keys[i], keys[j]);
	key_of(&all[0], again);
	assert_string_equal(again, keys[0]);
	all[0].kvm = true;
	key_of(&all[0], again);
	assert_string_not_equal(again, keys[0]);
}

static void a_key_changes_when_the_file_is_another_of_the_same_name(void **state)
{
	struct template_of t = usual();
	char before[TEMPLATE_KEY_SIZE];
	char after[TEMPLATE_KEY_SIZE];

	t.kernel = other;
	key_of(&t, before);
	assert_int_equal(files_publish(other, "KERNEL", 6, 0600), 0);
	key_of(&t, after);
	assert_string_not_equal(before, after);
}

static void a_missing_file_is_an_error_that_names_the_image(void **state)
{
	struct template_of t = usual();
	char key[TEMPLATE_KEY_SIZE];
	struct err e = ERR_INIT;

	t.kernel = "/nowhere/kernel";
	assert_int_equal(template_key(&t, key, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "tiny"));
}

static void make(const char *key, const char *image)
{
	struct template_of t = usual();
	scoped(mem) char *dir = NULL;
	scoped(mem) char *memory = NULL;
	struct err e = ERR_INIT;
	scoped(lock) int lock = -1;

	t.image = image;
	assert_int_equal(template_lock(&st, key, NULL, &lock, &e), 0);
	assert_int_equal(template_begin(&st, key, &dir, &e), 0);
	memory = str_format("%s/memory", dir);
	assert_int_equal(files_publish(memory, "bytes", 5, 0600), 0);
	assert_false(template_is_whole(&st, key));
	assert_int_equal(template_keep(&st, key, dir, &t, &e), 0);
	assert_true(template_is_whole(&st, key));
}

static void a_template_is_there_once_it_is_kept_and_for_its_owner_alone(void **state)
{
	static const char *const files[] = {NULL, "memory", "template.json"};

	make("aaaa", "tiny");
	for (size_t i = 0; i < 3; i++) {
		scoped(mem) char *path = template_path(&st, "aaaa", files[i]);
		struct stat s;

		assert_int_equal(stat(path, &s), 0);
		assert_int_equal(s.st_mode & 077, 0);
	}
}

static void one_that_was_cut_short_is_none_and_is_replaced(void **state)
{
	scoped(mem) char *memory = template_path(&st, "bbbb", "memory");

	make("bbbb", "tiny");
	assert_int_equal(truncate(memory, 3), 0);
	assert_false(template_is_whole(&st, "bbbb"));
	make("bbbb", "tiny");
}

static void one_is_late_once_for_nothing_and_twice_in_a_row_for_good(void **state)
{
	struct template_seen first;
	struct template_seen second;

	make("ffff", "tiny");
	template_see(&st, "ffff", &first);
	template_blame(&st, "ffff", &first, true);
	assert_true(template_is_whole(&st, "ffff"));
	template_was_in_time(&st, "ffff");
	template_see(&st, "ffff", &first);
	template_blame(&st, "ffff", &first, true);
	assert_true(template_is_whole(&st, "ffff"));
	template_see(&st, "ffff", &second);
	template_blame(&st, "ffff", &second, true);
	assert_false(template_is_whole(&st, "ffff"));
}

static void starts_that_are_late_side_by_side_are_late_once(void **state)
{
	struct template_seen a;
	struct template_seen b;

	make("abab", "tiny");
	template_see(&st, "abab", &a);
	template_see(&st, "abab", &b);
	template_blame(&st, "abab", &a, true);
	template_blame(&st, "abab", &b, true);
	assert_true(template_is_whole(&st, "abab"));
}

static void what_was_made_anew_is_not_blamed_for_the_one_before(void **state)
{
	struct template_seen a;
	struct template_seen b;

	make("caca", "tiny");
	template_see(&st, "caca", &a);
	b = a;
	template_blame(&st, "caca", &a, false);
	assert_false(template_is_whole(&st, "caca"));
	make("caca", "tiny");
	template_blame(&st, "caca", &b, false);
	assert_true(template_is_whole(&st, "caca"));
}

static void what_a_killed_maker_left_goes_with_the_next(void **state)
{
	scoped(mem) char *left = str_format("%s/.templates/.cccc.tmp.1", images);

	assert_int_equal(files_mkdir_all(left, 0700), 0);
	make("cccc", "tiny");
	assert_false(files_exist(left));
}

static void those_of_one_image_are_summed_and_removed(void **state)
{
	make("dddd", "other");
	assert_true(template_bytes(&st, "other", false) > 0);
	assert_true(template_is_whole(&st, "dddd"));
	assert_true(template_bytes(&st, "other", true) > 0);
	assert_false(template_is_whole(&st, "dddd"));
	assert_int_equal(template_bytes(&st, "other", false), 0);
	make("eeee", "tiny");
	assert_true(template_bytes(&st, "tiny", false) > 0);
}

/* ssh-keygen -t ed25519 made it. */
static const char private_key[] =
	"-----BEGIN OPENSSH PRIVATE KEY-----\n"
	"b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW\n"
	"QyNTUxOQAAACCHJXrs7gRslb655e/UPXAYu7YLz6Y9EHfFE95UDJ4IAgAAAJAjaedSI2nn\n"
	"UgAAAAtzc2gtZWQyNTUxOQAAACCHJXrs7gRslb655e/UPXAYu7YLz6Y9EHfFE95UDJ4IAg\n"
	"AAAEB6aVagCq30Ze+q9TTR+WeM1cYHRI+S49JkC//Ba3WpaocleuzuBGyVvrnl79Q9cBi7\n"
	"tgvPpj0Qd8UT3lQMnggCAAAACHRlbXBsYXRlAQIDBAU=\n"
	"-----END OPENSSH PRIVATE KEY-----\n";
/* What dropbearconvert makes of it ends so: private and public key. */
static const char raw_key[] =
	"'\\172\\151\\126\\240\\012\\255\\364\\145\\357\\252\\365\\064\\321\\371\\147\\214"
	"\\325\\306\\007\\104\\217\\222\\343\\322\\144\\013\\377\\301\\153\\165\\251\\152"
	"\\207\\045\\172\\354\\356\\004\\154\\225\\276\\271\\345\\357\\324\\075\\160\\030"
	"\\273\\266\\013\\317\\246\\075\\020\\167\\305\\023\\336\\124\\014\\236\\010\\002'";

static struct identity usual_identity(void)
{
	return (struct identity){.name = "web-1",
				 .user = "drover",
				 .public_key = "ssh-ed25519 AAAA",
				 .host_key = private_key,
				 .host_key_public = "ssh-ed25519 BBBB",
				 .mac = "4e:a1:c9:3c:8a:98",
				 .ip = "10.83.7.254"};
}

static void a_script_gives_names_and_keys_and_the_network_last(void **state)
{
	const struct identity i = usual_identity();
	scoped(buf) struct buf b = BUF_INIT;
	scoped(buf) struct buf again = BUF_INIT;
	const char *last;

	assert_int_equal(identity_give(&i, &b), 0);
	assert_non_null(strstr(b.data, "clock @NOW@\n"));
	assert_non_null(strstr(b.data, "names web-1 "));
	assert_non_null(strstr(b.data, "key 'ssh-ed25519 AAAA' /home/drover\n"));
	assert_non_null(strstr(b.data, private_key));
	assert_non_null(strstr(b.data, raw_key));
	last = strstr(b.data, "\nnet ");
	assert_non_null(last);
	assert_int_equal(strncmp(last, "\nnet 4e:a1:c9:3c:8a:98 10.83.7.254 10.83.7.1\nexit\n", 49),
			 0);
	/* The guest reads when there are 255 bytes to read: the last thing that counts has as many behind it. */
	assert_true(strlen(last + 49) >= 255);
	assert_int_equal(strspn(last + 49, " \n"), strlen(last + 49));
	assert_int_equal(identity_give(&i, &again), 0);
	assert_string_not_equal(b.data, again.data); /* random numbers, machine id */
}

static void a_script_takes_no_key_that_is_none(void **state)
{
	static const char *const bad[] = {"", "PRIVATE",
					  "-----BEGIN OPENSSH PRIVATE KEY-----\n"
					  "AAAAC3NzaC1lZDI1NTE5AAAAIA==\n"
					  "-----END OPENSSH PRIVATE KEY-----\n"};

	for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++) {
		struct identity i = usual_identity();
		scoped(buf) struct buf b = BUF_INIT;

		i.host_key = bad[k];
		assert_int_equal(identity_give(&i, &b), -EINVAL);
	}
}

static void a_script_takes_no_text_that_would_end_its_quotes(void **state)
{
	struct identity i = usual_identity();
	scoped(buf) struct buf b = BUF_INIT;

	i.public_key = "ssh-ed25519 AAAA it's";
	assert_int_equal(identity_give(&i, &b), -EINVAL);
}

static void a_script_takes_no_address_that_is_none(void **state)
{
	static const char *const bad[][2] = {{"", "10.83.0.2"},
					     {"4e:a1:c9:3c:8a:98;", "10.83.0.2"},
					     {"4e:a1:c9:3c:8a:98", ""},
					     {"4e:a1:c9:3c:8a:98", "10.83.0.2 up"}};

	for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++) {
		struct identity i = usual_identity();
		scoped(buf) struct buf b = BUF_INIT;

		i.mac = bad[k][0];
		i.ip = bad[k][1];
		assert_int_equal(identity_give(&i, &b), -EINVAL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_key_is_the_same_for_the_same_and_changes_with_each_thing),
		TEST(a_key_changes_when_the_file_is_another_of_the_same_name),
		TEST(a_missing_file_is_an_error_that_names_the_image),
		TEST(a_template_is_there_once_it_is_kept_and_for_its_owner_alone),
		TEST(one_that_was_cut_short_is_none_and_is_replaced),
		TEST(one_is_late_once_for_nothing_and_twice_in_a_row_for_good),
		TEST(starts_that_are_late_side_by_side_are_late_once),
		TEST(what_was_made_anew_is_not_blamed_for_the_one_before),
		TEST(what_a_killed_maker_left_goes_with_the_next),
		TEST(those_of_one_image_are_summed_and_removed),
		TEST(a_script_gives_names_and_keys_and_the_network_last),
		TEST(a_script_takes_no_key_that_is_none),
		TEST(a_script_takes_no_text_that_would_end_its_quotes),
		TEST(a_script_takes_no_address_that_is_none),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
