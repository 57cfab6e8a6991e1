/* SPDX-License-Identifier: MIT */
/* Is this file a disk? */
#include "base/buf.h"
#include "base/err.h"
#include "base/scoped.h"
#include "base/str.h"
#include "guest/image.h"
#include "guest/run.h"
#include "wire/json.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void on_info_line(void *arg, const char *line)
{
	buf_addf(arg, "%s\n", line);
}

/* What qemu-img says is wrong, without its own name and the path, which our sentence has already. */
static const char *info_reason(const struct buf *tail, const char *path)
{
	const char *text = run_last_line(tail);
	const char *at;

	if (str_starts(text, "qemu-img: "))
		text += strlen("qemu-img: ");
	at = strstr(text, path);
	if (at) {
		at += strlen(path);
		while (*at == '\'' || *at == ':' || *at == ' ')
			at++;
		if (*at)
			text = at;
	}
	return *text ? text : "qemu-img cannot read it";
}

/* What qemu-img says of it: *@ret is the caller's. */
static int ask_info(const char *path, json_t **ret, struct err *e)
{
	const char *argv[] = {"qemu-img", "info", "--output=json", "-f", "qcow2", "--", path, NULL};
	scoped(buf) struct buf out = BUF_INIT;
	scoped(buf) struct buf tail = BUF_INIT;
	int r = run_program(argv, NULL, on_info_line, &out, &tail, e);

	if (r < 0)
		return r;
	if (r > 0)
		return err_set(e, ERR_IMAGE, "%s is not a good qcow2 image: %s", path,
			       info_reason(&tail, path));
	*ret = out.len > 0 ? wire_json_parse(out.data, out.len, NULL) : NULL;
	return *ret ? 0
		    : err_set(e, ERR_IMAGE, "%s is not a good qcow2 image: qemu-img says nothing",
			      path);
}

int image_file_look(const char *path, uint64_t *ret_bytes, bool *ret_has_points, struct err *e)
{
	int64_t size = 0;
	scoped(json) json_t *root = NULL;
	int r = ask_info(path, &root, e);

	if (r < 0)
		return r;
	wire_json_int(root, "virtual-size", &size, NULL);
	if (size <= 0)
		return err_set(e, ERR_IMAGE, "%s is not a good qcow2 image: it has no size", path);
	*ret_bytes = (uint64_t)size;
	*ret_has_points = json_array_size(json_object_get(root, "snapshots")) > 0;
	return 0;
}

int image_file_points(const char *path, struct point **ret_points, size_t *ret_n, struct err *e)
{
	json_t *root = NULL;
	int r = ask_info(path, &root, e);
	const json_t *list = json_object_get(root, "snapshots");
	struct point *points = r < 0 ? NULL : calloc(json_array_size(list) + 1, sizeof(*points));
	json_t *one;
	size_t n = 0;
	size_t i;

	if (r == 0 && !points)
		r = err_set(e, ERR_NO_MEMORY, "out of memory");
	json_array_foreach (list, i, one) {
		const char *name = json_string_value(json_object_get(one, "name"));

		if (r < 0 || !name || strlen(name) >= POINT_SIZE)
			continue;
		str_copy(points[n].name, POINT_SIZE, name);
		points[n].bytes = json_integer_value(json_object_get(one, "vm-state-size"));
		points[n].saved_at = json_integer_value(json_object_get(one, "date-sec"));
		n += points[n].bytes > 0; /* without memory it is none of ours */
	}
	json_decref(root);
	if (r < 0)
		return r;
	*ret_points = points;
	*ret_n = n;
	return 0;
}

