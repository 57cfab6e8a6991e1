/* SPDX-License-Identifier: MIT */
#include "check.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/files.h"
#include "base/giveup.h"
#include "base/scoped.h"
#include "guest/guest.h"
#include "guest/run.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static char home[256];
static struct store st;

/* A builder that counts its runs in $COUNT_FILE and obeys the image's name. */
static const char builder_text[] =
	"#!/bin/sh\n"
	"if [ \"$1\" = --list ]; then printf 'one\\tThe first\\nslow\\tNever ends\\nbad\\tFails\\n'; exit; fi\n"
	"echo run >>\"$COUNT_FILE\"\n"
	"echo 'progress 10 begun'\n"
	"case $1 in\n"
	"slow) sleep 1000 & wait ;;\n"
	"bad) echo noise >&2; echo 'the disk is upside down' >&2; exit 1 ;;\n"
	"esac\n"
	"echo kernel >\"$2/vmlinuz\"; echo initrd >\"$2/initrd\"\n"
	"qemu-img create -q -f qcow2 \"$2/disk.qcow2\" 4M || exit 1\n"
	"echo 'progress 100 done'\n"
	"printf '{\"name\":\"%s\",\"disk\":\"disk.qcow2\",\"disk_format\":\"qcow2\",\"kernel\":\"vmlinuz\",'"
	" \"$1\" >\"$2/image.json\"\n"
	"echo '\"initrd\":\"initrd\",\"cmdline\":\"quiet\",\"user\":\"root\",\"provision\":\"credentials\","
	"\"memory_mb\":256,\"description\":\"d\"}' >>\"$2/image.json\"\n";

