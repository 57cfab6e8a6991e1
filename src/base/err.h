/* SPDX-License-Identifier: MIT */
/*
 * Errors that a user reads: a stable code, one sentence, and where something mends it, a hint.
 *
 * Functions return int: >= 0 is success, < 0 is -errno. Where a user will read why, `struct err *`
 * is the last parameter; it is filled if and only if the function returns < 0.
 */
#ifndef DROVER_BASE_ERR_H
#define DROVER_BASE_ERR_H

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>

/* id, name on the wire (never renamed, see docs/protocol.lock), return value */
#define ERR_MAP(X)                                         \
	X(NONE, "", 0)                                     \
	X(INTERNAL, "internal", -EIO)                      \
	X(INVALID, "invalid_argument", -EINVAL)            \
	X(BAD_NAME, "invalid_name", -EINVAL)               \
	X(BAD_REQUEST, "bad_request", -EBADMSG)            \
	X(UNKNOWN_COMMAND, "unknown_command", -EOPNOTSUPP) \
	X(TOO_LARGE, "too_large", -EMSGSIZE)               \
	X(NO_NETWORK, "network_not_created", -ENOTCONN)    \
	X(NOT_RESERVED, "not_reserved", -ENOENT)           \
	X(NOT_FOUND, "not_found", -ENOENT)                 \
	X(NOT_RUNNING, "not_running", -ESRCH)              \
	X(ALREADY_RUNNING, "already_running", -EEXIST)     \
	X(EXISTS, "already_exists", -EEXIST)               \
	X(STOPPED, "stopped", -ECANCELED)                  \
	X(CANCELED, "canceled", -ECANCELED)                \
	X(TIMEOUT, "timeout", -ETIMEDOUT)                  \
	X(BUSY, "busy", -EBUSY)                            \
	X(DENIED, "permission_denied", -EACCES)            \
	X(UNSUPPORTED, "unsupported", -ENOTSUP)            \
	X(MISSING_PROGRAM, "missing_program", -ENOEXEC)    \
	X(HOST, "host_not_ready", -EPERM)                  \
	X(IMAGE, "bad_image", -EILSEQ)                     \
	X(NO_SPACE, "no_space", -ENOSPC)                   \
	X(NO_ADDRESS, "no_free_address", -EADDRNOTAVAIL)   \
	X(BOOT, "boot_failed", -EIO)                       \
	X(SSH, "ssh_failed", -ECONNABORTED)                \
	X(UNREACHABLE, "unreachable", -EHOSTUNREACH)       \
	X(PROTOCOL, "protocol_mismatch", -EPROTO)          \
	X(IO, "io_error", -EIO)                            \
	X(NO_MEMORY, "out_of_memory", -ENOMEM)             \
	X(PANIC, "kernel_panic", -EIO)

#define X(id, wire, ret) ERR_##id,
enum err_code { ERR_MAP(X) ERR_MAX };
#undef X

/* Room for a sentence with two paths in it, and for a hint; longer text is cut. */
enum { ERR_MSG_SIZE = 768, ERR_HINT_SIZE = 256 };

struct err {
	enum err_code code;
	char msg[ERR_MSG_SIZE];
	char hint
		[ERR_HINT_SIZE]; /* what mends it, or "": a command or what to set, no part of the sentence */
};

#define ERR_INIT                                        \
	{                                               \
		.code = ERR_NONE, .msg = "", .hint = "" \
	}

/* Fills @e (may be NULL), returns the code's number:  return err_set(e, ERR_BUSY, "..."); */
int err_set(struct err *e, enum err_code code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
int err_vset(struct err *e, enum err_code code, const char *fmt, va_list ap)
	__attribute__((format(printf, 3, 0)));

/*
 * Adds a hint to what was just filled, and returns that number:
 *	return err_hint(e, err_set(e, ERR_MISSING_PROGRAM, "x is not installed"), "apt-get install x");
 */
int err_hint(struct err *e, int r, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/*
 * Fills @e from an errno value (@r = -errno): the code is the one that fits the number, the sentence is
 * the formatted text, a colon and strerror. Returns @r.
 */
int err_errno(struct err *e, int r, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/*
 * Puts "text: " before the sentence that @e has, whose own "NAME: " goes where the text ends with that name; keeps code and
 * hint. Returns the code's number.
 */
int err_prefix(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Copies @from (may be NULL) to @to (may be NULL). Returns the code's number. */
int err_copy(struct err *to, const struct err *from);

/* The stable word of @code; "internal" for a value out of range. */
const char *err_code_name(enum err_code code);

/* The code of a stable word; ERR_INTERNAL when @name is unknown or NULL. */
enum err_code err_code_from_name(const char *name);

/* The code's return value, < 0 (0 for ERR_NONE). */
int err_code_number(enum err_code code);

/* The static analyzer cannot see that these are < 0 wherever there is an error; nothing else is changed for it. */
#if defined(__clang_analyzer__) && !defined(DROVER_BASE_ERR_C)
#define err_set(...)          (err_set(__VA_ARGS__), -1)
#define err_hint(...)         (err_hint(__VA_ARGS__), -1)
#define err_copy(to, from)    (err_copy(to, from), -1)
#define err_code_number(code) (err_code_number(code), -1)
#endif

#endif
