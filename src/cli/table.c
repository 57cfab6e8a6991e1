/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/str.h"
#include "cli/cli.h"

struct table {
	size_t columns;
	size_t width[TABLE_COLUMNS];
	char **cells; /* rows * columns */
	size_t rows;
};

struct table *table_new(size_t columns)
{
	struct table *t = calloc(1, sizeof(*t));

	if (t)
		t->columns = columns < TABLE_COLUMNS ? columns : TABLE_COLUMNS;
	return t;
}

void table_add(struct table *t, const char *const cells[])
{
	char **grown;

	if (!t)
		return;
	grown = reallocarray(t->cells, (t->rows + 1) * t->columns, sizeof(*grown));
	if (!grown)
		return;
	t->cells = grown;
	for (size_t i = 0; i < t->columns; i++) {
		char *cell = strdup(cells[i] && *cells[i] ? cells[i] : "-");

		if (cell) {
			str_make_printable(cell);
			if (strlen(cell) > t->width[i])
				t->width[i] = strlen(cell);
		}
		t->cells[t->rows * t->columns + i] = cell;
	}
	t->rows++;
}

static int terminal_width(void)
{
	struct winsize ws;

	return isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) == 0 ? ws.ws_col : 0;
}

void table_fit(struct table *t)
{
	int room = terminal_width();

	for (size_t i = 0; t && i + 1 < t->columns; i++)
		room -= (int)t->width[i] + 2;
	for (size_t r = 0; t && room > 0 && r < t->rows; r++)
		if (t->cells[(r + 1) * t->columns - 1])
			say_fit(t->cells[(r + 1) * t->columns - 1], (size_t)room);
}

void table_print(const struct table *t)
{
	for (size_t r = 0; t && r < t->rows; r++)
		for (size_t i = 0; i < t->columns; i++) {
			const char *cell = t->cells[r * t->columns + i];

			if (i + 1 == t->columns)
				printf("%s\n", cell ? cell : "");
			else
				printf("%-*s  ", (int)t->width[i], cell ? cell : "");
		}
}

void table_free(struct table *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->rows * t->columns; i++)
		free(t->cells[i]);
	free(t->cells);
	free(t);
}
