/* SPDX-License-Identifier: MIT */
/*
 * drover top: a live table of members and what they use.
 *
 * How it works: the screen is drawn anew each second, with new figures, and whenever a member does something: a thread
 * listens to the events and wakes the main one. Signals are let in only while that waits, so that none can fall between
 * the look at what came and the wait; whatever ends the loop, the terminal is put back first.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/files.h"
#include "cli/cli.h"
#include "cli/commands.h"

enum { TICK_MS = 1000, MS = 1000, NS_PER_MS = 1000000, PERCENT = 100 };
enum { NAME_WIDTH = 24, ADDRESS_WIDTH = 39, COLUMNS = 6, CELL = 24 };

#define ENTER_SCREEN "\033[?1049h\033[?25l" /* the other screen, no cursor */
#define LEAVE_SCREEN "\033[?25h\033[?1049l"

struct sample {
	struct drover_stats *v; /* owned */
	int n;
	int64_t at_ms;
};

struct top {
	const struct args *a;
	struct drover_member *members; /* owned */
	int n_members;
	struct sample now;
	struct sample before;
	int wake_fd; /* readable: a member did something */
	struct drover_cancel *cancel;
	struct buf screen;
	unsigned columns;
	unsigned rows;
	unsigned drawn;
	int name_width;
	int address_width;
	bool colours;
};

/* --- Figures ------------------------------------------------------------------------------------------------- */

static const struct drover_stats *find(const struct sample *s, const char *name)
{
	for (int i = 0; i < s->n; i++)
		if (!strcmp(s->v[i].member, name))
			return &s->v[i];
	return NULL;
}

/* Per second; -1 when nobody knows yet, or the VM was started anew in between. */
static int64_t rate(const struct top *t, int64_t now, int64_t before)
{
	int64_t ms = t->now.at_ms - t->before.at_ms;

	return now < 0 || before < 0 || now < before || ms <= 0 ? -1 : (now - before) * MS / ms;
}

static int look_at_members(struct top *t, struct drover_error *e)
{
	struct drover_member *members = NULL;
	int n = drover_list(NULL, NULL, &members, e);

	if (n < 0)
		return n;
	free(t->members);
	t->members = members;
	t->n_members = n;
	return 0;
}

static int look_at_figures(struct top *t, struct drover_error *e)
{
	struct sample s = {.at_ms = clock_ms()};

	s.n = drover_stats(NULL, NULL, &s.v, e);
	if (s.n < 0)
		return s.n;
	free(t->before.v);
	t->before = t->now;
	t->now = s;
	return 0;
}

/* --- The screen ---------------------------------------------------------------------------------------------- */

static void widen(int *width, const char *text, int most)
{
	int len = (int)strlen(text);

	if (len > *width)
		*width = len < most ? len : most;
}

/* The window, and how wide the columns of text are to be. */
static void measure(struct top *t)
{
	struct winsize size = {0};

	t->name_width = (int)strlen("NAME");
	t->address_width = (int)strlen("ADDRESS");
	for (int i = 0; i < t->n_members; i++)
		if (targets_match(t->a, t->members[i].name)) {
			widen(&t->name_width, t->members[i].name, NAME_WIDTH);
			widen(&t->address_width, t->members[i].ip, ADDRESS_WIDTH);
		}

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0 || size.ws_row == 0)
		size = (struct winsize){.ws_col = 80, .ws_row = 24};
	t->columns = size.ws_col;
	t->rows = size.ws_row;
}

/* One line of the screen, cut to its width (with a mark), in the colour that the escape sequence @colour begins. */
static void draw(struct top *t, const char *colour, const char *text)
{
	bool is_cut = strlen(text) > t->columns;

	if (t->drawn >= t->rows)
		return;
	buf_addf(&t->screen, "%s%s%.*s%s\033[0m\033[K", t->drawn ? "\n" : "", colour,
		 (int)t->columns - is_cut, text, is_cut ? ">" : "");
	t->drawn++;
}

static void say_rate(int64_t per_second, char *ret, size_t size)
{
	size_t len;

	say_bytes(per_second, ret, size);
	len = strlen(ret);
	if (per_second >= 0)
		snprintf(ret + len, size - len, "/s");
}

static const char *colour_of(const struct top *t, const char *state)
{
	if (!strcmp(state, "running") || !t->colours)
		return "";
	if (!strcmp(state, "error") || !strcmp(state, "damaged"))
		return "\033[31m";
	return strcmp(state, "stopped") != 0 ? "\033[33m" : "\033[2m";
}

