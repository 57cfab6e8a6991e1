/* SPDX-License-Identifier: MIT */
#include "network/sandbox.h"

#include "base/err.h"
#include "base/fds.h"
#include "base/files.h"
#include "base/scoped.h"
#include "base/wait_status.h"
#include "network/launcher.h"

#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* What pid 1 tells the supervisor when it has set itself up, or failed to. */
struct report {
	int r;
	struct err error;
};

static bool sysctl_is(const char *path, const char *value)
{
	scoped(mem) char *text = NULL;
	size_t len = 0;

	return files_read(path, 64, &text, &len) == 0 && strncmp(text, value, strlen(value)) == 0 &&
	       (len == strlen(value) || text[strlen(value)] == '\n');
}

/* Why this host refuses namespaces, as far as its settings tell. */
static int refused(int r, const char *what, struct err *e)
{
	if (sysctl_is("/proc/sys/user/max_user_namespaces", "0"))
		return err_hint(e, err_set(e, ERR_HOST, "user namespaces are off on this host"),
				"as root: sysctl -w user.max_user_namespaces=10000");
	if (sysctl_is("/proc/sys/kernel/unprivileged_userns_clone", "0"))
		return err_hint(e,
				err_set(e, ERR_HOST, "user namespaces are off for ordinary users"),
				"as root: sysctl -w kernel.unprivileged_userns_clone=1");
	if (sysctl_is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"))
		return err_hint(
			e, err_set(e, ERR_HOST, "AppArmor restricts user namespaces"),
			"as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0");
	if (r == -ENOSPC || r == -EUSERS)
		return err_hint(e,
				err_set(e, ERR_HOST, "%s: this user has too many namespaces", what),
				"raise /proc/sys/user/max_{user,pid,net,mnt}_namespaces");
	return err_hint(e,
			err_set(e, ERR_HOST,
				"%s: %s; drover needs user, pid, network and mount namespaces",
				what, strerror(-r)),
			"in a container: use a privileged one");
}

/* One uid and one gid, the caller's, become root inside. */
static int map_ids(uid_t uid, gid_t gid, struct err *e)
{
	char uid_map[64];
	char gid_map[64];
	int r;

	snprintf(uid_map, sizeof(uid_map), "0 %u 1\n", uid);
	snprintf(gid_map, sizeof(gid_map), "0 %u 1\n", gid);
	r = files_write_into("/proc/self/setgroups", "deny");
	if (r == 0)
		r = files_write_into("/proc/self/uid_map", uid_map);
	if (r == 0)
		r = files_write_into("/proc/self/gid_map", gid_map);
	return r < 0 ? refused(r, "map the user into its namespace", e) : 0;
}

static int loopback_up(void)
{
	scoped(fd) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};

	return fd < 0 || ioctl(fd, SIOCSIFFLAGS, &ifr) < 0 ? -errno : 0;
}

static int own_mounts(struct err *e)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return refused(-errno, "make the mounts private", e);
	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return refused(-errno, "mount /proc", e);
	return 0;
}

static int check_tun(struct err *e)
{
	scoped(fd) int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		return 0;
	if (errno == EACCES || errno == EPERM)
		return err_hint(e, err_set(e, ERR_HOST, "/dev/net/tun cannot be opened"),
				"as root: chmod 0666 /dev/net/tun");
	return err_hint(e,
			err_set(e, ERR_HOST, "/dev/net/tun cannot be opened: %s", strerror(errno)),
			"as root: modprobe tun");
}

static int own_network(struct sandbox *s, struct err *e)
{
	scoped(fd) int egress = -1;
	pid_t launcher = launcher_fork(&egress); /* while this is the host's network */
	int r;

	if (launcher < 0)
		return err_errno(e, launcher, "start the egress launcher");
	if (unshare(CLONE_NEWNET) < 0)
		return refused(-errno, "make a network namespace", e);
	r = loopback_up();
	if (r < 0)
		return err_errno(e, r, "bring up lo");
	r = check_tun(e);
	if (r < 0)
		return r;
	s->launcher = launcher;
	s->egress_fd = take_fd(&egress);
	return 0;
}

/* The new pid 1, before anybody knows. @fd: the supervisor's other end. */
static int set_up(struct sandbox *s, int fd, uid_t uid, gid_t gid, struct err *e)
{
	struct pollfd p = {.fd = fd};
	int r = s->is_user_ns ? map_ids(uid, gid, e) : 0;

	if (r < 0)
		return r;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (poll(&p, 1, 0) != 0)
		_exit(1); /* the supervisor died before that counted */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_errno(e, -errno, "no_new_privs");
	r = own_mounts(e);
	if (r < 0)
		return r;
	return s->on_host ? check_tun(e) : own_network(s, e);
}

