/* SPDX-License-Identifier: MIT */
/*
 * The control protocol against the floor: a minimal accept-read-write-close server on a unix socket, driven by the same
 * client code in the same run. usage: bench-wire HELPER. Prints medians and ratios; the helper runs its fake backend.
 */
#include "base/files.h"
#include "base/str.h"

#include <err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CALLS = 4000, SPAWNS = 21, WARM_UP = 200 };

static const char status_request[] = "{\"cmd\":\"status\"}\n";
static const char kept_request[] = "{\"cmd\":\"status\",\"id\":1}\n";

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

static void one_call(const char *path)
{
	int fd = connect_to(path);
	char end;

	exchange(fd, status_request, sizeof(status_request) - 1);
	if (read(fd, &end, 1) != 0)
		errx(1, "the server did not close");
	close(fd);
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

int main(int argc, char **argv)
{
	char home[] = "/tmp/drover-bench.XXXXXX";
	char key[SOCKET_KEY_LEN + 1];
	char floor_path[128];
	char path[128];
	double floor_us, floor_p99, call_us, call_p99, kept_us, spawn_us;
	pid_t floor_pid, pid;

	if (argc != 2)
		errx(2, "usage: bench-wire HELPER");
	if (!mkdtemp(home) || setenv("DROVER_HOME", home, 1) < 0)
		err(1, "make a home");
	name_socket_key("solo", key);
	snprintf(floor_path, sizeof(floor_path), "%s/floor.sock", home);
	snprintf(path, sizeof(path), "%s/run/%s.sock", home, key);
	floor_pid = start_floor(floor_path);
	spawn_us = time_spawn(argv[1], path);
	pid = start_helper(argv[1]);
	floor_us = time_calls(floor_path, &floor_p99);
	call_us = time_calls(path, &call_p99);
	kept_us = time_kept(path);
	end(pid);
	end(floor_pid);
	files_remove_tree(home);
	printf("floor: connect, request, reply, close  p50 %7.1f us  p99 %7.1f us\n", floor_us,
	       floor_p99);
	printf("status call                            p50 %7.1f us  p99 %7.1f us  ratio %.2f (at most 1.3)\n",
	       call_us, call_p99, call_us / floor_us);
	printf("status on a kept connection            p50 %7.1f us                  ratio %.2f (at most 0.5)\n",
	       kept_us, kept_us / floor_us);
	printf("exec of the helper to first status     p50 %7.1f us                  (at most 10000)\n",
	       spawn_us);
	return 0;
}
