/* SPDX-License-Identifier: MIT */
/*
 * Copies to and from a guest: tar in the guest, over one exec, and copy_tree in a thread at the other end of a socket
 * pair. The thread owns its end and closes it when it is done or fails, which ends the exec.
 */
#include "base/buf.h"
#include "base/scoped.h"
#include "client/client.h"
#include "client/copy_tree.h"

#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { SAID_MAX = 2048 };

/* What the guest says is read by tar_failed; its login shell, which need be no sh, gets this as words. */
#define IN_ENGLISH "env LC_ALL=C"

struct copy {
	struct drover_vm *vm;
	struct limits limits;
	char *host;  /* owned: without slashes at the end */
	char *guest; /* owned: the same, cut behind the folder */
	const char *folder;
	const char *name;
	int fd;       /* our end */
	int their_fd; /* the thread's */
	bool reader_gone;
	struct buf said; /* the guest's stderr */
	int r;           /* of the thread */
	struct err e;
};

static inline void scoped_copy(struct copy *c)
{
	free(c->host);
	free(c->guest);
	buf_done(&c->said);
	close_fd(&c->fd);
	close_fd(&c->their_fd);
}

static char *without_slashes(const char *path)
{
	size_t len = strlen(path);

	while (len > 1 && path[len - 1] == '/')
		len--;
	return strndup(path, len);
}

static bool names_nothing(const char *name)
{
	return !*name || !strcmp(name, ".") || !strcmp(name, "..");
}

static int init_copy(struct copy *c, const char *host, const char *guest,
		     const struct drover_call *o, struct err *e)
{
	char *slash;
	int fds[2];
	int r = limits_from(o, &c->limits, e);

	if (r < 0)
		return r;
	if (*guest != '/')
		return err_set(e, ERR_INVALID, "the guest's path '%s' is not absolute", guest);
	c->host = without_slashes(host);
	c->guest = without_slashes(guest);
	if (!c->host || !c->guest)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	slash = strrchr(c->guest, '/');
	c->name = slash + 1;
	c->folder = slash == c->guest ? "/" : c->guest;
	if (names_nothing(c->name) || names_nothing(c->host))
		return err_set(e, ERR_INVALID, "'%s' is no name that a copy can have",
			       names_nothing(c->name) ? guest : host);
	*slash = '\0';
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return err_errno(e, -errno, "make a socket pair");
	c->fd = fds[0];
	c->their_fd = fds[1];
	return 0;
}

/* The thread's end of the stream ends with it, whatever came of it. */
static void *on_pack(void *arg)
{
	struct copy *c = arg;

	c->r = copy_tree_pack(c->their_fd, c->host, c->name, &c->e);
	close_fd(&c->their_fd);
	return NULL;
}

static void *on_unpack(void *arg)
{
	struct copy *c = arg;

	c->r = copy_tree_unpack(c->their_fd, c->host, c->name, &c->e);
	close_fd(&c->their_fd);
	return NULL;
}

