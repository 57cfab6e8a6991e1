/* SPDX-License-Identifier: MIT */
/*
 * SSH over libssh, which never blocks here: each of its calls is repeated for as long as it says "again", and in between
 * the thread waits for the connection, the input, the cancel descriptor or the deadline (wait_io).
 */
#include "client/ssh.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/giveup.h"
#include "base/scoped.h"

#include <fcntl.h>
#include <libssh/callbacks.h>
#include <libssh/libssh.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { CHUNK = 32768 };

struct ssh_session {
	ssh_session ssh;
	char name[64];
	int fd;
	ino_t inode; /* of @fd */
	dev_t device;
};

static inline void scoped_key(ssh_key *key)
{
	ssh_key_free(*key);
}

/* What a wait is for and what ends it. */
struct limit {
	struct ssh_session *s;
	struct giveup giveup;
	int input_fd; /* readable or at its end: go on; or -1 */
	const struct ssh_limits *limits;
};

/*
 * Reads what has come. libssh's own calls do not when a channel has ended in one of several ways, and what then waits in
 * the socket would be waited for for ever. Errors show in ssh_is_connected.
 */
static void take_packets(struct ssh_session *s)
{
	ssh_event event = ssh_event_new();

	if (event && ssh_event_add_session(event, s->ssh) == SSH_OK) {
		ssh_event_dopoll(event, 0);
		ssh_event_remove_session(event, s->ssh);
	}
	ssh_event_free(event);
}

/* What the loop has to do by now; also makes its descriptor tell of what comes next. */
static int run_loop(const struct limit *l, struct err *e)
{
	if (!l->limits->loop)
		return 0;
	uv_run(l->limits->loop, UV_RUN_NOWAIT);
	return *l->limits->is_cut ? err_copy(e, l->limits->why) : 0;
}

/* 0 when something came in, could go out, or the input is ready. */
static int wait_io(const struct limit *l, struct err *e)
{
	int r;

	while ((r = run_loop(l, e)) == 0) {
		int out = ssh_get_poll_flags(l->s->ssh) & SSH_WRITE_PENDING;
		uv_loop_t *loop = l->limits->loop;
		struct pollfd p[] = {
			{.fd = l->s->fd, .events = (short)(POLLIN | (out ? POLLOUT : 0))},
			{.fd = l->giveup.cancel_fd, .events = POLLIN},
			{.fd = l->input_fd, .events = POLLIN},
			{.fd = loop ? uv_backend_fd(loop) : -1, .events = POLLIN},
		};
		int loop_ms = loop ? uv_backend_timeout(loop) : -1;
		int n = poll(p, 4, giveup_poll_ms(&l->giveup, loop_ms));

		if (p[1].revents)
			return err_set(e, ERR_CANCELED, "canceled");
		if (n > 0 && p[0].revents)
			take_packets(l->s);
		if (n > 0 && (p[0].revents || p[2].revents))
			return 0;
		if (l->giveup.end_ms && clock_ms() >= l->giveup.end_ms)
			return err_set(e, ERR_TIMEOUT, "SSH to %s: not done within %g s",
				       l->s->name, l->giveup.limit_s);
		if (n < 0 && errno != EINTR)
			return err_errno(e, -errno, "wait for SSH");
	}
	return r;
}

static int ssh_failed(struct ssh_session *s, const char *what, struct err *e)
{
	return err_set(e, ERR_SSH, "SSH to %s: %s: %.300s", s->name, what, ssh_get_error(s->ssh));
}

/* --- Open ---------------------------------------------------------------------------------------------------- */

static int configure(struct ssh_session *s, const struct ssh_options *o, struct err *e)
{
	bool no = false;
	int r = 0;

	r |= ssh_options_set(s->ssh, SSH_OPTIONS_PROCESS_CONFIG, &no);
	r |= ssh_options_set(s->ssh, SSH_OPTIONS_HOST, o->name);
	r |= ssh_options_set(s->ssh, SSH_OPTIONS_USER, o->user);
	/* The host key is looked at by check_host_key; and in a path here libssh would expand every '%'. */
	r |= ssh_options_set(s->ssh, SSH_OPTIONS_KNOWNHOSTS, "/dev/null");
	r |= ssh_options_set(s->ssh, SSH_OPTIONS_GLOBAL_KNOWNHOSTS, "/dev/null");
	r |= ssh_options_set(s->ssh, SSH_OPTIONS_HOSTKEYS, "ssh-ed25519");
	r |= ssh_options_set(s->ssh, SSH_OPTIONS_FD, &s->fd);
	ssh_set_blocking(s->ssh, 0);
	return r ? ssh_failed(s, "options", e) : 0;
}

