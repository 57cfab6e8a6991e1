/* SPDX-License-Identifier: MIT */
/*
 * The `drover` command. One command is one file with one `const struct command`; what they share stands here.
 * Only include/drover.h and src/base are used: whatever the command can do, a program can.
 */
#ifndef DROVER_CLI_CLI_H
#define DROVER_CLI_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/scoped.h"
#include "drover.h"

/* How the command ends; exec and run pass on the status of what they ran. */
enum {
	CLI_OK = 0,
	CLI_FAILED = 1,
	CLI_USAGE = 2,
	CLI_NOT_RUN = 126,
	CLI_NOT_FOUND = 127,
	CLI_SIGNALED = 128
};

/* What an option's value is, and so the type of its field in the command's settings. */
enum option_kind {
	OPTION_FLAG,    /* bool */
	OPTION_TEXT,    /* const char *, borrowed from argv */
	OPTION_CPUS,    /* unsigned, 1..VM_MAX_CPUS */
	OPTION_MEMBERS, /* unsigned, 1..CLUSTER_MAX_MEMBERS */
	OPTION_COPIES,  /* unsigned, 1..FORK_MAX_COPIES */
	OPTION_SIZE_MB, /* unsigned: "512", "512M" or "2G" */
	OPTION_PORT,    /* unsigned, 1..65535 */
	OPTION_SECONDS, /* unsigned, 1..1000000 */
	OPTION_LIST,    /* struct option_list: each occurrence adds one */
};

enum { OPTION_LIST_MAX = 16 };

struct option_list {
	const char *v[OPTION_LIST_MAX]; /* borrowed from argv */
	size_t count;
};

struct option_row {
	const char *name; /* without "--"; NULL ends a table */
	char letter;      /* without "-"; 0: none */
	enum option_kind kind;
	size_t offset; /* of the field in the command's settings */
	const char
		*value; /* how help calls the value, and what completion offers; NULL for a flag */
	const char *summary; /* one line of help */
};

/* What is left of the command line when the options are taken out. All borrowed from argv. */
struct args {
	char **names;
	size_t count;
	char **tail; /* what follows "--", NULL-terminated */
	size_t tail_count;
	bool has_tail;
};

/* Where options end: anywhere before "--", or at the first argument that is none (for commands that run others). */
enum args_shape { ARGS_NAMES, ARGS_NAMES_AND_TAIL, ARGS_STOP_AT_FIRST };

struct command {
	const char *name;
	const char *usage; /* what follows "drover NAME"; completion reads it: cmd_complete.c */
	const char *summary;
	const struct option_row *options; /* NULL: none */
	size_t settings_size;
	enum args_shape shape;
	bool hidden;
	int (*run)(const struct command *c, const void *settings, const struct args *a);
};

/* All commands in the order of help, NULL-terminated. */
extern const struct command *const cli_commands[];
const struct command *cli_find_command(const char *name);
/* Says that there is no command @name, and which one may be meant. Returns CLI_USAGE. */
int cli_unknown_command(const char *name);

/* --- near.c */

/* The nearest word, of those that were tried, to one that there is not. */
struct near {
	const char *word;
	const char *best; /* borrowed from near_try; NULL: none is near */
	unsigned distance;
};
void near_try(struct near *n, const char *candidate);

/* --- options.c */

/*
 * Fills @settings (zeroed by the caller) and @ret from @argv, which is reordered in place. Returns CLI_OK, or
 * CLI_USAGE after the message is on stderr. *@help: the user asked for it, nothing else was read.
 */
int options_parse(const struct command *c, int argc, char **argv, void *settings, struct args *ret,
		  bool *help);

/* 0 and MB, or -EINVAL. */
int options_size_mb(const char *text, unsigned *ret);

/* The row of --@name (its first @len bytes), or of -@letter; NULL: no such. */
const struct option_row *options_find(const struct command *c, const char *name, size_t len);
const struct option_row *options_find_letter(const struct command *c, char letter);

void options_help(const struct command *c);

/* --- say.c */

/* "drover: <sentence>" on stderr. Returns CLI_FAILED. */
int say_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* What went wrong with @what (may be NULL), which stands before a sentence that does not name it. Returns CLI_FAILED. */
int say_of(const char *what, const char *sentence);

/* The same of a call of the library, and behind "hint: " what mends it. */
int say_failed(const char *what, const struct drover_error *e);

