/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "cli/cli.h"

static struct drover_cancel *cancel; /* of the process: a signal handler has no other way to it */
static volatile sig_atomic_t came;
static volatile sig_atomic_t child;

static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
enum { SIGNALS = sizeof(signals) / sizeof(signals[0]) };

static void on_signal(int sig, siginfo_t *info, void *context)
{
	int saved = errno;

	came = sig;
	drover_cancel_now(cancel);
	/* what the terminal sends goes to its whole foreground group, so to the child as well */
	if (child > 0 && info->si_code != SI_KERNEL)
		kill((pid_t)child, sig);
	errno = saved;
}

struct drover_cancel *interrupt_catch(void)
{
	struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};

	if (cancel)
		return cancel;
	cancel = drover_cancel_new();
	if (!cancel)
		return NULL;
	sigemptyset(&sa.sa_mask);
	for (size_t i = 0; i < SIGNALS; i++) {
		struct sigaction old;

		/* nohup and background jobs of plain shells ignore some: leave that */
		if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler == SIG_IGN)
			continue;
		sigaction(signals[i], &sa, NULL);
	}
	return cancel;
}

struct drover_call interrupt_call(void)
{
	struct drover_call o = DROVER_CALL_INIT;

	o.cancel = cancel;
	return o;
}

int interrupt_signal(void)
{
	return came;
}

void interrupt_forward_to(int pid)
{
	child = pid;
}

void interrupt_reset(void)
{
	struct sigaction sa = {.sa_handler = SIG_DFL};

	sigemptyset(&sa.sa_mask);
	sigaction(SIGPIPE, &sa, NULL);
	for (size_t i = 0; i < SIGNALS; i++) {
		struct sigaction old;

		if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler == SIG_IGN)
			continue;
		sigaction(signals[i], &sa, NULL);
	}
}

int interrupt_or_failed(const struct drover_error *e)
{
	if (came)
		return CLI_SIGNALED + came;
	return say_failed(NULL, e);
}
