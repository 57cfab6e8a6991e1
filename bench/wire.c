/* SPDX-License-Identifier: MIT */
/*
 * The control protocol against the floor: a minimal accept-read-write-close server on a unix socket, driven by the same
 * client code in the same run. usage: bench-wire HELPER. Prints medians and ratios with the goal beside each; the helper
 * runs its fake backend.
 *
 * Client, floor and helper share one processor, so that a ratio tells what the server costs: spread over two, a call takes
 * 10 or 50 us by whether the scheduler happens to wake an idle processor. Hostile peers get the others. The helper's home
 * is in memory: what making a file costs is the disk's matter.
 */
#include "base/files.h"
#include "base/str.h"

#include <err.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	CALLS = 4000,
	SPAWNS = 21,
	WARM_UP = 200,
	MEMBERS = 100,
	CLUSTERS = 21,
	IDLE = 1000,
	SOAK = 25000
};

static const char status_request[] = "{\"cmd\":\"status\"}\n";
static const char kept_request[] = "{\"cmd\":\"status\",\"id\":1}\n";

static cpu_set_t processors; /* that the run was given */

/* This process and its children from now on: the first processor alone, or, if there are others, those. */
static void use_processors(bool first)
{
	cpu_set_t chosen;
	int n = 0;

	CPU_ZERO(&chosen);
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &processors) && (n++ == 0) == first)
			CPU_SET(i, &chosen);
	if (CPU_COUNT(&chosen) > 0 && sched_setaffinity(0, sizeof(chosen), &chosen) < 0)
		err(1, "sched_setaffinity");
}

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a;
	double y = *(const double *)b;

	return (x > y) - (x < y);
}

static double percentile(double *values, size_t n, double p)
{
	qsort(values, n, sizeof(*values), by_value);
	return values[(size_t)((double)(n - 1) * p)];
}

static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(a.sun_path))
		errx(1, "path too long: %s", path);
	memcpy(a.sun_path, path, strlen(path) + 1);
	return a;
}

static int connect_to(const char *path)
{
	struct sockaddr_un a = address_of(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		err(1, "connect %s", path);
	return fd;
}

/* One line there, one line back. */
static void exchange(int fd, const char *request, size_t len)
{
	char reply[4096];
	size_t got = 0;

	if (write(fd, request, len) != (ssize_t)len)
		err(1, "write");
	do {
		ssize_t n = read(fd, reply + got, sizeof(reply) - got);

		if (n <= 0)
			errx(1, "no whole reply");
		got += (size_t)n;
	} while (reply[got - 1] != '\n');
}

static void call_with(const char *path, const char *request)
{
	int fd = connect_to(path);
	char end;

	exchange(fd, request, strlen(request));
	if (read(fd, &end, 1) != 0)
		errx(1, "the server did not close");
	close(fd);
}

static void one_call(const char *path)
{
	call_with(path, status_request);
}

/* @ret_p99 may be NULL. */
static double time_calls(const char *path, double *ret_p99)
{
	static double took[CALLS];

	for (int i = 0; i < WARM_UP; i++)
		one_call(path);
	for (int i = 0; i < CALLS; i++) {
		double start = now_us();

		one_call(path);
		took[i] = now_us() - start;
	}
	if (ret_p99)
		*ret_p99 = percentile(took, CALLS, 0.99);
	return percentile(took, CALLS, 0.5);
}

static double time_kept(const char *path)
{
	static double took[CALLS];
	int fd = connect_to(path);

	for (int i = 0; i < CALLS; i++) {
		double start = now_us();

		exchange(fd, kept_request, sizeof(kept_request) - 1);
		took[i] = now_us() - start;
	}
	close(fd);
	return percentile(took, CALLS, 0.5);
}

static pid_t start_floor(const char *path)
{
	static const char reply[] =
		"{\"status\":{\"name\":\"solo\",\"pid\":12345,\"running\":true,\"ip\":\"\","
		"\"state\":\"starting\"}}\n";
	struct sockaddr_un a = address_of(path);
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char request[4096];
	pid_t pid;

	if (listener < 0 || bind(listener, (struct sockaddr *)&a, sizeof(a)) < 0 ||
	    listen(listener, 128) < 0)
		err(1, "listen at %s", path);
	pid = fork();
	while (pid == 0) {
		int fd = accept(listener, NULL, NULL);

		if (fd >= 0 && read(fd, request, sizeof(request)) > 0 &&
		    write(fd, reply, sizeof(reply) - 1) < 0)
			_exit(1);
		close(fd);
	}
	close(listener);
	return pid;
}

/* Starts the helper and waits for its "ready". */
static pid_t start_helper(const char *helper)
{
	char answer[16] = "";
	char number[16];
	int ready[2];
	pid_t pid;

	if (pipe(ready) < 0)
		err(1, "pipe");
	snprintf(number, sizeof(number), "%d", ready[1]);
	pid = fork();
	if (pid == 0) {
		close(ready[0]);
		if (!freopen("/dev/null", "w", stderr))
			_exit(127);
		execl(helper, helper, "--members", "solo", "--backend", "fake", "--ready-fd",
		      number, (char *)NULL);
		_exit(127);
	}
	close(ready[1]);
	if (read(ready[0], answer, sizeof(answer) - 1) <= 0 || strcmp(answer, "ready\n") != 0)
		errx(1, "the helper was not ready: %s", answer);
	close(ready[0]);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGTERM);
	waitpid(pid, NULL, 0);
}

