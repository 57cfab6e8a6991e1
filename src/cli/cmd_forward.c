/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "cli/cli.h"
#include "cli/commands.h"

enum { PORT_MAX = 65535, HOST_SIZE = 64 };

struct ports {
	char host[HOST_SIZE];
	const char *member;
	uint16_t here;
	uint16_t there;
};

static int parse_port(const char *text, size_t len, int64_t least, uint16_t *ret)
{
	char digits[8];
	int64_t n;

	if (len == 0 || len >= sizeof(digits))
		return -EINVAL;
	memcpy(digits, text, len);
	digits[len] = '\0';
	if (str_to_int64(digits, least, PORT_MAX, &n) < 0)
		return -EINVAL;
	*ret = (uint16_t)n;
	return 0;
}

/* "[HOST:]PORT:PORT" */
static int parse(const char *text, struct ports *ret)
{
	const char *last = strrchr(text, ':');
	const char *start = text;

	if (!last)
		return -EINVAL;
	for (const char *p = text; p < last; p++)
		if (*p == ':')
			start = p + 1;
	if (start > text) {
		size_t len = (size_t)(start - 1 - text);

		if (len == 0 || len >= sizeof(ret->host))
			return -EINVAL;
		memcpy(ret->host, text, len);
		ret->host[len] = '\0';
	} else {
		snprintf(ret->host, sizeof(ret->host), "127.0.0.1");
	}
	if (parse_port(start, (size_t)(last - start), 0, &ret->here) < 0)
		return -EINVAL;
	return parse_port(last + 1, strlen(last + 1), 1, &ret->there);
}

static void on_ready(void *arg, uint16_t host_port)
{
	const struct ports *p = arg;

	printf("%s:%u -> %s:%u\n", p->host, host_port, p->member, p->there);
	fflush(stdout);
}

static int run_forward(const struct command *self, const void *settings, const struct args *a)
{
	struct drover_forward f = DROVER_FORWARD_INIT;
	struct drover_cluster *c = NULL;
	struct drover_vm *vm;
	struct drover_error e;
	struct ports p = {0};
	int r;

	if (a->count != 2)
		return say_usage(self, "forward needs the name of a member and PORT:PORT");
	if (parse(a->names[1], &p) < 0)
		return say_usage(self, "'%s' is not [ADDRESS:]PORT:PORT", a->names[1]);
	f.cancel = interrupt_catch();
	vm = member_open(a->names[0], &c, &e);
	if (!vm)
		return say_error("%s", e.message);
	p.member = a->names[0];
	f.host = p.host;
	f.host_port = p.here;
	f.port = p.there;
	f.on_ready = on_ready;
	f.arg = &p;
	r = drover_vm_forward(vm, &f, &e);
	drover_cluster_close(c);
	return r < 0 ? interrupt_or_failed(&e) : CLI_OK;
}

const struct command command_forward = {
	.name = "forward",
	.usage = "NAME [ADDRESS:]PORT:PORT",
	.summary = "Pass connections to a port of the host on to a port of a member",
	.run = run_forward,
};
