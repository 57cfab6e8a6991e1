/* SPDX-License-Identifier: MIT */
#include "client/copy_tree.h"

#include "base/err.h"
#include "base/scoped.h"
#include "base/str.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { CHUNK = 65536 };

static inline void scoped_writer(struct archive **a)
{
	if (*a)
		archive_write_free(*a);
}

static inline void scoped_reader(struct archive **a)
{
	if (*a)
		archive_read_free(*a);
}

static inline void scoped_entry(struct archive_entry **entry)
{
	if (*entry)
		archive_entry_free(*entry);
}

static int archive_failed(struct archive *a, const char *path, struct err *e)
{
	const char *text = archive_error_string(a);

	return err_set(e, ERR_IO, "copy %s: %s", path, text ? text : "unknown failure");
}

/* The data of the entry that both are at. */
static int copy_data(struct archive *from, struct archive *to, const char *path, struct err *e)
{
	char chunk[CHUNK];
	la_ssize_t n;

	while ((n = archive_read_data(from, chunk, sizeof(chunk))) > 0)
		if (archive_write_data(to, chunk, (size_t)n) < 0)
			return archive_failed(to, path, e);
	return n < 0 ? archive_failed(from, path, e) : 0;
}

/* --- Pack ---------------------------------------------------------------------------------------------------- */

struct outlet {
	int fd;
	bool peer_gone;
};

/* A peer that went away is an error here and no signal, as it would be with write(2). */
static la_ssize_t on_write(struct archive *a, void *arg, const void *data, size_t len)
{
	struct outlet *o = arg;
	ssize_t n = send(o->fd, data, len, MSG_NOSIGNAL);

	if (n < 0) {
		o->peer_gone = true;
		archive_set_error(a, errno, "the guest takes no more: %s", strerror(errno));
	}
	return n;
}

/* The entry as the guest shall have it: its place below @name, nobody's in particular. */
static int rename_entry(struct archive_entry *entry, size_t skip, const char *name)
{
	scoped(mem) char *to = str_format("%s%s", name, archive_entry_pathname(entry) + skip);

	if (!to)
		return -ENOMEM;
	archive_entry_copy_pathname(entry, to);
	archive_entry_set_uid(entry, 0);
	archive_entry_set_gid(entry, 0);
	archive_entry_set_uname(entry, "root");
	archive_entry_set_gname(entry, "root");
	archive_entry_unset_atime(entry);
	archive_entry_unset_ctime(entry);
	return 0;
}

static bool is_kept(mode_t type)
{
	return S_ISREG(type) || S_ISDIR(type) || S_ISLNK(type);
}

/* Before an archive is begun: libarchive loses some memory of one that is given up. What is not there it says itself. */
static int check_kept(const char *path, struct err *e)
{
	struct stat st;

	if (lstat(path, &st) < 0 || is_kept(st.st_mode))
		return 0;
	return err_set(e, ERR_INVALID, "%s is no file, folder or link: nothing else is copied",
		       path);
}

static int pack_all(struct archive *from, struct archive *to, const char *path, const char *name,
		    struct err *e)
{
	scoped(entry) struct archive_entry *entry = archive_entry_new2(from);
	int r;

	if (!entry)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	for (;;) {
		r = archive_read_next_header2(from, entry);
		if (r == ARCHIVE_EOF)
			return archive_write_close(to) == ARCHIVE_OK ? 0
								     : archive_failed(to, path, e);
		if (r != ARCHIVE_OK)
			return archive_failed(from, path, e);
		archive_read_disk_descend(from);
		if (!is_kept(archive_entry_filetype(entry)))
			continue;
		if (rename_entry(entry, strlen(path), name) < 0)
			return err_set(e, ERR_NO_MEMORY, "out of memory");
		if (archive_write_header(to, entry) != ARCHIVE_OK)
			return archive_failed(to, path, e);
		r = archive_entry_size(entry) > 0 ? copy_data(from, to, path, e) : 0;
		if (r < 0)
			return r;
	}
}

int copy_tree_pack(int fd, const char *path, const char *name, struct err *e)
{
	scoped(reader) struct archive *from = archive_read_disk_new();
	scoped(writer) struct archive *to = archive_write_new();
	struct outlet out = {.fd = fd};
	int r;

	if (!from || !to)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	r = check_kept(path, e);
	if (r < 0)
		return r;
	archive_read_disk_set_symlink_physical(from);
	archive_read_disk_set_behavior(from, ARCHIVE_READDISK_NO_XATTR | ARCHIVE_READDISK_NO_ACL |
						     ARCHIVE_READDISK_NO_FFLAGS);
	/* GNU's format: long names and large files that busybox reads too */
	archive_write_set_format_gnutar(to);
	archive_write_set_bytes_in_last_block(to, 1);
	if (archive_read_disk_open(from, path) != ARCHIVE_OK)
		return archive_failed(from, path, e);
	if (archive_write_open(to, &out, NULL, on_write, NULL) != ARCHIVE_OK)
		return archive_failed(to, path, e);
	r = pack_all(from, to, path, name, e);
	if (r < 0) /* else the archive's end would be written, and the half taken for the whole */
		archive_write_fail(to);
	return r < 0 && out.peer_gone
		       ? err_set(e, ERR_STOPPED, "the guest takes no more of %s", path)
		       : r;
}

/* --- Unpack -------------------------------------------------------------------------------------------------- */

/*
 * Where @text leads when read from @depth levels below the top: the depth it ends at, -1 when it leaves the tree on the
 * way.
 */