static double time_spawn(const char *helper, const char *path)
{
	double took[SPAWNS];

	for (int i = 0; i < SPAWNS; i++) {
		double start = now_us();
		pid_t pid = start_helper(helper);

		one_call(path);
		took[i] = now_us() - start;
		end(pid);
	}
	return percentile(took, SPAWNS, 0.5);
}

/* A line of /proc/PID/status in KiB. */
static long status_kib(pid_t pid, const char *key)
{
	char line[256];
	long kib = -1;
	FILE *f;

	snprintf(line, sizeof(line), "/proc/%d/status", (int)pid);
	f = fopen(line, "re");
	while (f && kib < 0 && fgets(line, sizeof(line), f))
		if (strncmp(line, key, strlen(key)) == 0)
			kib = strtol(line + strlen(key) + 1, NULL, 10);
	if (f)
		fclose(f);
	return kib;
}

static void print_memory(const char *when, pid_t pid, int goal_mib)
{
	printf("resident, %-28s %5.1f MiB, of its own %.1f MiB  (at most %d)\n", when,
	       (double)status_kib(pid, "VmRSS") / 1024, (double)status_kib(pid, "RssAnon") / 1024,
	       goal_mib);
}

/* 100 members reserved, booted and asked, one connection a request; then all stopped at once. */
static void time_cluster(const char *helper, const char *home, const char *path, double *ret_up,
			 double *ret_down, bool last)
{
	pid_t pid = start_helper(helper);
	double start = now_us();
	char request[256];
	char member_path[128];
	char key[SOCKET_KEY_LEN + 1];
	char name[16];

	call_with(path, "{\"cmd\":\"createnetwork\"}\n");
	for (int i = 1; i <= MEMBERS; i++) {
		snprintf(name, sizeof(name), "web-%d", i);
		snprintf(request, sizeof(request), "{\"cmd\":\"reserve\",\"name\":\"%s\"}\n", name);
		call_with(path, request);
		snprintf(request, sizeof(request),
			 "{\"cmd\":\"boot-member\",\"spec\":{\"name\":\"%s\",\"cpus\":1}}\n", name);
		call_with(path, request);
		name_socket_key(name, key);
		snprintf(member_path, sizeof(member_path), "%s/run/%s.sock", home, key);
		one_call(member_path);
	}
	*ret_up = now_us() - start;
	if (last)
		print_memory("100 members", pid, 6);
	start = now_us();
	call_with(path, "{\"cmd\":\"shutdown\"}\n");
	waitpid(pid, NULL, 0);
	*ret_down = now_us() - start;
}

static void bench_cluster(const char *helper, const char *home, const char *path, double floor_us)
{
	double up[CLUSTERS], down[CLUSTERS];
	double up_us, down_us;

	for (int i = 0; i < CLUSTERS; i++)
		time_cluster(helper, home, path, &up[i], &down[i], i == CLUSTERS - 1);
	up_us = percentile(up, CLUSTERS, 0.5);
	down_us = percentile(down, CLUSTERS, 0.5);
	printf("100 members: reserve, boot, status     p50 %7.1f ms                  ratio %.2f to 300 floor calls (at most 3)\n",
	       up_us / 1e3, up_us / (3 * MEMBERS * floor_us));
	printf("stop all 100, to the helper's end      p50 %7.1f ms                  (at most 50)\n",
	       down_us / 1e3);
}

