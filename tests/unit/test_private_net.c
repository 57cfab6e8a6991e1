/* SPDX-License-Identifier: MIT */
/* The sandbox and a private network in it, for whoever runs this: root or an ordinary user. */
#include "check.h"

#include "base/err.h"
#include "base/files.h"
#include "base/scoped.h"
#include "network/links.h"
#include "network/private_net.h"
#include "network/sandbox.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

struct trial {
	struct private_net *net;
	int r;
	struct err error;
	bool opened;
	bool closed;
};

static void needs_a_sandbox(void)
{
	struct err e = ERR_INIT;

	if (sandbox_check(&e) < 0)
		skip_for(e.msg);
}

static void on_open(void *arg, int r, struct private_net *net, const struct err *e)
{
	struct trial *t = arg;

	t->opened = true;
	t->r = r;
	t->net = net;
	if (e)
		t->error = *e;
}

static void on_closed(void *arg)
{
	struct trial *t = arg;

	t->closed = true;
}

#define NEED(what)                                                                              \
	do {                                                                                    \
		if (!(what)) {                                                                  \
			fprintf(stderr, "%s:%d: not true: %s: %s\n", __FILE__, __LINE__, #what, \
				e.msg);                                                         \
			return 1;                                                               \
		}                                                                               \
	} while (0)

/* A process of its own: in pid 1, runs @body and leaves with its answer. In the supervisor: leaves with pid 1's. */
typedef int body_fn(uv_loop_t *loop, const struct sandbox *s, int fd);

static int run_sandboxed(body_fn *body, int fd)
{
	struct sandbox s;
	struct err e = ERR_INIT;
	uv_loop_t loop;
	int code = 0;
	int r = sandbox_enter(false, &s, &code, &e);

	if (r < 0) {
		fprintf(stderr, "%s\n", e.msg);
		return 99;
	}
	if (r > 0)
		return code;
	uv_loop_init(&loop);
	r = body(&loop, &s, fd);
	if (r == 0 && uv_loop_close(&loop) != 0)
		r = 98;
	sandbox_leave(&s);
	return r;
}

static int in_sandbox(body_fn *body)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(run_sandboxed(body, -1));
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int body_leave_seven(uv_loop_t *loop, const struct sandbox *s, int fd)
{
	uv_loop_close(loop);
	return getpid() == 1 && geteuid() == 0 ? 7 : 1;
}

static int open_net(uv_loop_t *loop, const struct sandbox *s, bool egress, const char *dir,
		    struct trial *t, struct err *e)
{
	struct private_net_options o = {.sandbox = s, .egress = egress, .dir = dir};
	int r = private_net_open(loop, &o, on_open, t, e);

	while (r == 0 && !t->opened)
		uv_run(loop, UV_RUN_ONCE);
	if (r == 0 && t->r < 0)
		*e = t->error;
	return r < 0 ? r : t->r;
}