static void draw_row(struct top *t, const char *colour, const char *name, const char *state,
		     const char *address, const char cells[COLUMNS][CELL])
{
	char line[256];
	bool is_cut = strlen(name) > (size_t)t->name_width;
	int len = snprintf(line, sizeof(line), "%-*.*s%s %-8s %-*.*s %5s %6s",
			   t->name_width - is_cut, t->name_width - is_cut, name, is_cut ? ">" : "",
			   state, t->address_width, t->address_width, address, cells[0], cells[1]);

	for (size_t i = 2; i < COLUMNS && len > 0 && (size_t)len < sizeof(line); i++)
		len += snprintf(line + len, sizeof(line) - (size_t)len, " %8s", cells[i]);
	draw(t, colour, line);
}

static void draw_member(struct top *t, const struct drover_member *m)
{
	const struct drover_stats none = {.cpu_ms = -1,
					  .memory_bytes = -1,
					  .disk_read_bytes = -1,
					  .disk_written_bytes = -1,
					  .net_received_bytes = -1,
					  .net_sent_bytes = -1};
	const struct drover_stats *s = find(&t->now, m->name);
	const struct drover_stats *b = find(&t->before, m->name);
	int64_t cpu;
	char cells[COLUMNS][CELL];

	s = s ? s : &none;
	b = b ? b : &none;
	cpu = rate(t, s->cpu_ms, b->cpu_ms);
	snprintf(cells[0], sizeof(cells[0]), cpu < 0 ? "-" : "%" PRId64 "%%", cpu * PERCENT / MS);
	say_bytes(s->memory_bytes, cells[1], sizeof(cells[1]));
	say_rate(rate(t, s->disk_read_bytes, b->disk_read_bytes), cells[2], sizeof(cells[2]));
	say_rate(rate(t, s->disk_written_bytes, b->disk_written_bytes), cells[3], sizeof(cells[3]));
	say_rate(rate(t, s->net_received_bytes, b->net_received_bytes), cells[4], sizeof(cells[4]));
	say_rate(rate(t, s->net_sent_bytes, b->net_sent_bytes), cells[5], sizeof(cells[5]));
	draw_row(t, colour_of(t, m->state), m->name, m->state, *m->ip ? m->ip : "-", cells);
}

static void draw_head(struct top *t)
{
	static const char titles[COLUMNS][CELL] = {"CPU",     "MEMORY", "READ",
						   "WRITTEN", "NET-IN", "NET-OUT"};
	time_t now = time(NULL);
	int64_t memory = 0;
	int running = 0;
	int rest = 0;
	char line[256];
	char size[24];
	struct tm tm;

	for (int i = 0; i < t->n_members; i++) {
		const struct drover_stats *s = find(&t->now, t->members[i].name);

		if (!targets_match(t->a, t->members[i].name))
			continue;
		running += t->members[i].pid != 0;
		rest += t->members[i].pid == 0;
		memory += s && s->memory_bytes > 0 ? s->memory_bytes : 0;
	}
	localtime_r(&now, &tm);
	say_bytes(memory, size, sizeof(size));
	snprintf(line, sizeof(line),
		 "drover top  %02d:%02d:%02d   %d running, %d at rest   memory %s   q quits",
		 tm.tm_hour, tm.tm_min, tm.tm_sec, running, rest, size);
	draw(t, "\033[1m", line);
	draw_row(t, "\033[7m", "NAME", "STATE", "ADDRESS", titles);
}

/* Those that run, then the others, each in the order of the store. */
static int draw_screen(struct top *t)
{
	char more[32];
	unsigned left = 0; /* that have no line yet */
	int r;

	measure(t);
	for (int i = 0; i < t->n_members; i++)
		left += targets_match(t->a, t->members[i].name);
	t->drawn = 0;
	buf_addstr(&t->screen, "\033[H");
	draw_head(t);
	for (int pass = 0; pass < 2; pass++)
		for (int i = 0; i < t->n_members; i++)
			if ((t->members[i].pid == 0) == (pass == 1) &&
			    targets_match(t->a, t->members[i].name) &&
			    (t->drawn + 1 < t->rows || left == 1)) {
				draw_member(t, &t->members[i]);
				left--;
			}
	if (left > 0) {
		snprintf(more, sizeof(more), "and %u more", left);
		draw(t, "", more);
	}
	buf_addstr(&t->screen, "\033[J");
	r = files_write_all(STDOUT_FILENO, t->screen.data, t->screen.len);
	buf_consume(&t->screen, t->screen.len);
	return r;
}

/* --- The loop ------------------------------------------------------------------------------------------------ */

static int on_event(void *arg, const struct drover_event *ev)
{
	const struct top *t = arg;
	const uint64_t one = 1;
	ssize_t n = write(t->wake_fd, &one, sizeof(one));

	(void)n; /* full: it will wake anyway */
	return 0;
}

static void *listen_to_events(void *arg)
{
	struct top *t = arg;
	struct drover_watch w = DROVER_WATCH_INIT;

	w.on_event = on_event;
	w.arg = t;
	w.cancel = t->cancel;
	drover_events(NULL, &w, NULL); /* without it the table is a second late at most */
	return NULL;
}

