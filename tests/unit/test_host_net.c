/* SPDX-License-Identifier: MIT */
/* Networks of the host, where an empty network namespace and an empty /run play the host: nothing real is touched. */
#include "host.h"

#include "base/err.h"
#include "base/files.h"
#include "base/scoped.h"
#include "base/str.h"
#include "network/host_lock.h"
#include "network/host_net.h"
#include "network/links.h"
#include "store/host_record.h"
#include "store/host_tables.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define RECORDS "/run/drover/networks"

static struct host_net_owner owner_of(const char *member)
{
	struct host_net_owner o = {
		.root = "/a/store", .member = member, .pid_ns = host_namespace("pid")};

	procid_of(getpid(), &o.id);
	return o;
}

/* One who has died: the pid is another's. */
static struct host_net_owner dead_owner(const char *member)
{
	struct host_net_owner o = owner_of(member);

	o.id.start_ticks += 1;
	return o;
}

static bool forwards(const char *ifname)
{
	scoped(mem) char *path = str_format("/proc/sys/net/ipv4/conf/%s/forwarding", ifname);
	scoped(mem) char *text = NULL;

	return files_read(path, 16, &text, NULL) == 0 && text[0] == '1';
}

static void count(void *arg, const char *name)
{
	*(int *)arg += 1;
}

/* How many of our bridges, tables and records there are; -1: not as many of one as of the other. */
static int count_networks(void)
{
	struct if_nameindex *all = if_nameindex();
	struct host_records records;
	int bridges = 0;
	int tables = 0;
	int n;

	for (size_t i = 0; all[i].if_index; i++)
		bridges += str_starts(all[i].if_name, "drv");
	if_freenameindex(all);
	if (host_tables_each(count, &tables) < 0 || host_records_load(&records, NULL) < 0)
		return -1;
	n = (int)records.n;
	host_records_done(&records);
	return bridges == tables && tables == n ? n : -1;
}

static int body_make_and_remove(void)
{
	struct host_net_owner o = owner_of("web-1");
	struct host_net *n = NULL;
	struct err e = ERR_INIT;
	char ifname[IF_NAMESIZE];
	int tap = -1;

	NEED(host_net_check(&e) == 0);
	NEED(!forwards("up0") && count_networks() == 0);
	NEED(host_net_open(&o, NULL, true, &n, &e) == 0);
	NEED(str_starts(host_net_bridge(n), "drv") && strlen(host_net_bridge(n)) == 11);
	NEED(count_networks() == 1);
	NEED(forwards("up0") && forwards(host_net_bridge(n)) && !forwards("lo") &&
	     !forwards("all"));
	NEED(host_net_tap(n, &tap, ifname, &e) == 0);
	NEED(str_starts(ifname, host_net_bridge(n)) && strlen(ifname) < IF_NAMESIZE);
	NEED(host_net_reconcile(true, &e) == 0 && count_networks() == -1); /* -1: the tap */
	close(tap);
	host_net_close(n);
	NEED(count_networks() == 0 && !forwards("up0"));
	return 0;
}

static int body_holder(void)
{
	struct host_net_owner other = owner_of("web-1");
	struct host_net_owner mine = owner_of("web-1");
	struct host_net *n;
	struct err e = ERR_INIT;
	int go[2];
	char c;
	pid_t pid;

	NEED(pipe2(go, O_CLOEXEC) == 0);
	pid = fork();
	if (pid == 0) {
		close(go[1]);
		_exit(read(go[0], &c, 1) < 0);
	}
	NEED(procid_of(pid, &other.id) == 0);
	NEED(host_net_holder(&mine) == 0);
	NEED(host_net_open(&other, NULL, false, &n, &e) == 0);
	NEED(host_net_holder(&mine) == pid);
	NEED(host_net_holder(&other) == 0); /* itself */
	close(go[0]);
	close(go[1]);
	NEED(waitpid(pid, NULL, 0) == pid);
	NEED(host_net_holder(&mine) == 0);
	host_net_close(n);
	return 0;
}