/* What harms: idle connections to the limit and beyond, a watcher that is deaf, and big requests without an end. */
static pid_t start_harm(const char *path)
{
	int ready[2];
	pid_t pid;
	char byte;

	if (pipe(ready) < 0)
		err(1, "pipe");
	pid = fork();
	if (pid == 0) {
		static char spaces[65536];
		int big;

		use_processors(false);
		for (int i = 0; i < IDLE; i++)
			connect_to(path);
		exchange(connect_to(path), "{\"cmd\":\"watch\"}\n", 16);
		memset(spaces, ' ', sizeof(spaces));
		for (bool told = false;; told = true) {
			big = connect_to(path);
			if (send(big, "{\"cmd\":", 7, MSG_NOSIGNAL) == 7)
				while (send(big, spaces, sizeof(spaces), MSG_NOSIGNAL) > 0)
					;
			close(big);
			if (!told && write(ready[1], "", 1) != 1)
				_exit(1);
		}
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		errx(1, "the harmful peer failed");
	close(ready[0]);
	return pid;
}

static void bench_harm(const char *path, double idle_p99)
{
	pid_t pid = start_harm(path);
	double p99;

	time_calls(path, &p99);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	printf("status call beside hostile peers                        p99 %7.1f us  ratio %.2f to the idle p99 (at most 3)\n",
	       p99, p99 / idle_p99);
}

static void bench_one(const char *helper, const char *path, const char *floor_path,
		      double *ret_floor)
{
	double floor_us, floor_p99, call_us, call_p99, kept_us;
	pid_t pid = start_helper(helper);

	print_memory("one member", pid, 4);
	floor_us = time_calls(floor_path, &floor_p99);
	call_us = time_calls(path, &call_p99);
	kept_us = time_kept(path);
	printf("floor: connect, request, reply, close  p50 %7.1f us  p99 %7.1f us\n", floor_us,
	       floor_p99);
	printf("status call                            p50 %7.1f us  p99 %7.1f us  ratio %.2f (at most 1.3)\n",
	       call_us, call_p99, call_us / floor_us);
	printf("status on a kept connection            p50 %7.1f us                  ratio %.2f (at most 0.5)\n",
	       kept_us, kept_us / floor_us);
	bench_harm(path, call_p99);
	for (int i = 0; i < SOAK; i++)
		one_call(path);
	print_memory("after 25,000 calls", pid, 6);
	end(pid);
	*ret_floor = floor_us;
}

int main(int argc, char **argv)
{
	char home[] = "/dev/shm/drover-bench.XXXXXX";
	char key[SOCKET_KEY_LEN + 1];
	char floor_path[128];
	char path[128];
	struct rlimit files = {IDLE + 100, IDLE + 100};
	double floor_us;
	pid_t floor_pid;

	if (argc != 2)
		errx(2, "usage: bench-wire HELPER");
	if (!mkdtemp(home) || setenv("DROVER_HOME", home, 1) < 0 ||
	    setrlimit(RLIMIT_NOFILE, &files) < 0)
		err(1, "make a home");
	if (sched_getaffinity(0, sizeof(processors), &processors) < 0)
		err(1, "sched_getaffinity");
	use_processors(true);
	name_socket_key("solo", key);
	snprintf(floor_path, sizeof(floor_path), "%s/floor.sock", home);
	snprintf(path, sizeof(path), "%s/run/%s.sock", home, key);
	setvbuf(stdout, NULL, _IOLBF, 0);
	floor_pid = start_floor(floor_path);
	printf("exec of the helper to first status     p50 %7.1f us                  (at most 10000)\n",
	       time_spawn(argv[1], path));
	bench_one(argv[1], path, floor_path, &floor_us);
	bench_cluster(argv[1], home, path, floor_us);
	end(floor_pid);
	files_remove_tree(home);
	return 0;
}