static int use_net(uv_loop_t *loop, const struct sandbox *s, bool egress)
{
	char dir[] = "/tmp/drover-test-XXXXXX";
	char ip[IP_SIZE];
	char ifname[IF_NAMESIZE];
	char path[64];
	struct trial t = {0};
	struct err e = ERR_INIT;
	int fd;

	NEED(mkdtemp(dir));
	NEED(open_net(loop, s, egress, dir, &t, &e) == 0);
	NEED(strcmp(private_net_subnet(t.net), "10.83.0.0/24") == 0);
	NEED(private_net_reserve(t.net, "a", "52:54:00:00:00:01", NULL, ip, &e) == 0);
	NEED(strcmp(ip, "10.83.0.2") == 0);
	NEED(private_net_reserve(t.net, "b", "52:54:00:00:00:02", "10.83.0.77", ip, &e) == 0);
	NEED(strcmp(ip, "10.83.0.77") == 0);
	NEED(private_net_reserve(t.net, "c", "52:54:00:00:00:03", "10.83.0.77", ip, &e) == 0);
	NEED(strcmp(ip, "10.83.0.3") == 0);
	NEED(private_net_reserve(t.net, "b", "52:54:00:00:00:02", "10.83.0.9", ip, &e) == 0);
	NEED(strcmp(ip, "10.83.0.77") == 0);
	NEED(private_net_tap(t.net, &fd, ifname, &e) == 0);
	snprintf(path, sizeof(path), "br0");
	NEED(if_nametoindex(path) != 0 && if_nametoindex(ifname) != 0);
	NEED((if_nametoindex("egress0") != 0) == egress);
	/* who comes up is asked for its link address often */
	NEED(system("ip ntable show dev br0 name arp_cache | grep -q 'retrans 100 '") == 0);
	close(fd);
	NEED(if_nametoindex(ifname) == 0);
	NEED(private_net_tap(t.net, &fd, ifname, &e) == 0);
	private_net_leave_tap(t.net, fd);
	close(fd);
	NEED(if_nametoindex(ifname) != 0); /* not before its namespace ends */
	links_remove(ifname, NULL);
	private_net_close(t.net, on_closed, &t);
	uv_run(loop, UV_RUN_DEFAULT);
	NEED(t.closed && if_nametoindex("br0") == 0 && !files_exist(dir));
	return 0;
}

static int body_refused(uv_loop_t *loop, const struct sandbox *s, int fd)
{
	static const char *const bad[] = {"10.0.0.0/8",   "10.0.0.0",     "10.0.0.1/24",
					  "10.0.0.0/240", "127.0.0.0/24", "lan"};
	struct trial t = {0};
	struct err e = ERR_INIT;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char dir[] = "/tmp/drover-test-XXXXXX";
		const struct private_net_options o = {.sandbox = s, .dir = dir, .subnet = bad[i]};

		NEED(mkdtemp(dir));
		NEED(private_net_open(loop, &o, on_open, &t, &e) < 0);
		NEED(e.code == ERR_INVALID && strstr(e.msg, bad[i]));
		NEED(!files_exist(dir));
	}
	return 0;
}

static int body_inside(uv_loop_t *loop, const struct sandbox *s, int fd)
{
	return use_net(loop, s, false);
}

/* Twice: what one network leaves must not be in the way of the next. */
static int body_with_egress(uv_loop_t *loop, const struct sandbox *s, int fd)
{
	int r = use_net(loop, s, true);

	return r ? r : use_net(loop, s, true);
}

/* Another launcher starts another slirp4netns, whose device has another number. */
static int body_launcher_dies(uv_loop_t *loop, const struct sandbox *s, int fd)
{
	char dir[] = "/tmp/drover-test-XXXXXX";
	struct trial t = {0};
	struct err e = ERR_INIT;
	unsigned before;

	NEED(mkdtemp(dir));
	NEED(open_net(loop, s, true, dir, &t, &e) == 0);
	before = if_nametoindex("egress0");
	NEED(before != 0 && kill(s->launcher, SIGKILL) == 0);
	while (if_nametoindex("egress0") == before || if_nametoindex("egress0") == 0)
		uv_run(loop, UV_RUN_ONCE);
	private_net_close(t.net, on_closed, &t);
	uv_run(loop, UV_RUN_DEFAULT);
	NEED(t.closed && if_nametoindex("egress0") == 0);
	return 0;
}

static int body_fill(uv_loop_t *loop, const struct sandbox *s, int fd)
{
	char dir[] = "/tmp/drover-test-XXXXXX";
	char ip[IP_SIZE];
	char name[16];
	char mac[MAC_SIZE];
	struct trial t = {0};
	struct err e = ERR_INIT;

	NEED(mkdtemp(dir));
	NEED(open_net(loop, s, false, dir, &t, &e) == 0);
	for (int i = 0; i < 253; i++) {
		snprintf(name, sizeof(name), "m-%d", i);
		snprintf(mac, sizeof(mac), "52:54:00:00:01:%02x", (unsigned)i & 0xff);
		NEED(private_net_reserve(t.net, name, mac, NULL, ip, &e) == 0);
	}
	NEED(private_net_reserve(t.net, "late", "52:54:00:00:02:00", NULL, ip, &e) < 0);
	NEED(e.code == ERR_NO_ADDRESS);
	private_net_close(t.net, on_closed, &t);
	uv_run(loop, UV_RUN_DEFAULT);
	NEED(t.closed);
	return 0;
}