static int body_subnets(void)
{
	struct host_net_owner a = owner_of("a");
	struct host_net_owner b = owner_of("b");
	struct host_net *first = NULL;
	struct host_net *second = NULL;
	char subnet[SUBNET_SIZE];
	struct err e = ERR_INIT;

	NEED(host_net_open(&a, NULL, true, &first, &e) == 0);
	snprintf(subnet, sizeof(subnet), "%s", host_net_subnet(first));
	NEED(str_starts(subnet, "10.83."));
	NEED(host_net_open(&b, subnet, true, &second, &e) == 0); /* wanted, but taken */
	NEED(strcmp(host_net_subnet(second), subnet) != 0);
	host_net_close(first);
	NEED(forwards("up0")); /* the other needs it */
	host_net_close(second);
	NEED(!forwards("up0"));
	NEED(host_net_open(&b, subnet, true, &second, &e) == 0); /* free again */
	NEED(strcmp(host_net_subnet(second), subnet) == 0);
	host_net_close(second);
	NEED(sh("ip route add 10.80.0.0/12 via 192.0.2.1"));
	NEED(host_net_open(&a, subnet, true, &first, &e) == 0);
	NEED(str_starts(host_net_subnet(first), "172.31."));
	host_net_close(first);
	NEED(sh("ip route add 172.16.0.0/12 via 192.0.2.1 && ip addr add 192.168.7.7/16 dev up0"));
	NEED(host_net_open(&a, NULL, true, &first, &e) < 0 && e.code == ERR_NO_ADDRESS);
	NEED(count_networks() == 0);
	return 0;
}

static int body_no_egress(void)
{
	struct host_net_owner o = owner_of("hermit");
	struct host_net *n = NULL;
	struct err e = ERR_INIT;

	NEED(host_net_open(&o, NULL, false, &n, &e) == 0);
	NEED(!forwards("up0") && !forwards(host_net_bridge(n)));
	NEED(sh("nft list ruleset | grep -q 'oifname != .* drop'"));
	host_net_close(n);
	NEED(count_networks() == 0);
	return 0;
}

enum { AT_ONCE = 6 };

/* Opens a network when @go ends, says which on @told, and dies without closing it. */
static void open_one(int i, int go, int told)
{
	char member[16];
	char c;
	struct host_net_owner o;
	struct host_net *n;
	struct err e = ERR_INIT;

	snprintf(member, sizeof(member), "m-%d", i);
	o = owner_of(member);
	if (read(go, &c, 1) != 0 || host_net_open(&o, "10.83.9.0/24", true, &n, &e) < 0 ||
	    write(told, host_net_subnet(n), SUBNET_SIZE) != SUBNET_SIZE)
		fprintf(stderr, "%s\n", e.msg);
	_exit(0);
}

static int body_at_once(void)
{
	char subnets[AT_ONCE][SUBNET_SIZE];
	struct err e = ERR_INIT;
	int go[2];
	int told[2];

	NEED(pipe(go) == 0 && pipe(told) == 0);
	for (int i = 0; i < AT_ONCE; i++) {
		if (fork() == 0) {
			close(go[1]);
			open_one(i, go[0], told[1]);
		}
	}
	close(go[1]);
	close(told[1]);
	for (int i = 0; i < AT_ONCE; i++) {
		NEED(read(told[0], subnets[i], SUBNET_SIZE) == SUBNET_SIZE);
		for (int j = 0; j < i; j++)
			NEED(strcmp(subnets[i], subnets[j]) != 0);
	}
	while (wait(NULL) > 0)
		;
	NEED(count_networks() == AT_ONCE && forwards("up0"));
	NEED(host_net_reconcile(false, &e) == 0);
	NEED(count_networks() == 0 && !forwards("up0"));
	return 0;
}