/*
 * Clones a pid 1 that sets itself up and reports. In it: returns 0. In the parent: its pid. Each has its end of a socket
 * to the other in supervisor_fd. < 0: failed, and it is reaped.
 */
static pid_t split(struct sandbox *s, struct err *e)
{
	struct report report = {.r = -EIO, .error = ERR_INIT};
	uid_t uid = geteuid();
	gid_t gid = getegid();
	int pair[2];
	pid_t pid;

	s->supervisor = getpid();
	s->is_user_ns = uid != 0 && !s->on_host;
	s->egress_fd = s->supervisor_fd = -1;
	s->keeper = NULL;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(e, -errno, "socketpair");
	pid = (pid_t)syscall(SYS_clone,
			     CLONE_NEWPID | CLONE_NEWNS | (s->is_user_ns ? CLONE_NEWUSER : 0) |
				     SIGCHLD,
			     0, 0, 0, 0);
	if (pid < 0) {
		close(pair[0]);
		close(pair[1]);
		return refused(-errno, "make namespaces", e);
	}
	close(pair[pid == 0 ? 0 : 1]);
	if (pid == 0) {
		report.r = set_up(s, pair[1], uid, gid, &report.error);
		if (send(pair[1], &report, sizeof(report), MSG_NOSIGNAL) < 0 || report.r < 0)
			_exit(1);
		s->supervisor_fd = pair[1];
		return 0;
	}
	if (recv(pair[0], &report, sizeof(report), 0) != sizeof(report))
		err_set(&report.error, ERR_INTERNAL,
			"the helper died while it made its namespaces");
	if (report.r < 0) {
		close(pair[0]);
		waitpid(pid, NULL, 0);
		return err_copy(e, &report.error);
	}
	s->supervisor_fd = pair[0];
	return pid;
}

int sandbox_check(struct err *e)
{
	struct sandbox s = {0};
	pid_t pid = split(&s, e);

	if (pid == 0)
		_exit(0);
	if (pid < 0)
		return pid;
	sandbox_leave(&s);
	waitpid(pid, NULL, 0);
	return 0;
}

/* True when pid 1 has ended, with @ret_status. Launchers are reaped too: pid 1 does not end before. */
static bool reap(pid_t init, int *ret_status)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != init)
			continue;
		*ret_status = status;
		return true;
	}
	return false;
}

/* Passes signals on to @init, which is not reaped yet, so still the one. */
static void pass_on(int signals, pid_t init)
{
	struct signalfd_siginfo info;

	while (read(signals, &info, sizeof(info)) == sizeof(info))
		if (info.ssi_signo != SIGCHLD)
			kill(init, (int)info.ssi_signo);
}

/* The supervisor's life, until pid 1 has ended with the code that it returns. @set is blocked. */
static int supervise(const struct sandbox *s, pid_t init, const sigset_t *set)
{
	int signals;
	struct pollfd p[2] = {{.events = POLLIN}, {.events = POLLIN}};
	int status = 0;

	fds_close_but(s->supervisor_fd);
	signals = signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signals < 0)
		return EXIT_FAILURE;
	p[0].fd = signals;
	p[1].fd = s->supervisor_fd;
	while (!reap(init, &status)) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return EXIT_FAILURE;
		pass_on(signals, init);
		if (p[1].revents && !launcher_serve(s->supervisor_fd, init, s->is_user_ns))
			p[1].fd = -1;
	}
	close(signals);
	close(s->supervisor_fd);
	return wait_status_code(status);
}

int sandbox_enter(bool on_host, struct sandbox *ret, int *ret_code, struct err *e)
{
	struct sandbox s = {.on_host = on_host};
	sigset_t set;
	sigset_t chld;
	sigset_t before;
	pid_t pid;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, &before);
	pid = split(&s, e);
	if (pid < 0) {
		sigprocmask(SIG_SETMASK, &before, NULL);
		return pid;
	}
	if (pid > 0) {
		*ret_code = supervise(&s, pid, &set);
		return 1;
	}
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_UNBLOCK, &chld, NULL);
	*ret = s;
	return 0;
}

void sandbox_leave(struct sandbox *s)
{
	close_fd(&s->egress_fd);
	close_fd(&s->supervisor_fd);
}