static char *at(const char *file)
{
	static char paths[8][512];
	static unsigned next;
	char *path = paths[next++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", home, file);
	return path;
}

static void put(const char *path, const void *data, size_t len, mode_t mode)
{
	assert_int_equal(files_publish(path, data, len, mode), 0);
}

static int group_setup(void **state)
{
	struct err e = ERR_INIT;

	snprintf(home, sizeof(home), "/tmp/drover-guest.XXXXXX");
	if (!mkdtemp(home))
		return -1;
	setenv("DROVER_IMAGE_CACHE", at("images"), 1);
	setenv("DROVER_IMAGE_BUILD", at("builder"), 1);
	setenv("DROVER_STOCK_IMAGES", "/dev/null", 1);
	setenv("COUNT_FILE", at("count"), 1);
	put(at("builder"), builder_text, sizeof(builder_text) - 1, 0700);
	return store_open(at("root"), &st, &e);
}

static int group_teardown(void **state)
{
	store_close(&st);
	return files_remove_tree(home);
}

static void add_line(void *arg, const char *line)
{
	buf_addf(arg, "%s|", line);
}

static void run_gives_lines_status_and_the_last_words(void **state)
{
	const char *argv[] = {"sh", "-c", "echo a; printf b; echo x >&2; echo y >&2; exit 3", NULL};
	struct buf out = BUF_INIT;
	struct buf tail = BUF_INIT;
	struct err e = ERR_INIT;

	assert_int_equal(run_program(argv, NULL, add_line, &out, &tail, &e), 3);
	assert_string_equal(out.data, "a|b|");
	assert_string_equal(run_last_line(&tail), "y");
	buf_done(&out);
	buf_done(&tail);
}

static void run_names_a_missing_program(void **state)
{
	const char *argv[] = {"no-such-program-here", NULL};
	struct buf tail = BUF_INIT;
	struct err e = ERR_INIT;

	assert_true(run_program(argv, NULL, NULL, NULL, &tail, &e) < 0);
	assert_int_equal(e.code, ERR_MISSING_PROGRAM);
}

static void run_does_not_wait_for_what_outlives_the_program(void **state)
{
	const char *argv[] = {"sh", "-c", "sleep 1000 & echo $!", NULL};
	struct buf out = BUF_INIT;
	struct buf tail = BUF_INIT;
	struct err e = ERR_INIT;

	assert_int_equal(run_program(argv, NULL, add_line, &out, &tail, &e), 0);
	assert_int_equal(kill(atoi(out.data), SIGKILL), 0);
	buf_done(&out);
	buf_done(&tail);
}

static void *resolve_one(void *arg)
{
	struct image i = {0};
	struct err e = ERR_INIT;
	int r = image_resolve(&st, "one", NULL, NULL, NULL, &i, &e);

	if (r < 0)
		print_error("%s\n", e.msg);
	image_done(&i);
	return (void *)(intptr_t)r;
}

static void an_image_is_built_once_for_many_callers(void **state)
{
	pthread_t threads[4];
	char *count;
	struct image i = {0};
	struct err e = ERR_INIT;

	for (int n = 0; n < 4; n++)
		assert_int_equal(pthread_create(&threads[n], NULL, resolve_one, NULL), 0);
	for (int n = 0; n < 4; n++) {
		void *r;

		pthread_join(threads[n], &r);
		assert_null(r);
	}
	assert_int_equal(files_read(at("count"), 4096, &count, NULL), 0);
	assert_string_equal(count, "run\n");
	free(count);
	assert_int_equal(image_resolve(&st, "one", NULL, NULL, NULL, &i, &e), 0);
	assert_string_equal(i.user, "root");
	assert_string_equal(i.cmdline, "quiet");
	assert_int_equal(i.memory_mb, 256);
	assert_string_equal(i.disk_path, at("images/one/disk.qcow2"));
	image_done(&i);
}

static void a_damaged_image_is_named_with_the_remedy(void **state)
{
	struct image i = {0};
	struct err e = ERR_INIT;

	assert_int_equal(image_resolve(&st, "one", NULL, NULL, NULL, &i, &e), 0);
	put(i.disk_path, "garbage", 7, 0600);
	image_done(&i);
	assert_true(image_resolve(&st, "one", NULL, NULL, NULL, &i, &e) < 0);
	assert_int_equal(e.code, ERR_IMAGE);
	assert_non_null(strstr(e.hint, "drover image rm one"));
	assert_int_equal(image_remove(&st, "one", &e), 0);
	assert_false(files_exist(at("images/one")));
	assert_int_equal(image_resolve(&st, "one", NULL, NULL, NULL, &i, &e), 0);
	image_done(&i);
}

/* qemu-img is what checks; where there is none, nothing can be checked. */
static void an_images_disk_is_checked_once_and_again_when_it_is_another_file(void **state)
{
	scoped(mem) char *path = strdup(getenv("PATH"));
	struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	struct image i = {0};
	struct err e = ERR_INIT;
	int r[2];

	assert_int_equal(image_resolve(&st, "one", NULL, NULL, NULL, &i, &e), 0);
	image_done(&i);
	assert_int_equal(setenv("PATH", "/nowhere", 1), 0);
	r[0] = image_resolve(&st, "one", NULL, NULL, NULL, &i, &e);
	image_done(&i);
	assert_int_equal(utimensat(AT_FDCWD, at("images/one/disk.qcow2"), times, 0), 0);
	r[1] = image_resolve(&st, "one", NULL, NULL, NULL, &i, &e);
	assert_int_equal(setenv("PATH", path, 1), 0);
	assert_int_equal(r[0], 0);
	assert_true(r[1] < 0);
	assert_int_equal(e.code, ERR_MISSING_PROGRAM);
	assert_int_equal(image_resolve(&st, "one", NULL, NULL, NULL, &i, &e), 0);
	image_done(&i);
}

static void a_failed_build_says_why_and_leaves_nothing(void **state)
{
	struct image i = {0};
	struct err e = ERR_INIT;

	assert_true(image_resolve(&st, "bad", NULL, NULL, NULL, &i, &e) < 0);
	assert_non_null(strstr(e.msg, "the disk is upside down"));
	assert_null(strstr(e.msg, "noise"));
	assert_false(files_exist(at("images/bad")));
}

static void cancel_at_progress(void *arg, int percent, const char *text)
{
	assert_int_equal(eventfd_write(*(int *)arg, 1), 0);
}

static void a_build_can_be_canceled(void **state)
{
	struct image i = {0};
	struct err e = ERR_INIT;
	struct giveup g = {.cancel_fd = eventfd(0, EFD_CLOEXEC)};

	assert_true(image_resolve(&st, "slow", &g, cancel_at_progress, &g.cancel_fd, &i, &e) < 0);
	assert_int_equal(e.code, ERR_CANCELED);
	close(g.cancel_fd);
	assert_false(files_exist(at("images/slow")));
}

static void the_wait_for_anothers_build_can_be_canceled(void **state)
{
	int fd = open(at("images/.slow.lock"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct image i = {0};
	struct err e = ERR_INIT;
	struct giveup g = {.cancel_fd = eventfd(1, EFD_CLOEXEC)};

	assert_true(fd >= 0);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	assert_true(image_resolve(&st, "slow", &g, NULL, NULL, &i, &e) < 0);
	assert_int_equal(e.code, ERR_CANCELED);
	close(g.cancel_fd);
	close(fd);
}

static void an_image_that_is_being_made_is_not_removed_and_not_waited_for(void **state)
{
	int fd;
	struct image i = {0};
	struct err e = ERR_INIT;

	assert_int_equal(image_resolve(&st, "one", NULL, NULL, NULL, &i, &e), 0);
	image_done(&i);
	fd = open(at("images/.one.lock"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	assert_true(image_remove(&st, "one", &e) < 0);
	assert_int_equal(e.code, ERR_BUSY);
	assert_true(files_exist(at("images/one")));
	close(fd);
	assert_int_equal(image_remove(&st, "one", &e), 0);
}

static void an_unknown_image_lists_those_there_are(void **state)
{
	struct image i = {0};
	struct err e = ERR_INIT;

	assert_true(image_resolve(&st, "nope", NULL, NULL, NULL, &i, &e) < 0);
	assert_int_equal(e.code, ERR_NOT_FOUND);
	assert_string_equal(e.msg, "no image named 'nope': there are bad, one, slow");
	assert_string_equal(e.hint, "a path or a URL will do too");
	assert_true(image_resolve(&st, at("absent.qcow2"), NULL, NULL, NULL, &i, &e) < 0);
	assert_int_equal(e.code, ERR_NOT_FOUND);
	assert_non_null(strstr(e.msg, "absent.qcow2"));
}

static void a_path_must_be_a_disk(void **state)
{
	static const char zeros[1024];
	struct image i = {0};
	struct err e = ERR_INIT;

	put(at("broken.qcow2"), "garbage\n", 8, 0600);
	assert_true(image_resolve(&st, at("broken.qcow2"), NULL, NULL, NULL, &i, &e) < 0);
	assert_int_equal(e.code, ERR_IMAGE);
	put(at("broken.qcow2"), "QFI\xfb\0\0\0\3 and so on", 18, 0600);
	assert_true(image_resolve(&st, at("broken.qcow2"), NULL, NULL, NULL, &i, &e) < 0);
	assert_int_equal(e.code, ERR_IMAGE);
	assert_non_null(strstr(e.msg, "broken.qcow2"));
	print_message("# %s\n", e.msg);
	put(at("odd.raw"), zeros, 1000, 0600);
	assert_true(image_resolve(&st, at("odd.raw"), NULL, NULL, NULL, &i, &e) < 0);
	assert_int_equal(e.code, ERR_IMAGE);
	put(at("good.raw"), zeros, 1024, 0600);
	assert_int_equal(image_resolve(&st, at("good.raw"), NULL, NULL, NULL, &i, &e), 0);
	assert_string_equal(i.disk_format, "raw");
	assert_string_equal(i.provision, PROVISION_CLOUD_INIT);
	assert_null(i.kernel_path);
	image_done(&i);
}

static void a_qcow2_cut_short_or_with_a_backing_file_is_refused(void **state)
{
	const char *make[] = {"qemu-img",           "create",        "-q", "-f", "qcow2", "-o",
			      "preallocation=full", at("cut.qcow2"), "4M", NULL};
	struct buf tail = BUF_INIT;
	struct image i = {0};
	struct err e = ERR_INIT;

	assert_int_equal(run_program(make, NULL, NULL, NULL, &tail, &e), 0);
	assert_int_equal(disk_create(at("part.qcow2"), make[7], "qcow2", 0, &e), 4);
	assert_int_equal(image_resolve(&st, at("part.qcow2"), NULL, NULL, NULL, &i, &e), 0);
	image_done(&i);
	assert_true(image_import(&st, at("part.qcow2"), "part", NULL, NULL, NULL, NULL, &e) < 0);
	assert_int_equal(e.code, ERR_IMAGE);
	assert_int_equal(truncate(make[7], 1 << 20), 0);
	assert_true(image_resolve(&st, make[7], NULL, NULL, NULL, &i, &e) < 0);
	assert_int_equal(e.code, ERR_IMAGE);
	assert_non_null(strstr(e.msg, "cut short"));
	buf_done(&tail);
}

static void an_import_is_checked_kept_and_listed(void **state)
{
	static const char zeros[1024];
	/* of 1024 zero bytes */
	static const char sum[] =
		"5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
	char url[600];
	struct image i = {0};
	struct image_info *list = NULL;
	size_t n = 0;
	struct err e = ERR_INIT;

	put(at("zeros.raw"), zeros, 1024, 0600);
	snprintf(url, sizeof(url), "file://%s", at("zeros.raw"));
	assert_true(image_import(&st, at("zeros.raw"), "mine", "00", NULL, NULL, NULL, &e) < 0);
	assert_int_equal(e.code, ERR_IMAGE);
	assert_false(files_exist(at("images/mine")));
	assert_int_equal(image_import(&st, at("zeros.raw"), "mine", sum, NULL, NULL, NULL, &e), 0);
	assert_int_equal(image_import(&st, url, "theirs", sum, NULL, NULL, NULL, &e), 0);
	assert_true(image_import(&st, url, "theirs", NULL, NULL, NULL, NULL, &e) < 0);
	assert_int_equal(e.code, ERR_EXISTS);
	assert_true(image_import(&st, url, "A/b", NULL, NULL, NULL, NULL, &e) < 0);
	assert_int_equal(e.code, ERR_BAD_NAME);
	assert_int_equal(image_resolve(&st, "mine", NULL, NULL, NULL, &i, &e), 0);
	assert_string_equal(i.disk_path, at("images/mine/disk.raw"));
	image_done(&i);
	assert_int_equal(image_list(&st, &list, &n, &e), 0);
	assert_int_equal(n, 5);
	assert_string_equal(list[1].name, "mine");
	assert_string_equal(list[1].origin, "imported");
	assert_true(list[1].cached && list[1].bytes > 0);
	assert_string_equal(list[4].origin, "downloaded");
	free(list);
}

static void a_disk_grows_to_its_base_and_a_bad_base_is_named(void **state)
{
	const char *argv[] = {"qemu-img", "info", "--output=json", at("d.qcow2"), NULL};
	const char *make[] = {"qemu-img", "create",         "-q", "-f",
			      "qcow2",    at("base.qcow2"), "8M", NULL};
	struct buf out = BUF_INIT;
	struct buf tail = BUF_INIT;
	struct err e = ERR_INIT;

	assert_int_equal(run_program(make, NULL, NULL, NULL, &tail, &e), 0);
	assert_int_equal(disk_create(argv[3], make[5], "qcow2", 2, &e), 8);
	assert_int_equal(run_program(argv, NULL, add_line, &out, &tail, &e), 0);
	assert_non_null(strstr(out.data, "\"virtual-size\": 8388608"));
	assert_non_null(strstr(out.data, "base.qcow2"));
	assert_int_equal(disk_create(at("blank.qcow2"), NULL, NULL, 16, &e), 16);
	put(at("base2.qcow2"), "garbage", 7, 0600);
	assert_true(disk_create(at("e.qcow2"), at("base2.qcow2"), "qcow2", 2, &e) < 0);
	assert_int_equal(e.code, ERR_IMAGE);
	assert_false(files_exist(at("e.qcow2")));
	buf_done(&out);
	buf_done(&tail);
}

static bool is_old(const char *more)
{
	struct image i = {0};
	struct err e = ERR_INIT;
	char json[200];
	bool old;

	snprintf(json, sizeof(json), "{\"name\":\"tiny\",\"kernel\":\"k\"%s}", more);
	put(at("images/tiny/image.json"), json, strlen(json), 0600);
	assert_int_equal(image_resolve(&st, "tiny", NULL, NULL, NULL, &i, &e), 0);
	old = i.is_old;
	image_done(&i);
	return old;
}

static void an_image_built_by_an_older_recipe_is_old_and_an_imported_one_never(void **state)
{
	assert_int_equal(files_mkdir_all(at("images/tiny"), 0700), 0);
	put(at("images/tiny/k"), "kernel", 6, 0600);
	assert_true(is_old(""));
	assert_true(is_old(",\"recipe\":0"));
	assert_false(is_old(",\"recipe\":4096"));
	assert_false(is_old(",\"origin\":\"imported\""));
	assert_int_equal(files_remove_tree(at("images/tiny")), 0);
}

static void *ensure_keys(void *arg)
{
	char *line = NULL;

	keys_ensure(&st, &line, NULL);
	return line;
}

static void keys_are_made_once_and_are_private(void **state)
{
	pthread_t threads[4];
	char *first = NULL;
	struct stat sb;

	for (int n = 0; n < 4; n++)
		assert_int_equal(pthread_create(&threads[n], NULL, ensure_keys, NULL), 0);
	for (int n = 0; n < 4; n++) {
		void *line;

		pthread_join(threads[n], &line);
		assert_non_null(line);
		if (first) {
			assert_string_equal(first, line);
			free(line);
		} else {
			first = line;
		}
	}
	assert_int_equal(strncmp(first, "ssh-ed25519 AAAA", 16), 0);
	free(first);
	assert_int_equal(stat(at("root/id_ed25519"), &sb), 0);
	assert_int_equal(sb.st_mode & 0777, 0600);
}

static void openssh_reads_the_keys(void **state)
{
	char *key = NULL;
	char *known = NULL;
	char *host = NULL;
	struct buf out = BUF_INIT;
	struct buf tail = BUF_INIT;
	struct err e = ERR_INIT;
	const char *argv[] = {"ssh-keygen", "-y", "-f", NULL, NULL};

	assert_int_equal(store_member_mkdir(&st, "web-1", &e), 0);
	assert_int_equal(keys_ensure_host(&st, "web-1", &e), 0);
	key = store_member_path(&st, "web-1", "ssh_host_ed25519_key");
	known = store_member_path(&st, "web-1", "known_hosts");
	argv[3] = key;
	assert_int_equal(run_program(argv, NULL, add_line, &out, &tail, &e), 0);
	assert_int_equal(files_read(known, 4096, &host, NULL), 0);
	assert_int_equal(strncmp(host, "web-1 ssh-ed25519 ", 18), 0);
	assert_int_equal(strncmp(host + 6, out.data, 60), 0);
	free(key);
	free(known);
	free(host);
	buf_done(&out);
	buf_done(&tail);
}

static const struct seed a_seed = {
	.name = "web-1",
	.mac = "02:00:00:aa:bb:cc",
	.user = "drover",
	.public_key = "ssh-ed25519 AAAAkey drover\n",
	.host_key = "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----\n",
	.host_key_public = "ssh-ed25519 AAAAhost web-1\n",
};

/* Every file of an ISO as "name:content". */
static void read_iso(const char *path, struct buf *out)
{
	struct archive *a = archive_read_new();
	struct archive_entry *entry;

	archive_read_support_format_iso9660(a);
	assert_int_equal(archive_read_open_filename(a, path, 4096), ARCHIVE_OK);
	while (archive_read_next_header(a, &entry) == ARCHIVE_OK) {
		char data[8192];
		la_ssize_t n = archive_read_data(a, data, sizeof(data));

		buf_addf(out, "%s:", archive_entry_pathname(entry));
		if (n > 0)
			buf_add(out, data, (size_t)n);
	}
	archive_read_free(a);
}

static void a_seed_has_its_label_name_user_and_keys(void **state)
{
	struct buf out = BUF_INIT;
	struct err e = ERR_INIT;
	char *raw = NULL;

	assert_int_equal(seed_write_iso(at("seed.iso"), &a_seed, &e), 0);
	read_iso(at("seed.iso"), &out);
	assert_non_null(out.data);
	assert_non_null(strstr(out.data, "meta-data:instance-id: web-1\nlocal-hostname: web-1\n"));
	assert_non_null(strstr(out.data, "user-data:#cloud-config\n"));
	assert_non_null(strstr(out.data, "      - \"ssh-ed25519 AAAAkey drover\"\n"));
	assert_non_null(strstr(out.data, "  ed25519_private: |\n    -----BEGIN"));
	assert_non_null(strstr(out.data, "network-config:version: 2\n"));
	assert_non_null(strstr(out.data, "      macaddress: \"02:00:00:aa:bb:cc\"\n"));
	assert_int_equal(files_read(at("seed.iso"), 1 << 24, &raw, NULL), 0);
	assert_memory_equal(raw + 32768 + 40, "cidata ", 7);
	free(raw);
	buf_done(&out);
}

static void a_seed_refuses_text_that_would_become_yaml(void **state)
{
	struct seed s = a_seed;
	struct err e = ERR_INIT;

	s.user = "x\n  - name: y";
	assert_true(seed_write_iso(at("bad.iso"), &s, &e) < 0);
	s = a_seed;
	s.public_key = "ssh-ed25519 \"]";
	assert_true(seed_write_iso(at("bad.iso"), &s, &e) < 0);
	assert_false(files_exist(at("bad.iso")));
}

static void credentials_are_one_smbios_string_a_file(void **state)
{
	char **paths = NULL;
	size_t n = 0;
	struct err e = ERR_INIT;
	char *text = NULL;
	static const char *const heads[] = {
		"io.systemd.credential.binary:ssh.authorized_keys.root=",
		"io.systemd.credential.binary:tmpfiles.extra=",
		"io.systemd.credential.binary:ssh_host_ed25519_key=",
	};

	assert_int_equal(seed_write_credentials(home, &a_seed, &paths, &n, &e), 0);
	assert_int_equal(n, 3);
	for (size_t i = 0; i < n; i++) {
		struct stat sb;

		assert_int_equal(files_read(paths[i], 65536, &text, NULL), 0);
		assert_int_equal(strncmp(text, heads[i], strlen(heads[i])), 0);
		assert_null(strchr(text, '\n'));
		assert_int_equal(stat(paths[i], &sb), 0);
		assert_int_equal(sb.st_mode & 0777, 0600);
		free(text);
		free(paths[i]);
	}
	free(paths);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(run_gives_lines_status_and_the_last_words),
		TEST(run_names_a_missing_program),
		TEST(run_does_not_wait_for_what_outlives_the_program),
		TEST(an_image_is_built_once_for_many_callers),
		TEST(a_damaged_image_is_named_with_the_remedy),
		TEST(an_images_disk_is_checked_once_and_again_when_it_is_another_file),
		TEST(a_failed_build_says_why_and_leaves_nothing),
		TEST(a_build_can_be_canceled),
		TEST(the_wait_for_anothers_build_can_be_canceled),
		TEST(an_image_that_is_being_made_is_not_removed_and_not_waited_for),
		TEST(an_unknown_image_lists_those_there_are),
		TEST(a_path_must_be_a_disk),
		TEST(a_qcow2_cut_short_or_with_a_backing_file_is_refused),
		TEST(an_import_is_checked_kept_and_listed),
		TEST(a_disk_grows_to_its_base_and_a_bad_base_is_named),
		TEST(an_image_built_by_an_older_recipe_is_old_and_an_imported_one_never),
		TEST(keys_are_made_once_and_are_private),
		TEST(openssh_reads_the_keys),
		TEST(a_seed_has_its_label_name_user_and_keys),
		TEST(a_seed_refuses_text_that_would_become_yaml),
		TEST(credentials_are_one_smbios_string_a_file),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
