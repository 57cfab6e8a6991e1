/* SPDX-License-Identifier: MIT */
#include "backend/cloud-hypervisor/rest.h"

#include "base/buf.h"
#include "base/curl.h"
#include "base/list.h"
#include "base/scoped.h"
#include "base/str.h"
#include "loop/timer.h"
#include "wire/json.h"

#include <string.h>

enum { MAX_REPLY = 1 << 20, MAX_ERROR = 400 };

struct rest {
	uv_loop_t *loop;
	CURLM *multi;
	char *socket;
	struct timer *timer; /* curl's */
	struct list calls;   /* struct call */
	struct list polls;   /* struct rest_poll */
	bool handling;       /* a callback runs: rest_close leaves the freeing to its caller */
	bool closed;
};

struct call {
	struct list link;
	CURL *easy;
	struct curl_slist *headers;
	char *sent;
	struct buf reply;
	rest_reply_cb *on_reply;
	void *arg;
};

struct rest_poll {
	uv_poll_t poll;
	struct list link;
	struct rest *rest;
	curl_socket_t fd;
};

/* --- Replies ------------------------------------------------------------------------------------------------- */

/* An error's body is a list of sentences, from the outermost to the cause; older versions send one text. */
static void describe_refusal(const struct buf *reply, long status, char *ret, size_t size)
{
	json_t *body = reply->len ? json_loadb(reply->data, reply->len, 0, NULL) : NULL;
	size_t at = 0;
	json_t *one;
	size_t i;

	ret[0] = '\0';
	json_array_foreach (body, i, one) {
		const char *text = json_string_value(one);
		int n = text ? snprintf(ret + at, size - at, "%s%s", at ? ": " : "", text) : 0;

		at = n < 0 || at + (size_t)n >= size ? size - 1 : at + (size_t)n;
	}
	if (!ret[0] && reply->len)
		snprintf(ret, size, "%.*s", (int)(reply->len < size ? reply->len : size),
			 reply->data);
	if (!ret[0])
		snprintf(ret, size, "HTTP status %ld", status);
	str_make_printable(ret);
	json_decref(body);
}

static void call_free(struct rest *r, struct call *c)
{
	list_remove(&c->link);
	curl.multi_remove_handle(r->multi, c->easy);
	curl.easy_cleanup(c->easy);
	curl.slist_free_all(c->headers);
	buf_done(&c->reply);
	free(c->sent);
	free(c);
}

static void call_end(struct rest *r, struct call *c, CURLcode code)
{
	rest_reply_cb *cb = c->on_reply;
	void *arg = c->arg;
	char error[MAX_ERROR] = "";
	json_t *ret = NULL;
	long status = 0;

	curl.easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
	if (code == CURLE_OPERATION_TIMEDOUT)
		snprintf(error, sizeof(error), "no answer in time");
	else if (code != CURLE_OK)
		snprintf(error, sizeof(error), "%s", curl.easy_strerror(code));
	else if (status < 200 || status > 299)
		describe_refusal(&c->reply, status, error, sizeof(error));
	else if (!c->reply.len)
		ret = json_object();
	else
		ret = wire_json_parse(c->reply.data, c->reply.len, NULL);
	if (!ret && !error[0])
		snprintf(error, sizeof(error), "the reply is no JSON");
	call_free(r, c);
	if (cb)
		cb(arg, ret, ret ? NULL : error);
	json_decref(ret);
}

static void rest_free(struct rest *r)
{
	curl.multi_cleanup(r->multi);
	timer_stop(&r->timer); /* curl may have wanted one more */
	free(r->socket);
	free(r);
}

/* Calls back for what has ended. The last thing that its caller does: @r may be gone afterwards. */
static void handle_ended(struct rest *r)
{
	CURLMsg *message;
	int left;

	if (r->handling)
		return;
	r->handling = true;
	while (!r->closed && (message = curl.multi_info_read(r->multi, &left))) {
		struct call *c = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl.easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&c);
		call_end(r, c, message->data.result);
	}
	r->handling = false;
	if (r->closed)
		rest_free(r);
}

/* --- curl on the loop ---------------------------------------------------------------------------------------- */

static void on_poll_closed(uv_handle_t *h)
{
	free(h->data);
}

static void poll_close(struct rest_poll *p)
{
	list_remove(&p->link);
	uv_close((uv_handle_t *)&p->poll, on_poll_closed);
}

static void on_poll(uv_poll_t *h, int status, int events)
{
	struct rest_poll *p = h->data;
	struct rest *r = p->rest;
	int flags = status < 0 ? CURL_CSELECT_ERR : 0;
	int running;

	if (events & UV_READABLE)
		flags |= CURL_CSELECT_IN;
	if (events & UV_WRITABLE)
		flags |= CURL_CSELECT_OUT;
	curl.multi_socket_action(r->multi, p->fd, flags, &running);
	handle_ended(r);
}

static struct rest_poll *poll_new(struct rest *r, curl_socket_t fd)
{
	struct rest_poll *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	if (uv_poll_init(r->loop, &p->poll, fd) < 0) {
		free(p);
		return NULL;
	}
	p->poll.data = p;
	p->rest = r;
	p->fd = fd;
	list_append(&r->polls, &p->link);
	return p;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
	struct rest *r = arg;
	struct rest_poll *p = known;
	int events = 0;

