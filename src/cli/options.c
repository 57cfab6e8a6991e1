/* SPDX-License-Identifier: MIT */
/* Options from a table: --name VALUE, --name=VALUE, -l VALUE, -lVALUE. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/bounds.h"
#include "base/str.h"
#include "cli/cli.h"

enum { PORT_MAX = 65535, SECONDS_MAX = 1000000, SIZE_MB_MAX = 16 * 1024 * 1024 };
enum { HELP_COLUMN = 22, HELP_WIDTH = 80 }; /* where what an option does begins, and ends */

int options_size_mb(const char *text, unsigned *ret)
{
	static const struct {
		const char *suffix;
		unsigned factor;
	} units[] = {{"", 1},     {"M", 1},       {"MB", 1},      {"MiB", 1},
		     {"G", 1024}, {"GB", 1024},   {"GiB", 1024},  {"g", 1024},
		     {"m", 1},    {"T", 1 << 20}, {"TB", 1 << 20}};
	char digits[16];
	size_t len = strspn(text, "0123456789");
	int64_t n;

	if (len == 0 || len >= sizeof(digits))
		return -EINVAL;
	memcpy(digits, text, len);
	digits[len] = '\0';
	if (str_to_int64(digits, 1, SIZE_MB_MAX, &n) < 0)
		return -EINVAL;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (!strcmp(text + len, units[i].suffix) && n * units[i].factor <= SIZE_MB_MAX) {
			*ret = (unsigned)n * units[i].factor;
			return 0;
		}
	return -EINVAL;
}

static int list_add(const struct command *c, const char *shown, const char *value,
		    struct option_list *l)
{
	if (l->count == OPTION_LIST_MAX)
		return say_usage(c, "option %s: %d of them are the most", shown, OPTION_LIST_MAX);
	l->v[l->count++] = value;
	return CLI_OK;
}

static int number_set(const struct command *c, const char *shown, const char *value, int64_t max,
		      unsigned *ret)
{
	int64_t n;

	if (str_to_int64(value, 1, max, &n) < 0)
		return say_usage(c, "option %s: '%s' is not a number from 1 to %d", shown, value,
				 (int)max);
	*ret = (unsigned)n;
	return CLI_OK;
}

/* Whether @text is one of @words, like "auto|bios|uefi", or @words has something else in it, like "image|PATH". */
static bool is_word_of(const char *words, const char *text)
{
	size_t len = strlen(text);

	if (!strchr(words, '|') || words[strspn(words, "abcdefghijklmnopqrstuvwxyz-|")])
		return true;
	for (const char *at = words; at; at = strchr(at, '|')) {
		at += *at == '|';
		if (strcspn(at, "|") == len && !strncmp(at, text, len))
			return true;
	}
	return false;
}

/* "auto, bios or uefi" */
static void say_words(const char *words, char *ret, size_t size)
{
	size_t used = 0;

	for (; *words && used < size; words++)
		if (*words != '|')
			used += (size_t)snprintf(ret + used, size - used, "%c", *words);
		else
			used += (size_t)snprintf(ret + used, size - used, "%s",
						 strchr(words + 1, '|') ? ", " : " or ");
}

static int text_set(const struct command *c, const struct option_row *row, const char *shown,
		    const char *value, const char **field)
{
	char words[128] = "";

	if (!*value)
		return say_usage(c, "option %s: the value is empty", shown);
	if (!is_word_of(row->value, value)) {
		say_words(row->value, words, sizeof(words));
		return say_usage(c, "option %s: '%s' is not %s", shown, value, words);
	}
	*field = value;
	return CLI_OK;
}

static int option_set(const struct command *c, const struct option_row *row, const char *shown,
		      const char *value, void *settings)
{
	char *field = (char *)settings + row->offset;

	switch (row->kind) {
	case OPTION_FLAG:
		*(bool *)field = true;
		return CLI_OK;
	case OPTION_TEXT:
		return text_set(c, row, shown, value, (const char **)field);
	case OPTION_CPUS:
		return number_set(c, shown, value, VM_MAX_CPUS, (unsigned *)field);
	case OPTION_MEMBERS:
		return number_set(c, shown, value, CLUSTER_MAX_MEMBERS, (unsigned *)field);
	case OPTION_COPIES:
		return number_set(c, shown, value, FORK_MAX_COPIES, (unsigned *)field);
	case OPTION_PORT:
		return number_set(c, shown, value, PORT_MAX, (unsigned *)field);
	case OPTION_SECONDS:
		return number_set(c, shown, value, SECONDS_MAX, (unsigned *)field);
	case OPTION_SIZE_MB:
		if (options_size_mb(value, (unsigned *)field) < 0)
			return say_usage(
				c, "option %s: '%s' is not a size: 1 to 16T, like 512 (MB) or 2G",
				shown, value);
		return CLI_OK;
	case OPTION_LIST:
		return list_add(c, shown, value, (struct option_list *)field);
	}
	return CLI_OK;
}

const struct option_row *options_find(const struct command *c, const char *name, size_t len)
{
	for (const struct option_row *row = c->options; row && row->name; row++)
		if (strlen(row->name) == len && !memcmp(row->name, name, len))
			return row;
	return NULL;
}

const struct option_row *options_find_letter(const struct command *c, char letter)
{
	for (const struct option_row *row = c->options; row && row->name; row++)
		if (row->letter == letter)
			return row;
	return NULL;
}

static int unknown_option(const struct command *c, const char *shown)
{
	struct near near = {.word = shown + 2};

	near_try(&near, "help");
	for (const struct option_row *row = c->options; row && row->name; row++)
		near_try(&near, row->name);
	if (near.best)
		return say_usage(c, "unknown option '%s'; did you mean '--%s'?", shown, near.best);
	return say_usage(c, "unknown option '%s'", shown);
}

