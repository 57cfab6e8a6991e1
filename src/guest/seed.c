/* SPDX-License-Identifier: MIT */
/* What tells a guest who it is: a NoCloud seed, or systemd credentials over SMBIOS. */
#include "base/buf.h"
#include "base/err.h"
#include "base/files.h"
#include "base/scoped.h"
#include "guest/guest.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ISO_LABEL_AT = 16 * 2048 + 40 }; /* in the primary volume descriptor */

/* One line, nothing that would end a quoted YAML text or a tmpfiles.d field. */
static bool is_plain_line(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < ' ' || *s == '"' || *s == '\\' || *s == 0x7f)
			return false;
	return true;
}

static bool user_is_valid(const char *user)
{
	static const char rest[] = "abcdefghijklmnopqrstuvwxyz0123456789_-";
	size_t len = strlen(user);

	return len > 0 && len <= 32 && (user[0] == '_' || (user[0] >= 'a' && user[0] <= 'z')) &&
	       strspn(user, rest) == len;
}

/* The public key's line in *@ret, without what a file has at its end. */
static int check_seed(const struct seed *s, char **ret_key, char **ret_host_key, struct err *e)
{
	char **ret[] = {ret_key, ret_host_key};
	const char *from[] = {s->public_key, s->host_key_public ? s->host_key_public : ""};
	int r = name_check(s->name, e);

	if (r < 0)
		return r;
	if (!user_is_valid(s->user))
		return err_set(e, ERR_INVALID, "'%s' cannot be a user's name", s->user);
	if (s->mac && strspn(s->mac, "0123456789abcdefABCDEF:") != strlen(s->mac))
		return err_set(e, ERR_INVALID, "'%s' is no MAC address", s->mac);
	for (int i = 0; i < 2; i++) {
		*ret[i] = strdup(from[i]);
		if (!*ret[i])
			return err_set(e, ERR_NO_MEMORY, "out of memory");
		(*ret[i])[strcspn(*ret[i], "\r\n")] = '\0';
		if (!is_plain_line(*ret[i]))
			return err_set(e, ERR_INVALID,
				       "the SSH public key is not one line of text");
	}
	return 0;
}

/* The lines of @text, each indented; a block scalar's body. */
static int add_indented(struct buf *b, const char *text)
{
	while (*text) {
		size_t len = strcspn(text, "\n");
		int r = buf_addf(b, "    %.*s\n", (int)len, text);

		if (r < 0)
			return r;
		text += len + (text[len] == '\n');
	}
	return 0;
}

static int user_data(struct buf *b, const struct seed *s, const char *key, const char *host_key)
{
	bool root = strcmp(s->user, "root") == 0;
	int r = buf_addf(b,
			 "#cloud-config\n"
			 "hostname: %s\n"
			 "users:\n"
			 "  - name: %s\n"
			 "%s"
			 "    ssh_authorized_keys:\n"
			 "      - \"%s\"\n"
			 "disable_root: %s\n"
			 "ssh_pwauth: false\n",
			 s->name, s->user,
			 root ? ""
			      : "    sudo: ALL=(ALL) NOPASSWD:ALL\n"
				"    shell: /bin/bash\n"
				"    lock_passwd: true\n",
			 key, root ? "false" : "true");

	if (r < 0 || !s->host_key)
		return r;
	r = buf_addstr(b, "ssh_deletekeys: true\n"
			  "ssh_keys:\n"
			  "  ed25519_private: |\n");
	if (r == 0)
		r = add_indented(b, s->host_key);
	if (r == 0)
		r = buf_addf(b, "  ed25519_public: \"%s\"\n", host_key);
	return r;
}

/* By its MAC, under one name: what every renderer of cloud-init understands (ifupdown's knows no pattern of names). */
static int network_config(struct buf *b, const struct seed *s)
{
	if (!s->mac)
		return -EINVAL;
	return buf_addf(b,
			"version: 2\n"
			"ethernets:\n"
			"  eth0:\n"
			"    match:\n"
			"      macaddress: \"%s\"\n"
			"    set-name: eth0\n"
			"    dhcp4: true\n",
			s->mac);
}

