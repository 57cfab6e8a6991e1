/* SPDX-License-Identifier: MIT */
#define DROVER_BASE_ERR_C
#include "base/err.h"

#include <stdio.h>
#include <string.h>

static const struct {
	const char *name;
	int number;
} codes[ERR_MAX] = {
#define X(id, wire, ret) [ERR_##id] = {wire, ret},
	ERR_MAP(X)
#undef X
};

int err_vset(struct err *e, enum err_code code, const char *fmt, va_list ap)
{
	if (e) {
		e->code = code;
		vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
		e->hint[0] = '\0';
	}
	return err_code_number(code);
}

int err_set(struct err *e, enum err_code code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	err_vset(e, code, fmt, ap);
	va_end(ap);
	return err_code_number(code);
}

int err_hint(struct err *e, int r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (e)
		vsnprintf(e->hint, sizeof(e->hint), fmt, ap);
	va_end(ap);
	return r;
}

static enum err_code code_of_errno(int r)
{
	switch (-r) {
	case ENOENT:
	case ESRCH:
		return ERR_NOT_FOUND;
	case EACCES:
	case EPERM:
	case EROFS:
		return ERR_DENIED;
	case ENOSPC:
	case EDQUOT:
		return ERR_NO_SPACE;
	case ETIMEDOUT:
		return ERR_TIMEOUT;
	case EEXIST:
		return ERR_EXISTS;
	case EBUSY:
		return ERR_BUSY;
	case ENOMEM:
		return ERR_NO_MEMORY;
	case ECANCELED:
		return ERR_CANCELED;
	case EINVAL:
		return ERR_INVALID;
	case ECONNREFUSED:
	case EHOSTUNREACH:
	case ENETUNREACH:
		return ERR_UNREACHABLE;
	default:
		return ERR_IO;
	}
}

int err_errno(struct err *e, int r, const char *fmt, ...)
{
	char text[ERR_MSG_SIZE];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	err_set(e, code_of_errno(r), "%s: %s", text, strerror(-r));
	return r < 0 ? r : -EIO;
}

/* @sentence behind "NAME: ", when that is the last word of @prefix: it is not said twice. */
static const char *without_name(const char *sentence, const char *prefix)
{
	const char *space = strrchr(prefix, ' ');
	const char *name = space ? space + 1 : prefix;
	size_t len = strlen(name);

	return len && strncmp(sentence, name, len) == 0 && strncmp(sentence + len, ": ", 2) == 0
		       ? sentence + len + 2
		       : sentence;
}

int err_prefix(struct err *e, const char *fmt, ...)
{
	char text[ERR_MSG_SIZE];
	size_t len;
	va_list ap;

	if (!e)
		return -EIO;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	len = strlen(text);
	snprintf(text + len, sizeof(text) - len, ": %.*s", (int)(sizeof(text) - len - 3),
		 without_name(e->msg, text));
	memcpy(e->msg, text, sizeof(text));
	return err_code_number(e->code);
}

int err_copy(struct err *to, const struct err *from)
{
	if (to && from)
		*to = *from;
	return from ? err_code_number(from->code) : 0;
}

const char *err_code_name(enum err_code code)
{
	return (unsigned)code < ERR_MAX ? codes[code].name : codes[ERR_INTERNAL].name;
}

enum err_code err_code_from_name(const char *name)
{
	for (unsigned i = 1; name && i < ERR_MAX; i++)
		if (strcmp(codes[i].name, name) == 0)
			return (enum err_code)i;
	return ERR_INTERNAL;
}

int err_code_number(enum err_code code)
{
	return (unsigned)code < ERR_MAX ? codes[code].number : codes[ERR_INTERNAL].number;
}