/* Opens a network and tells on @fd, which every process of the sandbox that inherits it holds; then stays. */
static int body_stay(uv_loop_t *loop, const struct sandbox *s, int fd)
{
	char dir[] = "/tmp/drover-test-XXXXXX";
	struct trial t = {0};
	struct err e = ERR_INIT;

	NEED(mkdtemp(dir));
	fcntl(fd, F_SETFD, 0); /* dnsmasq holds it as well */
	NEED(open_net(loop, s, true, dir, &t, &e) == 0);
	files_remove_tree(dir);
	NEED(write(fd, "x", 1) == 1);
	for (;;)
		uv_run(loop, UV_RUN_DEFAULT);
}

/* True when all that hold the other end of @fd die within two seconds. */
static bool is_gone(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char c;

	return poll(&p, 1, 2000) == 1 && read(fd, &c, 1) == 0;
}

static pid_t stay(int *ret_fd)
{
	int pair[2];
	char c;
	pid_t pid;

	assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0)
		_exit(run_sandboxed(body_stay, pair[1]));
	close(pair[1]);
	assert_int_equal(read(pair[0], &c, 1), 1);
	*ret_fd = pair[0];
	return pid;
}

static pid_t only_child_of(pid_t pid)
{
	char path[64];
	scoped(mem) char *text = NULL;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	assert_int_equal(files_read(path, 64, &text, NULL), 0);
	return (pid_t)atoi(text);
}

static void nothing_outlives_the_supervisor(void **state)
{
	scoped(fd) int fd = -1;
	pid_t pid;

	needs_a_sandbox();
	pid = stay(&fd);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_true(is_gone(fd));
}

static void nothing_outlives_pid_1(void **state)
{
	scoped(fd) int fd = -1;
	int status;
	pid_t pid;

	needs_a_sandbox();
	pid = stay(&fd);
	kill(only_child_of(pid), SIGKILL);
	waitpid(pid, &status, 0);
	assert_int_equal(WEXITSTATUS(status), 128 + SIGKILL);
	assert_true(is_gone(fd));
}

static void the_supervisor_leaves_with_the_code_of_pid_1(void **state)
{
	needs_a_sandbox();
	assert_int_equal(in_sandbox(body_leave_seven), 7);
}

static void addresses_taps_and_dhcp_without_a_way_out(void **state)
{
	needs_a_sandbox();
	assert_int_equal(in_sandbox(body_inside), 0);
}

static void a_subnet_of_another_form_is_refused_and_leaves_no_files(void **state)
{
	needs_a_sandbox();
	assert_int_equal(in_sandbox(body_refused), 0);
}

static void the_way_out_stands_and_goes(void **state)
{
	needs_a_sandbox();
	assert_int_equal(in_sandbox(body_with_egress), 0);
}

static void the_way_out_stands_again_when_its_launcher_was_killed(void **state)
{
	needs_a_sandbox();
	assert_int_equal(in_sandbox(body_launcher_dies), 0);
}

static void the_254th_member_gets_no_address(void **state)
{
	needs_a_sandbox();
	assert_int_equal(in_sandbox(body_fill), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_supervisor_leaves_with_the_code_of_pid_1),
		TEST(addresses_taps_and_dhcp_without_a_way_out),
		TEST(a_subnet_of_another_form_is_refused_and_leaves_no_files),
		TEST(the_way_out_stands_and_goes),
		TEST(the_way_out_stands_again_when_its_launcher_was_killed),
		TEST(the_254th_member_gets_no_address),
		TEST(nothing_outlives_the_supervisor),
		TEST(nothing_outlives_pid_1),
	};

	signal(SIGPIPE, SIG_IGN);
	return RUN_TESTS(tests);
}