static int walk(const char *text, int depth)
{
	while (*text && depth >= 0) {
		size_t len = strcspn(text, "/");

		if (len == 2 && !memcmp(text, "..", 2))
			depth--;
		else if (len > 1 || (len == 1 && *text != '.'))
			depth++;
		text += len;
		text += strspn(text, "/");
	}
	return depth;
}

static bool has_dotdot(const char *text)
{
	while (*text) {
		size_t len = strcspn(text, "/");

		if (len == 2 && !memcmp(text, "..", 2))
			return true;
		text += len;
		text += strspn(text, "/");
	}
	return false;
}

/* What stands behind @name in the entry's path, "" for the top itself; NULL when it is no part of that tree. */
static const char *below(const char *path, const char *name)
{
	size_t len = strlen(name);

	if (strncmp(path, "./", 2) == 0)
		path += 2;
	if (strncmp(path, name, len) != 0 || (path[len] && path[len] != '/'))
		return NULL;
	return path + len;
}

/* Moves the entry to its place below @path, unless it is one that must not be. */
static int place_entry(struct archive_entry *entry, const char *path, const char *name,
		       struct err *e)
{
	const char *from = archive_entry_pathname(entry);
	const char *rest = from ? below(from, name) : NULL;
	const char *link = archive_entry_symlink(entry);
	scoped(mem) char *to = NULL;

	if (!rest || has_dotdot(rest))
		return err_set(e, ERR_DENIED,
			       "the guest sent '%s', which is no part of '%s': refused",
			       from ? from : "", name);
	/* a link is read from the folder that holds it; the top itself has none inside of the tree */
	if (link && (*link == '/' || walk(link, walk(rest, 0) - 1) < 0))
		return err_set(e, ERR_DENIED,
			       "the guest's '%s' is a link to '%s', out of the tree: refused", from,
			       link);
	to = str_format("%s%s", path, rest);
	if (!to)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	archive_entry_copy_pathname(entry, to);
	return 0;
}

static int unpack_entry(struct archive *from, struct archive *to, struct archive_entry *entry,
			const char *path, struct err *e)
{
	int r;

	if (archive_write_header(to, entry) != ARCHIVE_OK)
		return archive_failed(to, path, e);
	r = copy_data(from, to, path, e);
	if (r < 0)
		return r;
	return archive_write_finish_entry(to) == ARCHIVE_OK ? 0 : archive_failed(to, path, e);
}

static int unpack_all(struct archive *from, struct archive *to, const char *path, const char *name,
		      struct err *e)
{
	struct archive_entry *entry;
	bool some = false;
	int r;

	while ((r = archive_read_next_header(from, &entry)) == ARCHIVE_OK) {
		/* hard links, devices and the like */
		if (archive_entry_hardlink(entry) || !is_kept(archive_entry_filetype(entry)))
			continue;
		some = true;
		r = place_entry(entry, path, name, e);
		if (r == 0)
			r = unpack_entry(from, to, entry, path, e);
		if (r < 0)
			return r;
	}
	if (r != ARCHIVE_EOF)
		return archive_failed(from, path, e);
	if (!some)
		return err_set(
			e, ERR_NOT_FOUND,
			"the guest's '%s' is no file, folder or link: nothing else is copied",
			name);
	/* modes of directories are set now, the deepest first */
	return archive_write_close(to) == ARCHIVE_OK ? 0 : archive_failed(to, path, e);
}

/* @path with the folder that holds it resolved: links in there are the host's own, links below are not. */
static char *resolve(const char *path, struct err *e)
{
	scoped(mem) char *copy = strdup(path);
	scoped(mem) char *real = NULL;
	char *slash = copy ? strrchr(copy, '/') : NULL;
	char *ret;

	if (!copy) {
		err_set(e, ERR_NO_MEMORY, "out of memory");
		return NULL;
	}
	if (slash)
		*slash = '\0';
	real = realpath(!slash ? "." : slash == copy ? "/" : copy, NULL);
	if (!real) {
		bool is_missing = errno == ENOENT;
		int r = err_errno(e, -errno, "the folder for %s", path);

		if (is_missing)
			err_hint(e, r, "make it first: mkdir -p %s", copy);
		return NULL;
	}
	ret = str_format("%s/%s", strcmp(real, "/") == 0 ? "" : real, slash ? slash + 1 : path);
	if (!ret)
		err_set(e, ERR_NO_MEMORY, "out of memory");
	return ret;
}

int copy_tree_unpack(int fd, const char *path, const char *name, struct err *e)
{
	scoped(mem) char *real = resolve(path, e);
	scoped(reader) struct archive *from = archive_read_new();
	scoped(writer) struct archive *to = archive_write_disk_new();
	char rest[512];
	int r;

	if (!real)
		return -EIO;
	if (!from || !to)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	archive_read_support_format_tar(from);
	archive_read_support_format_empty(from);
	archive_write_disk_set_options(to, ARCHIVE_EXTRACT_PERM | ARCHIVE_EXTRACT_TIME |
						   ARCHIVE_EXTRACT_SECURE_SYMLINKS |
						   ARCHIVE_EXTRACT_SECURE_NODOTDOT);
	if (archive_read_open_fd(from, fd, CHUNK) != ARCHIVE_OK)
		return archive_failed(from, path, e);
	r = unpack_all(from, to, real, name, e);
	/* what pads the archive behind its end: unread, it would look to the sender like a reader that gave up */
	while (r == 0 && read(fd, rest, sizeof(rest)) > 0)
		;
	return r;
}
