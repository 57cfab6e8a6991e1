/* SPDX-License-Identifier: MIT */
/*
 * bench-warm-start NAME IMAGE cold|warm: starts a member with one CPU and runs `true` in it, as a test does that links the
 * library: the command goes by the login that made the member ready. Prints a line when it is ready and one when the
 * command has replied, each with the microseconds since the call; removes the member when its stdin ends.
 */
#include <drover.h>
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static int64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void tell(const char *what, int64_t began)
{
	printf("%s %" PRId64 "\n", what, now_us() - began);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	const struct drover_exec x = {.size = sizeof(x), .command = "true"};
	struct drover_options o = DROVER_OPTIONS_INIT;
	struct drover_cluster *c = NULL;
	struct drover_result result;
	struct drover_error e;
	int64_t began = now_us();

	if (argc != 4)
		errx(2, "usage: bench-warm-start NAME IMAGE cold|warm");
	o.image = argv[2];
	o.cpus = 1;
	o.temporary = true;
	o.warm = strcmp(argv[3], "warm") == 0;
	if (drover_cluster_start((const char *const *)&argv[1], 1, &o, &c, &e) < 0)
		errx(1, "%s", e.sentence);
	tell("ready", began);
	if (drover_vm_exec(drover_cluster_vm(c, 0), &x, &result, &e) < 0)
		errx(1, "%s", e.sentence);
	tell("replied", began);
	drover_result_done(&result);
	while (getchar() != EOF)
		;
	drover_vm_kill(drover_cluster_vm(c, 0), NULL, NULL);
	if (drover_cluster_destroy(c, NULL, &e) < 0)
		errx(1, "%s", e.sentence);
	return 0;
}
