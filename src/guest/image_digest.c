/* SPDX-License-Identifier: MIT */
/* SHA-256 of what is in a file. */
#include "base/giveup.h"
#include "base/scoped.h"
#include "base/str.h"
#include "guest/image.h"

#include <errno.h>
#include <unistd.h>

enum { CHUNK = 1 << 20 };

int image_digest_add(EVP_MD_CTX *md, int fd, int64_t *at, const struct giveup *g)
{
	scoped(mem) unsigned char *data = malloc(CHUNK);

	if (!data)
		return -ENOMEM;
	for (;;) {
		ssize_t n = pread(fd, data, CHUNK, *at);
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		r = giveup_check(g, NULL);
		if (r < 0)
			return r;
		if (EVP_DigestUpdate(md, data, (size_t)n) != 1)
			return -ENOMEM;
		*at += n;
	}
}

EVP_MD_CTX *image_digest_begin(void)
{
	scoped(md) EVP_MD_CTX *md = EVP_MD_CTX_new();

	return md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 ? take_ptr(&md) : NULL;
}

void image_digest_hex(EVP_MD_CTX *md, char ret[SHA256_TEXT_SIZE])
{
	unsigned char digest[EVP_MAX_MD_SIZE];

	EVP_DigestFinal_ex(md, digest, NULL);
	str_hex(digest, SHA256_DIGITS / 2, ret);
}
