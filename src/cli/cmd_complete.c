/* SPDX-License-Identifier: MIT */
/*
 * drover __complete -- WORD...: what may stand for the last WORD of a command line, for the shells (completion/).
 * Prints one candidate a line, then a tab and what it is. ":files" and ":commands" ask the shell for its own, ":open"
 * for no space behind the candidate.
 *
 * There is no second list of commands: the tables of options and the words of the usage lines say what fits where. NAME,
 * CLUSTER, POINT (of the cluster before it), CLUSTER[:POINT], IMAGE, COMMAND, PROGRAM (of the host), FILE and PATH stand for what is there now, a value like "table|json" or
 * "image|PATH" for its words, and a word in small letters for itself.
 */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "cli/cli.h"
#include "cli/commands.h"

enum { TOKEN_SIZE = 64, POINTS_MS = 3000 };

/* What is typed before the word that is asked for. */
struct typed {
	const struct command *c;
	const char *word;   /* the one that is asked for */
	const char *before; /* and what each candidate must begin with, its option */
	int before_len;
	char **names; /* what is no option, the tail aside; borrowed, reordered in place */
	size_t count;
	const struct option_row *open; /* its value is what is asked for */
	bool tail;                     /* behind "--", or in a command that goes on to another */
	bool tail_begun;
};

static bool is_typed(const struct typed *t, const char *name)
{
	for (size_t i = 0; i < t->count; i++)
		if (!strcmp(t->names[i], name))
			return true;
	return false;
}

/* True when it fits what is typed of the word. */
static bool offer(const struct typed *t, const char *word, const char *what)
{
	if (!str_starts(word, t->word))
		return false;
	printf("%.*s%s\t%s\n", t->before_len, t->before, word, what);
	return true;
}

static bool offer_members(const struct typed *t, bool members, bool clusters, const char *suffix)
{
	scoped(mem) struct drover_member *v = NULL;
	int n = drover_list(NULL, NULL, &v, NULL);
	const char *last = "";
	char word[NAME_SIZE + 2];
	bool any = false;

	for (int i = 0; i < n; i++) {
		if (members && !is_typed(t, v[i].name)) {
			snprintf(word, sizeof(word), "%s%s", v[i].name, suffix);
			any |= offer(t, word, v[i].state);
		}
		if (clusters && strcmp(last, v[i].cluster) != 0 && !is_typed(t, v[i].cluster) &&
		    (!members || strcmp(v[i].name, v[i].cluster) != 0))
			any |= offer(t, v[i].cluster, "cluster");
		last = v[i].cluster;
	}
	return any;
}

/* Any member that @name is, or has. Borrowed from @v; NULL: none. */
static const char *member_of(const struct drover_member *v, int n, const char *name)
{
	for (int i = 0; i < n; i++)
		if (!strcmp(v[i].name, name) || !strcmp(v[i].cluster, name))
			return v[i].name;
	return NULL;
}

/* The points of @cluster, each behind @prefix. */
static void offer_points(const struct typed *t, const char *cluster, const char *prefix)
{
	scoped(mem) struct drover_member *v = NULL;
	scoped(mem) struct drover_point *points = NULL;
	struct drover_call o = DROVER_CALL_INIT;
	int n = drover_list(NULL, NULL, &v, NULL);
	const char *member = member_of(v, n, cluster);
	char word[2 * NAME_SIZE];

	o.timeout_ms = POINTS_MS;
	n = member ? drover_points(NULL, member, &o, &points, NULL) : 0;
	for (int i = 0; i < n; i++) {
		snprintf(word, sizeof(word), "%s%s", prefix, points[i].name);
		offer(t, word, "point");
	}
}

/* A cluster, or, once there is a colon, its points. */
static void offer_origins(const struct typed *t)
{
	size_t len = strcspn(t->word, ":");
	char cluster[NAME_SIZE];
	char prefix[NAME_SIZE + 1];

	if (strchr(t->word, '/'))
		puts(":files");
	if (!t->word[len]) {
		offer_members(t, false, true, "");
		return;
	}
	if (len >= sizeof(cluster))
		return;
	snprintf(cluster, sizeof(cluster), "%.*s", (int)len, t->word);
	snprintf(prefix, sizeof(prefix), "%s:", cluster);
	offer_points(t, cluster, prefix);
}

