/* SPDX-License-Identifier: MIT */
/*
 * Stop: the acknowledgement, then the member's departure, told by inotify and the helper's pidfd.
 *
 * A boot that is under way goes another way to the helper, and the stop may overtake it: nobody listens yet, or the member
 * goes and the boot brings it back. So a stop is over only when no boot is, and is sent again behind one that worked.
 */
#include "backend/remote/internal.h"

#include "base/files.h"
#include "base/scoped.h"

#include <sys/syscall.h>
#include <unistd.h>

struct departure {
	struct list link;
	struct remote_vm *vm;
	backend_done *done;
	void *arg;
	struct rpc *rpc;
	uv_fs_event_t dirs[2]; /* the member's directory, the sockets' */
	uv_poll_t helper;
	int pidfd;
	unsigned open_handles;
	bool watching;
	bool acknowledged;
	struct timer *deadline;
	struct timer *boot_answered;
};

static void on_departure_closed(uv_handle_t *h)
{
	struct departure *d = h->data;

	if (--d->open_handles > 0)
		return;
	close_fd(&d->pidfd);
	free(d);
}

static void close_handle(struct departure *d, uv_handle_t *h)
{
	if (uv_handle_get_type(h) != UV_UNKNOWN_HANDLE && !uv_is_closing(h))
		uv_close(h, on_departure_closed);
}

static void departure_free(struct departure *d)
{
	list_remove(&d->link);
	timer_stop(&d->deadline);
	timer_stop(&d->boot_answered);
	rpc_cancel(d->rpc);
	d->rpc = NULL;
	if (d->open_handles == 0) {
		close_fd(&d->pidfd);
		free(d);
		return;
	}
	close_handle(d, (uv_handle_t *)&d->dirs[0]);
	close_handle(d, (uv_handle_t *)&d->dirs[1]);
	close_handle(d, (uv_handle_t *)&d->helper);
}

static void departure_end(struct departure *d, const struct err *e)
{
	backend_done *done = d->done;
	void *arg = d->arg;

	departure_free(d);
	done(arg, e ? err_code_number(e->code) : 0, e);
}

static bool has_departed(const struct departure *d)
{
	const struct store *s = remote_of(d->vm->base.backend)->store;
	scoped(mem) char *pid = store_member_path(s, d->vm->name, MEMBER_PID);
	scoped(mem) char *sock = store_socket_path(s, d->vm->name, "sock");

	if (pid && sock && !files_exist(pid) && !files_exist(sock))
		return true;
	/* A helper that was killed leaves both behind. */
	return d->pidfd >= 0 && pid && files_exist(pid) && store_owner_alive(s, d->vm->name) == 0;
}

static void send_stop(struct departure *d);

static bool is_listening(const struct departure *d)
{
	scoped(mem) char *sock =
		store_socket_path(remote_of(d->vm->base.backend)->store, d->vm->name, "sock");

	return sock && files_exist(sock);
}

static void look(struct departure *d)
{
	if (d->rpc)
		return;
	if (d->acknowledged ? !d->vm->booting && has_departed(d) : !d->vm->booting)
		departure_end(d, NULL);
	else if (!d->acknowledged && is_listening(d))
		send_stop(d);
}

static void on_boot_answered(void *arg)
{
	look(arg);
}

static void on_booted(void *arg)
{
	struct departure *d = arg;

	d->acknowledged = false;
	if (!d->rpc)
		send_stop(d);
}

void departures_boot_answered(struct remote_vm *vm, bool runs)
{
	list_for_each (pos, &vm->departures) {
		struct departure *d = list_entry(pos, struct departure, link);

		timer_stop(&d->boot_answered);
		timer_start(vm->base.backend->loop, 0, runs ? on_booted : on_boot_answered, d,
			    &d->boot_answered);
	}
}

static void on_dir(uv_fs_event_t *h, const char *file, int events, int status)
{
	look(h->data);
}

static void on_helper_dead(uv_poll_t *h, int status, int events)
{
	uv_poll_stop(h);
	departure_end(h->data, NULL);
}

static void on_stop_deadline(void *arg)
{
	struct departure *d = arg;
	struct err e;

	err_set(&e, ERR_TIMEOUT, "member %s did not stop within %d s", d->vm->name, STOP_MS / 1000);
	departure_end(d, &e);
}

static void on_stop_reply(void *arg, int r, const struct reply *p, int fd, const struct err *e)
{
	struct departure *d = arg;
	const struct store *s = remote_of(d->vm->base.backend)->store;

	d->rpc = NULL;
	close_fd(&fd);
	/*
	 * Nobody listens: stopped, unless its helper lives. A connection that broke, or a missing acknowledgement, is
	 * best effort as in the reference: the departure decides.
	 */
	d->acknowledged = r == 0 || e->code == ERR_TIMEOUT || store_owner_alive(s, d->vm->name) > 0;
	/* It is asked again by whoever comes to listen, or when the boot is answered; a killed helper's socket is still there. */
	if (d->acknowledged || !d->vm->booting)
		look(d);
}

static int ask_to_stop(struct departure *d, struct err *e)
{
	struct request q = {.verb = VERB_STOP};

	d->rpc = member_rpc(d->vm, &q, STATUS_MS, on_stop_reply, d, e);
	return d->rpc ? 0 : -ENOMEM;
}

static void send_stop(struct departure *d)
{
	struct err e;

	if (ask_to_stop(d, &e) < 0)
		departure_end(d, &e);
}

static void watch_dir(struct departure *d, uv_fs_event_t *h, const char *path)
{
	uv_loop_t *loop = d->vm->base.backend->loop;

	if (!path || uv_fs_event_init(loop, h) < 0)
		return;
	h->data = d;
	d->open_handles++;
	uv_fs_event_start(h, on_dir, path, 0);
}

static void watch_departure(struct departure *d)
{
	struct remote *b = remote_of(d->vm->base.backend);
	scoped(mem) char *dir = store_member_path(b->store, d->vm->name, NULL);
	pid_t pid = store_owner_alive(b->store, d->vm->name);

	watch_dir(d, &d->dirs[0], dir && files_exist(dir) ? dir : NULL);
	watch_dir(d, &d->dirs[1], b->store->run);
	d->pidfd = pid ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
	if (d->pidfd < 0 || uv_poll_init(b->base.loop, &d->helper, d->pidfd) < 0)
		return;
	d->helper.data = d;
	d->open_handles++;
	uv_poll_start(&d->helper, UV_READABLE, on_helper_dead);
}

int remote_stop(struct backend_vm *base, backend_done *done, void *arg, struct err *e)
{
	struct remote_vm *vm = vm_of(base);
	struct departure *d = calloc(1, sizeof(*d));

	if (!d)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	d->vm = vm;
	d->done = done;
	d->arg = arg;
	d->pidfd = -1;
	list_append(&vm->departures, &d->link);
	watch_departure(d);
	timer_start(base->backend->loop, STOP_MS, on_stop_deadline, d, &d->deadline);
	if (ask_to_stop(d, e) == 0)
		return 0;
	departure_free(d);
	return -ENOMEM;
}

void departures_cancel(struct remote_vm *vm, const struct err *canceled)
{
	while (!list_is_empty(&vm->departures))
		departure_end(list_entry(vm->departures.next, struct departure, link), canceled);
}
