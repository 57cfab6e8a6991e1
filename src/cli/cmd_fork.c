/* SPDX-License-Identifier: MIT */
/* drover fork: copies of a running cluster, or of a point of one. */
#include "cli/cli.h"
#include "cli/commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fork_settings {
	unsigned count;
	bool quiet;
	bool json;
};

static const struct option_row fork_options[] = {
	{"count", 'n', OPTION_COPIES, offsetof(struct fork_settings, count), "K",
	 "K copies, NEW-1 to NEW-K"},
	{"quiet", 'q', OPTION_FLAG, offsetof(struct fork_settings, quiet), NULL,
	 "no progress, only the names of the new members"},
	{"json", 0, OPTION_FLAG, offsetof(struct fork_settings, json), NULL,
	 "progress as one JSON object a line"},
	{0},
};

/* Of @c, or, when that is NULL, of @k. */
static int fork_cluster(struct drover_cluster *c, struct drover_capture *k, const char *name,
			const char *new, const struct fork_settings *s)
{
	size_t count = s->count ? s->count : 1;
	scoped(mem) struct drover_cluster **forks = calloc(count, sizeof(struct drover_cluster *));
	scoped(progress) struct progress *p = progress_new(s->json    ? PROGRESS_JSON
							   : s->quiet ? PROGRESS_QUIET
								      : PROGRESS_AUTO);
	struct drover_options o = DROVER_OPTIONS_INIT;
	struct drover_error e;
	int ms;

	if (!forks)
		return say_error("out of memory");
	o.detached = true;
	o.on_progress = p ? progress_on_event : NULL;
	o.progress_arg = p;
	o.cancel = interrupt_catch();
	ms = c ? drover_cluster_fork(c, new, count, &o, forks, &e)
	       : drover_capture_start(k, new, count, &o, forks, &e);
	if (ms < 0)
		return interrupt_or_failed(&e);
	if (c && !s->json && !s->quiet)
		printf("%s: forked, held for %d ms\n", name, ms);
	if (!s->json)
		clusters_tell(forks, count);
	clusters_close(forks, count);
	return CLI_OK;
}

static int run_fork(const struct command *self, const void *settings, const struct args *a)
{
	struct drover_cluster *c = NULL;
	struct drover_capture *k = NULL;
	int r;

	if (a->count != 2)
		return say_usage(self, "fork needs a cluster, and a name for its copy");
	r = name_check_usage(self, a->names[1]);
	if (r == CLI_OK && strchr(a->names[0], ':'))
		r = name_check_usage(self, strchr(a->names[0], ':') + 1);
	if (r != CLI_OK)
		return r;
	r = strchr(a->names[0], ':') ? capture_open_point(a->names[0], &k)
				     : cluster_open_named(a->names[0], &c);
	if (r == CLI_OK && c)
		r = cluster_note_left_out(c, "copy");
	if (r == CLI_OK)
		r = fork_cluster(c, k, a->names[0], a->names[1], settings);
	drover_cluster_close(c);
	drover_capture_close(k);
	return r == CLI_OK ? say_done() : r;
}

const struct command command_fork = {
	.name = "fork",
	.usage = "CLUSTER[:POINT] NEW",
	.summary = "Copy a cluster as it runs, or as it was saved, into networks of their own",
	.options = fork_options,
	.settings_size = sizeof(struct fork_settings),
	.run = run_fork,
};
