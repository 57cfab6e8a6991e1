/* SPDX-License-Identifier: MIT */
/*
 * Bytes from a URL into a part file, sparse where they are zero, with their SHA-256.
 *
 * How it works. The part file stays when the connection ends too early or the user interrupts, together with PART.from: the
 * URL and the validator (a strong ETag, or the date) that the server gave. The next request asks for the rest under that
 * validator (If-Range), so that the server itself answers with the rest (206) or, when the file is another now, with the
 * whole (200), and then all begins again. A connection that broke is taken up again for as long as each brings more than
 * any before.
 */
#include "base/buf.h"
#include "base/curl.h"
#include "base/err.h"
#include "base/files.h"
#include "base/giveup.h"
#include "base/scoped.h"
#include "base/str.h"
#include "guest/image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CONNECT_SECONDS = 30, STALL_SECONDS = 60, STALL_BYTES = 1000 };
enum {
	VALIDATOR_SIZE = 256,
	FROM_MAX = 16384,
	OK = 200,
	PARTIAL_CONTENT = 206,
	RANGE_NOT_SATISFIABLE = 416
};

struct download {
	const char *url;
	const char *name;
	const char *part;
	char *from; /* owned: PART.from */
	int fd;
	EVP_MD_CTX *md;
	CURL *curl; /* of the request under way */
	const struct giveup *giveup;
	guest_progress_fn *progress;
	void *arg;
	int64_t have;  /* bytes in the part file, all of them in the digest */
	int64_t best;  /* the most there ever were */
	int64_t range; /* where the answer says that its bytes begin; -1: it does not */
	bool is_begun; /* bytes of this answer have come */
	int r;         /* what ended the request, when we did */
	char etag[VALIDATOR_SIZE];
	char date[VALIDATOR_SIZE];
	char validator
		[VALIDATOR_SIZE]; /* of the bytes in the part file; "" when they cannot be added to */
	int64_t start;            /* clock_ms */
	int64_t at_start;         /* bytes that were there at @start */
	int percent;              /* last told */
	int64_t second;           /* last told */
};

static inline void scoped_curl(CURL **c)
{
	curl.easy_cleanup(*c);
}

static inline void scoped_slist(struct curl_slist **l)
{
	curl.slist_free_all(*l);
}

/* --- Progress ------------------------------------------------------------------------------------------------ */

/* Once a second, and once a percent. */
static void tell(struct download *d, int64_t total)
{
	int64_t ms = clock_ms() - d->start;
	double rate = ms > 0 ? (double)(d->have - d->at_start) * 1000 / (double)ms : 0;
	int percent = total > 0 ? (int)(d->have * 100 / total) : -1;
	char text[128];
	int n;

	if (!d->progress || (percent == d->percent && ms / 1000 == d->second))
		return;
	d->percent = percent;
	d->second = ms / 1000;
	n = snprintf(text, sizeof(text), "downloading %.1f", (double)d->have / 1e6);
	if (total > 0)
		n += snprintf(text + n, sizeof(text) - (size_t)n, " of %.1f", (double)total / 1e6);
	n += snprintf(text + n, sizeof(text) - (size_t)n, " MB, %.1f MB/s", rate / 1e6);
	if (total > 0 && rate > 0) {
		int64_t left = (int64_t)((double)(total - d->have) / rate);

		snprintf(text + n, sizeof(text) - (size_t)n, ", %" PRId64 ":%02d left", left / 60,
			 (int)(left % 60));
	}
	d->progress(d->arg, percent, text);
}

/* --- The part file ------------------------------------------------------------------------------------------- */

static int begin_again(struct download *d)
{
	d->have = 0;
	d->validator[0] = '\0';
	unlink(d->from);
	if (ftruncate(d->fd, 0) < 0 || lseek(d->fd, 0, SEEK_SET) < 0)
		return -errno;
	return EVP_DigestInit_ex(d->md, EVP_sha256(), NULL) == 1 ? 0 : -ENOMEM;
}

