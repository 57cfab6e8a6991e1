/* SPDX-License-Identifier: MIT */
/* Words for a person. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"
#include "cli/cli.h"

enum {
	SENTENCE_SIZE = 1024,
	FIT_MIN = 8, /* less than this of a line is no use */
	MINUTE = 60,
	HOUR = 3600,
	DAY = 86400,
	TWO_MINUTES = 120,
	TWO_HOURS = 7200,
	TWO_DAYS = 172800
};

static void say(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));

static void say(const char *fmt, va_list ap)
{
	char text[SENTENCE_SIZE];

	vsnprintf(text, sizeof(text), fmt, ap);
	str_make_printable(text);
	fflush(stdout);
	fprintf(stderr, "drover: %s\n", text);
}

int say_error(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
	return CLI_FAILED;
}

/* Whether @sentence has @name as a word of its own: "web-1" is not in "web-10". */
static bool names_it(const char *sentence, const char *name)
{
	static const char letters[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
	size_t len = strlen(name);

	for (const char *at = sentence; (at = strstr(at, name)); at++) {
		const char *end = at + len;

		/* a sentence's end is no part of a name */
		if ((at == sentence || !strchr(letters, at[-1])) &&
		    (!*end || !strchr(letters, *end) || (*end == '.' && !end[1])))
			return true;
	}
	return false;
}

int say_of(const char *what, const char *sentence)
{
	if (what && !names_it(sentence, what))
		return say_error("%s: %s", what, sentence);
	return say_error("%s", sentence);
}

int say_failed(const char *what, const struct drover_error *e)
{
	char hint[sizeof(e->hint)];

	say_of(what, e->sentence);
	snprintf(hint, sizeof(hint), "%s", e->hint);
	str_make_printable(hint);
	if (*hint)
		fprintf(stderr, "hint: %s\n", hint);
	return CLI_FAILED;
}

int say_usage(const struct command *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
	fprintf(stderr, "See 'drover help%s%s'.\n", c ? " " : "", c ? c->name : "");
	return CLI_USAGE;
}

int say_not_written(int error)
{
	if (error == EPIPE)
		return CLI_SIGNALED + SIGPIPE;
	if (error == EBADF)
		return say_error("cannot write to stdout: it is closed");
	return say_error("cannot write to stdout: %s", strerror(error));
}

static bool reader_is_gone(void)
{
	struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};

	return poll(&p, 1, 0) > 0 && (p.revents & POLLERR);
}

int say_done(void)
{
	if (fflush(stdout) == EOF)
		return say_not_written(errno);
	if (!ferror(stdout))
		return CLI_OK;
	/* it was earlier, so that nobody knows any more why */
	return reader_is_gone() ? say_not_written(EPIPE)
				: say_error("cannot write all of it to stdout");
}

int say_json(json_t *all)
{
	bool failed = !all;

	if (all && json_dumpf(all, stdout, JSON_INDENT(2)) < 0)
		failed = !ferror(stdout); /* else it is for say_done to tell */
	json_decref(all);
	if (failed)
		return say_error("out of memory");
	putchar('\n');
	return say_done();
}

void say_seconds(int64_t ms, char *ret, size_t size)
{
	if (ms < 0)
		snprintf(ret, size, "-");
	else
		snprintf(ret, size, "%" PRId64 ".%" PRId64 " s", ms / 1000, ms % 1000 / 100);
}

void say_age(const char *rfc3339, char *ret, size_t size)
{
	struct tm tm = {0};
	int64_t s;

	if (!strptime(rfc3339, "%Y-%m-%dT%H:%M:%S", &tm)) {
		snprintf(ret, size, "-");
		return;
	}
	s = (int64_t)time(NULL) - (int64_t)timegm(&tm);
	if (s < 0)
		s = 0;
	if (s < TWO_MINUTES)
		snprintf(ret, size, "%" PRId64 "s", s);
	else if (s < TWO_HOURS)
		snprintf(ret, size, "%" PRId64 "m", s / MINUTE);
	else if (s < TWO_DAYS)
		snprintf(ret, size, "%" PRId64 "h", s / HOUR);
	else
		snprintf(ret, size, "%" PRId64 "d", s / DAY);
}

void say_mb(unsigned mb, char *ret, size_t size)
{
	if (mb == 0)
		snprintf(ret, size, "-");
	else if (mb >= 1024 && mb % 1024 == 0)
		snprintf(ret, size, "%uG", mb / 1024);
	else
		snprintf(ret, size, "%uM", mb);
}

void say_bytes(int64_t bytes, char *ret, size_t size)
{
	static const char units[] = {'K', 'M', 'G', 'T', 'P'};
	int64_t whole = bytes;
	int64_t rest = 0;
	int unit = -1;

	for (; whole >= 1024 && unit + 1 < (int)sizeof(units); unit++) {
		rest = whole % 1024;
		whole /= 1024;
	}
	if (bytes < 0)
		snprintf(ret, size, "-");
	else if (unit < 0)
		snprintf(ret, size, "%" PRId64, bytes);
	else if (whole < 10)
		snprintf(ret, size, "%" PRId64 ".%" PRId64 "%c", whole, rest * 10 / 1024,
			 units[unit]);
	else
		snprintf(ret, size, "%" PRId64 "%c", whole, units[unit]);
}

void say_fit(char *text, size_t width)
{
	size_t at = width - 3;

	if (width < FIT_MIN || strlen(text) <= width)
		return;
	while (at > 0 && ((unsigned char)text[at] & 0xc0) == 0x80)
		at--; /* in the middle of a letter of UTF-8 */
	memcpy(text + at, "...", 4);
}
