/* SPDX-License-Identifier: MIT */
/* What a file of an export may not say, to libdrover, which unpacks it. */
#include "check.h"

#include "base/err.h"
#include "base/files.h"
#include "base/scoped.h"
#include "base/str.h"
#include "drover.h"
#include "guest/bundle.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* One file to be written: config.json, the only one that says anything, and what stands for the others. */
struct made {
	const char *format;  /* NULL: the right one */
	const char *qemu;    /* NULL: this host's */
	const char *members; /* NULL: "a" */
	const char *config;  /* more fields, "" or behind a comma */
	const char *extra;   /* a name beside the member's; or NULL */
	bool disk_on_another;
};

static char home[64];

static char *in_home(const char *name)
{
	return str_format("%s/%s", home, name);
}

static void qemu_version(char *ret, size_t size)
{
	FILE *p = popen("qemu-system-x86_64 --version", "r");

	assert_non_null(p);
	assert_non_null(fgets(ret, (int)size, p));
	ret[strcspn(ret, "\n")] = '\0';
	pclose(p);
}

static void add(struct bundle *b, const char *name, const char *data, size_t len)
{
	scoped(mem) char *path = in_home("part");
	struct err e = ERR_INIT;

	assert_int_equal(files_publish(path, data, len, 0600), 0);
	assert_int_equal(bundle_add(b, name, path, &e), 0);
	unlink(path);
}

static void add_disk(struct bundle *b, bool on_another)
{
	char head[512] = "QFI\xfb\0\0\0\3";

	head[15] = on_another ? 104 : 0; /* where the name of the file below it stands */
	add(b, "a/disk.qcow2", head, sizeof(head));
}

static void write_file(const struct made *m, const char *path)
{
	char qemu[200];
	scoped(fd) int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	scoped(mem) char *head = NULL;
	scoped(mem) char *config = NULL;
	scoped(bundle) struct bundle *b = NULL;
	struct err e = ERR_INIT;

	qemu_version(qemu, sizeof(qemu));
	head = str_format("{\"format\":%s,\"qemu\":\"%s\",\"accel\":\"tcg\",\"members\":[%s]}",
			  m->format ? m->format : "1", m->qemu ? m->qemu : qemu,
			  m->members ? m->members : "\"a\"");
	config = str_format("{\"name\":\"a\",\"user\":\"root\",\"backend\":\"qemu\",\"cpus\":1,"
			    "\"memory_mb\":256,\"disk_format\":\"qcow2\"%s}",
			    m->config);
	assert_true(fd >= 0 && head && config);
	assert_int_equal(bundle_begin(fd, head, NULL, &b, &e), 0);
	add(b, "a/config.json", config, strlen(config));
	add(b, "a/memory", "memory", 6);
	add(b, "a/login_key", "key", 3);
	add_disk(b, m->disk_on_another);
	if (m->extra)
		add(b, m->extra, "extra", 5);
	assert_int_equal(bundle_finish(b, &e), 0);
}

/* What is said of it; nothing stays behind. */
static void import_says(const struct made *m, const char *text)
{
	scoped(mem) char *path = NULL;
	scoped(mem) char *captures = NULL;
	struct drover_capture *k = NULL;
	struct drover_error e = {.code = ""};
	int fd;
	int r;

	strcpy(home, "/tmp/drv-XXXXXX");
	assert_non_null(mkdtemp(home));
	setenv("DROVER_ACCEL", "tcg", 1);
	path = in_home("file");
	captures = in_home("captures");
	write_file(m, path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	r = drover_capture_import(home, fd, NULL, &k, &e);
	close(fd);
	drover_capture_close(k);
	if (!text)
		assert_string_equal(e.sentence, "");
	else
		assert_true(r < 0);
	if (text && !strstr(e.sentence, text))
		fail_msg("'%s' is not in: %s", text, e.sentence);
	assert_int_equal(rmdir(captures), -1); /* its lock is there */
	free(take_ptr(&path));
	path = in_home("captures/.lock");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(captures), 0);
	files_remove_tree(home);
}

