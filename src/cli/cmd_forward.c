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
	bool json;
	struct drover_cancel *cancel;
	int unwritten; /* errno of stdout, or 0 */
};

struct forward_settings {
	bool json;
};

static const struct option_row forward_options[] = {
	{"json", 0, OPTION_FLAG, offsetof(struct forward_settings, json), NULL,
	 "the line that says where it listens as a JSON object"},
	{0},
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

static int parse_host(const char *text, size_t len, char *ret)
{
	if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
		text++;
		len -= 2;
	} else if (memchr(text, ':', len)) {
		return -EINVAL; /* an IPv6 address stands in brackets */
	}
	if (len == 0 || len >= HOST_SIZE)
		return -EINVAL;
	memcpy(ret, text, len);
	ret[len] = '\0';
	return 0;
}

/* "[HOST:]PORT:PORT", where HOST may be "[IPV6]" */
static int parse(const char *text, struct ports *ret)
{
	const char *last = strrchr(text, ':');
	const char *start = text;

	if (!last)
		return -EINVAL;
	for (const char *p = text; p < last; p++)
		if (*p == ':')
			start = p + 1;
	if (start == text)
		snprintf(ret->host, sizeof(ret->host), "127.0.0.1");
	else if (parse_host(text, (size_t)(start - 1 - text), ret->host) < 0)
		return -EINVAL;
	if (parse_port(start, (size_t)(last - start), 0, &ret->here) < 0)
		return -EINVAL;
	return parse_port(last + 1, strlen(last + 1), 1, &ret->there);
}

static void on_ready(void *arg, uint16_t host_port)
{
	struct ports *p = arg;
	bool v6 = strchr(p->host, ':') != NULL;

	if (p->json)
		printf("{\"address\":\"%s\",\"port\":%u,\"member\":\"%s\",\"guest_port\":%u}\n",
		       p->host, host_port, p->member, p->there);
	else
		printf("%s%s%s:%u -> %s:%u\n", v6 ? "[" : "", p->host, v6 ? "]" : "", host_port,
		       p->member, p->there);
	if (fflush(stdout) == EOF) {
		/* whoever reads that line waits for it */
		p->unwritten = errno;
		drover_cancel_now(p->cancel);
	}
}

static int run_forward(const struct command *self, const void *settings, const struct args *a)
{
	const struct forward_settings *s = settings;
	struct drover_forward f = DROVER_FORWARD_INIT;
	struct drover_cluster *c = NULL;
	struct drover_vm *vm;
	struct drover_error e;
	struct ports p = {0};
	int r;

	if (a->count != 2)
		return say_usage(self, "forward needs the name of a member and PORT:PORT");
	if (parse(a->names[1], &p) < 0)
		return say_usage(self, "'%s' is not [ADDRESS:]PORT:PORT, like 8080:80",
				 a->names[1]);
	f.cancel = p.cancel = interrupt_catch();
	vm = member_open(a->names[0], &c, &e);
	if (!vm)
		return say_failed(NULL, &e);
	p.member = a->names[0];
	p.json = s->json;
	f.host = p.host;
	f.host_port = p.here;
	f.port = p.there;
	f.on_ready = on_ready;
	f.arg = &p;
	r = drover_vm_forward(vm, &f, &e);
	drover_cluster_close(c);
	if (p.unwritten)
		return say_not_written(p.unwritten);
	return r < 0 ? interrupt_or_failed(&e) : CLI_OK;
}

const struct command command_forward = {
	.name = "forward",
	.usage = "[--json] NAME [ADDRESS:]PORT:PORT",
	.summary = "Forward a port of the host to a port of a member",
	.options = forward_options,
	.settings_size = sizeof(struct forward_settings),
	.run = run_forward,
};
