/* SPDX-License-Identifier: MIT */
#include "base/str.h"

#include "base/err.h"

#include <nettle/base64.h>
#include <nettle/sha2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_label_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

bool name_is_valid(const char *name)
{
	size_t len = name ? strlen(name) : 0;

	if (len == 0 || len >= NAME_SIZE || name[0] == '-' || name[len - 1] == '-')
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_label_char(name[i]))
			return false;
	return true;
}

int name_check(const char *name, struct err *e)
{
	char shown[80];

	if (name_is_valid(name))
		return 0;
	snprintf(shown, sizeof(shown), "%s", name ? name : "");
	str_make_printable(shown);
	return err_set(e, ERR_BAD_NAME,
		       "invalid name '%s': a name is 1 to 63 of a-z, 0-9 and '-', "
		       "and neither begins nor ends with '-'",
		       shown);
}

void name_cluster(const char *name, char ret[NAME_SIZE])
{
	const char *dash = strrchr(name, '-');
	size_t len = strlen(name);

	if (dash && dash > name && dash[1] && strspn(dash + 1, "0123456789") == strlen(dash + 1))
		len = (size_t)(dash - name);
	if (len >= NAME_SIZE)
		len = NAME_SIZE - 1;
	memcpy(ret, name, len);
	ret[len] = '\0';
}

bool name_same_cluster(const char *a, const char *b)
{
	char clusters[2][NAME_SIZE];

	name_cluster(a, clusters[0]);
	name_cluster(b, clusters[1]);
	return strcmp(clusters[0], clusters[1]) == 0;
}

static void sha256_of(const void *data, size_t len, uint8_t ret[SHA256_DIGEST_SIZE])
{
	struct sha256_ctx ctx;

	sha256_init(&ctx);
	sha256_update(&ctx, len, data);
	sha256_digest(&ctx, SHA256_DIGEST_SIZE, ret);
}

void name_socket_key(const char *name, char ret[SOCKET_KEY_LEN + 1])
{
	unsigned char digest[SHA256_DIGEST_SIZE];

	sha256_of(name, strlen(name), digest);
	str_hex(digest, SOCKET_KEY_LEN / 2, ret);
}

void name_mac(const char *salt, const char *name, char ret[MAC_SIZE])
{
	unsigned char digest[SHA256_DIGEST_SIZE];
	char text[256];
	int len;

	len = snprintf(text, sizeof(text), "%s%s", salt, name);
	if (len < 0 || (size_t)len >= sizeof(text))
		len = sizeof(text) - 1;
	sha256_of(text, (size_t)len, digest);
	snprintf(ret, MAC_SIZE, "%02x:%02x:%02x:%02x:%02x:%02x", (digest[0] & 0xfe) | 0x02,
		 digest[1], digest[2], digest[3], digest[4], digest[5]);
}

bool str_equal(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

bool str_starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *s, const char *suffix)
{
	size_t len = strlen(s);
	size_t cut = strlen(suffix);

	return len >= cut && strcmp(s + len - cut, suffix) == 0;
}

void str_copy(char *to, size_t size, const char *from)
{
	size_t len = strnlen(from, size - 1);

	memcpy(to, from, len);
	to[len] = '\0';
}

const char *str_from_int(char room[INT_TEXT_SIZE], int64_t number)
{
	char *digits = room + INT_TEXT_SIZE - 1;
	uint64_t rest = number < 0 ? -(uint64_t)number : (uint64_t)number;

	*digits = '\0';
	do
		*--digits = (char)('0' + rest % 10);
	while ((rest /= 10) > 0);
	if (number < 0)
		*--digits = '-';
	return digits;
}

bool str_dup(const char *from, char **ret)
{
	*ret = from ? strdup(from) : NULL;
	return *ret || !from;
}

char *str_format(const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = vasprintf(&text, fmt, ap);
	va_end(ap);
	return r < 0 ? NULL : text;
}

int str_to_int64(const char *s, int64_t min, int64_t max, int64_t *ret)
{
	char *end = NULL;
	long long value;

	if (!s || !*s || (*s != '-' && (*s < '0' || *s > '9')))
		return -EINVAL;
	errno = 0;
	value = strtoll(s, &end, 10);
	if (errno || *end)
		return errno ? -errno : -EINVAL;
	if (value < min || value > max)
		return -ERANGE;
	*ret = value;
	return 0;
}

void str_hex(const void *data, size_t len, char *ret)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *byte = data;

	for (size_t i = 0; i < len; i++) {
		ret[2 * i] = digits[byte[i] >> 4];
		ret[2 * i + 1] = digits[byte[i] & 15];
	}
	ret[2 * len] = '\0';
}

char *str_base64(const void *data, size_t len)
{
	char *text = calloc(1, BASE64_ENCODE_RAW_LENGTH(len) + 1);

	if (text)
		base64_encode_raw(text, len, data);
	return text;
}

void str_make_printable(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			*s = '?';
}