	if (what == CURL_POLL_REMOVE) {
		if (p)
			poll_close(p);
		curl.multi_assign(r->multi, fd, NULL);
		return 0;
	}
	if (!p)
		p = poll_new(r, fd);
	if (!p)
		return -1; /* curl ends the call */
	curl.multi_assign(r->multi, fd, p);
	if (what & CURL_POLL_IN)
		events |= UV_READABLE;
	if (what & CURL_POLL_OUT)
		events |= UV_WRITABLE;
	return uv_poll_start(&p->poll, events, on_poll);
}

static void on_time(void *arg)
{
	struct rest *r = arg;
	int running;

	curl.multi_socket_action(r->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	handle_ended(r);
}

static int on_timer(CURLM *multi, long ms, void *arg)
{
	struct rest *r = arg;

	timer_stop(&r->timer);
	if (ms >= 0)
		timer_start(r->loop, (uint64_t)ms, on_time, r, &r->timer);
	return 0;
}

/* --- Calls --------------------------------------------------------------------------------------------------- */

struct rest *rest_open(uv_loop_t *loop, const char *socket)
{
	struct rest *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->loop = loop;
	r->socket = strdup(socket);
	r->multi = curl.multi_init();
	list_init(&r->calls);
	list_init(&r->polls);
	if (!r->socket || !r->multi) {
		curl.multi_cleanup(r->multi);
		free(r->socket);
		free(r);
		return NULL;
	}
	curl.multi_setopt(r->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl.multi_setopt(r->multi, CURLMOPT_SOCKETDATA, r);
	curl.multi_setopt(r->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl.multi_setopt(r->multi, CURLMOPT_TIMERDATA, r);
	return r;
}

static size_t on_data(char *data, size_t one, size_t n, void *arg)
{
	struct call *c = arg;

	if (c->reply.len + n > MAX_REPLY || buf_add(&c->reply, data, n) < 0)
		return 0;
	return n;
}

/* The request's own options; all its texts live as long as it. */
static int set_request(struct call *c, const char *action, json_t *body)
{
	scoped(mem) char *url = str_format("http://localhost/api/v1/%s", action);
	CURL *easy = c->easy;

	if (!url || curl.easy_setopt(easy, CURLOPT_URL, url) != CURLE_OK)
		return -ENOMEM;
	if (!body)
		return 0;
	c->sent = json_is_null(body) ? strdup("") : json_dumps(body, JSON_COMPACT);
	/* Without "Expect", for which curl would wait for an answer that the server does not give. */
	c->headers = curl.slist_append(NULL, "Expect:");
	if (!c->sent || !c->headers ||
	    !curl.slist_append(c->headers, "Content-Type: application/json"))
		return -ENOMEM;
	curl.easy_setopt(easy, CURLOPT_CUSTOMREQUEST, "PUT");
	curl.easy_setopt(easy, CURLOPT_POSTFIELDS, c->sent);
	curl.easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)strlen(c->sent));
	curl.easy_setopt(easy, CURLOPT_HTTPHEADER, c->headers);
	return 0;
}

int rest_call(struct rest *r, const char *action, json_t *body, unsigned timeout_ms,
	      rest_reply_cb *on_reply, void *arg)
{
	struct call *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->on_reply = on_reply;
	c->arg = arg;
	list_append(&r->calls, &c->link);
	c->easy = curl.easy_init();
	if (!c->easy || set_request(c, action, body) < 0 ||
	    curl.easy_setopt(c->easy, CURLOPT_UNIX_SOCKET_PATH, r->socket) != CURLE_OK)
		goto fail;
	curl.easy_setopt(c->easy, CURLOPT_PRIVATE, c);
	curl.easy_setopt(c->easy, CURLOPT_PROXY, ""); /* whatever the environment says */
	curl.easy_setopt(c->easy, CURLOPT_NOSIGNAL, 1L);
	curl.easy_setopt(c->easy, CURLOPT_FORBID_REUSE, 1L);
	curl.easy_setopt(c->easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
	curl.easy_setopt(c->easy, CURLOPT_WRITEFUNCTION, on_data);
	curl.easy_setopt(c->easy, CURLOPT_WRITEDATA, c);
	if (curl.multi_add_handle(r->multi, c->easy) != CURLM_OK)
		goto fail;
	return 0;
fail:
	call_free(r, c);
	return -ENOMEM;
}

void rest_close(struct rest *r)
{
	if (!r || r->closed)
		return;
	r->closed = true;
	while (!list_is_empty(&r->calls))
		call_free(r, list_entry(r->calls.next, struct call, link));
	while (!list_is_empty(&r->polls)) {
		struct rest_poll *p = list_entry(r->polls.next, struct rest_poll, link);

		curl.multi_assign(r->multi, p->fd, NULL);
		poll_close(p);
	}
	timer_stop(&r->timer);
	if (!r->handling)
		rest_free(r);
}