static int body_owners(void)
{
	struct host_net_owner alive = owner_of("alive");
	struct host_net_owner dead = dead_owner("dead");
	struct host_net_owner boot = owner_of("boot");
	struct host_net_owner far = dead_owner("far");
	struct host_net *n = NULL;
	struct err e = ERR_INIT;

	far.pid_ns += 1;
	snprintf(boot.id.boot_id, BOOT_ID_SIZE, "00000000-0000-4000-8000-000000000000");
	NEED(host_net_open(&alive, NULL, true, &n, &e) == 0);
	free(n);
	NEED(host_net_open(&dead, NULL, true, &n, &e) == 0);
	free(n);
	NEED(host_net_open(&boot, NULL, true, &n, &e) == 0);
	free(n);
	NEED(host_net_open(&far, NULL, true, &n, &e) == 0);
	free(n);
	dead = owner_of("dead");
	NEED(host_net_open(&dead, NULL, true, &n, &e) < 0 && e.code == ERR_EXISTS);
	NEED(count_networks() == 4);
	NEED(host_net_reconcile(false, &e) == 0);
	NEED(count_networks() == 2 && forwards("up0")); /* alive, and who cannot be judged */
	NEED(host_net_reconcile(true, &e) < 0 && strstr(e.msg, "another pid namespace"));
	NEED(count_networks() == 2);
	NEED(host_net_adopt(&alive, &n, &e) == 0); /* its own, once more */
	free(n);
	NEED(host_net_adopt(&dead, &n, &e) < 0);
	NEED(host_net_open(&alive, NULL, true, &n, &e) ==
	     0); /* in place of what a killed helper made */
	NEED(count_networks() == 2 && forwards("up0"));
	host_net_close(n);
	host_net_sweep(&alive);
	NEED(count_networks() == 1);
	host_net_sweep(&far);
	NEED(count_networks() == 0 && !forwards("up0"));
	return 0;
}

/* The real host's, in which the process that runs the tests lives. */
static uint64_t net_ns_of_parent(void)
{
	scoped(mem) char *path = str_format("/proc/%d/ns/net", (int)getppid());
	struct stat st;

	return path && stat(path, &st) == 0 ? st.st_ino : 0;
}

/* A record of a dead owner that was made in the network namespace @net_ns. */
static int save_record(const char *key, uint64_t net_ns, struct err *e)
{
	struct host_net_owner o = dead_owner("away");
	struct host_record r = {.root = (char *)(uintptr_t)o.root,
				.member = "away",
				.subnet = "10.83.1.0/24",
				.owner = o.id,
				.net_ns = net_ns,
				.pid_ns = o.pid_ns,
				.uplinks = {"up0"},
				.n_uplinks = 1};

	snprintf(r.key, sizeof(r.key), "%s", key);
	return host_record_save(&r, e);
}

/* One namespace has gone, and its record with it; the other lives, and is its own matter. Nothing of ours is touched. */
static int body_other_namespaces(void)
{
	struct err e = ERR_INIT;
	int lock;

	NEED(host_lock(HOST_LOCK_MS, &lock, &e) == 0);
	NEED(save_record("00000009", 1, &e) == 0 &&
	     save_record("0000000a", net_ns_of_parent(), &e) == 0);
	host_unlock(&lock);
	NEED(sh("echo 1 >/proc/sys/net/ipv4/conf/up0/forwarding"));
	NEED(links_bridge_make("drv00000009", "10.83.1.1", &e) == 0);
	NEED(host_net_reconcile(false, &e) == 0);
	NEED(!files_exist(RECORDS "/drv00000009.json") && files_exist(RECORDS "/drv0000000a.json"));
	NEED(if_nametoindex("drv00000009") && forwards("up0"));
	return 0;
}

/* What an owner left when it died between the record and the things, and between the things and the record. */
static int body_halves(void)
{
	struct host_net_owner o = dead_owner("half");
	struct host_net *n = NULL;
	struct err e = ERR_INIT;
	char command[128];

	NEED(host_net_open(&o, NULL, true, &n, &e) == 0);
	snprintf(command, sizeof(command), "ip link delete %s", host_net_bridge(n));
	NEED(sh(command));
	NEED(host_net_reconcile(false, &e) == 0 && count_networks() == 0);
	free(n);
	NEED(host_net_open(&o, NULL, true, &n, &e) == 0);
	NEED(sh("nft flush ruleset"));
	NEED(host_net_reconcile(false, &e) == 0 && count_networks() == 0);
	free(n);
	NEED(sh("mkdir -p " RECORDS " && touch " RECORDS "/drv01234567.json.AbCdEf"));
	NEED(host_net_reconcile(false, &e) == 0 && !files_exist("/run/drover"));
	return 0;
}

