/* SPDX-License-Identifier: MIT */
#include "check.h"

#include "base/err.h"
#include "base/files.h"
#include "base/scoped.h"
#include "store/store.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char home[64];

static void open_store(struct store *s)
{
	struct err e = ERR_INIT;

	strcpy(home, "/tmp/drv-XXXXXX");
	assert_non_null(mkdtemp(home));
	assert_int_equal(store_open(home, s, &e), 0);
}

static void close_store(struct store *s)
{
	store_close(s);
	assert_int_equal(files_remove_tree(home), 0);
}

static void expect_path(char *path, const char *tail)
{
	char want[256];

	snprintf(want, sizeof(want), "%s/%s", home, tail);
	assert_string_equal(path, want);
	free(path);
}

static void the_layout_is_the_references(void **state)
{
	struct store s;

	open_store(&s);
	expect_path(store_member_path(&s, "web-1", "pid"), "clusters/web/web-1/pid");
	expect_path(store_member_path(&s, "solo", NULL), "clusters/solo/solo");
	expect_path(store_socket_path(&s, "solo", "sock"), "run/5364f2f2fc4f54e9.sock");
	expect_path(store_socket_path(&s, "web-1", "ctl"), "run/c4719afa76fa448b.ctl");
	expect_path(store_log_path(&s, "solo"), "helper-solo.log");
	close_store(&s);
}

static void save(const struct store *s, const char *name)
{
	struct member_config c = {.cpus = 2, .memory_mb = 512, .disk_mb = 1024};
	struct err e = ERR_INIT;

	snprintf(c.name, sizeof(c.name), "%s", name);
	c.image = strdup("debian-12 \"x\"");
	assert_int_equal(store_member_mkdir(s, name, &e), 0);
	assert_int_equal(store_config_save(s, &c, &e), 0);
	member_config_done(&c);
}

static void a_config_comes_back_and_is_listed_in_order(void **state)
{
	static const char *const want[] = {"db", "web-1", "web-2", "web-10"};
	struct member_config c = {0};
	struct name_list all = {0};
	struct err e = ERR_INIT;
	struct store s;

	open_store(&s);
	for (int i = 3; i >= 0; i--)
		save(&s, want[i]);
	assert_int_equal(store_config_load(&s, "web-2", &c, &e), 0);
	assert_string_equal(c.image, "debian-12 \"x\"");
	assert_int_equal(c.memory_mb, 512);
	member_config_done(&c);
	assert_int_equal(store_list(&s, &all, &e), 0);
	assert_int_equal(all.n, 4);
	for (size_t i = 0; i < all.n; i++)
		assert_string_equal(all.names[i], want[i]);
	name_list_done(&all);
	close_store(&s);
}

static void a_removed_member_takes_its_cluster_when_it_was_the_last(void **state)
{
	char cluster[80];
	struct member_config c = {0};
	struct err e = ERR_INIT;
	struct store s;

	open_store(&s);
	save(&s, "web-1");
	save(&s, "web-2");
	snprintf(cluster, sizeof(cluster), "%s/clusters/web", home);
	assert_int_equal(store_member_remove(&s, "web-1", &e), 0);
	assert_false(store_member_exists(&s, "web-1"));
	assert_true(files_exist(cluster));
	assert_int_equal(store_member_remove(&s, "web-2", &e), 0);
	assert_false(files_exist(cluster));
	assert_int_equal(store_config_load(&s, "web-1", &c, &e), -ENOENT);
	assert_int_equal(e.code, ERR_NOT_FOUND);
	close_store(&s);
}

/* The path of the config of a member "a" that holds @text. Heap. */
static char *damage(struct store *s, const char *text)
{
	char *path;

	open_store(s);
	save(s, "a");
	path = store_member_path(s, "a", "config.json");
	assert_int_equal(files_replace(path, text, strlen(text), 0600), 0);
	return path;
}

static void the_console_of_a_failed_start_outlives_its_member_until_a_prune(void **state)
{
	struct err e = ERR_INIT;
	scoped(mem) char *log = NULL;
	scoped(mem) char *kept = NULL;
	struct store s;

	open_store(&s);
	save(&s, "a");
	assert_null(store_console_keep(&s, "a")); /* nothing was written */
	log = store_member_path(&s, "a", "serial.log");
	assert_int_equal(files_publish(log, "words", 5, 0600), 0);
	kept = store_console_keep(&s, "a");
	assert_non_null(kept);
	assert_false(files_exist(log));
	assert_int_equal(store_member_remove(&s, "a", &e), 0);
	assert_true(files_exist(kept));
	store_logs_remove(&s, NULL);
	assert_false(files_exist(kept));
	assert_int_equal(files_publish(kept, "words", 5, 0600), 0);
	store_console_forget(&s, "a");
	assert_false(files_exist(kept));
	close_store(&s);
}

