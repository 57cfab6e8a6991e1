/* SPDX-License-Identifier: MIT */
/*
 * Progress: on a terminal one live line a member, elsewhere one line a change, or JSON on stdout. The library calls
 * from inside its blocking functions, so there is no thread and no lock here.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/str.h"
#include "cli/cli.h"

enum { STAGE_SIZE = 16, TEXT_SIZE = 160, DEFAULT_WIDTH = 80, PERCENT_STEP = 10 };

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

static int format_line(const struct line *l, char *ret, size_t size)
{
	char seconds[32];
	char percent[16] = "";

	say_seconds(l->elapsed_ms, seconds, sizeof(seconds));
	if (l->percent >= 0)
		snprintf(percent, sizeof(percent), " %d%%", l->percent);
	return snprintf(ret, size, "%s%s%s%s%s%s (%s)", l->member, *l->member ? ": " : "", l->stage,
			percent, *l->text ? ": " : "", l->text, seconds);
}

static void draw(struct progress *p)
{
	struct winsize ws = {0};
	char text[NAME_SIZE + STAGE_SIZE + TEXT_SIZE + 64];
	int width = DEFAULT_WIDTH;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 1)
		width = ws.ws_col;
	if (p->drawn > 0)
		fprintf(stderr, "\033[%zuA", p->drawn);
	for (size_t i = 0; i < p->count; i++) {
		format_line(&p->lines[i], text, sizeof(text));
		str_make_printable(text);
		fprintf(stderr, "\r\033[K%.*s\n", width - 1, text);
	}
	p->drawn = p->count;
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

static void progress_note(struct progress *p, const struct drover_progress *e)
{
	struct line *l = get_line(p, e->member);
	char text[NAME_SIZE + STAGE_SIZE + TEXT_SIZE + 64];
	bool news;

	if (!l)
		return;
	news = is_news(l, e);
	snprintf(l->stage, sizeof(l->stage), "%s", e->stage);
	snprintf(l->text, sizeof(l->text), "%s", e->text ? e->text : "");
	l->percent = e->percent;
	l->elapsed_ms = e->elapsed_ms;
	if (!strcmp(e->stage, "ready"))
		l->ready_ms = e->elapsed_ms;
	if (p->style == PROGRESS_JSON) {
		print_json(e);
	} else if (p->live) {
		draw(p);
	} else if (p->style == PROGRESS_AUTO && news) {
		format_line(l, text, sizeof(text));
		str_make_printable(text);
		fprintf(stderr, "%s\n", text);
	}
}

/* Said whatever the style, and below what is drawn, which is drawn anew after it. */
static void warn(struct progress *p, const struct drover_progress *e)
{
	char text[1024];

	snprintf(text, sizeof(text), "drover: warning: %s", e->text);
	str_make_printable(text);
	fprintf(stderr, "%s\n", text);
	p->drawn = 0;
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