static int connect_session(struct ssh_session *s, const struct limit *l, struct err *e)
{
	int r = 0;
	int rc;

	while ((rc = ssh_connect(s->ssh)) == SSH_AGAIN && r == 0)
		r = wait_io(l, e);
	if (r < 0)
		return r;
	return rc == SSH_OK ? 0 : ssh_failed(s, "handshake", e);
}

static int check_host_key(struct ssh_session *s, const char *path, struct err *e)
{
	scoped(key) ssh_key expected = NULL;
	scoped(key) ssh_key got = NULL;

	if (ssh_pki_import_pubkey_file(path, &expected) != SSH_OK)
		return err_set(e, ERR_IO, "the host key %s of %s cannot be read", path, s->name);
	if (ssh_get_server_publickey(s->ssh, &got) != SSH_OK)
		return ssh_failed(s, "host key", e);
	if (ssh_key_cmp(expected, got, SSH_KEY_CMP_PUBLIC) != 0)
		return err_set(e, ERR_PROTOCOL,
			       "%s shows a host key that is not the one in %s: this is not the "
			       "member, or its keys were replaced inside",
			       s->name, path);
	return 0;
}

static int login(struct ssh_session *s, const struct ssh_options *o, const struct limit *l,
		 struct err *e)
{
	scoped(key) ssh_key key = NULL;
	int r = 0;
	int rc;

	if (ssh_pki_import_privkey_file(o->key_path, NULL, NULL, NULL, &key) != SSH_OK)
		return err_set(e, ERR_IO, "the SSH key %s cannot be read", o->key_path);
	while ((rc = ssh_userauth_publickey(s->ssh, NULL, key)) == SSH_AUTH_AGAIN && r == 0)
		r = wait_io(l, e);
	if (r < 0)
		return r;
	if (rc == SSH_AUTH_SUCCESS)
		return 0;
	if (rc == SSH_AUTH_DENIED || rc == SSH_AUTH_PARTIAL)
		return err_hint(e,
				err_set(e, ERR_DENIED, "%s refuses drover's key for the user %s",
					s->name, o->user),
				"its image must have cloud-init, which makes that user; its serial "
				"log may say more");
	return ssh_failed(s, "login", e);
}

int ssh_open(int fd, const struct ssh_options *o, struct ssh_session **ret, struct err *e)
{
	struct ssh_session *s = calloc(1, sizeof(*s));
	struct limit l = {.s = s,
			  .giveup = {.cancel_fd = o->limits.cancel_fd,
				     .end_ms = clock_ms() + (int64_t)o->limits.timeout_ms,
				     .limit_s = (double)o->limits.timeout_ms / 1000},
			  .input_fd = -1,
			  .limits = &o->limits};
	struct stat st;
	int one = 1;
	int r;

	if (s)
		s->ssh = ssh_new();
	if (!s || !s->ssh) {
		close(fd);
		free(s);
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	}
	s->fd = fd;
	if (fstat(fd, &st) == 0) {
		s->inode = st.st_ino;
		s->device = st.st_dev;
	}
	snprintf(s->name, sizeof(s->name), "%s", o->name);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	r = configure(s, o, e);
	if (r == 0)
		r = connect_session(s, &l, e);
	if (r == 0)
		r = check_host_key(s, o->host_key_path, e);
	if (r == 0)
		r = login(s, o, &l, e);
	if (r < 0) {
		ssh_close(s);
		return r;
	}
	*ret = s;
	return 0;
}

void ssh_close(struct ssh_session *s)
{
	struct stat now;

	if (!s)
		return;
	ssh_disconnect(s->ssh);
	ssh_free(s->ssh);
	/* libssh leaves a descriptor that it was given open, but for some of its errors: closed if it is still that socket. */
	if (fstat(s->fd, &now) == 0 && now.st_ino == s->inode && now.st_dev == s->device)
		close(s->fd);
	free(s);
}

/* --- Run ----------------------------------------------------------------------------------------------------- */

struct running {
	struct ssh_session *s;
	const struct ssh_exec *x;
	ssh_channel channel;
	struct limit limit;
	struct ssh_channel_callbacks_struct callbacks;
	int status;  /* -1: not told yet */
	bool closed; /* the peer has closed the channel */
	const char *input;
	size_t input_len;
	bool input_ended; /* EOF was sent */
	char chunk[CHUNK];
};