static void a_damaged_config_is_named(void **state)
{
	struct member_config c = {0};
	struct err e = ERR_INIT;
	struct store s;

	free(damage(&s, "{"));
	assert_true(store_config_load(&s, "a", &c, &e) < 0);
	assert_non_null(strstr(e.msg, "config.json"));
	close_store(&s);
}

static void a_field_of_the_wrong_type_is_named(void **state)
{
	static const char text[] = "{\"name\": \"a\", \"cpus\": \"two\"}";
	struct member_config c = {0};
	struct err e = ERR_INIT;
	struct store s;
	char *path = damage(&s, text);

	assert_true(store_config_load(&s, "a", &c, &e) < 0);
	assert_non_null(strstr(e.msg, path));
	assert_non_null(strstr(e.msg, "\"cpus\""));
	free(path);
	close_store(&s);
}

static void a_cluster_that_cannot_be_read_is_listed_beside_the_rest(void **state)
{
	char loop[80];
	struct member_config c = {0};
	struct name_list all = {0};
	struct err e = ERR_INIT;
	struct store s;

	open_store(&s);
	save(&s, "a");
	snprintf(loop, sizeof(loop), "%s/clusters/web", home);
	assert_int_equal(symlink("web", loop), 0); /* what not even root can read */
	assert_int_equal(store_list(&s, &all, &e), 0);
	assert_int_equal(all.n, 2);
	assert_string_equal(all.names[0], "a");
	assert_string_equal(all.names[1], "web");
	name_list_done(&all);
	assert_true(store_config_load(&s, "web", &c, &e) < 0);
	assert_non_null(strstr(e.msg, "clusters/web"));
	close_store(&s);
}

static void a_config_that_cannot_be_removed_is_an_error(void **state)
{
	struct err e = ERR_INIT;
	struct store s;
	char *path;

	open_store(&s);
	assert_int_equal(store_member_mkdir(&s, "a", &e), 0);
	path = store_member_path(&s, "a", "config.json");
	assert_int_equal(mkdir(path, 0700), 0); /* unlink fails, for root too */
	assert_true(store_member_remove(&s, "a", &e) < 0);
	assert_non_null(strstr(e.msg, path));
	assert_true(files_exist(path));
	free(path);
	close_store(&s);
}

/* A home whose sockets must live elsewhere: the runtime directory is made by someone before us. */
static void a_run_directory_that_others_can_enter_is_refused(void **state)
{
	char deep[200];
	char runtime[80];
	char ours[100];
	struct err e = ERR_INIT;
	struct store s;

	open_store(&s);
	store_close(&s);
	snprintf(deep, sizeof(deep), "%s/%0100d", home, 0);
	snprintf(runtime, sizeof(runtime), "%s/r", home);
	snprintf(ours, sizeof(ours), "%s/drover", runtime);
	assert_int_equal(files_mkdir_all(ours, 0700), 0);
	assert_int_equal(setenv("XDG_RUNTIME_DIR", runtime, 1), 0);
	assert_int_equal(chmod(ours, 0755), 0);
	assert_true(store_open(deep, &s, &e) < 0);
	assert_int_equal(e.code, ERR_DENIED);
	assert_non_null(strstr(e.msg, ours));
	assert_int_equal(chmod(ours, 0700), 0);
	assert_int_equal(store_open(deep, &s, &e), 0);
	unsetenv("XDG_RUNTIME_DIR");
	close_store(&s);
}

static void the_lock_is_held_by_one(void **state)
{
	struct err e = ERR_INIT;
	struct store s;
	int first = -1;
	int second = -1;

	open_store(&s);
	assert_int_equal(store_member_lock(&s, "a", &first, &e), 0);
	assert_int_equal(store_member_lock(&s, "a", &second, &e), -EBUSY);
	close(first);
	assert_int_equal(store_member_lock(&s, "a", &second, &e), 0);
	close(second);
	close_store(&s);
}

