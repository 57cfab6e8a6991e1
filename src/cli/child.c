/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "cli/cli.h"

/* @parent: a pidfd of it, for getppid does not tell of one in another pid namespace. */
static void __attribute__((noreturn))
become(char **argv, int parent, const sigset_t *mask, child_setup_fn *set_up, void *arg)
{
	struct pollfd p = {.fd = parent, .events = POLLIN};
	int status;

	interrupt_reset();
	sigprocmask(SIG_SETMASK, mask, NULL);
	if (set_up && set_up(arg) != CLI_OK)
		_exit(CLI_FAILED);
	/* the command is of no use without who waits for it */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (poll(&p, 1, 0) != 0)
		_exit(CLI_NOT_RUN);
	execvp(argv[0], argv);
	status = errno == ENOENT ? CLI_NOT_FOUND : CLI_NOT_RUN;
	say_error("cannot run '%s': %s", argv[0], strerror(errno));
	_exit(status);
}

int child_run(char **argv, child_setup_fn *set_up, void *arg)
{
	scoped(fd) int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
	sigset_t all;
	sigset_t old;
	pid_t pid;
	int status;

	if (self < 0)
		return say_error("cannot open a pidfd: %s", strerror(errno));
	fflush(stdout);
	/* no signal may fall between the fork and the note of whom to forward it to */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	pid = fork();
	if (pid == 0)
		become(argv, self, &old, set_up, arg);
	interrupt_forward_to(pid > 0 ? pid : 0);
	sigprocmask(SIG_SETMASK, &old, NULL);
	if (pid < 0)
		return say_error("cannot start a process: %s", strerror(errno));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return say_error("cannot wait for '%s': %s", argv[0], strerror(errno));
	interrupt_forward_to(0);
	return WIFSIGNALED(status) ? CLI_SIGNALED + WTERMSIG(status) : WEXITSTATUS(status);
}
