/* SPDX-License-Identifier: MIT */
#include "helper/helper.h"

#include "backend/cloud-hypervisor/cloud_hypervisor.h"
#include "backend/fake/fake.h"
#include "backend/qemu/qemu.h"
#include "base/files.h"
#include "base/scoped.h"
#include "loop/keeper.h"

#include <signal.h>
#include <string.h>
#include <time.h>

/* A helper that nobody uses (its client died before the first boot, say) leaves after this long. */
enum { IDLE_MS = 30000 };

void helper_log(const char *fmt, ...)
{
	char text[1024];
	char stamp[32];
	struct timespec now;
	struct tm tm;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
	fprintf(stderr, "%s.%03ldZ %s\n", stamp, now.tv_nsec / 1000000, text);
}

static struct backend *make_backend(struct helper *h, struct err *e)
{
	const char *name = h->o->backend;
	scoped(mem) char *dir =
		store_network_path(h->o->store, h->o->members.names[0], h->o->identity.pid);

	if (strcmp(name, "fake") == 0)
		return fake_backend_new(&h->loop, e);
	if (!dir) {
		err_set(e, ERR_NO_MEMORY, "out of memory");
		return NULL;
	}
	if (strcmp(name, "qemu") == 0 || strcmp(name, "auto") == 0)
		return qemu_backend_new(&h->loop, h->o->sandbox, dir, e);
	if (strcmp(name, "cloud-hypervisor") == 0)
		return cloud_hypervisor_backend_new(&h->loop, h->o->sandbox, dir, e);
	err_set(e, ERR_INVALID, "unknown backend '%s': there are qemu, cloud-hypervisor and fake",
		name);
	return NULL;
}

bool helper_can_adopt(const char *backend)
{
	return strcmp(backend, "fake") != 0;
}

static void on_network_closed(void *arg, int r, const struct err *e);

static void set_signals_blocked(bool blocked)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(blocked ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

static void close_handles(struct helper *h)
{
	if (h->closing)
		return;
	h->closing = true;
	/* A signal has nothing more to ask for, and must not make the end look violent. */
	set_signals_blocked(true);
	for (size_t i = 0; i < h->n_signals; i++)
		uv_close((uv_handle_t *)&h->signals[i], NULL);
	if (h->watching_client)
		uv_close((uv_handle_t *)&h->client_poll, NULL);
	ctl_close(h);
	deferred_end(h);
	conns_close_all(h);
	alarm_close(h->idle);
	alarm_close(h->overdue);
	if (h->network) {
		struct backend_network *net = h->network;

		h->network = NULL;
		backend_close_network(net, on_network_closed, h);
	}
}

static void on_network_closed(void *arg, int r, const struct err *e)
{
	/* The loop ends when its last handle is closed. */
}

void helper_check_done(struct helper *h)
{
	list_for_each (pos, &h->members)
		if (member_is_active(list_entry(pos, struct member, link)))
			return;
	if (h->network_pending)
		return; /* its callback looks again */
	h->stopping = true;
	while (!list_is_empty(&h->members))
		member_retire(list_entry(h->members.next, struct member, link));
	close_handles(h);
}

/* A member that is still to be told to stop: stopping one may retire others, so each search begins anew. */
static struct member *next_to_stop(struct helper *h, bool cut_power)
{
	list_for_each (pos, &h->members) {
		struct member *m = list_entry(pos, struct member, link);

		if (member_is_active(m) &&
		    (m->state != MEMBER_STOPPING || (cut_power && !m->cut_power)))
			return m;
	}
	return NULL;
}

void helper_shutdown(struct helper *h, bool cut_power)
{
	struct member *m;

	h->stopping = true;
	while ((m = next_to_stop(h, cut_power)))
		member_stop(m, cut_power, NULL);
	helper_check_done(h);
}

/* SIGTERM and SIGINT end the cluster in order, a second one without grace; a hang-up means nothing when detached. */
static void on_signal(uv_signal_t *handle, int signum)
{
	struct helper *h = handle->data;

	if (signum == SIGHUP && !h->o->bound)
		return;
	helper_log("%s: stopping", strsignal(signum));
	helper_shutdown(h, h->stopping);
}

static bool has_work(struct helper *h)
{
	if (h->n_conns > 0 || h->network_pending)
		return true;
	list_for_each (pos, &h->members) {
		struct member *m = list_entry(pos, struct member, link);

		if (m->vm || m->booting || m->state == MEMBER_STOPPING)
			return true;
	}
	return false;
}

static void on_idle(void *arg)
{
	struct helper *h = arg;

	if (!has_work(h)) {
		helper_log("nothing was booted and nobody is connected: leaving");
		helper_shutdown(h, true);
		return;
	}
	alarm_set(h->idle, uv_now(&h->loop) + IDLE_MS);
}

static void on_overdue(void *arg)
{
	conns_end_overdue(arg);
}

int helper_start_signals(struct helper *h, struct err *e)
{
	static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		int r = uv_signal_init(&h->loop, &h->signals[i]);

		if (r == 0) {
			h->n_signals++;
			h->signals[i].data = h;
			r = uv_signal_start(&h->signals[i], on_signal, numbers[i]);
		}
		if (r < 0)
			return err_errno(e, r, "watch signals");
	}
	/* They were when sandbox_enter returned, so that none is lost. */
	set_signals_blocked(false);
	return 0;
}