/* For ever, when it has told so. */
static void __attribute__((noreturn)) hold_lock(int told)
{
	int fd = open("/run/drover/lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || flock(fd, LOCK_EX) < 0 || write(told, "x", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

static int body_held(void)
{
	struct err e = ERR_INIT;
	int lock = -1;
	int told[2];
	char by[32];
	pid_t holder;
	char c;

	NEED(host_lock(HOST_LOCK_MS, &lock, &e) == 0);
	NEED(!sh("flock -n /run/drover/lock true"));
	host_unlock(&lock);
	NEED(!files_exist("/run/drover"));
	NEED(host_net_reconcile(true, &e) == 0 && !files_exist("/run/drover"));
	NEED(pipe(told) == 0 && sh("mkdir -p " RECORDS));
	holder = fork();
	if (holder == 0)
		hold_lock(told[1]);
	NEED(read(told[0], &c, 1) == 1);
	NEED(host_lock(100, &lock, &e) < 0 && e.code == ERR_BUSY && lock == -1);
	snprintf(by, sizeof(by), "by pid %d (", (int)holder);
	NEED(strstr(e.msg, "/run/drover/lock is held for more than") && strstr(e.msg, by) &&
	     strstr(e.msg, "test_host_net"));
	kill(holder, SIGKILL);
	NEED(waitpid(holder, NULL, 0) == holder && host_lock(HOST_LOCK_MS, &lock, &e) == 0);
	host_unlock(&lock);
	return 0;
}

/* Whoever waits gets the lock when it is let go of, though its file was removed then. */
static int body_handed_on(void)
{
	struct err e = ERR_INIT;
	int lock = -1;
	int status;
	int go[2];
	char c;

	NEED(host_lock(HOST_LOCK_MS, &lock, &e) == 0 && pipe(go) == 0);
	if (fork() == 0) {
		close_fd(&lock); /* a copy of the parent's would hold it too */
		NEED(write(go[1], "x", 1) == 1);
		_exit(host_lock(HOST_LOCK_MS, &lock, &e) < 0 || !files_exist(RECORDS));
	}
	NEED(read(go[0], &c, 1) == 1);
	host_unlock(&lock);
	NEED(wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0);
	return 0;
}

static int body_unreadable(void)
{
	struct host_net_owner o = dead_owner("torn");
	struct host_net *n = NULL;
	struct err e = ERR_INIT;
	char key[HOST_KEY_SIZE];
	scoped(mem) char *path = NULL;

	NEED(host_net_open(&o, NULL, true, &n, &e) == 0);
	free(n);
	host_key(o.root, o.member, key);
	path = str_format(RECORDS "/drv%s.json", key);
	NEED(files_publish(path, "{\"member\": 7}", 13, 0644) == 0);
	NEED(sh("echo hello > " RECORDS "/note"));
	NEED(host_net_reconcile(false, &e) < 0);
	NEED(strstr(e.msg, path) && strstr(e.msg, "\"member\"") && strstr(e.msg, RECORDS "/note"));
	NEED(files_exist(path) && forwards("up0")); /* nobody knows, so nothing is touched */
	o = owner_of("torn");
	NEED(host_net_open(&o, NULL, true, &n, &e) < 0 && strstr(e.msg, path));
	return 0;
}

static int body_orphans(void)
{
	struct err e = ERR_INIT;
	int tap;
	char ifname[IF_NAMESIZE];

	NEED(links_bridge_make("drv00000001", "10.83.1.1", &e) == 0);
	NEED(links_bridge_make("drv00000002", "10.83.2.1", &e) == 0);
	NEED(links_tap_make("drv00000002", "drv00000002t%d", &tap, ifname, &e) == 0);
	NEED(sh("ip link add drv00000003 type bridge && nft add table ip drover_00000004 && "
		"nft add table ip drover_00000002 && nft add table ip drover_else"));
	NEED(host_net_reconcile(false, &e) == 0 && if_nametoindex("drv00000001"));
	NEED(host_net_reconcile(true, &e) < 0);
	NEED(!if_nametoindex("drv00000001") && if_nametoindex("drv00000002") &&
	     if_nametoindex("drv00000003"));
	NEED(strstr(e.msg, "drv00000002 ") && strstr(e.msg, "drv00000003 ") &&
	     strstr(e.msg, ifname));
	NEED(sh("! nft list table ip drover_00000004 2>/dev/null && "
		"nft list table ip drover_00000002 >/dev/null && nft list table ip drover_else >/dev/null"));
	close(tap);
	return 0;
}

static int body_without_the_right(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};
	struct err e = ERR_INIT;

	NEED(syscall(SYS_capset, &head, data) == 0);
	NEED(host_net_check(&e) < 0 && e.code == ERR_DENIED && strstr(e.hint, "--network private"));
	return 0;
}

ON_A_HOST(a_network_is_made_and_nothing_is_left, body_make_and_remove)
ON_A_HOST(subnets_keep_clear_of_each_other_and_of_the_host, body_subnets)
ON_A_HOST(without_a_way_out_nothing_is_forwarded, body_no_egress)
ON_A_HOST(six_at_once_get_six_subnets_and_their_death_is_mended, body_at_once)
ON_A_HOST(only_what_dead_owners_left_is_removed, body_owners)
ON_A_HOST(records_of_other_network_namespaces_are_left_to_them, body_other_namespaces)
ON_A_HOST(what_is_half_there_is_removed, body_halves)
ON_A_HOST(a_lock_that_is_held_too_long_names_its_holder, body_held)
ON_A_HOST(a_lock_whose_file_was_removed_is_handed_on, body_handed_on)
ON_A_HOST(an_unreadable_record_is_named_and_kept, body_unreadable)
ON_A_HOST(things_without_a_record_are_found, body_orphans)
ON_A_HOST(without_the_right_the_private_network_is_named, body_without_the_right)

static void who_has_the_network_still_is_told(void **state)
{
	on_a_host(body_holder);
}

static void names_are_told_from_others(void **state)
{
	char key[HOST_KEY_SIZE];
	bool is_tap;

	assert_true(host_name_parse("drv0123abcd", key, &is_tap) && !is_tap);
	assert_string_equal(key, "0123abcd");
	assert_true(host_name_parse("drv0123abcdt12", key, &is_tap) && is_tap);
	assert_false(host_name_parse("drv0123abc", key, &is_tap));
	assert_false(host_name_parse("drv0123abcdt", key, &is_tap));
	assert_false(host_name_parse("drv0123abcd0", key, &is_tap));
	assert_false(host_name_parse("drv0123ABCD", key, &is_tap));
	assert_true(host_table_parse("drover_0123abcd", key));
	assert_false(host_table_parse("drover", key));
	assert_false(host_table_parse("drover_0123abcde", key));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(names_are_told_from_others),
		TEST(who_has_the_network_still_is_told),
		TEST(a_network_is_made_and_nothing_is_left),
		TEST(subnets_keep_clear_of_each_other_and_of_the_host),
		TEST(without_a_way_out_nothing_is_forwarded),
		TEST(six_at_once_get_six_subnets_and_their_death_is_mended),
		TEST(only_what_dead_owners_left_is_removed),
		TEST(records_of_other_network_namespaces_are_left_to_them),
		TEST(a_lock_that_is_held_too_long_names_its_holder),
		TEST(a_lock_whose_file_was_removed_is_handed_on),
		TEST(what_is_half_there_is_removed),
		TEST(an_unreadable_record_is_named_and_kept),
		TEST(things_without_a_record_are_found),
		TEST(without_the_right_the_private_network_is_named),
	};

	return RUN_TESTS(tests);
}