static void on_exit_status(ssh_session session, ssh_channel channel, int status, void *arg)
{
	struct running *run = arg;

	run->status = status;
}

static void on_close(ssh_session session, ssh_channel channel, void *arg)
{
	struct running *run = arg;

	run->closed = true;
}

static int signal_number(const char *name)
{
	static const struct {
		const char *name;
		int number;
	} signals[] = {
		{"ABRT", SIGABRT}, {"ALRM", SIGALRM}, {"FPE", SIGFPE},   {"HUP", SIGHUP},
		{"ILL", SIGILL},   {"INT", SIGINT},   {"KILL", SIGKILL}, {"PIPE", SIGPIPE},
		{"QUIT", SIGQUIT}, {"SEGV", SIGSEGV}, {"TERM", SIGTERM}, {"USR1", SIGUSR1},
		{"USR2", SIGUSR2}, {"BUS", SIGBUS},   {"SYS", SIGSYS},   {"TRAP", SIGTRAP},
	};

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		if (strncmp(name, signals[i].name, strlen(signals[i].name)) == 0)
			return signals[i].number;
	return 127;
}

static void on_exit_signal(ssh_session session, ssh_channel channel, const char *name, int core,
			   const char *message, const char *language, void *arg)
{
	struct running *run = arg;

	run->status = 128 + signal_number(name ? name : "");
}

static int begin(struct running *run, bool *ret_started, struct err *e)
{
	ssh_channel c = run->channel;
	int r = 0;
	int rc;

	while ((rc = ssh_channel_open_session(c)) == SSH_AGAIN && r == 0)
		r = wait_io(&run->limit, e);
	if (r < 0)
		return r;
	if (rc != SSH_OK)
		return ssh_failed(run->s, "open a channel", e);
	*ret_started = true; /* from here on it may have begun */
	while ((rc = ssh_channel_request_exec(c, run->x->command)) == SSH_AGAIN && r == 0)
		r = wait_io(&run->limit, e);
	if (r < 0)
		return r;
	return rc == SSH_OK ? 0 : ssh_failed(run->s, "run the command", e);
}

/* All output that has come. > 0: there was some; < 0: error. */
static int pump_output(struct running *run, int stream, struct err *e)
{
	int some = 0;

	for (;;) {
		int n = ssh_channel_read_nonblocking(run->channel, run->chunk, sizeof(run->chunk),
						     stream == 2);

		if (n == SSH_ERROR)
			return ssh_failed(run->s, "read", e);
		if (n <= 0)
			return some;
		some = 1;
		if (run->x->on_output(run->x->output_arg, stream, run->chunk, (size_t)n) < 0)
			return err_set(e, ERR_CANCELED, "the reader of the output gave up");
	}
}

/* SSH_AGAIN: the end waits behind input that the connection has not taken yet, and goes out with that (wait_io). */
static int send_eof(struct running *run, struct err *e)
{
	int rc = ssh_channel_send_eof(run->channel);

	run->input_ended = true;
	run->limit.input_fd = -1;
	return rc == SSH_OK || rc == SSH_AGAIN ? 0 : ssh_failed(run->s, "write", e);
}

static int write_some(struct running *run, const char *data, size_t len, struct err *e)
{
	int n = ssh_channel_write(run->channel, data, (uint32_t)len);

	return n < 0 ? ssh_failed(run->s, "write", e) : n;
}

/* As much of @input_fd as is there and fits the window. */
static int pump_input_fd(struct running *run, size_t room, struct err *e)
{
	struct pollfd p = {.fd = run->x->input_fd, .events = POLLIN};
	size_t done = 0;
	ssize_t n;

	run->limit.input_fd = room ? run->x->input_fd : -1;
	if (!room || poll(&p, 1, 0) <= 0)
		return 0;
	n = read(run->x->input_fd, run->chunk, room < CHUNK ? room : CHUNK);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0
							 : err_errno(e, -errno, "read the input");
	if (n == 0)
		return send_eof(run, e);
	while (done < (size_t)n) {
		int r = write_some(run, run->chunk + done, (size_t)n - done, e);

		if (r == 0) /* another window than promised: wait for it */
			r = wait_io(&run->limit, e);
		else if (r > 0)
			done += (size_t)r;
		if (r < 0)
			return r;
	}
	return 1;
}