static int register_members(struct helper *h, struct err *e)
{
	for (size_t i = 0; i < h->o->members.n; i++) {
		struct member *m;
		int r = member_register(h, h->o->members.names[i], &m, e);

		if (r < 0)
			return r;
	}
	return 0;
}

/* In place of the members' registration, for a helper that follows one that crashed. */
static int take_over(struct helper *h, struct err *e)
{
	int r = keeper_watch(h->o->keeper, &h->loop);

	if (r < 0)
		return err_errno(e, r, "listen to init");
	return helper_adopt(h, e);
}

static int begin(struct helper *h, struct err *e)
{
	bool again = keeper_restarts(h->o->keeper) > 0;
	int r = again ? 0 : helper_start_signals(h, e);

	if (r == 0)
		r = alarm_open(&h->loop, on_idle, h, &h->idle, e);
	if (r == 0)
		r = alarm_open(&h->loop, on_overdue, h, &h->overdue, e);
	if (r == 0) {
		h->backend = make_backend(h, e);
		r = h->backend ? 0 : err_code_number(e->code);
	}
	if (r == 0 && !again)
		r = register_members(h, e);
	if (r == 0 && h->o->bound)
		r = ctl_open(h, e);
	if (r == 0)
		r = ctl_watch_client(h, e);
	if (r == 0 && !h->o->bound)
		alarm_set(h->idle, uv_now(&h->loop) + IDLE_MS);
	/* Last: it may find that no member is left, and closes what was opened until then. */
	if (r == 0 && again)
		r = take_over(h, e);
	return r;
}

static void free_reserved(struct helper *h)
{
	list_for_each_safe (pos, &h->reserved) {
		struct reserved *v = list_entry(pos, struct reserved, link);

		list_remove(&v->link);
		free(v);
	}
}

void helper_tell_failure(int fd, const struct err *e)
{
	char text[ERR_MSG_SIZE + ERR_HINT_SIZE + 80];

	if (fd < 0)
		return;
	snprintf(text, sizeof(text), "error %s %s\n%s%s%s", err_code_name(e->code), e->msg,
		 *e->hint ? "hint " : "", e->hint, *e->hint ? "\n" : "");
	files_write_all(fd, text, strlen(text));
	close(fd);
}

static void tell_ready(struct helper *h, int r, const struct err *e)
{
	char line[WIRE_MAX_WARNING + 64] = "";
	int fd = h->o->ready_fd;

	if (r < 0) {
		helper_tell_failure(fd, e);
		return;
	}
	if (fd < 0)
		return;
	if (h->o->warning)
		snprintf(line, sizeof(line), "warning %.*s\n", WIRE_MAX_WARNING - 1, h->o->warning);
	files_write_all(fd, line, strlen(line));
	files_write_all(fd, "ready\n", strlen("ready\n"));
	close(fd);
}

int helper_run(const struct helper_options *o, struct err *e)
{
	struct helper h = {.o = o};
	int r = uv_loop_init(&h.loop);

	if (r < 0) {
		err_errno(e, r, "make the event loop");
		tell_ready(&h, r, e);
		return r;
	}
	list_init(&h.members);
	list_init(&h.reserved);
	list_init(&h.conns);
	list_init(&h.ctl_conns);
	list_init(&h.network_calls);
	list_init(&h.calls);
	list_init(&h.deferred);
	r = begin(&h, e);
	if (r < 0 && keeper_restarts(o->keeper) > 0)
		helper_give_in("the cluster", e);
	tell_ready(&h, r, e);
	if (r == 0)
		keeper_ready(o->keeper);
	if (r < 0) {
		h.stopping = true;
		while (!list_is_empty(&h.members)) {
			struct member *m = list_entry(h.members.next, struct member, link);

			listener_close(m->listener); /* a descriptor, should they lack */
			m->listener = NULL;
			store_member_forget(o->store, m->name);
			member_retire(m);
		}
		close_handles(&h);
	}
	uv_run(&h.loop, UV_RUN_DEFAULT);
	helper_adopt_done(&h);
	keeper_unwatch(o->keeper);
	free_reserved(&h);
	backend_free(h.backend);
	uv_run(&h.loop, UV_RUN_DEFAULT); /* what the backend closed */
	if (uv_loop_close(&h.loop) != 0)
		helper_log("internal error: handles left at the end");
	return r;
}