/* The same with a second line that names the command's help. Returns CLI_USAGE. */
int say_usage(const struct command *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * Stdout takes no more, for @error: CLI_FAILED when said; when it is a pipe that nobody reads any more (`| head`), nothing is
 * said, and the status is that of a program which SIGPIPE ended.
 */
int say_not_written(int error);

/*
 * Flushes stdout: CLI_OK, or as say_not_written when what was printed did not get through. After each command that ends with
 * CLI_OK main does it; earlier is for those that must know.
 */
int say_done(void);

/* Prints @all (taken; NULL: out of memory) on stdout; then as say_done. */
int say_json(json_t *all);

/* "3.4 s", "12 min", "5 h", "3 d" */
void say_seconds(int64_t ms, char *ret, size_t size);
void say_age(const char *rfc3339, char *ret, size_t size);
void say_mb(unsigned mb, char *ret, size_t size);
/* "512", "3.4K", "12M"; "-" when < 0 */
void say_bytes(int64_t bytes, char *ret, size_t size);

/* Cuts @text to @width bytes, at the border of a letter, with "..." at the end. A very narrow one is left as it is. */
void say_fit(char *text, size_t width);

/* --- table.c: columns as wide as their widest cell */

enum { TABLE_COLUMNS = 8 };

struct table;
struct table *table_new(size_t columns);
/* @cells are copied. A table that runs out of memory prints what it has. */
void table_add(struct table *t, const char *const cells[]);
/* Shortens the last column to what the terminal has room for; without a terminal, or on a very narrow one: nothing. */
void table_fit(struct table *t);
void table_print(const struct table *t);
void table_free(struct table *t);

static inline void scoped_table(struct table **t)
{
	table_free(*t);
}

/* --- progress.c */

enum progress_style { PROGRESS_AUTO, PROGRESS_QUIET, PROGRESS_JSON };

struct progress;
struct progress *progress_new(enum progress_style style);
/* A drover_progress_fn whose argument is a struct progress. */
void progress_on_event(void *arg, const struct drover_progress *p);
/* Milliseconds until @member was ready, -1 when it never said so. */
int64_t progress_ready_ms(const struct progress *p, const char *member);
void progress_free(struct progress *p);

static inline void scoped_progress(struct progress **p)
{
	progress_free(*p);
}

/* --- interrupt.c: ^C and its kin end the running library call instead of the process */

/* Returns the cancel to give to the library (lives as long as the process), or NULL when out of memory. */
struct drover_cancel *interrupt_catch(void);
/* For a call that has no other limits: what interrupt_catch has given, if it was called, ends it. */
struct drover_call interrupt_call(void);
/* The signal that came, 0 when none. */
int interrupt_signal(void);
/* @pid > 0 gets the signals too that the terminal did not send to it; 0 ends that. */
void interrupt_forward_to(int pid);
/* Puts dispositions back to what a new program expects; for the child before exec. */
void interrupt_reset(void);
/* The exit status for a failed call: 128 + signal when a signal canceled it (silent), else says @e: CLI_FAILED. */
int interrupt_or_failed(const struct drover_error *e);

/* --- child.c: a command of the user's */

/* In the child, before it becomes the command: CLI_OK, or another status when said. */
typedef int child_setup_fn(void *arg);

/*
 * Runs @argv and waits for its end; the command gets SIGTERM when this process dies. Signals that interrupt_catch took are
 * passed on. Returns its exit status, 128 + N when signal N ended it, or CLI_NOT_FOUND, CLI_NOT_RUN, CLI_FAILED when said.
 */
int child_run(char **argv, child_setup_fn *set_up, void *arg);

/* --- targets.c: members by name or by cluster */

struct targets {
	struct drover_member *members; /* owned: all members of the store */
	size_t total;
	struct drover_member *
		*hit; /* owned array of borrowed entries, each once, in the order of the store */
	size_t count;
	bool unknown; /* some pattern named nothing; said on stderr */
};

/*
 * An exact name wins, else all members whose cluster is the pattern. @all takes everything. Returns CLI_OK, also when
 * some patterns are unknown, or CLI_FAILED when the store could not be read.
 */
int targets_find(char *const patterns[], size_t n, bool all, struct targets *ret);
/* The same; what names nothing is a member that is yet to be made: stopped, without a helper. */
int targets_find_new(char *const patterns[], size_t n, struct targets *ret);
void targets_done(struct targets *t);

/* The member @name, whether it runs or not, borrowed from @t. CLI_OK, or CLI_FAILED when said. End @t in both cases. */
int targets_find_member(const char *name, struct targets *t, const struct drover_member **ret);

/* What helps who named a member (or a cluster) @name that there is not. */
void targets_hint(const struct targets *t, const char *name, bool clusters, char *ret, size_t size);

static inline void scoped_targets(struct targets *t)
{
	targets_done(t);
}

/* Whether @member, which need not exist, or its cluster is named by @a; without names all are. */
bool targets_match(const struct args *a, const char *member);

/* The member called @name, or NULL. */
const struct drover_member *targets_member(const struct targets *t, const char *name);

typedef int target_fn(const char *name, struct drover_error *e);

/* What is told of each target; NULL for what is not told, because the work tells itself or it is of no interest. */
struct target_words {
	const char *done;
	const char *ignored_code; /* this failure is none */
	const char *ignored;
	bool json; /* as an array of {member, result} with code and message beside where result is null */
};

/* Runs @work for all of @t->hit side by side, and prints "name: <word>" for each. Returns CLI_OK/_FAILED. */
int targets_each(const struct targets *t, target_fn *work, const struct target_words *w);

/* --- members.c: one member that runs */

/* Whether @name can be a member's, a cluster's or a point's: CLI_OK, or CLI_USAGE when said. */
int name_check_usage(const struct command *c, const char *name);

/* The running cluster that @name is, or that it is a member of; says what is wrong. CLI_OK: the caller closes it. */
int cluster_open_named(char *name, struct drover_cluster **ret);

/* Fills @e for @name, a member or a cluster, that does not run. */
void member_not_running(const char *name, struct drover_error *e);
/*
 * As interrupt_or_failed, for a call on @vm: a member that does not answer because it is paused is said to be. @limited: by
 * the user's --timeout, which is then what to change.
 */
int member_failed(struct drover_vm *vm, bool limited, struct drover_error *e);
/*
 * The member @name on a handle of its cluster, which the caller closes. NULL with @e, and nothing to close, when there is
 * none or it does not run.
 */
struct drover_vm *member_open(const char *name, struct drover_cluster **ret,
			      struct drover_error *e);

/* --- captures.c: what copies of a cluster start from */

/* What `snapshot export` wrote to @path, or to standard input for "-". CLI_OK, or another status when said. */
int capture_read_file(const char *path, struct drover_capture **ret);
/* The same of "CLUSTER:POINT", whether that runs or not. */
int capture_open_point(char *from, struct drover_capture **ret);
/* The same of a path with a '/' in it, of a point; else the running cluster @from, captured now. */
int capture_open_named(char *from, struct drover_capture **ret);
/* Those of @c's members that do not run, which the store knows and @c does not: @what, a word, is without them. */
int cluster_note_left_out(struct drover_cluster *c, const char *what);

/* Prints the names of all their members. */
void clusters_tell(struct drover_cluster *const all[], size_t n);
void clusters_close(struct drover_cluster *const all[], size_t n);

/* --- ssh_options.c: what ssh must be told to reach a member */

enum { SSH_OPTIONS = 8 };

struct ssh_options {
	char *v[SSH_OPTIONS]; /* owned, each "Option=value": for -o and for a configuration file */
};

/* 0, or -ENOMEM with @ret filled in part. End it with ssh_options_done in both cases. */
int ssh_options_make(const struct drover_member *m, struct ssh_options *ret);
void ssh_options_done(struct ssh_options *o);

static inline void scoped_ssh_options(struct ssh_options *o)
{
	ssh_options_done(o);
}

/* --- members.c: what up and run share */

struct member_settings {
	const char *image;
	const char *backend;
	const char *hypervisor;
	const char *firmware;
	const char *kernel;
	const char *initrd;
	const char *append;
	unsigned cpus;
	unsigned mem;
	unsigned disk;
	unsigned count;
	const char *network;
	bool no_egress;
	bool warm;
	bool json;
	bool quiet;
	struct option_list fixtures;
	struct option_list mounts;
};

#define MEMBER_OPTION_ROWS(settings)                                                         \
	{"image",     'i',                                                                   \
	 OPTION_TEXT, offsetof(settings, m.image),                                           \
	 "IMAGE",     "catalogue name, file or URL (default debian-12)"},                    \
		{"cpus",      0,                                                             \
		 OPTION_CPUS, offsetof(settings, m.cpus),                                    \
		 "N",         "CPUs of each (default 2)"},                                   \
		{"mem",          0,                                                          \
		 OPTION_SIZE_MB, offsetof(settings, m.mem),                                  \
		 "SIZE",         "memory of each, in MB or like 2G (default 1024)"},         \
		{"disk",         0,                                                          \
		 OPTION_SIZE_MB, offsetof(settings, m.disk),                                 \
		 "SIZE",         "disk of each, in MB or like 20G (default 10G; sparse)"},   \
		{"backend",                                                                  \
		 0,                                                                          \
		 OPTION_TEXT,                                                                \
		 offsetof(settings, m.backend),                                              \
		 "auto|qemu|cloud-hypervisor|fake",                                          \
		 "what runs the members (default auto)"},                                    \
		{"hypervisor", 0,                                                            \
		 OPTION_TEXT,  offsetof(settings, m.hypervisor),                             \
		 "PATH",       "the program cloud-hypervisor (default: from PATH)"},         \
		{"firmware",       0,                                                        \
		 OPTION_TEXT,      offsetof(settings, m.firmware),                           \
		 "auto|bios|uefi", "what boots new disks (default auto)"},                   \
		{"kernel",     0,                                                            \
		 OPTION_TEXT,  offsetof(settings, m.kernel),                                 \
		 "image|PATH", "a kernel of your own, or the image's again"},                \
		{"initrd",          0,                                                       \
		 OPTION_TEXT,       offsetof(settings, m.initrd),                            \
		 "image|none|PATH", "its initrd (default: the image's)"},                    \
		{"append",    0,                                                             \
		 OPTION_TEXT, offsetof(settings, m.append),                                  \
		 "WORDS",     "added to the kernel command line"},                           \
		{"fixture",    0,                                                            \
		 OPTION_LIST,  offsetof(settings, m.fixtures),                               \
		 "HOST:GUEST", "a copy of directory HOST at GUEST, read-only (repeatable)"}, \
		{"network",      0,                                                          \
		 OPTION_TEXT,    offsetof(settings, m.network),                              \
		 "private|host", "a private network, or a bridge of the host (root)"},       \
		{"mount",                                                                    \
		 0,                                                                          \
		 OPTION_LIST,                                                                \
		 offsetof(settings, m.mounts),                                               \
		 "HOST:GUEST[:ro|:rw]",                                                      \
		 "directory HOST, live, at GUEST; :rw: writable (repeatable)"},              \
		{"warm",      0,                                                             \
		 OPTION_FLAG, offsetof(settings, m.warm),                                    \
		 NULL,        "start from a template instead of booting"},                   \
		{"no-egress", 0,                                                             \
		 OPTION_FLAG, offsetof(settings, m.no_egress),                               \
		 NULL,        "no access to the outside from the cluster"},                  \
		{"json",      0,                                                             \
		 OPTION_FLAG, offsetof(settings, m.json),                                    \
		 NULL,        "progress as JSON, one object per line"},                      \
	{                                                                                    \
		"quiet", 'q', OPTION_FLAG, offsetof(settings, m.quiet), NULL, "no progress"  \
	}

struct names {
	char **v; /* owned, NULL-terminated */
	size_t count;
};

/* CLI_OK, or CLI_USAGE/_FAILED when said. @count > 0 makes PREFIX-1 .. PREFIX-@count of the single name. */
int names_make(const struct command *c, char *const given[], size_t n, unsigned count,
	       struct names *ret);
/* Puts the members of a cluster in place of its name, where no member has that name. CLI_OK, or CLI_FAILED when said. */
int names_expand(struct names *n, const struct targets *t);
void names_done(struct names *n);

static inline void scoped_names(struct names *n)
{
	names_done(n);
}

struct drover_options members_options(const struct member_settings *m, struct progress *p,
				      struct drover_cancel *cancel);

/* The directories of the host that @m names, for drover_options. */
struct shares {
	struct drover_share v[2 * OPTION_LIST_MAX];
	char *hosts[2 * OPTION_LIST_MAX]; /* owned */
	size_t count;
};
/* CLI_OK, or CLI_USAGE/_FAILED when said. */
int shares_make(const struct command *c, const struct member_settings *m, struct shares *ret);
void shares_done(struct shares *s);

static inline void scoped_shares(struct shares *s)
{
	shares_done(s);
}

/*
 * cmd_up.c: makes and boots what of @names does not run, and waits for it; says and reports as `drover up`. CLI_OK, or
 * another status when said. @names may become others, the caller's to free.
 */
int up_members(struct names *names, const struct member_settings *m, const struct shares *shares);

enum progress_style members_style(const struct member_settings *m);

/* Whether this host can have members of these sizes. CLI_OK, or CLI_FAILED when said. */
int members_check_sizes(const struct member_settings *m);
/* A --hypervisor beside the --backend that takes one, or none that is named. CLI_OK, or CLI_USAGE when said. */
int members_check_program(const struct command *c, const struct member_settings *m);

#endif