static void one_that_is_right_is_taken(void **state)
{
	import_says(&(struct made){.config = ""}, NULL);
}

/* A pipe that nobody writes to. */
static void import_ends(const struct drover_call *o, const char *code)
{
	struct drover_capture *k = NULL;
	struct drover_error e = {.code = ""};
	int ends[2];

	strcpy(home, "/tmp/drv-XXXXXX");
	assert_non_null(mkdtemp(home));
	assert_int_equal(pipe(ends), 0);
	assert_true(drover_capture_import(home, ends[0], o, &k, &e) < 0);
	assert_string_equal(e.code, code);
	assert_null(k);
	close(ends[0]);
	close(ends[1]);
	files_remove_tree(home);
}

static void an_import_from_what_is_no_descriptor_is_refused(void **state)
{
	struct drover_capture *k = NULL;
	struct drover_error e = {.code = ""};

	assert_int_equal(drover_capture_import(NULL, -1, NULL, &k, &e), -EBADF);
	assert_string_equal(e.code, "io_error");
	assert_null(k);
}

static void an_import_of_what_does_not_come_ends_at_its_deadline(void **state)
{
	struct drover_call o = DROVER_CALL_INIT;

	o.timeout_ms = 50;
	import_ends(&o, "timeout");
}

static void an_import_is_canceled(void **state)
{
	struct drover_call o = DROVER_CALL_INIT;

	o.cancel = drover_cancel_new();
	assert_non_null(o.cancel);
	drover_cancel_now(o.cancel);
	import_ends(&o, "canceled");
	drover_cancel_free(o.cancel);
}

static void another_format_is_refused(void **state)
{
	import_says(&(struct made){.config = "", .format = "2"}, "the file has format 2");
}

static void another_qemu_is_refused_with_both_versions(void **state)
{
	import_says(&(struct made){.config = "", .qemu = "QEMU 1"},
		    "under 'QEMU 1', and this host");
}

static void names_that_lead_out_are_refused(void **state)
{
	import_says(&(struct made){.config = "", .members = "\"../a\""}, "invalid name '../a'");
	import_says(&(struct made){.config = "", .members = "\"a\",\"a\""}, "a is in it twice");
	import_says(&(struct made){.config = "", .members = ""}, "it has 0 members");
}

static void files_that_nobody_asked_for_are_refused(void **state)
{
	import_says(&(struct made){.config = "", .extra = "b/disk.qcow2"}, "nobody asked for");
	import_says(&(struct made){.config = "", .extra = "a/../x"}, "nobody asked for");
	import_says(&(struct made){.config = "", .extra = "/tmp/x"}, "nobody asked for");
	import_says(&(struct made){.config = "", .extra = "a/memory"}, "a/memory twice");
}

static void configurations_that_name_files_of_the_host_are_refused(void **state)
{
	import_says(&(struct made){.config = ",\"kernel_path\":\"/etc/passwd\""},
		    "the kernel of a is not valid");
	import_says(&(struct made){.config = ",\"backend\":\"fake\""}, "the backend of a");
	import_says(&(struct made){.config = ",\"user\":\"-oProxyCommand=x\""}, "the user of a");
}

static void a_disk_that_stands_on_another_file_is_refused(void **state)
{
	import_says(&(struct made){.config = "", .disk_on_another = true}, "it needs another file");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(one_that_is_right_is_taken),
		TEST(an_import_from_what_is_no_descriptor_is_refused),
		TEST(an_import_of_what_does_not_come_ends_at_its_deadline),
		TEST(an_import_is_canceled),
		TEST(another_format_is_refused),
		TEST(another_qemu_is_refused_with_both_versions),
		TEST(names_that_lead_out_are_refused),
		TEST(files_that_nobody_asked_for_are_refused),
		TEST(configurations_that_name_files_of_the_host_are_refused),
		TEST(a_disk_that_stands_on_another_file_is_refused),
	};

	return RUN_TESTS(tests);
}
