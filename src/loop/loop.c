/* SPDX-License-Identifier: MIT */
#include "loop/loop.h"

#include <fcntl.h>
#include <unistd.h>

/* A new descriptor has the lowest number that is free. */
static void fill_standard_descriptors(void)
{
	for (int i = STDIN_FILENO; i <= STDERR_FILENO; i++) {
		int fd = fcntl(i, F_GETFD) < 0 ? open("/dev/null", O_RDWR | O_CLOEXEC) : -1;

		if (fd > STDERR_FILENO)
			close(fd); /* another thread was first */
	}
}

int loop_init(uv_loop_t *loop, struct err *e)
{
	int r;

	fill_standard_descriptors();
	r = uv_loop_init(loop);
	return r < 0 ? err_errno(e, r, "make an event loop") : 0;
}