static int add_file(struct archive *a, const char *name, const char *data, size_t len)
{
	struct archive_entry *entry = archive_entry_new();
	int r = 0;

	if (!entry)
		return -ENOMEM;
	archive_entry_set_pathname(entry, name);
	archive_entry_set_filetype(entry, AE_IFREG);
	archive_entry_set_perm(entry, 0644);
	archive_entry_set_size(entry, (la_int64_t)len);
	archive_entry_set_mtime(entry, 0, 0);
	if (archive_write_header(a, entry) != ARCHIVE_OK ||
	    archive_write_data(a, data, len) != (la_ssize_t)len)
		r = -EIO;
	archive_entry_free(entry);
	return r;
}

static int write_files(struct archive *a, const struct seed *s, const char *key,
		       const char *host_key)
{
	scoped(buf) struct buf meta = BUF_INIT;
	scoped(buf) struct buf user = BUF_INIT;
	scoped(buf) struct buf network = BUF_INIT;
	int r = buf_addf(&meta, "instance-id: %s\nlocal-hostname: %s\n", s->name, s->name);

	if (r == 0)
		r = user_data(&user, s, key, host_key);
	if (r == 0)
		r = network_config(&network, s);
	if (r == 0)
		r = add_file(a, "meta-data", meta.data, meta.len);
	if (r == 0)
		r = add_file(a, "user-data", user.data, user.len);
	if (r == 0)
		r = add_file(a, "network-config", network.data, network.len);
	return r;
}

static int write_iso(int fd, const char *path, const struct seed *s, const char *key,
		     const char *host_key, struct err *e)
{
	struct archive *a = archive_write_new();
	int r;

	if (!a)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	if (archive_write_set_format_iso9660(a) != ARCHIVE_OK ||
	    archive_write_set_options(a, "volume-id=cidata,publisher=drover,joliet,rockridge") !=
		    ARCHIVE_OK ||
	    archive_write_open_fd(a, fd) != ARCHIVE_OK)
		r = -EIO;
	else
		r = write_files(a, s, key, host_key);
	if (r == 0 && archive_write_close(a) != ARCHIVE_OK)
		r = -EIO;
	if (r == -EIO && archive_errno(a) == ENOSPC)
		r = -ENOSPC;
	if (r < 0 && r != -ENOSPC && archive_error_string(a))
		err_set(e, ERR_IO, "cannot write the seed %s: %s", path, archive_error_string(a));
	else if (r < 0)
		err_errno(e, r, "cannot write the seed %s", path);
	archive_write_free(a);
	return r;
}

int seed_write_iso(const char *path, const struct seed *s, struct err *e)
{
	scoped(mem) char *tmp = str_format("%s.XXXXXX", path);
	scoped(mem) char *key = NULL;
	scoped(mem) char *host_key = NULL;
	scoped(fd) int fd = -1;
	int r;

	if (!tmp)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	r = check_seed(s, &key, &host_key, e);
	if (r < 0)
		return r;
	fd = mkostemp(tmp, O_CLOEXEC);
	if (fd < 0)
		return err_errno(e, -errno, "cannot write the seed %s", path);
	r = write_iso(fd, path, s, key, host_key, e);
	/* libarchive puts the primary label in capitals; cloud-init knows both, other readers only this. */
	if (r == 0 &&
	    (pwrite(fd, "cidata", 6, ISO_LABEL_AT) != 6 || fsync(fd) < 0 || rename(tmp, path) < 0))
		r = err_errno(e, -errno, "cannot write the seed %s", path);
	if (r < 0) {
		unlink(tmp);
		return r;
	}
	r = files_sync_parent(path);
	return r < 0 ? err_errno(e, r, "cannot write the seed %s", path) : 0;
}