static int digest_part(struct download *d)
{
	int r = image_digest_add(d->md, d->fd, &d->have, d->giveup);

	if (r < 0)
		return r;
	return lseek(d->fd, d->have, SEEK_SET) < 0 ? -errno : 0;
}

/* Takes up what an earlier call left of the same URL. */
static int open_part(struct download *d)
{
	scoped(mem) char *text = NULL;
	size_t url_len = strlen(d->url);
	int r;

	d->fd = open(d->part, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (d->fd < 0)
		return -errno;
	if (files_read(d->from, FROM_MAX, &text, NULL) < 0 || strncmp(text, d->url, url_len) != 0 ||
	    text[url_len] != '\n' || strlen(text + url_len + 1) >= sizeof(d->validator))
		return begin_again(d);
	r = digest_part(d);
	snprintf(d->validator, sizeof(d->validator), "%s", text + url_len + 1);
	d->best = d->have;
	return r;
}

/* The first bytes of a whole answer: from now on the rest can be asked for, if the server says of which file. */
static int note_validator(struct download *d)
{
	scoped(mem) char *text = NULL;
	const char *validator = d->etag[0] == '"' ? d->etag : d->date;

	if (!*validator)
		return 0;
	snprintf(d->validator, sizeof(d->validator), "%s", validator);
	text = str_format("%s\n%s", d->url, validator);
	return text ? files_publish(d->from, text, strlen(text), 0600) : -ENOMEM;
}

static bool is_zero(const char *data, size_t len)
{
	return len > 0 && data[0] == 0 && memcmp(data, data + 1, len - 1) == 0;
}

/* A run of zeros becomes a hole: a raw image is mostly that. */
static int keep(struct download *d, const char *data, size_t len)
{
	int r = 0;

	if (is_zero(data, len))
		r = lseek(d->fd, (off_t)len, SEEK_CUR) < 0 ? -errno : 0;
	else
		r = files_write_all(d->fd, data, len);
	if (r < 0)
		return r;
	EVP_DigestUpdate(d->md, data, len);
	d->have += (int64_t)len;
	return 0;
}

/* --- The answer ---------------------------------------------------------------------------------------------- */

static bool take_header(const char *line, size_t len, const char *name, char ret[VALIDATOR_SIZE])
{
	size_t n = strlen(name);

	if (len <= n || strncasecmp(line, name, n) != 0)
		return false;
	while (n < len && line[n] == ' ')
		n++;
	while (len > n && strchr("\r\n ", line[len - 1]))
		len--;
	if (len - n < VALIDATOR_SIZE)
		snprintf(ret, VALIDATOR_SIZE, "%.*s", (int)(len - n), line + n);
	return true;
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
	struct download *d = arg;
	char range[VALIDATOR_SIZE] = "";

	if (n > 5 && strncmp(line, "HTTP/", 5) == 0) { /* of a redirection, or the last */
		d->etag[0] = d->date[0] = '\0';
		d->range = -1;
	}
	if (take_header(line, n, "ETag:", d->etag) ||
	    take_header(line, n, "Last-Modified:", d->date))
		return n;
	if (take_header(line, n, "Content-Range:", range) &&
	    sscanf(range, "bytes %" SCNd64, &d->range) != 1)
		d->range = -1;
	return n;
}

/* The rest that we asked for, or the whole? */
static int begin_answer(struct download *d)
{
	long status = 0;
	int r;

	curl.easy_getinfo(d->curl, CURLINFO_RESPONSE_CODE, &status);
	if (status == PARTIAL_CONTENT)
		return d->range == d->have ? 0 : -EPROTO;
	r = begin_again(d);
	if (r < 0)
		return r;
	d->at_start = 0;
	return status == OK ? note_validator(d) : 0;
}

static size_t on_data(char *data, size_t size, size_t n, void *arg)
{
	struct download *d = arg;

	if (n == 0)
		return 0;
	if (!d->is_begun)
		d->r = begin_answer(d);
	d->is_begun = true;
	if (d->r == 0)
		d->r = keep(d, data, n);
	return d->r == 0 ? n : 0;
}

static int on_transfer(void *arg, curl_off_t total, curl_off_t done, curl_off_t up_total,
		       curl_off_t up_done)
{
	struct download *d = arg;

	int r = giveup_check(d->giveup, NULL);

	if (r < 0) {
		d->r = r;
		return 1;
	}
	if (d->is_begun)
		tell(d, total > 0 ? d->have - done + total : 0);
	return 0;
}

/* libcurl's own sockets would reach the children of the host program. */
static curl_socket_t on_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
	return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

/* --- The request --------------------------------------------------------------------------------------------- */

static long stall_seconds(void)
{
	const char *text = getenv("DROVER_DOWNLOAD_STALL");
	int64_t seconds = STALL_SECONDS;

	if (text && str_to_int64(text, 1, 86400, &seconds) < 0)
		seconds = STALL_SECONDS;
	return (long)seconds;
}

static void set_options(struct download *d, CURL *c, char *error)
{
	curl.easy_setopt(c, CURLOPT_URL, d->url);
	curl.easy_setopt(c, CURLOPT_ERRORBUFFER, error);
	curl.easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	curl.easy_setopt(c, CURLOPT_FAILONERROR, 1L);
	curl.easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
	curl.easy_setopt(c, CURLOPT_MAXREDIRS, 10L);
	curl.easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https,file");
	curl.easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
	curl.easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
	curl.easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, (long)STALL_BYTES);
	curl.easy_setopt(c, CURLOPT_LOW_SPEED_TIME, stall_seconds());
	curl.easy_setopt(c, CURLOPT_OPENSOCKETFUNCTION, on_socket);
	curl.easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
	curl.easy_setopt(c, CURLOPT_HEADERDATA, d);
	curl.easy_setopt(c, CURLOPT_WRITEFUNCTION, on_data);
	curl.easy_setopt(c, CURLOPT_WRITEDATA, d);
	curl.easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
	curl.easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_transfer);
	curl.easy_setopt(c, CURLOPT_XFERINFODATA, d);
}

