/* SPDX-License-Identifier: MIT */
#include "backend/remote/watch.h"

#include "base/scoped.h"
#include "loop/stream.h"
#include "wire/framer.h"
#include "wire/json.h"
#include "wire/message.h"

#include <string.h>

enum { MAX_EVENT = 64 * 1024 };

struct watch {
	struct stream *stream;
	struct framer in;
	watch_fn *on_event;
	void *arg;
	bool reading; /* the owner is being called */
	bool closed;  /* meanwhile; freed when that call returns */
};

static void watch_free(struct watch *w)
{
	framer_done(&w->in);
	free(w);
}

void watch_close(struct watch *w)
{
	if (!w)
		return;
	stream_close(w->stream);
	w->stream = NULL;
	if (w->reading)
		w->closed = true;
	else
		watch_free(w);
}

static void tell(struct watch *w, const char *text, size_t len)
{
	json_t *root = wire_json_parse(text, len, NULL);
	const struct watch_event ev = {
		.kind = json_text(root, "event"),
		.member = json_text(root, "name"),
		.state = json_text(root, "state"),
		.ip = json_text(root, "ip"),
		.stage = json_text(root, "stage"),
		.code = json_text(root, "code"),
		.error = json_text(root, "error"),
		.panic = json_text(root, "panic"),
		.reason = json_text(root, "reason"),
	};

	if (*ev.kind ? *ev.member || strcmp(ev.kind, WIRE_EVENT_RESTARTED) == 0 : *ev.error != 0)
		w->on_event(w->arg, &ev);
	json_decref(root);
}

static void on_read(void *arg, const char *data, ssize_t len, int fd)
{
	struct watch *w = arg;
	const char *text;
	size_t text_len;
	int r;

	close_fd(&fd);
	r = len <= 0 ? -ECONNRESET : framer_feed(&w->in, data, (size_t)len);
	w->reading = true;
	while (r >= 0 && !w->closed && (r = framer_next(&w->in, &text, &text_len)) > 0)
		tell(w, text, text_len);
	if (r < 0 && !w->closed) {
		stream_close(w->stream);
		w->stream = NULL;
		w->on_event(w->arg, NULL);
	}
	w->reading = false;
	if (w->closed)
		watch_free(w);
}

int watch_open(uv_loop_t *loop, int fd, watch_fn *on_event, void *arg, struct watch **ret)
{
	struct request q = {.verb = VERB_WATCH};
	scoped(buf) struct buf line = BUF_INIT;
	struct watch *w = calloc(1, sizeof(*w));
	int r;

	if (!w) {
		close(fd);
		return -ENOMEM;
	}
	w->on_event = on_event;
	w->arg = arg;
	framer_init(&w->in, MAX_EVENT);
	w->stream = stream_open(loop, fd, on_read, w);
	r = w->stream ? request_encode(&q, &line) : -ENOMEM;
	if (r == 0)
		r = stream_write(w->stream, line.data, line.len);
	if (r < 0) {
		watch_close(w);
		return r;
	}
	*ret = w;
	return 0;
}
