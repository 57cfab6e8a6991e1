/* SPDX-License-Identifier: MIT */
/*
 * Lines for a shell that waits on the guest's second serial line since before its memory was captured: so a guest learns
 * who it is in the first moments after it goes on, without a network and without a program of ours inside.
 *
 * How it works: the line's other end is nothing until the memory is loaded, since loading would lose what came before.
 * Then QEMU gets the text as a file that it reads as the guest takes it.
 */
#include "backend/qemu/vm.h"

#include "base/files.h"
#include "base/scoped.h"
#include "base/str.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define NOW "@NOW@"

enum { SCRIPT_MAX = 64 << 10 };

static int write_dated(int fd, const char *text)
{
	char now[24];
	const char *mark;
	int r = 0;

	while (r == 0 && (mark = strstr(text, NOW))) {
		snprintf(now, sizeof(now), "%lld", (long long)time(NULL));
		r = files_write_all(fd, text, (size_t)(mark - text));
		if (r == 0)
			r = files_write_all(fd, now, strlen(now));
		text = mark + strlen(NOW);
	}
	return r < 0 ? r : files_write_all(fd, text, strlen(text));
}

/* A file without a name, opened for reading alone as QEMU insists. */
static int make_file(const char *text, int *ret_fd)
{
	scoped(fd) int fd = memfd_create("script", MFD_CLOEXEC);
	char path[40];
	int r = fd < 0 ? -errno : write_dated(fd, text);

	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	*ret_fd = open(path, O_RDONLY | O_CLOEXEC);
	return *ret_fd < 0 ? -errno : 0;
}

static void on_given(void *arg, json_t *ret, const char *error)
{
	if (!ret)
		vm_end_with(arg, ERR_BOOT, error);
}

int script_give(struct qemu_vm *vm, struct err *e)
{
	static const char change[] =
		"{\"id\":\"" SECOND_LINE "\",\"backend\":{\"type\":\"file\",\"data\":"
		"{\"in\":\"/dev/fdset/1\",\"out\":\"/dev/null\"}}}";
	struct local_vm *base = local_vm_of(&vm->base);
	const char *path = vm->spec.script_path;
	scoped(mem) char *text = NULL;
	size_t len = 0;
	int fd = -1;
	int r = files_read(path, SCRIPT_MAX, &text, &len);

	if (r == -ENOENT)
		return 0; /* a helper that crashed has given it */
	if (r == 0 && len > 0)
		r = make_file(text, &fd);
	if (text)
		explicit_bzero(text, len);
	if (r == 0 && unlink(path) < 0)
		r = -errno;
	if (r < 0)
		close_fd(&fd);
	if (r < 0 || fd < 0)
		return r < 0 ? err_errno(e, r, "take the script of %s: %s", vm->spec.name, path)
			     : 0;
	r = qmp_call_with(vm->qmp, "add-fd", "{\"fdset-id\":1}", fd, on_given, base);
	if (r == 0)
		r = qmp_call_with(vm->qmp, "chardev-change", change, -1, on_given, base);
	return r < 0 ? err_set(e, ERR_NOT_RUNNING, "%s does not run any more", vm->spec.name) : 0;
}