/* tmpfiles.d: f~ is a file whose content is given in Base64. */
static int add_tmpfile(struct buf *b, const char *path, const char *mode, const char *owner,
		       const char *text)
{
	scoped(mem) char *base64 = str_base64(text, strlen(text));

	if (!base64)
		return -ENOMEM;
	return buf_addf(b, "f~ %s %s %s %s - %s\n", path, mode, owner, owner, base64);
}

static int tmpfiles(struct buf *b, const struct seed *s, const char *key_line,
		    const char *host_key_line)
{
	scoped(mem) char *path = str_format("/home/%s/.ssh/authorized_keys", s->user);
	int r = path ? 0 : -ENOMEM;

	if (r == 0 && strcmp(s->user, "root") != 0) {
		r = buf_addf(b, "d /home/%s/.ssh 0700 %s %s\n", s->user, s->user, s->user);
		if (r == 0)
			r = add_tmpfile(b, path, "0600", s->user, key_line);
	}
	if (r == 0 && s->host_key)
		r = add_tmpfile(b, "/etc/ssh/ssh_host_ed25519_key", "0600", "root", s->host_key);
	if (r == 0 && s->host_key)
		r = add_tmpfile(b, "/etc/ssh/ssh_host_ed25519_key.pub", "0644", "root",
				host_key_line);
	return r;
}

struct credentials {
	const char *dir;
	char **paths; /* owned, with what they point to */
	size_t n;
};

static void credentials_done(struct credentials *c)
{
	for (size_t i = 0; i < c->n; i++)
		free(c->paths[i]);
	free(c->paths);
}

/* One more file; an SMBIOS string of it must stay below 64 KiB. */
static int write_credential(struct credentials *c, const char *name, const char *text,
			    struct err *e)
{
	scoped(mem) char *path = str_format("%s/credential.%s", c->dir, name);
	scoped(mem) char *base64 = str_base64(text, strlen(text));
	scoped(buf) struct buf b = BUF_INIT;
	char **paths;
	int r;

	if (!path || !base64 ||
	    buf_addf(&b, "io.systemd.credential.binary:%s=%s", name, base64) < 0)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	if (b.len > 65000)
		return err_set(e, ERR_TOO_LARGE, "the credential %s is too long", name);
	paths = reallocarray(c->paths, c->n + 1, sizeof(*paths));
	if (!paths)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	c->paths = paths;
	r = files_publish(path, b.data, b.len, 0600); /* written again at each start */
	if (r < 0)
		return err_errno(e, r, "cannot write the credential %s", path);
	c->paths[c->n++] = take_ptr(&path);
	return 0;
}

static int write_credentials(struct credentials *c, const struct seed *s, const char *key,
			     const char *host_key, struct err *e)
{
	scoped(mem) char *key_line = str_format("%s\n", key);
	scoped(mem) char *host_key_line = str_format("%s\n", host_key);
	scoped(buf) struct buf extra = BUF_INIT;
	int r;

	if (!key_line || !host_key_line || tmpfiles(&extra, s, key_line, host_key_line) < 0)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	r = write_credential(c, "ssh.authorized_keys.root", key_line, e);
	if (r == 0 && extra.len > 0)
		r = write_credential(c, "tmpfiles.extra", extra.data, e);
	if (r == 0 && s->host_key)
		r = write_credential(c, "ssh_host_ed25519_key", s->host_key, e);
	return r;
}

int seed_write_credentials(const char *dir, const struct seed *s, char ***ret_paths, size_t *ret_n,
			   struct err *e)
{
	scoped(mem) char *key = NULL;
	scoped(mem) char *host_key = NULL;
	struct credentials c = {.dir = dir};
	int r = check_seed(s, &key, &host_key, e);

	if (r == 0)
		r = write_credentials(&c, s, key, host_key, e);
	if (r < 0) {
		credentials_done(&c);
		return r;
	}
	*ret_paths = c.paths;
	*ret_n = c.n;
	return 0;
}