static int on_output(void *arg, int stream, const char *data, size_t len)
{
	struct copy *c = arg;

	if (stream == 2)
		return c->said.len < SAID_MAX ? buf_add(&c->said, data, len) : 0;
	while (len > 0) {
		ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			c->reader_gone = true;
			return -errno;
		}
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

static const char *first_line(struct buf *said)
{
	char *text = said->data;

	if (!text)
		return "no word of why";
	text[strcspn(text, "\n")] = '\0';
	str_make_printable(text);
	return text;
}

/* The guest's words, as our own where they are known ones. */
static int tar_failed(struct copy *c, bool to_guest, int status, struct err *e)
{
	const char *said = first_line(&c->said);
	char full[PATH_MAX];

	snprintf(full, sizeof(full), "%s/%s", c->folder[1] ? c->folder : "", c->name);
	if (status == 127)
		return err_set(e, ERR_IO, "copy: %s has no tar, which does the work there",
			       c->vm->name);
	if (!to_guest && strstr(said, "No such file"))
		return err_set(e, ERR_NOT_FOUND, "there is no %s in %s", full, c->vm->name);
	if (strstr(said, "Permission denied"))
		return err_hint(
			e,
			err_set(e, ERR_DENIED, "the user %s of %s may not copy %s", c->vm->user,
				c->vm->name, full),
			"copy to or from a place that is that user's, and use sudo in the guest");
	if (strstr(said, "No space left"))
		return err_set(e, ERR_NO_SPACE, "no space left in %s for %s", c->vm->name, full);
	return err_set(e, ERR_IO, "copy of %s: tar in %s ended with %d: %s", full, c->vm->name,
		       status, said);
}

/* Runs @x beside the thread; ends with the cause that came first. */
static int run_copy(struct copy *c, struct drover_exec *x, void *(*work)(void *),
		    struct drover_error *pe)
{
	struct drover_result result = {0};
	struct err e = ERR_INIT;
	pthread_t thread;
	int r = pthread_create(&thread, NULL, work, c);

	if (r != 0)
		return public_error(pe, &e, err_errno(&e, -r, "start a thread"));
	x->timeout_ms = (unsigned)c->limits.timeout_ms;
	x->cancel = c->limits.cancel;
	x->on_output = on_output;
	x->output_arg = c;
	r = drover_vm_exec(c->vm, x, &result, pe);
	close_fd(&c->fd);
	pthread_join(thread, NULL);
	drover_result_done(&result);
	/* the thread gave up, not because of the guest: all else follows from that */
	if (c->r < 0 && (r < 0 ? c->reader_gone : x->use_input_fd && c->e.code != ERR_STOPPED))
		return public_error(pe, &c->e, c->r);
	if (r < 0)
		return r;
	if (result.status != 0)
		return public_error(pe, &e, tar_failed(c, x->use_input_fd, result.status, &e));
	return c->r < 0 ? public_error(pe, &c->e, c->r) : 0;
}

int drover_vm_copy_to(struct drover_vm *vm, const char *host_path, const char *guest_path,
		      const struct drover_call *o, struct drover_error *pe)
{
	scoped(copy) struct copy c = {.vm = vm, .fd = -1, .their_fd = -1, .e = ERR_INIT};
	struct drover_exec x = DROVER_EXEC_INIT;
	scoped(mem) char *folder = NULL;
	scoped(mem) char *command = NULL;
	struct err e = ERR_INIT;
	struct stat st;
	int r = init_copy(&c, host_path, guest_path, o, &e);

	if (r == 0 && lstat(c.host, &st) < 0)
		r = err_errno(&e, -errno, "copy %s", c.host);
	if (r < 0)
		return public_error(pe, &e, r);
	folder = ssh_quote((const char *const[]){c.folder, NULL});
	if (folder)
		command = str_format(IN_ENGLISH " mkdir -p %s && " IN_ENGLISH
						" tar -x -p -o -f - -C %s",
				     folder, folder);
	if (!command)
		return public_error(pe, &e, err_set(&e, ERR_NO_MEMORY, "out of memory"));
	x.command = command;
	x.input_fd = c.fd;
	x.use_input_fd = true;
	return run_copy(&c, &x, on_pack, pe);
}

int drover_vm_copy_from(struct drover_vm *vm, const char *guest_path, const char *host_path,
			const struct drover_call *o, struct drover_error *pe)
{
	scoped(copy) struct copy c = {.vm = vm, .fd = -1, .their_fd = -1, .e = ERR_INIT};
	struct drover_exec x = DROVER_EXEC_INIT;
	scoped(mem) char *top = NULL;
	struct err e = ERR_INIT;
	int r = init_copy(&c, host_path, guest_path, o, &e);

	if (r < 0)
		return public_error(pe, &e, r);
	top = str_format("./%s", c.name); /* a name may begin with "-" */
	if (!top)
		return public_error(pe, &e, err_set(&e, ERR_NO_MEMORY, "out of memory"));
	const char *const argv[] = {"env", "LC_ALL=C", "tar",    "-c", "-f",
				    "-",   "-C",       c.folder, top,  NULL};

	x.argv = argv;
	return run_copy(&c, &x, on_unpack, pe);
}
