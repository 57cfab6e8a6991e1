/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <string.h>

#include "base/files.h"
#include "cli/cli.h"
#include "cli/commands.h"

struct exec_settings {
	unsigned timeout;
};

static const struct option_row exec_options[] = {
	{"timeout", 't', OPTION_SECONDS, offsetof(struct exec_settings, timeout), "SECONDS",
	 "give up after this time"},
	{0},
};

/* @arg: where the number of the error is noted that ends it */
static int on_output(void *arg, int stream, const char *data, size_t len)
{
	int r = files_write_all(stream == 2 ? STDERR_FILENO : STDOUT_FILENO, data, len);

	if (r < 0)
		*(int *)arg = -r;
	return r;
}

static int exec_in(struct drover_vm *vm, const struct exec_settings *s, char **argv)
{
	struct drover_exec x = DROVER_EXEC_INIT;
	struct drover_result result = {0};
	struct drover_error e;
	int unwritten = 0;
	int r;

	x.input_fd = STDIN_FILENO;
	x.use_input_fd = !isatty(STDIN_FILENO) && fcntl(STDIN_FILENO, F_GETFD) >= 0;
	x.argv = (const char *const *)argv;
	x.timeout_ms = s->timeout * 1000;
	x.on_output = on_output;
	x.output_arg = &unwritten;
	x.cancel = interrupt_catch();
	r = drover_vm_exec(vm, &x, &result, &e);
	if (r < 0 && unwritten)
		return say_not_written(unwritten);
	if (r < 0)
		return member_failed(vm, s->timeout > 0, &e);
	r = result.status;
	drover_result_done(&result);
	return r;
}

static int run_exec(const struct command *self, const void *settings, const struct args *a)
{
	struct drover_cluster *c = NULL;
	struct drover_vm *vm;
	struct drover_error e;
	int r;

	if (a->count != 1)
		return say_usage(self, "exec needs the name of a member");
	if (a->tail_count == 0)
		return say_usage(self, "exec needs a command to run in '%s'", a->names[0]);
	vm = member_open(a->names[0], &c, &e);
	if (!vm)
		return say_failed(NULL, &e);
	r = exec_in(vm, settings, a->tail);
	drover_cluster_close(c);
	return r;
}

const struct command command_exec = {
	.name = "exec",
	.usage = "[OPTIONS] NAME [--] COMMAND [ARGUMENT...]",
	.summary = "Run a command in a member; its exit status is passed on",
	.options = exec_options,
	.settings_size = sizeof(struct exec_settings),
	.shape = ARGS_STOP_AT_FIRST,
	.run = run_exec,
};