/* Takes argv[*@i] and, where it needs one, the value that follows. */
static int take_long(const struct command *c, char **argv, int argc, int *i, void *settings)
{
	const char *text = argv[*i] + 2;
	const char *equals = strchr(text, '=');
	size_t len = equals ? (size_t)(equals - text) : strlen(text);
	const struct option_row *row = options_find(c, text, len);
	char shown[64];

	snprintf(shown, sizeof(shown), "--%.*s", (int)len, text);
	if (!row)
		return unknown_option(c, shown);
	if (row->kind == OPTION_FLAG && equals)
		return say_usage(c, "option %s takes no value", shown);
	if (row->kind == OPTION_FLAG)
		return option_set(c, row, shown, NULL, settings);
	if (equals)
		return option_set(c, row, shown, equals + 1, settings);
	if (*i + 1 >= argc)
		return say_usage(c, "option %s needs a value", shown);
	return option_set(c, row, shown, argv[++*i], settings);
}

static int take_letters(const struct command *c, char **argv, int argc, int *i, void *settings)
{
	for (const char *l = argv[*i] + 1; *l; l++) {
		const struct option_row *row = options_find_letter(c, *l);
		char shown[3] = {'-', *l, '\0'};
		int r;

		if (!row && argv[*i][2])
			return say_usage(c, "unknown option '%s' in '%s'", shown, argv[*i]);
		if (!row)
			return say_usage(c, "unknown option '%s'", shown);
		if (row->kind != OPTION_FLAG) {
			if (l[1])
				return option_set(c, row, shown, l + 1, settings);
			if (*i + 1 >= argc)
				return say_usage(c, "option %s needs a value", shown);
			return option_set(c, row, shown, argv[++*i], settings);
		}
		r = option_set(c, row, shown, NULL, settings);
		if (r != CLI_OK)
			return r;
	}
	return CLI_OK;
}

static void take_tail(char **argv, int argc, int i, struct args *ret)
{
	ret->has_tail = true;
	ret->tail = argv + i;
	ret->tail_count = (size_t)(argc - i);
}

int options_parse(const struct command *c, int argc, char **argv, void *settings, struct args *ret,
		  bool *help)
{
	int names = 0;
	int i;

	*ret = (struct args){.names = argv};
	for (i = 0; i < argc; i++) {
		const char *a = argv[i];
		int r;

		if (!strcmp(a, "--")) {
			take_tail(argv, argc, i + 1, ret);
			break;
		}
		if (!strcmp(a, "--help") || (!strcmp(a, "-h") && !options_find_letter(c, 'h'))) {
			*help = true;
			return CLI_OK;
		}
		if (a[0] != '-' || !a[1]) {
			argv[names++] = argv[i];
			if (c->shape != ARGS_STOP_AT_FIRST)
				continue;
			if (i + 1 < argc && !strcmp(argv[i + 1], "--"))
				i++;
			take_tail(argv, argc, i + 1, ret);
			break;
		}
		r = a[1] == '-' ? take_long(c, argv, argc, &i, settings)
				: take_letters(c, argv, argc, &i, settings);
		if (r != CLI_OK)
			return r;
	}
	ret->count = (size_t)names;
	if (ret->has_tail && c->shape == ARGS_NAMES) {
		/* "--" only says that no option follows */
		memmove(argv + names, ret->tail, ret->tail_count * sizeof(*argv));
		ret->count += ret->tail_count;
		ret->has_tail = false;
	}
	return CLI_OK;
}

/* Where @usage, of alternatives between " | ", has the next one: not inside of brackets. NULL: there is none. */
static const char *next_usage(const char *usage)
{
	int depth = 0;

	for (; *usage; usage++) {
		depth += (*usage == '[') - (*usage == ']');
		if (depth == 0 && !strncmp(usage, " | ", 3))
			return usage + 3;
	}
	return NULL;
}

static void print_usage(const struct command *c)
{
	const char *at = c->usage;

	for (const char *next = at; next; at = next) {
		next = next_usage(at);
		printf("%s drover %s%s%.*s\n", at == c->usage ? "usage:" : "      ", c->name,
		       *at ? " " : "", next ? (int)(next - at) - 3 : (int)strlen(at), at);
	}
}

/* From column @column on, in lines of no more than HELP_WIDTH that break at blanks. */
static void print_summary(const char *text, int column)
{
	size_t room = (size_t)(HELP_WIDTH - column);

	while (strlen(text) > room) {
		size_t len = room;

		while (len > 0 && text[len] != ' ')
			len--;
		if (len == 0)
			break;
		printf("%.*s\n%*s", (int)len, text, column, "");
		text += len + 1;
	}
	printf("%s\n", text);
}

void options_help(const struct command *c)
{
	print_usage(c);
	printf("\n%s.\n", c->summary);
	if (!c->options || !c->options->name)
		return;
	printf("\nOptions:\n");
	for (const struct option_row *row = c->options; row->name; row++) {
		char left[64];

		if (row->letter)
			snprintf(left, sizeof(left), "-%c, --%s%s%s", row->letter, row->name,
				 row->value ? " " : "", row->value ? row->value : "");
		else
			snprintf(left, sizeof(left), "    --%s%s%s", row->name,
				 row->value ? " " : "", row->value ? row->value : "");
		if (strlen(left) > HELP_COLUMN)
			printf("  %s\n  %-*s ", left, HELP_COLUMN, "");
		else
			printf("  %-*s ", HELP_COLUMN, left);
		print_summary(row->summary, HELP_COLUMN + 3);
	}
}
