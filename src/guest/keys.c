/* SPDX-License-Identifier: MIT */
/*
 * Key pairs. The private file decides: it is linked into place whole, so of several makers one wins and the others take
 * its key; the .pub and known_hosts files are derived from it, and written again whenever they do not fit.
 */
#include "base/err.h"
#include "base/files.h"
#include "base/scoped.h"
#include "guest/guest.h"

#include <errno.h>
#include <fcntl.h>
#include <libssh/libssh.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEY_MAX = 65536, ED25519_PUBLIC_BYTES = 32 };

static inline void scoped_key(ssh_key *key)
{
	ssh_key_free(*key);
}

static inline void scoped_ssh_text(char **text)
{
	if (*text)
		ssh_string_free_char(*text);
}

/* An own temporary file, linked to @path unless that exists. */
static int link_new(const char *path, const char *text)
{
	scoped(mem) char *tmp = str_format("%s.XXXXXX", path);
	scoped(fd) int fd = -1;
	int r;

	if (!tmp)
		return -ENOMEM;
	fd = mkostemp(tmp, O_CLOEXEC); /* 0600 */
	if (fd < 0)
		return -errno;
	r = files_write_all(fd, text, strlen(text));
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (r == 0 && link(tmp, path) < 0 && errno != EEXIST)
		r = -errno;
	unlink(tmp);
	return r < 0 ? r : files_sync_parent(path);
}

static int generate(const char *path, struct err *e)
{
	scoped(key) ssh_key key = NULL;
	scoped(ssh_text) char *text = NULL;
	int r;

	if (ssh_pki_generate(SSH_KEYTYPE_ED25519, 0, &key) != SSH_OK ||
	    ssh_pki_export_privkey_base64(key, NULL, NULL, NULL, &text) != SSH_OK || !text)
		return err_set(e, ERR_INTERNAL, "cannot generate the SSH key %s", path);
	r = link_new(path, text);
	explicit_bzero(text, strlen(text));
	return r < 0 ? err_errno(e, r, "cannot write the SSH key %s", path) : 0;
}

/* "ssh-ed25519 AAAA..." of the private key file @path. */
static int load_public(const char *path, char **ret, struct err *e)
{
	scoped(key) ssh_key key = NULL;
	scoped(key) ssh_key public = NULL;
	scoped(ssh_text) char *blob = NULL;

	if (ssh_pki_import_privkey_file(path, NULL, NULL, NULL, &key) != SSH_OK ||
	    ssh_pki_export_privkey_to_pubkey(key, &public) != SSH_OK ||
	    ssh_pki_export_pubkey_base64(public, &blob) != SSH_OK)
		return err_set(e, ERR_IO,
			       "the SSH key %s cannot be read; move it away to have a "
			       "new one made",
			       path);
	*ret = str_format("%s %s", ssh_key_type_to_char(ssh_key_type(public)), blob);
	return *ret ? 0 : err_set(e, ERR_NO_MEMORY, "out of memory");
}

/* The file holds @text, or will. Not synced: what a power cut leaves of it does not fit, and is written again. */
static int settle(const char *path, const char *text, struct err *e)
{
	scoped(mem) char *old = NULL;
	int r;

	if (files_read(path, KEY_MAX, &old, NULL) == 0 && strcmp(old, text) == 0)
		return 0;
	r = files_publish(path, text, strlen(text), 0600);
	return r < 0 ? err_errno(e, r, "cannot write %s", path) : 0;
}

int keys_make(const char *path, const char *comment, char **ret, struct err *e)
{
	scoped(mem) char *public_path = str_format("%s.pub", path);
	scoped(mem) char *public = NULL;
	scoped(mem) char *line = NULL;
	int r = 0;

	if (!public_path)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	if (!files_exist(path))
		r = generate(path, e);
	if (r == 0)
		r = load_public(path, &public, e);
	if (r < 0)
		return r;
	line = str_format("%s %s\n", public, comment);
	if (!line)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	r = settle(public_path, line, e);
	if (r == 0)
		*ret = take_ptr(&public);
	return r;
}

int keys_ensure(const struct store *s, char **ret_public, struct err *e)
{
	scoped(mem) char *path = str_format("%s/" STORE_KEY, s->root);
	scoped(mem) char *public = NULL;
	char *line;
	int r;

	if (!path)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	r = keys_make(path, "drover", &public, e);
	if (r < 0)
		return r;
	line = str_format("%s drover", public);
	if (!line)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	*ret_public = line;
	return 0;
}

int keys_ensure_host(const struct store *s, const char *name, struct err *e)
{
	scoped(mem) char *path = store_member_path(s, name, MEMBER_HOST_KEY);
	scoped(mem) char *known_path = store_member_path(s, name, MEMBER_KNOWN_HOSTS);
	scoped(mem) char *public = NULL;
	scoped(mem) char *known = NULL;
	int r;

	if (!path || !known_path)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	r = keys_make(path, name, &public, e);
	if (r < 0)
		return r;
	known = str_format("%s %s\n", name, public);
	if (!known)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	return settle(known_path, known, e);
}

/* What is between the two lines of dashes, decoded into @ret, of at least strlen(@text) bytes. Its length, or -EINVAL. */
static int decode(const char *text, unsigned char *ret)
{
	const char *begin = strstr(text, "-----\n");
	const char *end = begin ? strstr(begin, "\n-----END") : NULL;
	EVP_ENCODE_CTX *decoder = EVP_ENCODE_CTX_new();
	int len = 0;
	int rest = 0;
	int r = -EINVAL;

	if (end && decoder) {
		begin = strchr(begin, '\n') + 1;
		EVP_DecodeInit(decoder);
		if (EVP_DecodeUpdate(decoder, ret, &len, (const unsigned char *)begin,
				     (int)(end - begin)) >= 0 &&
		    EVP_DecodeFinal(decoder, ret + len, &rest) >= 0)
			r = len + rest;
	}
	EVP_ENCODE_CTX_free(decoder);
	return r;
}

/* libssh tells no key's bytes. The format is OpenSSH's PROTOCOL.key: the type, the public key, both keys, each with its length. */
int keys_ed25519_bytes(const char *text, unsigned char ret[ED25519_BYTES])
{
	static const char before_public[] = "\0\0\0\013ssh-ed25519\0\0\0\040";
	static const char before_both[] = "\0\0\0\100";
	const size_t to_both = sizeof(before_public) - 1 + ED25519_PUBLIC_BYTES;
	const size_t whole = to_both + sizeof(before_both) - 1 + ED25519_BYTES;
	size_t size = strlen(text);
	scoped(mem) unsigned char *bytes = malloc(size + 1);
	const unsigned char *at = bytes;
	int len = bytes ? decode(text, bytes) : -ENOMEM;
	int r = len < 0 ? len : -EINVAL;

	/* The public key stands alone before that, so this is the second of its kind. */
	while (len > 0 && (at = memmem(at, (size_t)(bytes + len - at), before_public,
				       sizeof(before_public) - 1))) {
		if ((size_t)(bytes + len - at) >= whole &&
		    memcmp(at + to_both, before_both, sizeof(before_both) - 1) == 0) {
			memcpy(ret, at + whole - ED25519_BYTES, ED25519_BYTES);
			r = 0;
			break;
		}
		at++;
	}
	if (bytes)
		explicit_bzero(bytes, size);
	return r;
}