static int pump_input(struct running *run, struct err *e)
{
	size_t room = ssh_channel_window_size(run->channel);
	int r;

	if (run->input_ended)
		return 0;
	if (run->status >= 0 || ssh_channel_is_eof(run->channel)) {
		run->limit.input_fd = -1; /* nobody reads it any more */
		return 0;
	}
	if (run->x->input_fd >= 0)
		return pump_input_fd(run, room, e);
	if (run->input_len == 0)
		return send_eof(run, e);
	if (room == 0)
		return 0;
	if (room > CHUNK)
		room = CHUNK;
	r = write_some(run, run->input, run->input_len < room ? run->input_len : room, e);
	if (r > 0) {
		run->input += r;
		run->input_len -= (size_t)r;
	}
	return r;
}

/*
 * Nothing more can come: the output has ended and the status is there, or the channel is closed. libssh puts its own
 * notice of the close off while output is unread, and reads nothing by itself after the output's end: hence the callback
 * and the question for the status, which reads.
 */
static bool is_over(struct running *run)
{
	bool eof = ssh_channel_is_eof(run->channel);

	if (eof && run->status < 0)
		ssh_channel_get_exit_status(run->channel);
	return (eof && run->status >= 0) || run->closed;
}

static int watch(struct running *run, struct err *e)
{
	for (;;) {
		bool closed = is_over(run);
		int out = pump_output(run, 1, e);
		int err = out < 0 ? out : pump_output(run, 2, e);
		int in = err < 0 ? err : closed ? 0 : pump_input(run, e);
		int r;

		if (in < 0)
			return in;
		if (closed && !out && !err)
			break;
		if (!ssh_is_connected(run->s->ssh))
			return err_set(e, ERR_SSH, "SSH to %s: the connection was lost",
				       run->s->name);
		if (out || err || in || is_over(run))
			continue;
		r = wait_io(&run->limit, e);
		if (r < 0)
			return r;
	}
	if (run->status < 0)
		return err_set(e, ERR_SSH, "SSH to %s: the command ended without a status",
			       run->s->name);
	return 0;
}

static int run_channel(struct running *run, bool *ret_started, struct err *e)
{
	int r;

	run->callbacks.userdata = run;
	run->callbacks.channel_exit_status_function = on_exit_status;
	run->callbacks.channel_exit_signal_function = on_exit_signal;
	run->callbacks.channel_close_function = on_close;
	ssh_callbacks_init(&run->callbacks);
	ssh_set_channel_callbacks(run->channel, &run->callbacks);
	r = begin(run, ret_started, e);
	if (r == 0)
		r = watch(run, e);
	if (r < 0 && *ret_started && ssh_is_connected(run->s->ssh))
		ssh_channel_request_send_signal(run->channel, "KILL");
	ssh_remove_channel_callbacks(run->channel, &run->callbacks);
	return r;
}

int ssh_run(struct ssh_session *s, const struct ssh_exec *x, int *ret_status, bool *ret_started,
	    struct err *e)
{
	scoped(mem) struct running *run = calloc(1, sizeof(*run));
	const struct ssh_limits *l = &x->limits;
	int r;

	*ret_started = false;
	if (run)
		run->channel = ssh_channel_new(s->ssh);
	if (!run || !run->channel)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	run->s = s;
	run->x = x;
	run->status = -1;
	run->input = x->input;
	run->input_len = x->input_len;
	run->limit = (struct limit){
		.s = s,
		.giveup = {.cancel_fd = l->cancel_fd,
			   .end_ms = l->timeout_ms ? clock_ms() + (int64_t)l->timeout_ms : 0,
			   .limit_s = (double)l->timeout_ms / 1000},
		.input_fd = -1,
		.limits = l};
	r = run_channel(run, ret_started, e);
	if (r == 0)
		*ret_status = run->status;
	ssh_channel_free(run->channel);
	return r;
}

/* --- Quoting ------------------------------------------------------------------------------------------------- */

static int quote(struct buf *b, const char *word)
{
	int r = buf_addstr(b, "'");

	for (; *word && r == 0; word++)
		r = *word == '\'' ? buf_addstr(b, "'\\''") : buf_add(b, word, 1);
	return r < 0 ? r : buf_addstr(b, "'");
}

char *ssh_quote(const char *const argv[])
{
	scoped(buf) struct buf b = BUF_INIT;

	for (size_t i = 0; argv[i]; i++)
		if ((i && buf_addstr(&b, " ") < 0) || quote(&b, argv[i]) < 0)
			return NULL;
	return buf_take(&b);
}
