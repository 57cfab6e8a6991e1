/* SPDX-License-Identifier: MIT */
/* What somebody who wrote a word that there is not may have meant. */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "cli/cli.h"

enum { WORD_MAX_LEN = 63, SHORT_LEN = 5 };

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned m = a < b ? a : b;

	return m < c ? m : c;
}

/* How many letters must be changed, added, taken or exchanged with their neighbour to make @a of @b. */
static unsigned distance(const char *a, const char *b)
{
	unsigned rows[3][WORD_MAX_LEN +
			 1]; /* of the letter before the last one, the last one, and this one */
	size_t la = strnlen(a, WORD_MAX_LEN);
	size_t lb = strnlen(b, WORD_MAX_LEN);

	for (size_t j = 0; j <= lb; j++)
		rows[0][j] = (unsigned)j;
	for (size_t i = 1; i <= la; i++) {
		unsigned *row = rows[i % 3];
		const unsigned *last = rows[(i + 2) % 3];
		const unsigned *before = rows[(i + 1) % 3];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= lb; j++) {
			row[j] = min3(last[j] + 1, row[j - 1] + 1,
				      last[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    before[j - 2] + 1 < row[j])
				row[j] = before[j - 2] + 1;
		}
	}
	return rows[la % 3][lb];
}

static bool is_cut(const char *word, const char *candidate)
{
	return strlen(word) >= 2 && (str_starts(word, candidate) || str_starts(candidate, word));
}

void near_try(struct near *n, const char *candidate)
{
	size_t len = strlen(n->word);
	unsigned far = len > SHORT_LEN || strlen(candidate) > SHORT_LEN ? 3 : 2;
	unsigned d = len < WORD_MAX_LEN ? distance(n->word, candidate) : far;

	if (d >= far && is_cut(n->word, candidate))
		d = far - 1;
	if (d >= far || (size_t)d >= strlen(candidate) || (n->best && d >= n->distance))
		return;
	n->best = candidate;
	n->distance = d;
}
