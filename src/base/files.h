/* SPDX-License-Identifier: MIT */
/* Files: whole reads, atomic replacement, directories. All block; all return 0 (or a count) or -errno. */
#ifndef DROVER_BASE_FILES_H
#define DROVER_BASE_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Writes all of it, whatever write(2) returns at a time. */
int files_write_all(int fd, const void *data, size_t len);

/* Writes @text into the file at @path, which is there, as the kernel's settings are. */
int files_write_into(const char *path, const char *text);
/* The same at a place, which the descriptor does not move to. */
int files_write_at(int fd, const void *data, size_t len, off_t at);

/* Reads @path whole (at most @max bytes, else -EFBIG). @ret_data: heap, NUL added, caller frees. */
int files_read(const char *path, size_t max, char **ret_data, size_t *ret_len);

/*
 * The file holds the old or the new bytes, never a mix; 0: durable (file and directory synced).
 * The temporary name is unique, so that concurrent writers do not mix: the last rename wins.
 */
int files_replace(const char *path, const void *data, size_t len, mode_t mode);

/*
 * The same without the syncs: atomic for every reader, gone after a power cut. For what describes live processes,
 * which a power cut ends too.
 */
int files_publish(const char *path, const void *data, size_t len, mode_t mode);

/* mkdir -p; existing directories are left as they are. */
int files_mkdir_all(const char *path, mode_t mode);

/* rm -r; a missing @path is success; symbolic links are removed, never followed. */
int files_remove_tree(const char *path);

bool files_exist(const char *path);

/* @path with the current directory before it unless it is absolute; heap, caller frees. NULL with errno. */
char *files_absolute(const char *path);

/*
 * Finds @program as execvp would, in PATH and then in /usr/sbin:/sbin (where Debian keeps some).
 * Returns heap text (caller frees) or NULL.
 */
char *files_find_program(const char *program);

/* fsync of the directory that holds @path. */
int files_sync_parent(const char *path);

#endif