/* 0 with @ret_code, the server's @ret_status and libcurl's words; < 0: not even asked. */
static int request(struct download *d, CURLcode *ret_code, long *ret_status, char *error)
{
	scoped(curl) CURL *c = curl.easy_init();
	scoped(slist) struct curl_slist *headers = NULL;
	char range[32];

	if (!c)
		return -ENOMEM;
	set_options(d, c, error);
	if (d->have > 0) {
		scoped(mem) char *line = str_format("If-Range: %s", d->validator);

		headers = line ? curl.slist_append(NULL, line) : NULL;
		if (!headers)
			return -ENOMEM;
		snprintf(range, sizeof(range), "%" PRId64 "-", d->have);
		curl.easy_setopt(c, CURLOPT_RANGE, range);
		curl.easy_setopt(c, CURLOPT_HTTPHEADER, headers);
	}
	d->curl = c;
	d->is_begun = false;
	d->range = -1;
	d->r = 0;
	*ret_code = curl.easy_perform(c);
	curl.easy_getinfo(c, CURLINFO_RESPONSE_CODE, ret_status);
	d->curl = NULL;
	return 0;
}

static bool is_broken(CURLcode code)
{
	return code == CURLE_PARTIAL_FILE || code == CURLE_RECV_ERROR ||
	       code == CURLE_OPERATION_TIMEDOUT || code == CURLE_HTTP2_STREAM;
}

/* Whether another request can bring what this one did not. */
static bool goes_on(struct download *d, CURLcode code, long status, bool *was_refused)
{
	bool has_more = d->have > d->best;

	if (d->r < 0)
		return false;
	if (status == RANGE_NOT_SATISFIABLE && !*was_refused) {
		*was_refused = true; /* what we have is not the beginning of what there is */
		return begin_again(d) == 0;
	}
	if (!is_broken(code))
		return false;
	d->best = has_more ? d->have : d->best;
	if (!d->validator[0] && begin_again(d) < 0)
		return false;
	return has_more;
}

