/* SPDX-License-Identifier: MIT */
#include "base/wait_status.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

void wait_status_text(int status, char *ret, size_t size)
{
	if (status < 0)
		snprintf(ret, size, "no exit status");
	else if (WIFSIGNALED(status))
		snprintf(ret, size, "signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else
		snprintf(ret, size, "exit status %d", WEXITSTATUS(status));
}

int wait_status_code(int status)
{
	return WIFSIGNALED(status) ? WAIT_SIGNALED + WTERMSIG(status) : WEXITSTATUS(status);
}
