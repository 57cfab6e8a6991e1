/* SPDX-License-Identifier: MIT */
/*
 * Directories of the host in a guest.
 *
 * How it works: a fixture is an image that is built before each boot and found in the guest by its label; a mount is a
 * directory that the helper serves by virtiofs, under a tag. What has been attached is mounted by this side, at the first login and before the member counts as ready: that works in every image,
 * and what goes wrong is told to who asked for it. Under systemd the mount goes into /etc/fstab, so that it is there again
 * when the guest restarts itself.
 */
#include "base/buf.h"
#include "base/files.h"
#include "base/scoped.h"
#include "client/client.h"
#include "guest/guest.h"

#include <string.h>
#include <sys/stat.h>

enum { MAX_SHARES = 16, MOUNT_SAYS = 4096 };

/* --- What may be asked for ----------------------------------------------------------------------------------- */

/* Absolute and plain: it stands in the guest's fstab and in unit names as it is. */
static bool guest_path_is_valid(const char *path)
{
	static const char chars[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+@";
	size_t len = path ? strlen(path) : 0;

	return len > 1 && len < 200 && path[0] == '/' && path[len - 1] != '/' &&
	       strspn(path, chars) == len && !strstr(path, "//") && !strstr(path, "/./") &&
	       !strstr(path, "/../") && !str_ends(path, "/..") && !str_ends(path, "/.");
}

static int check_share(const struct drover_share *s, struct err *e)
{
	struct stat st;

	if (s->kind != DROVER_FIXTURE && s->kind != DROVER_MOUNT && s->kind != DROVER_MOUNT_RW)
		return err_set(e, ERR_INVALID, "there is no kind %d of share", (int)s->kind);
	if (!guest_path_is_valid(s->guest))
		return err_set(
			e, ERR_INVALID,
			"'%s' cannot be where the guest has a directory: it must be absolute, "
			"of letters, digits and /._-+@, without '..' and not '/'",
			s->guest ? s->guest : "");
	if (!s->host || !*s->host)
		return err_set(e, ERR_INVALID, "which directory of the host shall be at %s?",
			       s->guest);
	if (stat(s->host, &st) < 0)
		return err_errno(e, -errno, "the directory %s for %s", s->host, s->guest);
	if (!S_ISDIR(st.st_mode))
		return err_set(e, ERR_INVALID, "%s, for %s, is not a directory", s->host, s->guest);
	return 0;
}

int shares_check(const struct drover_share *shares, size_t n, struct err *e)
{
	if (n > MAX_SHARES)
		return err_set(e, ERR_INVALID, "%zu fixtures and mounts: at most %d", n,
			       MAX_SHARES);
	for (size_t i = 0; i < n; i++) {
		int r = check_share(&shares[i], e);

		if (r < 0)
			return r;
		for (size_t j = 0; j < i; j++)
			if (strcmp(shares[i].guest, shares[j].guest) == 0)
				return err_set(e, ERR_INVALID,
					       "two directories of the host for %s in the guest",
					       shares[i].guest);
	}
	return 0;
}

int shares_configure(struct member_config *c, const struct drover_share *shares, size_t n,
		     struct err *e)
{
	static const enum share_kind kinds[] = {
		[DROVER_FIXTURE] = SHARE_FIXTURE,
		[DROVER_MOUNT] = SHARE_MOUNT,
		[DROVER_MOUNT_RW] = SHARE_MOUNT_RW,
	};

	for (size_t i = 0; i < n; i++) {
		scoped(mem) char *host = realpath(shares[i].host, NULL);

		if (!host)
			return err_errno(e, -errno, "the directory %s", shares[i].host);
		if (member_config_share(c, kinds[shares[i].kind], host, shares[i].guest) < 0)
			return err_set(e, ERR_NO_MEMORY, "out of memory");
	}
	return 0;
}

/* --- What the member boots with ------------------------------------------------------------------------------ */

/* The ext4 label by which the guest finds the fixture that is share @i. */
static void label_of(size_t i, char ret[FIXTURE_LABEL_SIZE])
{
	snprintf(ret, FIXTURE_LABEL_SIZE, "drover-share%02u", (unsigned)(i % 100));
}

static char *image_path(const struct prepare *p, size_t i)
{
	char file[32];

	snprintf(file, sizeof(file), "fixture-%02u.img", (unsigned)(i % 100));
	return store_member_path(p->store, p->config.name, file);
}

int shares_build(const struct prepare *p, struct err *e)
{
	for (size_t i = 0; i < p->config.n_shares; i++) {
		const struct share *s = &p->config.shares[i];
		char label[FIXTURE_LABEL_SIZE];
		scoped(mem) char *path = image_path(p, i);
		int r;

		if (s->kind != SHARE_FIXTURE)
			continue;
		if (!path)
			return err_set(e, ERR_NO_MEMORY, "out of memory");
		label_of(i, label);
		r = fixture_build(s->host, label, path, FIXTURE_MAX_BYTES, p->giveup, e);
		if (r < 0)
			return r;
	}
	return 0;
}

int shares_spec(const struct prepare *p, struct vm_spec *s)
{
	int r = 0;

	for (size_t i = 0; i < p->config.n_shares && r == 0; i++) {
		const struct share *share = &p->config.shares[i];

		if (share->kind == SHARE_FIXTURE) {
			scoped(mem) char *image = image_path(p, i);

			r = vm_spec_add_path(&s->fixture_paths, &s->n_fixture_paths, image);
		} else if (share->kind == SHARE_MOUNT) {
			r = vm_spec_add_path(&s->mount_paths, &s->n_mount_paths, share->host);
		} else {
			r = vm_spec_add_path(&s->mount_rw_paths, &s->n_mount_rw_paths, share->host);
		}
	}
	return r;
}

/* --- In the guest -------------------------------------------------------------------------------------------- */

/*
 * As root; TYPE SOURCE GUEST OPTIONS for each; done once or many times, the result is the same. What is in fstab already
 * systemd mounts at this boot, perhaps just now: it is asked. A guest without systemd is the image tiny, which loads its
 * drivers while SSH is up: insmod returns when the driver is there, whoever loads it.
 */
static const char mount_script[] =
	"set -e\n"
	"systemd() { [ -d /run/systemd/system ]; }\n"
	"systemd || for driver in virtio_blk fuse virtiofs; do\n"
	"	! [ -e /lib/modules/$driver.ko ] || insmod /lib/modules/$driver.ko 2>/dev/null || :\n"
	"done\n"
	"while [ $# -gt 0 ]; do\n"
	"	line=\"$2 $3 $1 $4,nofail 0 0\"\n"
	"	if systemd && grep -qxF \"$line\" /etc/fstab; then\n"
	"		systemctl start \"$3\" 2>/dev/null || :\n"
	"	fi\n"
	"	[ $1 != virtiofs ] || grep -qw virtiofs /proc/filesystems || modprobe -q virtiofs 2>/dev/null || {\n"
	"		echo 'its kernel has no virtiofs (an old image tiny can be made anew:'\\\n"
	"			'drover image rm tiny; drover image build tiny)' >&2\n"
	"		exit 1\n"
	"	}\n"
	"	mkdir -p \"$3\"\n"
	"	grep -qF \" $(readlink -f \"$3\") \" /proc/mounts || mount -t \"$1\" -o \"$4\" \"$2\" \"$3\"\n"
	"	! systemd || grep -qxF \"$line\" /etc/fstab || echo \"$line\" >>/etc/fstab\n"
	"	shift 4\n"
	"done\n";

enum { WORDS = 6, WORDS_EACH = 4, SOURCE_SIZE = 64 };

static int on_said(void *arg, int stream, const char *data, size_t len)
{
	struct buf *said = arg;

	if (said->len + len > MOUNT_SAYS)
		return 0;
	return buf_add(said, data, len);
}

static void tidy(struct buf *said)
{
	while (said->len > 0 && said->data[said->len - 1] == '\n')
		said->data[--said->len] = '\0';
	for (size_t i = 0; i < said->len; i++)
		if (said->data[i] == '\n')
			said->data[i] = ';';
	if (said->data)
		str_make_printable(said->data);
}

/* What the guest mounts: the fixture's image by its label, a mount by its tag, which counts its kind. */
static void source_of(const struct member_config *c, size_t i, char *ret, size_t size)
{
	char label[FIXTURE_LABEL_SIZE];
	unsigned n = 0;

	label_of(i, label);
	for (size_t j = 0; j < i; j++)
		n += c->shares[j].kind == c->shares[i].kind;
	if (c->shares[i].kind == SHARE_FIXTURE)
		snprintf(ret, size, "LABEL=%s", label);
	else
		snprintf(ret, size, "drover-%s%u", c->shares[i].kind == SHARE_MOUNT ? "ro" : "rw",
			 n);
}

/* The command that mounts all; heap, NULL when out of memory. */
static char *mount_command(const struct member_config *c)
{
	const char *argv[WORDS + WORDS_EACH * MAX_SHARES + 1] = {"sudo", "-n",         "sh",
								 "-c",   mount_script, "mount"};
	char sources[MAX_SHARES][SOURCE_SIZE];
	size_t n = WORDS;

	for (size_t i = 0; i < c->n_shares && i < MAX_SHARES; i++) {
		const struct share *s = &c->shares[i];

		source_of(c, i, sources[i], SOURCE_SIZE);
		argv[n++] = s->kind == SHARE_FIXTURE ? "ext4" : "virtiofs";
		argv[n++] = sources[i];
		argv[n++] = s->guest;
		argv[n++] = s->kind == SHARE_MOUNT_RW ? "rw" : "ro";
	}
	return ssh_quote(str_equal(c->user, "root") ? argv + 2 : argv);
}

int shares_mount(const struct member_config *c, struct ssh_session *ssh, uint64_t timeout_ms,
		 int cancel_fd, struct err *e)
{
	scoped(mem) char *command = mount_command(c);
	scoped(buf) struct buf said = BUF_INIT;
	const struct ssh_exec x = {.command = command,
				   .input_fd = -1,
				   .limits = {.timeout_ms = timeout_ms, .cancel_fd = cancel_fd},
				   .on_output = on_said,
				   .output_arg = &said};
	bool started;
	int status;
	int r;

	if (!command)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	r = ssh_run(ssh, &x, &status, &started, e);
	if (r < 0 || status == 0)
		return r;
	tidy(&said);
	return err_set(e, ERR_BOOT, "%s cannot mount its fixtures and mounts: %s", c->name,
		       said.len > 0 ? said.data : "its mount said nothing");
}