static bool is_quit_typed(int fd)
{
	char keys[64];
	ssize_t n = read(fd, keys, sizeof(keys));

	for (ssize_t i = 0; i < n; i++)
		if (keys[i] == 'q' || keys[i] == 'Q')
			return true;
	return n == 0; /* the terminal is gone */
}

/* Until a key, a signal, an event or @end. True when it is to end. */
static bool rest(struct top *t, int64_t end, const sigset_t *mask)
{
	struct pollfd p[2] = {{.fd = STDIN_FILENO, .events = POLLIN},
			      {.fd = t->wake_fd, .events = POLLIN}};
	int64_t left = end - clock_ms();
	struct timespec wait = {.tv_sec = left > 0 ? left / MS : 0,
				.tv_nsec = left > 0 ? left % MS * NS_PER_MS : 0};
	uint64_t drained;

	if (ppoll(p, 2, &wait, mask) < 0)
		return interrupt_signal() != 0; /* or a new size of the window */
	if (p[1].revents && read(t->wake_fd, &drained, sizeof(drained)) < 0)
		return true;
	return interrupt_signal() || (p[0].revents && is_quit_typed(STDIN_FILENO));
}

static int run_loop(struct top *t, const sigset_t *mask, struct drover_error *e)
{
	int64_t tick = clock_ms();
	int r;

	do {
		if (clock_ms() >= tick) {
			r = look_at_figures(t, e);
			if (r < 0)
				return r;
			tick = clock_ms() + TICK_MS;
		}
		r = look_at_members(t, e);
		if (r < 0)
			return r;
		r = draw_screen(t);
		if (r < 0) {
			snprintf(e->sentence, sizeof(e->sentence),
				 "cannot write to the terminal: %s", strerror(-r));
			return r;
		}
	} while (!rest(t, tick, mask));
	return 0;
}

/* --- The terminal -------------------------------------------------------------------------------------------- */

static void on_resize(int sig)
{
	/* its coming ends the wait */
}

static void set_signals(sigset_t *ret_mask)
{
	struct sigaction resize = {.sa_handler = on_resize};
	sigset_t held;

	sigaction(SIGWINCH, &resize, NULL);
	sigemptyset(&held);
	sigaddset(&held, SIGINT);
	sigaddset(&held, SIGTERM);
	sigaddset(&held, SIGHUP);
	sigaddset(&held, SIGWINCH);
	pthread_sigmask(SIG_BLOCK, &held, ret_mask);
}

/* Keys come one by one and unseen; ^Z would leave the other screen behind, so it does nothing. */
static void set_keys(const struct termios *old)
{
	struct termios raw = *old;

	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	raw.c_cc[VSUSP] = _POSIX_VDISABLE;
	tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
}

static int run_on_terminal(struct top *t, const sigset_t *mask)
{
	struct drover_error e = {.sentence = ""};
	struct termios old;
	pthread_t listener;
	int r;

	if (tcgetattr(STDIN_FILENO, &old) < 0)
		return say_error("cannot use the terminal: %s", strerror(errno));
	r = pthread_create(&listener, NULL, listen_to_events, t);
	if (r != 0)
		return say_error("cannot start a thread: %s", strerror(r));
	set_keys(&old);
	r = files_write_all(STDOUT_FILENO, ENTER_SCREEN, strlen(ENTER_SCREEN));
	if (r == 0)
		r = run_loop(t, mask, &e);
	files_write_all(STDOUT_FILENO, LEAVE_SCREEN, strlen(LEAVE_SCREEN));
	tcsetattr(STDIN_FILENO, TCSADRAIN, &old);
	drover_cancel_now(t->cancel);
	pthread_join(listener, NULL);
	if (interrupt_signal())
		return CLI_SIGNALED + interrupt_signal();
	return r < 0 ? say_failed(NULL, &e) : CLI_OK;
}

static int run_top(const struct command *self, const void *settings, const struct args *a)
{
	const char *no_color = getenv("NO_COLOR");
	struct top t = {.a = a, .wake_fd = -1, .colours = !no_color || !*no_color};
	const char *term = getenv("TERM");
	sigset_t mask;
	int r;

	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) || !term || !*term ||
	    !strcmp(term, "dumb"))
		return say_error("top needs a terminal; 'drover stats' prints figures without");
	t.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	t.cancel = drover_cancel_new();
	if (t.wake_fd < 0 || !t.cancel || !interrupt_catch()) {
		r = say_error("out of memory or descriptors");
	} else {
		set_signals(&mask);
		r = run_on_terminal(&t, &mask);
	}
	drover_cancel_free(t.cancel);
	if (t.wake_fd >= 0)
		close(t.wake_fd);
	free(t.members);
	free(t.now.v);
	free(t.before.v);
	buf_done(&t.screen);
	return r;
}

const struct command command_top = {
	.name = "top",
	.usage = "[NAME|CLUSTER...]",
	.summary = "Show members and their resource use, live",
	.run = run_top,
};