static void an_owner_is_alive_only_as_itself(void **state)
{
	struct procid id;
	struct err e = ERR_INIT;
	struct store s;
	char *pid;
	char *text;
	char want[16];

	open_store(&s);
	assert_int_equal(store_member_mkdir(&s, "a", &e), 0);
	assert_int_equal(store_owner_alive(&s, "a"), 0);
	assert_int_equal(procid_of(getpid(), &id), 0);
	assert_int_equal(store_owner_write(&s, "a", &id, NULL, &e), 0);
	assert_int_equal(store_owner_alive(&s, "a"), getpid());
	assert_int_equal(store_member_mkdir(&s, "b", &e), 0);
	assert_int_equal(store_owner_write(&s, "b", &id, "a", &e), 0);
	assert_int_equal(store_owner_write(&s, "b", &id, "a", &e), 0); /* over what is there */
	assert_int_equal(store_owner_write(&s, "b", &id, "nobody", &e), 0);
	assert_int_equal(store_owner_alive(&s, "b"), getpid());
	store_owner_clear(&s, "b");
	assert_int_equal(store_owner_alive(&s, "b"), 0);
	assert_int_equal(store_owner_alive(&s, "a"), getpid());
	pid = store_member_path(&s, "a", "pid");
	snprintf(want, sizeof(want), "%d", (int)getpid());
	assert_int_equal(files_read(pid, 64, &text, NULL), 0);
	assert_string_equal(text, want); /* no newline */
	free(text);
	free(pid);
	id.start_ticks++; /* a recycled pid */
	assert_int_equal(store_owner_write(&s, "a", &id, NULL, &e), 0);
	assert_int_equal(store_owner_alive(&s, "a"), 0);
	id.start_ticks--;
	id.boot_id[0] = id.boot_id[0] == '0' ? '1' : '0'; /* of another boot */
	assert_int_equal(store_owner_write(&s, "a", &id, NULL, &e), 0);
	assert_int_equal(store_owner_alive(&s, "a"), 0);
	store_owner_clear(&s, "a");
	assert_int_equal(store_owner_alive(&s, "a"), 0);
	close_store(&s);
}

static void a_zombie_owns_nothing(void **state)
{
	struct procid id;
	struct err e = ERR_INIT;
	struct store s;
	siginfo_t info;
	int go[2];
	char c;
	pid_t pid;

	open_store(&s);
	assert_int_equal(store_member_mkdir(&s, "a", &e), 0);
	assert_int_equal(pipe2(go, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		close(go[1]);
		_exit(read(go[0], &c, 1) < 0);
	}
	assert_int_equal(procid_of(pid, &id), 0);
	assert_int_equal(store_owner_write(&s, "a", &id, NULL, &e), 0);
	assert_int_equal(store_owner_alive(&s, "a"), pid);
	close(go[0]);
	close(go[1]);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	assert_int_equal(store_owner_alive(&s, "a"), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(procid_of(pid, &id), -ESRCH);
	close_store(&s);
}

static void who_takes_a_member_over_removes_the_network_of_its_killed_owner(void **state)
{
	struct procid dead = {.pid = 4000001, .start_ticks = 1, .boot_id = "gone"};
	struct procid me;
	struct err e = ERR_INIT;
	struct store s;
	char *before;
	char *mine;

	open_store(&s);
	assert_int_equal(procid_of(getpid(), &me), 0);
	before = store_network_path(&s, "a", dead.pid);
	mine = store_network_path(&s, "a", me.pid);
	assert_int_equal(store_member_mkdir(&s, "a", &e), 0);
	assert_int_equal(store_owner_write(&s, "a", &dead, NULL, &e), 0);
	assert_int_equal(files_mkdir_all(before, 0700), 0);
	assert_int_equal(files_mkdir_all(mine, 0700), 0);
	assert_int_equal(store_owner_write(&s, "a", &me, NULL, &e), 0);
	assert_false(files_exist(before));
	assert_int_equal(store_owner_write(&s, "a", &me, NULL, &e), 0);
	assert_true(files_exist(mine));
	free(before);
	free(mine);
	close_store(&s);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(who_takes_a_member_over_removes_the_network_of_its_killed_owner),
		TEST(the_layout_is_the_references),
		TEST(a_config_comes_back_and_is_listed_in_order),
		TEST(a_removed_member_takes_its_cluster_when_it_was_the_last),
		TEST(the_console_of_a_failed_start_outlives_its_member_until_a_prune),
		TEST(a_damaged_config_is_named),
		TEST(a_field_of_the_wrong_type_is_named),
		TEST(a_cluster_that_cannot_be_read_is_listed_beside_the_rest),
		TEST(a_config_that_cannot_be_removed_is_an_error),
		TEST(a_run_directory_that_others_can_enter_is_refused),
		TEST(the_lock_is_held_by_one),
		TEST(an_owner_is_alive_only_as_itself),
		TEST(a_zombie_owns_nothing),
	};

	return RUN_TESTS(tests);
}
