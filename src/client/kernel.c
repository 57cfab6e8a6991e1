/* SPDX-License-Identifier: MIT */
/*
 * A kernel of the user's own, for who tests kernels. The member's configuration has what was named beside what the image
 * has, so that the one can be taken back. It has the paths: a kernel that is built anew is what the next boot takes.
 */
#include "base/files.h"
#include "base/scoped.h"
#include "client/client.h"

#include <endian.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	HEAD_SIZE = 0x206,
	SETUP_MAGIC_AT = 0x202, /* Linux, Documentation/arch/x86/boot.rst */
	CMDLINE_MAX = 2047,     /* what Linux on x86 takes of it */
	OURS_MAX = 100,         /* what is added per member */
};

/* Where it cannot be told what has the root, the console is all that is known. */
#define BARE_CMDLINE "console=ttyS0"

static bool is_word(const char *value, const char *word)
{
	return value && strcmp(value, word) == 0;
}

/* The first bytes of a file that must be readable, regular and not empty: their number. */
static int read_head(const char *what, const char *path, char head[HEAD_SIZE], struct err *e)
{
	scoped(fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_errno(e, -errno, "the %s %s", what, path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_INVALID, "the %s %s is not a file", what, path);
	n = read(fd, head, HEAD_SIZE);
	if (n < 0)
		return err_errno(e, -errno, "the %s %s", what, path);
	return n > 0 ? (int)n : err_set(e, ERR_INVALID, "the %s %s is empty", what, path);
}

static int check_kernel_file(const char *path, struct err *e)
{
	char head[HEAD_SIZE];
	int n = read_head("kernel", path, head, e);

	if (n < 0)
		return n;
	if ((n == HEAD_SIZE && memcmp(head + SETUP_MAGIC_AT, "HdrS", 4) == 0) ||
	    (n > 4 && memcmp(head, "\177ELF", 4) == 0))
		return 0;
	return err_set(e, ERR_INVALID,
		       "%s is not a kernel for x86-64: neither a bzImage (of a build: "
		       "arch/x86/boot/bzImage) nor a vmlinux",
		       path);
}

static int check_initrd_file(const char *path, struct err *e)
{
	char head[HEAD_SIZE];
	int n = read_head("initial file system", path, head, e);

	return n < 0 ? n : 0;
}

static bool is_path(const char *value)
{
	return value && *value && !is_word(value, "image") && !is_word(value, "none");
}

int kernel_check(const struct settings *s, struct err *e)
{
	int r = 0;

	if (s->firmware && s->kernel)
		return err_set(e, ERR_INVALID,
			       "firmware %s starts the disk's own kernel: it cannot start %s",
			       s->firmware, s->kernel);
	if (is_word(s->kernel, "none"))
		return err_set(e, ERR_INVALID, "a kernel cannot be left out");
	if (is_path(s->kernel))
		r = check_kernel_file(s->kernel, e);
	if (r == 0 && is_path(s->initrd))
		r = check_initrd_file(s->initrd, e);
	return r;
}

int kernel_check_member(const struct member_config *c, struct err *e)
{
	int r = c->own_kernel ? check_kernel_file(c->own_kernel, e) : 0;

	if (r == 0 && is_path(c->own_initrd))
		r = check_initrd_file(c->own_initrd, e);
	return r < 0 ? err_prefix(e, "member %s", c->name) : 0;
}

const char *kernel_path(const struct member_config *c)
{
	return c->own_kernel ? c->own_kernel : c->kernel_path;
}

const char *kernel_initrd(const struct member_config *c)
{
	if (is_word(c->own_initrd, "none"))
		return NULL;
	return c->own_initrd ? c->own_initrd : c->initrd_path;
}

char *kernel_cmdline(const struct member_config *c)
{
	const char *base = c->cmdline ? c->cmdline : c->own_kernel ? BARE_CMDLINE : "";

	return c->append ? str_format("%s%s%s", base, *base ? " " : "", c->append) : strdup(base);
}

/* Takes @value, if it is one, in place of *@field. 0 or -errno. */
static int replace(char **field, const char *value)
{
	char *text = NULL;

	if (!value || !*value)
		return 0;
	if (!is_word(value, "image")) {
		text = is_path(value) ? files_absolute(value) : strdup(value);
		if (!text)
			return -errno;
	}
	free(*field);
	*field = text;
	return 0;
}

static bool has_word(const char *line, const char *start)
{
	const char *at = line ? strstr(line, start) : NULL;

	return at && (at == line || at[-1] == ' ');
}

/* Whether what the configuration amounts to can be booted. */
static int check_whole(const struct member_config *c, struct err *e)
{
	scoped(mem) char *line = kernel_cmdline(c);
	bool is_fake = strcmp(c->backend, "fake") == 0;

	if (!line)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	if (strlen(line) > CMDLINE_MAX - OURS_MAX)
		return err_set(e, ERR_INVALID,
			       "the kernel's command line would have %zu bytes: Linux takes %d",
			       strlen(line), CMDLINE_MAX - OURS_MAX);
	if (is_fake)
		return 0;
	if (!kernel_path(c) && (c->append || c->own_initrd))
		return err_set(e, ERR_INVALID,
			       "%s is started by its own boot loader, which takes no initial file "
			       "system or words of yours: name a kernel too",
			       c->image);
	if (c->own_kernel && !c->cmdline && !c->own_initrd && !has_word(c->append, "root="))
		return err_set(e, ERR_INVALID,
			       "nobody knows where %s has its root file system: say it, like "
			       "--append 'root=/dev/vda1 rw'",
			       c->image);
	/* a kernel of the user's may have one built in */
	if (!c->disk_format && !c->own_kernel && !kernel_initrd(c))
		return err_set(e, ERR_INVALID,
			       "%s has no disk: it cannot do without an initial file system",
			       c->image);
	return 0;
}

int kernel_configure(struct member_config *c, const struct settings *s, struct err *e)
{
	bool had = c->own_kernel;
	int r;

	if (!s->kernel && !s->initrd && !s->append)
		return 0;
	r = replace(&c->own_kernel, s->kernel);
	if (r == 0)
		r = replace(&c->own_initrd, s->initrd);
	if (r == 0 && s->append) {
		free(c->append);
		c->append = *s->append && !is_word(s->append, "image") ? strdup(s->append) : NULL;
	}
	if (r < 0)
		return err_errno(e, r, "the kernel's path");
	/* What starts a disk is looked up when it is made, and then there was no need. */
	if (had && !kernel_path(c) && !*c->firmware && strcmp(c->backend, "qemu") == 0)
		return err_set(e, ERR_INVALID,
			       "member %s was made with a kernel of yours: its image has none",
			       c->name);
	return check_whole(c, e);
}
