/* SPDX-License-Identifier: MIT */
/*
 * drover timeline: where the time of a boot went. The host's half is the library's note of the last boot; the guest's
 * half is asked of the guest: its kernel tells when it began and when it called init, /proc when the SSH server was
 * started, systemd when cloud-init ran. Guests count from the start of their kernel, which /proc/uptime puts on the host's
 * clock. A guest that went on from memory is not asked: what it remembers is another guest's boot.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/files.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/timeline.h"

/* What the clocks of host and guest may differ by, and what an exec takes. */
enum { SLACK_MS = 3000, ASK_TIMEOUT_MS = 60000, FIELD_SIZE = 32 };

struct timeline_settings {
	const char *output;
	bool json;
};

static const struct option_row timeline_options[] = {
	{"output", 'o', OPTION_TEXT, offsetof(struct timeline_settings, output), "FILE",
	 "write there instead of on stdout"},
	{"json", 0, OPTION_FLAG, offsetof(struct timeline_settings, json), NULL,
	 "numbers instead of a picture"},
	{0},
};

/* Prints lines "WORD SECONDS", in seconds since the guest's kernel began; in words that busybox knows too. */
static const char guest_script[] =
	"export PATH=$PATH:/sbin:/usr/sbin\n"
	"(dmesg 2>/dev/null || sudo -n dmesg) |"
	" sed -n 's/^\\[ *\\([0-9.]*\\)\\] Run .* as init process.*/init \\1/p'\n"
	"for p in /proc/[0-9]*; do\n"
	"	read -r comm <$p/comm || continue\n"
	"	case $comm in sshd | dropbear) ;; *) continue ;; esac\n"
	"	read -r stat <$p/stat || continue\n"
	"	set -- ${stat##*) }\n"
	"	shift 19\n"
	"	echo sshd ${1%??}.${1#${1%??}}\n"
	"done 2>/dev/null\n"
	"for unit in cloud-init-local cloud-init cloud-config cloud-final; do\n"
	"	systemctl show -p InactiveExitTimestampMonotonic -p ActiveEnterTimestampMonotonic $unit"
	" 2>/dev/null | sed -n 's/^In.*=\\([0-9]\\{7,\\}\\)$/cloud-begin \\1e-6/p;"
	"s/^Ac.*=\\([0-9]\\{7,\\}\\)$/cloud-end \\1e-6/p'\n"
	"done\n"
	"echo uptime $(cut -d' ' -f1 /proc/uptime)\n";

/* Milliseconds since the guest's kernel began; -1: it does not say. */
struct guest_times {
	int64_t init;
	int64_t sshd; /* of the processes of that name the oldest */
	int64_t cloud_begin;
	int64_t cloud_end;
	int64_t uptime;
};

static void keep_first(int64_t *kept, int64_t ms)
{
	if (*kept < 0 || ms < *kept)
		*kept = ms;
}

static void read_line(const char *line, struct guest_times *g)
{
	char word[FIELD_SIZE];
	double seconds;
	int64_t ms;

	if (sscanf(line, "%31s %lf", word, &seconds) != 2 || !(seconds >= 0 && seconds < 1e9))
		return;
	ms = (int64_t)(seconds * 1000);
	if (!strcmp(word, "init"))
		keep_first(&g->init, ms);
	else if (!strcmp(word, "sshd"))
		keep_first(&g->sshd, ms);
	else if (!strcmp(word, "cloud-begin"))
		keep_first(&g->cloud_begin, ms);
	else if (!strcmp(word, "cloud-end") && ms > g->cloud_end)
		g->cloud_end = ms;
	else if (!strcmp(word, "uptime"))
		g->uptime = ms;
}

/* *@ret_zero: Unix time of the start of its kernel. */
static int ask_guest(struct drover_vm *vm, struct guest_times *ret, int64_t *ret_zero,
		     struct drover_error *e)
{
	struct drover_exec x = DROVER_EXEC_INIT;
	struct drover_result result = {0};
	char *save = NULL;
	int r;

	*ret = (struct guest_times){-1, -1, -1, -1, -1};
	x.command = guest_script;
	x.timeout_ms = ASK_TIMEOUT_MS;
	x.cancel = interrupt_catch();
	r = drover_vm_exec(vm, &x, &result, e);
	*ret_zero = clock_unix_ms();
	if (r >= 0)
		for (char *l = strtok_r(result.out, "\n", &save); l;
		     l = strtok_r(NULL, "\n", &save))
			read_line(l, ret);
	*ret_zero -= ret->uptime;
	drover_result_done(&result);
	return r < 0 ? r : 0;
}

static int refuse(struct drover_error *e, const char *what)
{
	snprintf(e->sentence, sizeof(e->sentence), "%s", what);
	return -1;
}

static void set(struct timeline *t, enum timeline_stage s, int64_t begin, int64_t end)
{
	t->begin[s] = begin;
	t->end[s] = end;
}

/*
 * Puts the guest's times between the host's. The end of an exec is a little later than the guest's answer, so that its
 * kernel may seem to begin late; it cannot have called init after its SSH server answered, nor have begun before there was
 * a hypervisor.
 */
static int join(const struct drover_boot *b, const struct guest_times *g, int64_t zero,
		struct timeline *t, struct drover_error *e)
{
	int64_t start = b->start_ms - b->called_ms;
	int64_t address = b->address_ms - b->called_ms;
	int64_t kernel = zero - b->called_ms;
	int64_t latest = address - g->sshd;
	int64_t sshd;

