/* SPDX-License-Identifier: MIT */
/* Names, text and small conversions. Nothing here allocates unless it says so. */
#ifndef DROVER_BASE_STR_H
#define DROVER_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	NAME_SIZE = 64, /* a member or cluster name: RFC 1123 label of at most 63 octets, and NUL */
	POINT_SIZE =
		80,    /* a point's name, or what a backend keeps it under (NAME.NUMBER), and NUL */
	MAC_SIZE = 18, /* "aa:bb:cc:dd:ee:ff" and NUL */
	IP_SIZE = 46,  /* an address in text, and NUL */
	SUBNET_SIZE = 50,   /* "a.b.c.d/len" and NUL */
	SOCKET_KEY_LEN = 16 /* hex digits of the hashed socket name */
};

struct err;

/* True when @name is an RFC 1123 label: 1..63 of [a-z0-9-], no '-' at either end. */
bool name_is_valid(const char *name);

/* 0, or < 0 with a sentence that names @name and says what a name may be. */
int name_check(const char *name, struct err *e);

/* The cluster of a member name: cut at the last '-' when digits follow it. @ret: NAME_SIZE bytes. */
void name_cluster(const char *name, char ret[NAME_SIZE]);
/* Whether two members' names have the same. */
bool name_same_cluster(const char *a, const char *b);

/* The base of a member's socket names: the first 16 hex digits of SHA-256(@name), and NUL. */
void name_socket_key(const char *name, char ret[SOCKET_KEY_LEN + 1]);

/* The member's MAC address: SHA-256(@salt @name), locally administered, unicast. */
void name_mac(const char *salt, const char *name, char ret[MAC_SIZE]);

/* True when @a and @b are the same text or both NULL. */
bool str_equal(const char *a, const char *b);
bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);

/* As much of @from as fits in the @size bytes of @to, always with a NUL. */
void str_copy(char *to, size_t size, const char *from);

/* @number in decimal, somewhere inside @room. */
enum { INT_TEXT_SIZE = 24 };
const char *str_from_int(char room[INT_TEXT_SIZE], int64_t number);

/* A heap copy of @from into *@ret (caller frees), NULL of NULL. false: out of memory. */
bool str_dup(const char *from, char **ret);

/* asprintf that returns the text (heap, caller frees) or NULL. */
char *str_format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A whole decimal number within [@min, @max]: 0 and *@ret, else -EINVAL or -ERANGE. */
int str_to_int64(const char *s, int64_t min, int64_t max, int64_t *ret);

/* Lower-case hex of @data. @ret holds 2 * @len + 1 bytes. */
void str_hex(const void *data, size_t len, char *ret);

/* Base64 of @data (heap, caller frees), or NULL when out of memory. */
char *str_base64(const void *data, size_t len);

/*
 * Makes text from outside harmless for a terminal or a log line, in place: control characters become '?'.
 */
void str_make_printable(char *s);

#endif
