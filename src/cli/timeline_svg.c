/* SPDX-License-Identifier: MIT */
/* The picture: a row of bars a member over one axis of seconds, their long names in a legend above. */
#include <errno.h>
#include <stdlib.h>

#include "cli/timeline.h"

enum {
	WIDTH = 1000,
	LEFT = 130, /* of the bars; the names stand before it */
	RIGHT = 940,
	TOP = 84, /* of the first row */
	ROW = 46,
	BAR = 22,
	THIN_BAR = 8, /* cloud-init, below the bar */
	LEGEND_STEP = 95,
	TICKS = 10, /* at most */
};

static const struct look {
	const char *name;
	const char *colour;
} looks[TIMELINE_STAGES] = {
	[TIMELINE_IMAGE] = {"image", "#9aa5b1"},
	[TIMELINE_PREPARE] = {"prepare", "#4c78a8"},
	[TIMELINE_VMM] = {"VMM", "#b279a2"},
	[TIMELINE_KERNEL] = {"kernel", "#e45756"},
	[TIMELINE_INIT] = {"init", "#f2a541"},
	[TIMELINE_SSHD] = {"sshd", "#54a24b"},
	[TIMELINE_RESUME] = {"resume", "#d67195"},
	[TIMELINE_LOGIN] = {"login", "#72b7b2"},
	[TIMELINE_CLOUD_INIT] = {"cloud-init", "#6b4c9a"},
};

const char *timeline_stage_name(enum timeline_stage s)
{
	return looks[s].name;
}

static int64_t last_end(const struct timeline *t)
{
	int64_t last = 0;

	for (int s = 0; s < TIMELINE_STAGES; s++)
		if (t->end[s] > last)
			last = t->end[s];
	return last;
}

/* Milliseconds between two ticks: 1, 2 or 5 times a power of ten, so that at most TICKS fit below @total. */
static int64_t tick_step(int64_t total)
{
	static const int64_t steps[] = {1, 2, 5};

	for (int64_t unit = 100;; unit *= 10)
		for (size_t i = 0; i < 3; i++)
			if (total / (steps[i] * unit) <= TICKS)
				return steps[i] * unit;
}

static double x_of(int64_t ms, int64_t total)
{
	return LEFT + (double)(RIGHT - LEFT) * (double)ms / (double)total;
}

static bool is_drawn(const struct timeline *t, int s)
{
	return t->begin[s] >= 0 && t->end[s] > t->begin[s];
}

/* Of what is in the picture only. */
static int add_legend(struct buf *b, const struct timeline *t, size_t n)
{
	int x = LEFT;
	int r = 0;

	for (int s = 0; s < TIMELINE_STAGES && r == 0; s++) {
		size_t i = 0;

		while (i < n && !is_drawn(&t[i], s))
			i++;
		if (i == n)
			continue;
		r = buf_addf(b,
			     "<rect x=\"%d\" y=\"14\" width=\"12\" height=\"12\" fill=\"%s\"/>"
			     "<text x=\"%d\" y=\"24\">%s</text>\n",
			     x, looks[s].colour, x + 17, looks[s].name);
		x += LEGEND_STEP;
	}
	return r;
}

static int add_axis(struct buf *b, int64_t total, int bottom)
{
	int64_t step = tick_step(total);
	int r = 0;

	for (int64_t ms = 0; ms <= total && r == 0; ms += step)
		r = buf_addf(
			b,
			"<line x1=\"%.1f\" y1=\"62\" x2=\"%.1f\" y2=\"%d\" stroke=\"#dddddd\"/>"
			"<text x=\"%.1f\" y=\"56\" text-anchor=\"middle\">%g s</text>\n",
			x_of(ms, total), x_of(ms, total), bottom, x_of(ms, total),
			(double)ms / 1000);
	return r;
}

static int add_row(struct buf *b, const struct timeline *t, int64_t total, int y)
{
	int r = buf_addf(b,
			 "<g id=\"%s\">\n<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n",
			 t->member, LEFT - 10, y + 16, t->member);

	for (int s = 0; s < TIMELINE_STAGES && r == 0; s++) {
		bool beside = s == TIMELINE_CLOUD_INIT;

		if (!is_drawn(t, s))
			continue;
		r = buf_addf(b,
			     "<rect x=\"%.2f\" y=\"%d\" width=\"%.2f\" height=\"%d\" fill=\"%s\">"
			     "<title>%s: %s %.2f s (%.2f to %.2f)</title></rect>\n",
			     x_of(t->begin[s], total), beside ? y + BAR + 2 : y,
			     x_of(t->end[s], total) - x_of(t->begin[s], total),
			     beside ? THIN_BAR : BAR, looks[s].colour, t->member, looks[s].name,
			     (double)(t->end[s] - t->begin[s]) / 1000, (double)t->begin[s] / 1000,
			     (double)t->end[s] / 1000);
	}
	if (r == 0)
		r = buf_addf(b, "<text x=\"%.1f\" y=\"%d\">%.1f s</text>\n</g>\n",
			     x_of(last_end(t), total) + 6, y + 16, (double)last_end(t) / 1000);
	return r;
}

int timeline_svg(const struct timeline *t, size_t n, struct buf *ret)
{
	int bottom = TOP + (int)n * ROW - (ROW - BAR) + 14;
	int64_t total = 1;
	int r;

	for (size_t i = 0; i < n; i++)
		if (last_end(&t[i]) > total)
			total = last_end(&t[i]);
	r = buf_addf(ret,
		     "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		     "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
		     "height=\"%d\" font-family=\"sans-serif\" font-size=\"13\">\n"
		     "<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n",
		     WIDTH, bottom + 10, WIDTH, bottom + 10);
	if (r == 0)
		r = add_legend(ret, t, n);
	if (r == 0)
		r = add_axis(ret, total, bottom);
	for (size_t i = 0; i < n && r == 0; i++)
		r = add_row(ret, &t[i], total, TOP + (int)i * ROW);
	return r == 0 ? buf_addstr(ret, "</svg>\n") : r;
}