static void offer_images(const struct typed *t)
{
	scoped(mem) struct drover_image *v = NULL;
	int n = drover_image_list(NULL, &v, NULL);

	for (int i = 0; i < n; i++)
		if (!is_typed(t, v[i].name))
			offer(t, v[i].name, v[i].description);
}

static void offer_commands(const struct typed *t)
{
	for (const struct command *const *c = cli_commands; *c; c++)
		if (!(*c)->hidden)
			offer(t, (*c)->name, (*c)->summary);
}

static void offer_options(const struct typed *t)
{
	for (const struct option_row *row = t->c->options; row && row->name; row++) {
		char word[TOKEN_SIZE];

		snprintf(word, sizeof(word), "--%s", row->name);
		offer(t, word, row->summary);
	}
	offer(t, "--help", "Show how to use the command");
}

/* What one word of a usage line, or an option's value, stands for. */
static void offer_kind(const struct typed *t, const char *kind)
{
	if (!strcmp(kind, "NAME") || !strcmp(kind, "MEMBER")) {
		offer_members(t, true, false, "");
	} else if (!strcmp(kind, "CLUSTER")) {
		offer_members(t, false, true, "");
	} else if (str_starts(kind, "CLUSTER[:POINT")) {
		offer_origins(t);
	} else if (!strcmp(kind, "POINT") && t->count > 0) {
		offer_points(t, t->names[t->count - 1], "");
	} else if (!strcmp(kind, "NAME|CLUSTER")) {
		offer_members(t, true, true, "");
	} else if (str_starts(kind, "NAME:")) {
		if (offer_members(t, true, false, ":"))
			puts(":open");
	} else if (!strcmp(kind, "IMAGE")) {
		offer_images(t);
	} else if (!strcmp(kind, "COMMAND")) {
		offer_commands(t);
	} else if (str_starts(kind, "FILE") || !strcmp(kind, "PATH") || !strcmp(kind, "DIR")) {
		puts(":files");
	} else if (kind[0] >= 'a' && kind[0] <= 'z') {
		char words[TOKEN_SIZE];
		char *save = NULL;

		snprintf(words, sizeof(words), "%s", kind);
		for (char *w = strtok_r(words, "|", &save); w; w = strtok_r(NULL, "|", &save))
			if (!strcmp(w, "PATH"))
				puts(":files");
			else
				offer(t, w, "");
	}
}

static void offer_value(const struct typed *t, const struct option_row *row)
{
	if (strcmp(row->value, "COMMAND") != 0) /* the guest's, not ours */
		offer_kind(t, row->value);
	if (!strcmp(row->value, "IMAGE") || str_starts(row->value, "HOST:"))
		puts(":files");
}

/* "--image=deb": the word that is asked for is the value, and each candidate stands behind the option. */
static void offer_joined(struct typed *t)
{
	const char *equals = strchr(t->word, '=');
	size_t len = (size_t)(equals - t->word - 2);
	const struct option_row *row = options_find(t->c, t->word + 2, len);

	if (!row || row->kind == OPTION_FLAG)
		return;
	t->before = t->word;
	t->before_len = (int)(equals - t->word + 1);
	t->word = equals + 1;
	offer_value(t, row);
}

/* The next word of @usage without brackets and dots. *@repeats: it had dots. NULL at the end. */
static const char *next_token(const char *usage, char ret[TOKEN_SIZE], bool *repeats)
{
	size_t len;

	usage += strspn(usage, " [");
	len = strcspn(usage, " ]");
	if (len == 0)
		return NULL;
	snprintf(ret, TOKEN_SIZE, "%.*s", (int)len, usage);
	*repeats = str_ends(ret, "...");
	if (*repeats)
		ret[strlen(ret) - 3] = '\0';
	usage += len;
	return usage + strspn(usage, "]");
}

/* An option in a usage line that is followed by its value. */
static bool takes_value(const struct command *c, const char *token)
{
	const struct option_row *row = token[1] == '-'
					       ? options_find(c, token + 2, strlen(token + 2))
					       : options_find_letter(c, token[1]);

	return row && row->kind != OPTION_FLAG;
}

/*
 * Offers what one alternative of a usage line has for the name that is asked for: the one behind the t->count that are
 * typed. A word in small letters must have been typed as it stands.
 */
