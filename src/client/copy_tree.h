/* SPDX-License-Identifier: MIT */
/*
 * Files and trees as a tar stream over a socket. Blocking; for a thread of its own beside the one that moves the stream.
 * Modes are kept, owners are not, symbolic links are copied and never followed, other than files, directories and links
 * is left out.
 */
#ifndef DROVER_CLIENT_COPY_TREE_H
#define DROVER_CLIENT_COPY_TREE_H

struct err;

/* Writes @path, called @name in the archive, to the stream socket @fd (borrowed). ERR_STOPPED: nobody reads it any more. */
int copy_tree_pack(int fd, const char *path, const char *name, struct err *e);

/*
 * Reads an archive whose top is @name from @fd (borrowed) and makes @path of it, exactly there. The bytes are not
 * trusted: absolute names, "..", links that lead out of the tree and entries behind links are ERR_DENIED.
 */
int copy_tree_unpack(int fd, const char *path, const char *name, struct err *e);

#endif
