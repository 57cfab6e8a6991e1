/* SPDX-License-Identifier: MIT */
/* bench-exec NAME: for each line on stdin runs `true` in the running member over a kept session, and prints the microseconds. */
#include <drover.h>
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

static int64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int main(int argc, char **argv)
{
	const struct drover_exec x = {.size = sizeof(x), .command = "true"};
	struct drover_cluster *c = NULL;
	struct drover_error e;
	char line[16];

	if (argc != 2)
		errx(2, "usage: bench-exec NAME");
	if (drover_cluster_open(NULL, argv[1], NULL, &c, &e) < 0)
		errx(1, "%s", e.sentence);
	while (fgets(line, sizeof(line), stdin)) {
		struct drover_result result;
		int64_t began = now_us();

		if (drover_vm_exec(drover_cluster_find(c, argv[1]), &x, &result, &e) < 0)
			errx(1, "%s", e.sentence);
		printf("%" PRId64 "\n", now_us() - began);
		fflush(stdout);
		drover_result_done(&result);
	}
	drover_cluster_close(c);
	return 0;
}