static const char *packed_as(const unsigned char *head)
{
	static const struct {
		const char *name;
		const char *magic;
		size_t len;
	} known[] = {
		{"gzip", "\x1f\x8b\x08", 3},     {"xz", "\xfd\x37zXZ\0", 6},
		{"zstd", "\x28\xb5\x2f\xfd", 4}, {"bzip2", "BZh", 3},
		{"zip", "PK\x03\x04", 4},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (memcmp(head, known[i].magic, known[i].len) == 0)
			return known[i].name;
	return NULL;
}

static int raw_check(const char *path, off_t size, const unsigned char *head, uint64_t *ret_bytes,
		     struct err *e)
{
	const char *packed = packed_as(head);

	if (packed)
		return err_hint(e, err_set(e, ERR_IMAGE, "%s is compressed (%s)", path, packed),
				"unpack it first");
	if (size == 0)
		return err_set(e, ERR_IMAGE, "%s is empty", path);
	if (size % 512 != 0)
		return err_set(e, ERR_IMAGE,
			       "%s is neither qcow2 nor raw: its size, %lld bytes, is no multiple "
			       "of 512",
			       path, (long long)size);
	*ret_bytes = (uint64_t)size;
	return 0;
}

/* The first bytes and the size. */
static int look(const char *path, unsigned char head[16], off_t *ret_size, struct err *e)
{
	scoped(fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0)
		return err_errno(e, -errno, "cannot open the image %s", path);
	if (fstat(fd, &st) < 0)
		return err_errno(e, -errno, "cannot look at the image %s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_IMAGE, "%s is not a regular file", path);
	memset(head, 0, 16);
	if (pread(fd, head, 16, 0) < 0)
		return err_errno(e, -errno, "cannot read the image %s", path);
	*ret_size = st.st_size;
	return 0;
}

int image_file_check_as(const char *path, const char *format, uint64_t *ret_bytes, struct err *e)
{
	unsigned char head[16];
	uint64_t bytes = 0;
	bool has_points;
	off_t size = 0;
	int r = look(path, head, &size, e);

	if (r < 0)
		return r;
	if (str_equal(format, "raw")) {
		r = raw_check(path, size, head, &bytes, e);
	} else if (!str_equal(format, "qcow2")) {
		return err_set(e, ERR_IMAGE, "%s: '%s' is no disk format that can be used", path,
			       format ? format : "");
	} else if (memcmp(head, "QFI\xfb", 4) != 0) {
		return err_set(e, ERR_IMAGE,
			       "%s is not a good qcow2 image: it does not begin like one", path);
	} else {
		r = image_file_look(path, &bytes, &has_points, e);
	}
	if (r == 0 && ret_bytes)
		*ret_bytes = bytes;
	return r;
}

int image_file_check_alone(const char *path, struct err *e)
{
	enum { BACKING_AT = 8, FEATURES_LOW_AT = 79, EXTERNAL_DATA = 1 << 2 };
	scoped(fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	unsigned char head[80] = {0};
	bool is_alone = true;

	if (fd < 0 || pread(fd, head, sizeof(head), 0) < 0)
		return err_errno(e, -errno, "cannot read the image %s", path);
	for (int i = 0; i < 8; i++)
		is_alone = is_alone && head[BACKING_AT + i] == 0;
	if (head[7] >= 3 && (head[FEATURES_LOW_AT] & EXTERNAL_DATA))
		is_alone = false;
	if (is_alone)
		return 0;
	return err_set(e, ERR_IMAGE,
		       "it needs another file: make one of both with `qemu-img convert -O qcow2`");
}

int image_file_check_whole(const char *path, const char *format, struct err *e)
{
	enum { CHECK_ERRORS = 2 }; /* 3 are leaked clusters, which harm nobody */
	const char *argv[] = {"qemu-img", "check", "-q", "-f", "qcow2", path, NULL};
	scoped(buf) struct buf tail = BUF_INIT;
	int r = image_file_check_as(path, format, NULL, e);

	if (r < 0 || !str_equal(format, "qcow2"))
		return r;
	r = run_program(argv, NULL, NULL, NULL, &tail, e);
	if (r == 1)
		return err_set(e, ERR_IMAGE, "%s is not a good qcow2 image: %s", path,
			       info_reason(&tail, path));
	if (r == CHECK_ERRORS)
		return err_set(
			e, ERR_IMAGE,
			"%s is not a good qcow2 image: `qemu-img check` finds errors, as in a "
			"file that was cut short",
			path);
	return r < 0 ? r : 0;
}

int image_file_check(const char *path, const char **ret_format, struct err *e)
{
	unsigned char head[16];
	const char *format;
	off_t size = 0;
	int r = look(path, head, &size, e);

	if (r < 0)
		return r;
	format = memcmp(head, "QFI\xfb", 4) == 0 || str_ends(path, ".qcow2") ? "qcow2" : "raw";
	r = image_file_check_whole(path, format, e);
	if (r == 0)
		*ret_format = format;
	return r;
}
