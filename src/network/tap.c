/* SPDX-License-Identifier: MIT */
#include "network/tap.h"

#include "base/err.h"

#include <linux/if_tun.h>
#include <sys/ioctl.h>

int tap_keep(int fd, struct err *e)
{
	return ioctl(fd, TUNSETPERSIST, 1) < 0 ? err_errno(e, -errno, "keep a tap") : 0;
}