static int failed(const struct download *d, CURLcode code, const char *error, struct err *e)
{
	bool is_offline = code == CURLE_COULDNT_RESOLVE_HOST ||
			  code == CURLE_COULDNT_RESOLVE_PROXY || code == CURLE_COULDNT_CONNECT;

	if (giveup_is_why(d->giveup, d->r, e))
		return d->r;
	if (d->r == -ENOSPC || d->r == -EDQUOT)
		return err_set(e, ERR_NO_SPACE,
			       "cannot keep %s: the file system that holds %s is full", d->url,
			       d->part);
	if (d->r == -EPROTO)
		return err_set(
			e, ERR_IO,
			"cannot download %s: the server sent another part of it than the one asked for",
			d->url);
	if (d->r < 0)
		return err_errno(e, d->r, "cannot keep what %s sends in %s", d->url, d->part);
	if (code == CURLE_FILE_COULDNT_READ_FILE)
		return err_set(e, ERR_NOT_FOUND, "there is no %s", d->url);
	if (!*error)
		error = curl.easy_strerror(code);
	if (is_offline)
		return err_hint(
			e, err_set(e, ERR_UNREACHABLE, "cannot download %s: %s", d->url, error),
			"without a way there, bring the file and run: drover image import FILE "
			"--name %s",
			d->name);
	return err_hint(e,
			err_set(e, code == CURLE_OPERATION_TIMEDOUT ? ERR_TIMEOUT : ERR_IO,
				"cannot download %s: %s", d->url, error),
			"%s",
			d->have > 0 && d->validator[0] ? "run it again: it goes on where it ended"
						       : "");
}

static int transfer(struct download *d, struct err *e)
{
	bool was_refused = false;
	char error[CURL_ERROR_SIZE];
	CURLcode code;
	long status;
	int r;

	do {
		*error = '\0';
		status = 0;
		r = request(d, &code, &status, error);
		if (r < 0)
			return err_errno(e, r, "cannot download %s", d->url);
		if (code == CURLE_OK && !d->is_begun) {
			image_download_forget(d->part);
			return err_set(e, ERR_IMAGE, "%s is empty", d->url);
		}
	} while (code != CURLE_OK && goes_on(d, code, status, &was_refused));
	/* the last bytes may be a hole */
	if (ftruncate(d->fd, d->have) < 0 && d->r == 0)
		d->r = -errno;
	if (code == CURLE_OK && d->r == 0)
		return 0;
	r = failed(d, code, error, e);
	if (!d->validator[0] || d->have == 0 || (d->r < 0 && !giveup_is_why(d->giveup, d->r, NULL)))
		image_download_forget(d->part);
	return r;
}

void image_download_forget(const char *part)
{
	scoped(mem) char *from = str_format("%s.from", part);

	if (from)
		unlink(from);
	unlink(part);
}

int image_download(const char *url, const char *name, const char *part,
		   char ret_sha256[SHA256_TEXT_SIZE], const struct giveup *g,
		   guest_progress_fn *progress, void *arg, struct err *e)
{
	struct download d = {.url = url,
			     .name = name,
			     .part = part,
			     .fd = -1,
			     .giveup = g,
			     .progress = progress,
			     .arg = arg,
			     .percent = -2,
			     .second = -1};
	int r;

	if (curl_load(CURL_GLOBAL_DEFAULT, e) < 0)
		return err_code_number(e->code);
	d.from = str_format("%s.from", part);
	d.md = image_digest_begin();
	r = d.from && d.md ? open_part(&d) : -ENOMEM;
	if (r < 0 && !giveup_is_why(g, r, e))
		err_errno(e, r, "cannot make %s", part);
	d.start = clock_ms();
	d.at_start = d.have;
	if (r == 0)
		r = transfer(&d, e);
	if (r == 0) {
		image_digest_hex(d.md, ret_sha256);
		unlink(d.from);
	}
	EVP_MD_CTX_free(d.md);
	close_fd(&d.fd);
	free(d.from);
	return r;
}
