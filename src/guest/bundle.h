/* SPDX-License-Identifier: MIT */
/*
 * Files of members as one file that can be carried elsewhere: a tar in zstd.
 *
 *   drover-bundle   a head, JSON: what is asked before anything is made of the rest
 *   NAME/FILE ...   holes stay holes
 *   sums            "SHA-256  NAME/FILE" of each, a line each: what has no such end is not whole
 *
 * All functions block, for work threads and callers that may wait.
 */
#ifndef DROVER_GUEST_BUNDLE_H
#define DROVER_GUEST_BUNDLE_H

struct err;
struct bundle;
struct giveup;

/*
 * Writes to @fd (borrowed; a pipe will do), beginning with @head. @g (borrowed, may be NULL) ends this and what follows, and
 * the wait for a pipe's reader. bundle_free(@ret), whatever became of it.
 */
int bundle_begin(int fd, const char *head, const struct giveup *g, struct bundle **ret,
		 struct err *e);
/* The file @path as @name, "NAME/FILE". */
int bundle_add(struct bundle *b, const char *name, const char *path, struct err *e);
/* Writes the end. Without it the bundle is not whole. */
int bundle_finish(struct bundle *b, struct err *e);
void bundle_free(struct bundle *b);

static inline void scoped_bundle(struct bundle **b)
{
	bundle_free(*b);
}

struct bundle_taker {
	/* The head, first of all; < 0 with @e: refused, and nothing more is read. */
	int (*on_head)(void *arg, const char *head, struct err *e);
	/* Where the file @name is to be: heap; NULL with @e: not wanted, and that is an error. Never the same twice. */
	char *(*where)(void *arg, const char *name, struct err *e);
	void *arg;
};

/*
 * Reads a bundle from @fd. Success: it is whole, and each file is as it was written, new and 0600. < 0: what was made is
 * left to the caller. ERR_INVALID: not a bundle, cut off, or damaged. @g (may be NULL) ends it,
 * and the wait for more of a pipe.
 */
int bundle_read(int fd, const struct bundle_taker *t, const struct giveup *g, struct err *e);

#endif
