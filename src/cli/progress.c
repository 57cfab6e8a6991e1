/* SPDX-License-Identifier: MIT */
/*
 * Progress: on a terminal one live line a member, with a bar where the share that is done is known; elsewhere one line of
 * KEY=VALUE a change, or JSON on stdout. The library calls from inside its blocking functions, and again each second for
 * what lasts, so there is no thread and no lock here.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/str.h"
#include "cli/cli.h"

enum {
	STAGE_SIZE = 16,
	TEXT_SIZE = 160,
	DEFAULT_WIDTH = 80,
	DEFAULT_HEIGHT = 24,
	PERCENT_STEP = 10
};

enum { BAR = 20, LINE_SIZE = NAME_SIZE + STAGE_SIZE + 2 * TEXT_SIZE + 128 };

/* Before that what is left cannot be told from what was. */
enum { ESTIMATE_PERCENT = 2, ESTIMATE_MS = 1000 };

struct line {
	char member[NAME_SIZE];
	char stage[STAGE_SIZE];
	char text[TEXT_SIZE];
	int percent;
	int64_t elapsed_ms;
	int64_t ready_ms;
};

struct progress {
	enum progress_style style;
	bool live;
	size_t drawn; /* live lines on the screen, above the cursor */
	struct line *lines;
	size_t count;
	size_t last; /* the one that changed last */
};

struct progress *progress_new(enum progress_style style)
{
	struct progress *p = calloc(1, sizeof(*p));
	const char *term = getenv("TERM");

	if (!p)
		return NULL;
	p->style = style;
	p->live = style == PROGRESS_AUTO && isatty(STDERR_FILENO) && term && *term &&
		  strcmp(term, "dumb") != 0;
	return p;
}

static struct line *find_line(const struct progress *p, const char *member)
{
	for (size_t i = 0; i < p->count; i++)
		if (!strcmp(p->lines[i].member, member))
			return &p->lines[i];
	return NULL;
}

static struct line *get_line(struct progress *p, const char *member)
{
	struct line *l = find_line(p, member);
	struct line *grown;

	if (l)
		return l;
	grown = reallocarray(p->lines, p->count + 1, sizeof(*grown));
	if (!grown)
		return NULL;
	p->lines = grown;
	l = &p->lines[p->count++];
	*l = (struct line){.percent = -1, .ready_ms = -1};
	snprintf(l->member, sizeof(l->member), "%s", member);
	return l;
}

static void print_json(const struct drover_progress *e)
{
	json_t *o =
		json_pack("{s:s, s:s, s:s, s:I}", "member", e->member, "stage", e->stage, "text",
			  e->text ? e->text : "", "elapsed_ms", (json_int_t)e->elapsed_ms);

	if (!o)
		return;
	json_object_set_new(o, "percent", e->percent < 0 ? json_null() : json_integer(e->percent));
	json_dumpf(o, stdout, JSON_COMPACT);
	json_decref(o);
	putchar('\n');
	fflush(stdout);
}

/* One that says what is left need not be asked. */
static void add_time_left(const struct line *l, char *ret, size_t size)
{
	int64_t seconds;

	*ret = '\0';
	if (l->elapsed_ms < ESTIMATE_MS || l->percent < ESTIMATE_PERCENT || l->percent >= 100 ||
	    strstr(l->text, " left"))
		return;
	seconds = l->elapsed_ms * (100 - l->percent) / l->percent / 1000;
	snprintf(ret, size, ", about %" PRId64 ":%02d left", seconds / 60, (int)(seconds % 60));
}

static void draw_bar(int percent, char *ret, size_t size)
{
	char bar[BAR + 1];
	size_t full = (size_t)percent * BAR / 100;

	memset(bar, '#', full);
	memset(bar + full, '.', BAR - full);
	bar[BAR] = '\0';
	snprintf(ret, size, "[%s] %3d%% ", bar, percent);
}

/* "web-1  ssh      10.83.0.2 (7.5 s)", "       image    [####....]  40% downloading ... (3.1 s)" */
static void live_line(const struct progress *p, const struct line *l, char ret[LINE_SIZE])
{
	char seconds[32];
	char bar[BAR + 20] = "";
	char left[40];
	int width = 0;

	for (size_t i = 0; i < p->count; i++) {
		int len = (int)strlen(p->lines[i].member);

		width = len > width ? len : width;
	}
	say_seconds(l->elapsed_ms, seconds, sizeof(seconds));
	add_time_left(l, left, sizeof(left));
	if (l->percent >= 0 && l->percent < 100)
		draw_bar(l->percent, bar, sizeof(bar));
	snprintf(ret, LINE_SIZE, "%-*s%s%-8s %s%s%s (%s)", width, l->member, width ? "  " : "",
		 l->stage, bar, l->text, left, seconds);
	str_make_printable(ret);
}

