/* SPDX-License-Identifier: MIT */
#include <drover.h>
#include <err.h>
#include <stdio.h>

int main(void)
{
	const char *names[] = {"hello-1", "hello-2"};
	const struct drover_exec uname = {.size = sizeof(uname), .command = "uname -a"};
	struct drover_cluster *c = NULL;
	struct drover_result result;
	struct drover_error e;

	if (drover_cluster_start(names, 2, NULL, &c, &e) < 0)
		errx(1, "%s", e.sentence);
	for (size_t i = 0; i < drover_cluster_size(c); i++) {
		if (drover_vm_exec(drover_cluster_vm(c, i), &uname, &result, &e) < 0)
			errx(1, "%s", e.sentence);
		printf("%s: %s", names[i], result.out);
		drover_result_done(&result);
	}
	return drover_cluster_destroy(c, NULL, &e) < 0;
}
