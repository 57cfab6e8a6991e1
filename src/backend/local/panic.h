/* SPDX-License-Identifier: MIT */
/*
 * Finds a Linux panic in what a guest writes to its serial line.
 *
 * How it works: the kernel says "Kernel panic - not syncing: WHY", then what it did, then the same words once more, or that it
 * reboots. While programs write to the same line, bytes are written twice, and the words stand in the middle of another
 * line: so each letter may be repeated, and what stands before does not matter.
 */
#ifndef DROVER_BACKEND_LOCAL_PANIC_H
#define DROVER_BACKEND_LOCAL_PANIC_H

#include <stdbool.h>
#include <stddef.h>

enum panic_stage {
	PANIC_NONE,
	PANIC_LINE,  /* the words were there, and their line goes on */
	PANIC_TRACE, /* the line is whole; the kernel says more */
	PANIC_OVER,  /* it has said all */
};

struct panic {
	enum panic_stage stage;
	size_t words;   /* letters of "Kernel panic ..." that have come */
	size_t reboots; /* letters of "Rebooting in " that have come */
	size_t ends;    /* letters of "[ end Kernel panic ..." that have come */
	size_t len;     /* of @line */
	char line
		[256]; /* from "Kernel panic" on, printable ASCII; its end is cut; no NUL before panic_line */
};

/* Where the guest is after these bytes too; PANIC_OVER stays. A zeroed @p begins. */
enum panic_stage panic_feed(struct panic *p, const char *data, size_t len);

/*
 * The same for a guest that people work in: they may print such words, and it may reboot. PANIC_OVER is only the kernel that
 * hangs in its panic: "---[ end Kernel panic - not syncing: WHY ]---" is the last that it says.
 */
void panic_follow(struct panic *p, const char *data, size_t len);

/*
 * Whether @words are whole with these bytes, of which each may have come twice; *@n, zero at first, is how many of their letters
 * have come. Their first letter stands in no other place of them.
 */
bool words_end(const char *words, size_t *n, const char *data, size_t len);

/* What there is of the line, without spaces at its end; "" for PANIC_NONE. Valid until more is fed. */
const char *panic_line(struct panic *p);

#endif