/* For whoever reads it later, people and programs: progress member=web-1 stage=ssh elapsed_ms=7512 text="10.83.0.2" */
static void print_plain(const struct line *l)
{
	char text[2 * TEXT_SIZE + 1];
	size_t used = 0;

	for (const char *c = l->text; *c; c++) {
		if (*c == '"' || *c == '\\')
			text[used++] = '\\';
		text[used++] = *c;
	}
	text[used] = '\0';
	str_make_printable(text);
	fputs("progress", stderr);
	if (*l->member)
		fprintf(stderr, " member=%s", l->member);
	fprintf(stderr, " stage=%s", l->stage);
	if (l->percent >= 0)
		fprintf(stderr, " percent=%d", l->percent);
	fprintf(stderr, " elapsed_ms=%" PRId64 " text=\"%s\"\n", l->elapsed_ms, text);
}

/* The line of the whole cluster is worth its place while it is what goes on. */
static bool is_shown(const struct progress *p, size_t i)
{
	return *p->lines[i].member || p->last == i;
}

/* As many lines as there is @room for, those that are not ready before others; how many. */
static size_t draw_lines(const struct progress *p, size_t room, int width)
{
	size_t wanted = 0;
	size_t shown = 0;
	size_t hidden = 0;
	size_t hidden_ready = 0;

	for (size_t i = 0; i < p->count; i++)
		wanted += is_shown(p, i);
	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < p->count; i++) {
			bool ready = !strcmp(p->lines[i].stage, "ready");
			char text[LINE_SIZE];

			if (!is_shown(p, i) || pass != (wanted > room && ready))
				continue;
			if (shown + (wanted > room) == room) {
				hidden++;
				hidden_ready += ready;
				continue;
			}
			live_line(p, &p->lines[i], text);
			say_fit(text, (size_t)width);
			fprintf(stderr, "%.*s\n", width, text);
			shown++;
		}
	if (hidden > 0)
		fprintf(stderr, "and %zu more, %zu of them ready\n", hidden, hidden_ready);
	return shown + (hidden > 0);
}

/* What is drawn goes, and the cursor is where it began. */
static void wipe(struct progress *p)
{
	if (p->drawn > 0)
		fprintf(stderr, "\033[%zuA\r\033[J", p->drawn);
	p->drawn = 0;
}

static void draw(struct progress *p)
{
	struct winsize ws = {0};

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) < 0 || ws.ws_col < 2 || ws.ws_row < 3)
		ws = (struct winsize){.ws_col = DEFAULT_WIDTH, .ws_row = DEFAULT_HEIGHT};
	wipe(p);
	p->drawn = draw_lines(p, ws.ws_row - 1U, ws.ws_col - 1);
	fflush(stderr);
}

/* Whether a reader of plain lines wants to hear of @e after @l. */
static bool is_news(const struct line *l, const struct drover_progress *e)
{
	if (strcmp(l->stage, e->stage) != 0)
		return true;
	if (e->percent >= 0)
		return l->percent < 0 || e->percent / PERCENT_STEP != l->percent / PERCENT_STEP;
	return strncmp(l->text, e->text ? e->text : "", TEXT_SIZE - 1) != 0;
}

/* Whether anything but the time is another. */
static bool differs(const struct line *l, const struct drover_progress *e)
{
	return strcmp(l->stage, e->stage) != 0 || l->percent != e->percent ||
	       strncmp(l->text, e->text ? e->text : "", TEXT_SIZE - 1) != 0;
}

static void progress_note(struct progress *p, const struct drover_progress *e)
{
	struct line *l = get_line(p, e->member);
	bool news;
	bool changed;

	if (!l)
		return;
	news = is_news(l, e);
	changed = differs(l, e);
	snprintf(l->stage, sizeof(l->stage), "%s", e->stage);
	snprintf(l->text, sizeof(l->text), "%s", e->text ? e->text : "");
	l->percent = e->percent;
	l->elapsed_ms = e->elapsed_ms;
	p->last = (size_t)(l - p->lines);
	if (!strcmp(e->stage, "ready"))
		l->ready_ms = e->elapsed_ms;
	if (p->style == PROGRESS_JSON && changed)
		print_json(e);
	else if (p->live)
		draw(p);
	else if (p->style == PROGRESS_AUTO && news)
		print_plain(l);
}

/* Said whatever the style, and above what is drawn, which is drawn anew with the next change. */
static void warn(struct progress *p, const struct drover_progress *e)
{
	scoped(mem) char *text = str_format("drover: warning: %s", e->text);

	wipe(p);
	if (text) {
		str_make_printable(text);
		fprintf(stderr, "%s\n", text);
	}
	if (p->style == PROGRESS_JSON)
		print_json(e);
}

void progress_on_event(void *arg, const struct drover_progress *e)
{
	struct progress *p = arg;

	if (strcmp(e->stage, "warning") == 0)
		warn(p, e);
	else
		progress_note(p, e);
}

int64_t progress_ready_ms(const struct progress *p, const char *member)
{
	const struct line *l = find_line(p, member);

	return l ? l->ready_ms : -1;
}

void progress_free(struct progress *p)
{
	if (!p)
		return;
	free(p->lines);
	free(p);
}