	if (g->init < 0 || g->sshd < 0 || g->uptime < 0)
		return refuse(
			e,
			"the guest does not tell when it called init and started its SSH server");
	if (latest < start - SLACK_MS || kernel < start - SLACK_MS || kernel > latest + SLACK_MS)
		return refuse(e, "the guest was rebooted, paused or put back to a point since "
				 "drover booted it, and its clock no longer tells when that was");
	if (kernel > latest)
		kernel = latest;
	if (kernel < start)
		kernel = start;
	sshd = kernel + g->sshd < address ? kernel + g->sshd : address;
	set(t, TIMELINE_VMM, start, kernel);
	set(t, TIMELINE_KERNEL, kernel, kernel + g->init);
	set(t, TIMELINE_INIT, kernel + g->init, sshd);
	set(t, TIMELINE_SSHD, sshd, address);
	if (g->cloud_begin >= 0)
		set(t, TIMELINE_CLOUD_INIT, kernel + g->cloud_begin,
		    g->cloud_end < 0 ? -1 : kernel + g->cloud_end);
	return 0;
}

/* What the host knows of any start. */
static void set_host_times(const struct drover_boot *b, struct timeline *t)
{
	int64_t prepare = b->prepare_ms - b->called_ms;

	for (int s = 0; s < TIMELINE_STAGES; s++)
		set(t, s, -1, -1);
	set(t, TIMELINE_IMAGE, 0, prepare);
	set(t, TIMELINE_PREPARE, prepare, b->start_ms - b->called_ms);
	set(t, TIMELINE_LOGIN, b->address_ms - b->called_ms, b->ready_ms - b->called_ms);
}

static int vm_timeline(struct drover_vm *vm, struct timeline *ret, struct drover_error *e)
{
	struct drover_boot boot;
	struct guest_times guest;
	int64_t zero;
	int resumed = drover_boot_resumed(NULL, ret->member, e);

	if (resumed < 0 || drover_boot_times(NULL, ret->member, &boot, e) < 0)
		return -1;
	set_host_times(&boot, ret);
	if (!resumed)
		return ask_guest(vm, &guest, &zero, e) < 0 ? -1 : join(&boot, &guest, zero, ret, e);
	set(ret, TIMELINE_RESUME, ret->end[TIMELINE_PREPARE], ret->begin[TIMELINE_LOGIN]);
	return 0;
}

static int member_timeline(const char *name, struct timeline *ret)
{
	struct drover_error e = {0};
	struct drover_cluster *c = NULL;
	struct drover_vm *vm = member_open(name, &c, &e);
	int r;

	snprintf(ret->member, sizeof(ret->member), "%s", name);
	r = vm ? vm_timeline(vm, ret, &e) : -1;
	drover_cluster_close(c);
	if (r < 0)
		return interrupt_signal() ? interrupt_or_failed(&e) : say_failed(name, &e);
	return CLI_OK;
}

static json_t *stage_json(const struct timeline *t, enum timeline_stage s)
{
	return json_pack("{s:s, s:I, s:I}", "stage", timeline_stage_name(s), "begin_ms",
			 (json_int_t)t->begin[s], "end_ms", (json_int_t)t->end[s]);
}

static char *timeline_json(const struct timeline *t, size_t n)
{
	json_t *all = json_array();
	char *text;

	for (size_t i = 0; i < n; i++) {
		json_t *stages = json_array();

		for (int s = 0; s < TIMELINE_STAGES; s++)
			if (t[i].begin[s] >= 0)
				json_array_append_new(stages, stage_json(&t[i], s));
		json_array_append_new(
			all, json_pack("{s:s, s:o}", "member", t[i].member, "stages", stages));
	}
	text = json_dumps(all, JSON_INDENT(2));
	json_decref(all);
	return text;
}

/* A file is replaced whole; what is there and is no file (/dev/stdout) is written to. */
static int write_output(const char *path, const struct buf *b)
{
	scoped(fd) int fd = -1;
	struct stat st;

	if (stat(path, &st) < 0 || S_ISREG(st.st_mode))
		return files_replace(path, b->data, b->len, 0644);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd < 0 ? -errno : files_write_all(fd, b->data, b->len);
}

static int put(const struct timeline_settings *s, const struct timeline *t, size_t n)
{
	scoped(buf) struct buf b = BUF_INIT;
	scoped(mem) char *json = s->json ? timeline_json(t, n) : NULL;
	int r = !s->json ? timeline_svg(t, n, &b) : json ? buf_addf(&b, "%s\n", json) : -ENOMEM;

	if (r < 0)
		return say_error("out of memory");
	if (s->output) {
		r = write_output(s->output, &b);
		return r < 0 ? say_error("cannot write %s: %s", s->output, strerror(-r)) : CLI_OK;
	}
	fwrite(b.data, 1, b.len, stdout);
	return say_done();
}

static int run_timeline(const struct command *self, const void *settings, const struct args *a)
{
	scoped(targets) struct targets targets = {0};
	scoped(mem) struct timeline *t = NULL;
	int r;

	if (a->count == 0)
		return say_usage(self, "timeline needs the name of a member or cluster");
	r = targets_find(a->names, a->count, false, &targets);
	if (r != CLI_OK || targets.unknown)
		return CLI_FAILED;
	t = calloc(targets.count, sizeof(*t));
	if (!t)
		return say_error("out of memory");
	for (size_t i = 0; i < targets.count && r == CLI_OK; i++)
		r = member_timeline(targets.hit[i]->name, &t[i]);
	return r == CLI_OK ? put(settings, t, targets.count) : r;
}

const struct command command_timeline = {
	.name = "timeline",
	.usage = "[OPTIONS] NAME|CLUSTER...",
	.summary = "Draw a chart of where the time of a boot went",
	.options = timeline_options,
	.settings_size = sizeof(struct timeline_settings),
	.run = run_timeline,
};