static void offer_alternative(const struct typed *t, const char *usage)
{
	char kind[TOKEN_SIZE] = "";
	char token[TOKEN_SIZE];
	bool repeats = false;
	size_t at = 0;

	while ((usage = next_token(usage, token, &repeats)) && strcmp(token, "--") != 0) {
		bool dots = repeats;

		if (token[0] == '-') {
			if (takes_value(t->c, token) && *usage == ' ')
				usage = next_token(usage, token, &repeats);
			if (!usage)
				break;
			continue;
		}
		if (!strcmp(token, "OPTIONS"))
			continue;
		if (at < t->count && token[0] >= 'a' && token[0] <= 'z' &&
		    strcmp(t->names[at], token) != 0)
			return;
		if (at == t->count || dots)
			snprintf(kind, sizeof(kind), "%s", token);
		if (at == t->count)
			break;
		at++;
	}
	offer_kind(t, kind);
}

static void offer_names(const struct typed *t)
{
	char usage[256];
	char *rest = usage;

	snprintf(usage, sizeof(usage), "%s", t->c->usage);
	while (rest) {
		char *bar = strstr(rest, " | ");

		if (bar)
			*bar = '\0';
		offer_alternative(t, rest);
		rest = bar ? bar + 3 : NULL;
	}
}

/* How many names stand before the command that @usage goes on to. */
static size_t names_before_tail(const char *usage)
{
	char token[TOKEN_SIZE];
	bool repeats;
	size_t n = 0;

	while ((usage = next_token(usage, token, &repeats)) && strcmp(token, "--") != 0)
		n += token[0] != '-' && strcmp(token, "OPTIONS") != 0;
	return n;
}

/* The words from @words[@from] on belong to another command. */
static void begin_tail(struct typed *t, char *const words[], size_t from, size_t n)
{
	if (from < n && t->c->shape == ARGS_STOP_AT_FIRST && !strcmp(words[from], "--"))
		from++;
	t->tail = true;
	t->tail_begun = from < n;
}

/* Reads the words between the command and the one that is asked for. */
static void read_words(struct typed *t, char **words, size_t n)
{
	t->names = words;
	for (size_t i = 0; i < n && !t->tail; i++) {
		const char *w = words[i];
		const struct option_row *row = NULL;

		if (!strcmp(w, "--")) {
			begin_tail(t, words, i + 1, n);
		} else if (str_starts(w, "--") && !strchr(w, '=')) {
			row = options_find(t->c, w + 2, strlen(w + 2));
		} else if (w[0] == '-' && w[1] && !w[2]) {
			row = options_find_letter(t->c, w[1]);
		} else if (w[0] != '-') {
			t->names[t->count++] = words[i];
			if (t->c->shape == ARGS_STOP_AT_FIRST &&
			    t->count == names_before_tail(t->c->usage))
				begin_tail(t, words, i + 1, n);
		}
		if (!row || row->kind == OPTION_FLAG)
			continue;
		if (i + 1 == n)
			t->open = row;
		i++;
	}
}

/* Whether the command that @c goes on to is a program of this host. */
static bool is_of_the_host(const struct command *c)
{
	return c->shape == ARGS_NAMES_AND_TAIL || strstr(c->usage, "PROGRAM");
}

static void complete(struct typed *t)
{
	if (t->open)
		offer_value(t, t->open);
	else if (t->tail && is_of_the_host(t->c))
		puts(t->tail_begun ? ":files" : ":commands");
	else if (t->tail && t->c->shape == ARGS_STOP_AT_FIRST)
		return; /* the guest's to know */
	else if (!t->tail && str_starts(t->word, "--") && strchr(t->word, '='))
		offer_joined(t);
	else if (!t->tail && t->word[0] == '-')
		offer_options(t);
	else
		offer_names(t);
}

static int run_complete(const struct command *self, const void *settings, const struct args *a)
{
	struct typed t = {.before = ""};

	if (a->tail_count == 0)
		return say_usage(self, "__complete needs words after '--'");
	t.word = a->tail[a->tail_count - 1];
	if (a->tail_count == 1) {
		offer_commands(&t);
		offer(&t, "--help", "Show all commands");
		offer(&t, "--version", "Show the version");
		return say_done();
	}
	t.c = cli_find_command(a->tail[0]);
	if (!t.c)
		return CLI_OK;
	read_words(&t, a->tail + 1, a->tail_count - 2);
	complete(&t);
	return say_done();
}

const struct command command_complete = {
	.name = "__complete",
	.usage = "-- WORD...",
	.summary = "Tell a shell what the last word may become",
	.shape = ARGS_NAMES_AND_TAIL,
	.hidden = true,
	.run = run_complete,
};
