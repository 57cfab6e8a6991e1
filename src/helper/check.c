/* SPDX-License-Identifier: MIT */
#include "helper/check.h"

#include "base/err.h"
#include "base/files.h"
#include "base/kvm.h"
#include "base/scoped.h"
#include "base/str.h"
#include "network/sandbox.h"
#include "wire/json.h"

#include <fcntl.h>
#include <pwd.h>
#include <string.h>

static int print(const char *check, const char *state, const char *found, const char *fix)
{
	scoped(buf) struct buf line = BUF_INIT;
	struct json_out o;

	json_out_begin(&o, &line);
	json_out_string(&o, "check", check);
	json_out_string(&o, "state", state);
	json_out_string(&o, "found", found);
	json_out_string(&o, "fix", fix);
	json_out_end(&o);
	return o.r < 0 ? o.r : files_write_all(STDOUT_FILENO, line.data, line.len);
}

static int check_tun(bool *ret_ok)
{
	scoped(fd) int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	int error = errno;
	char found[128];

	*ret_ok = fd >= 0;
	if (fd >= 0)
		return print("tun", "ok", "/dev/net/tun opens", "");
	snprintf(found, sizeof(found), "/dev/net/tun cannot be opened: %s", strerror(error));
	if (error == EACCES || error == EPERM)
		return print("tun", "missing", found, "as root: chmod 0666 /dev/net/tun");
	return print("tun", "missing", found, "as root: modprobe tun");
}

static int check_namespaces(bool tun_is_ok)
{
	struct err e = ERR_INIT;

	/* a device that does not open is told last, when all namespaces are made */
	if (sandbox_check(&e) == 0 || (!tun_is_ok && strstr(e.msg, "/dev/net/tun")))
		return print("namespaces", "ok", "user, pid, network and mount namespaces", "");
	return print("namespaces", "missing", e.msg, e.hint);
}

static int check_kvm(void)
{
	const struct passwd *user = getpwuid(geteuid());
	char join[160];

	snprintf(join, sizeof(join), "as root: usermod -aG kvm %s; then log in again",
		 user ? user->pw_name : "USER");
	if (kvm_is_usable())
		return print("kvm", "ok", "runs a 64-bit guest", "");
	if (!files_exist("/dev/kvm"))
		return print(
			"kvm", "warning", "there is no /dev/kvm: QEMU translates, which is slow",
			"as root: modprobe kvm_intel || modprobe kvm_amd; in a virtual machine: "
			"one with nested virtualisation");
	if (access("/dev/kvm", R_OK | W_OK) < 0)
		return print("kvm", "warning",
			     "/dev/kvm is not this user's: QEMU translates, which is slow", join);
	return print("kvm", "warning",
		     "/dev/kvm opens, but runs no 64-bit guest: QEMU translates, which is slow",
		     "a host whose CPU has virtualisation on");
}

int helper_check(void)
{
	bool tun_is_ok;
	int r = check_tun(&tun_is_ok);

	if (r == 0)
		r = check_namespaces(tun_is_ok);
	return r < 0 ? r : check_kvm();
}
