/* SPDX-License-Identifier: MIT */
#include "backend/local/panic.h"

#include <string.h>

static const char panic_words[] = "Kernel panic - not syncing";
static const char reboot_words[] = "Rebooting in ";
static const char end_words[] = "[ end Kernel panic - not syncing"; /* and " ]---" */

/*
 * One more byte for @words, of which *@n have come, each once or more often; true when it completes them. No text has
 * its first letter a second time, so a mismatch can begin nothing but a new start.
 */
static bool goes_on(const char *words, size_t *n, char c)
{
	if (c == words[*n])
		++*n;
	else if (*n == 0 || c != words[*n - 1])
		*n = c == words[0] ? 1 : 0;
	if (words[*n])
		return false;
	*n = 0;
	return true;
}

bool words_end(const char *words, size_t *n, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (goes_on(words, n, data[i]))
			return true;
	return false;
}

static void begin_line(struct panic *p)
{
	p->stage = PANIC_LINE;
	p->len = sizeof(panic_words) - 1;
	memcpy(p->line, panic_words, p->len);
}

static void add_to_line(struct panic *p, char c)
{
	if (c == '\n' || c == '\r')
		p->stage = PANIC_TRACE;
	else if (p->len < sizeof(p->line) - 1) /* the rest is passed over */
		p->line[p->len++] = (char)(c >= ' ' && c <= '~' ? c : '?');
}

static void feed(struct panic *p, char c)
{
	bool again = goes_on(panic_words, &p->words, c);

	switch (p->stage) {
	case PANIC_NONE:
		if (again)
			begin_line(p);
		break;
	case PANIC_LINE:
		add_to_line(p, c);
		break;
	case PANIC_TRACE:
		if (goes_on(reboot_words, &p->reboots, c) || again)
			p->stage = PANIC_OVER;
		break;
	case PANIC_OVER:
		break;
	}
}

enum panic_stage panic_feed(struct panic *p, const char *data, size_t len)
{
	for (size_t i = 0; i < len && p->stage != PANIC_OVER; i++)
		feed(p, data[i]);
	return p->stage;
}

void panic_follow(struct panic *p, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char c = data[i];

		if (goes_on(end_words, &p->ends, c))
			begin_line(p);
		else if (p->stage == PANIC_LINE && (c == '\n' || c == '\r'))
			p->stage = PANIC_OVER;
		else if (p->stage == PANIC_LINE)
			add_to_line(p, c);
		else if (c != '\n' && c != '\r')
			p->stage = PANIC_NONE;
	}
}

const char *panic_line(struct panic *p)
{
	static const char end[] = " ]---";
	const size_t n = sizeof(end) - 1;

	if (p->len >= n && memcmp(p->line + p->len - n, end, n) == 0)
		p->len -= n;
	while (p->len > 0 && p->line[p->len - 1] == ' ')
		p->len--;
	p->line[p->len] = '\0';
	return p->stage == PANIC_NONE ? "" : p->line;
}
