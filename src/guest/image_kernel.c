/* SPDX-License-Identifier: MIT */
/*
 * Kernel and initial file system out of a disk as Debian and Ubuntu lay it out: a GPT, ext4, /boot/vmlinuz-VERSION beside
 * /boot/initrd.img-VERSION, on the root partition or on one of its own. Any other disk is started by firmware.
 */
#include "base/err.h"
#include "base/files.h"
#include "base/scoped.h"
#include "base/str.h"
#include "guest/gpt.h"
#include "guest/image.h"
#include "guest/run.h"

#include <errno.h>
#define EXT2_FLAT_INCLUDES 0 /* its own header asks for it undefined, which -Wundef minds */
#include <ext2fs.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KERNEL_MAX = 64 << 20, INITRD_MAX = 512 << 20, CHUNK = 1 << 20, VERSION_SIZE = 128 };

#if defined(__aarch64__)
#define CONSOLE "ttyAMA0"
#else
#define CONSOLE "ttyS0"
#endif

static inline void scoped_ext2(ext2_filsys *fs)
{
	if (*fs)
		ext2fs_close_free(fs);
}

struct layout {
	const char *disk; /* raw */
	char root[GPT_GUID_SIZE];
	struct gpt_partition boot; /* where the kernel is */
	char folder[8];            /* on that: "/boot" or "" */
	char version[VERSION_SIZE];
};

static int open_partition(const char *disk, const struct gpt_partition *p, ext2_filsys *ret)
{
	char options[64];

	snprintf(options, sizeof(options), "offset=%llu", (unsigned long long)p->start);
	return ext2fs_open2(disk, options, EXT2_FLAG_64BITS | EXT2_FLAG_SOFTSUPP_FEATURES, 0, 0,
			    unix_io_manager, ret) == 0
		       ? 0
		       : -EINVAL;
}

static int find(ext2_filsys fs, const char *path, ext2_ino_t *ret)
{
	return ext2fs_namei_follow(fs, EXT2_ROOT_INO, EXT2_ROOT_INO, path, ret) == 0 ? 0 : -ENOENT;
}

struct search {
	ext2_filsys fs;
	const char *folder;
	char newest[VERSION_SIZE];
};

static int on_entry(ext2_ino_t folder, int entry, struct ext2_dir_entry *d, int offset,
		    int blocksize, char *buf, void *arg)
{
	static const char prefix[] = "vmlinuz-";
	struct search *s = arg;
	char name[EXT2_NAME_LEN + 1];
	char path[EXT2_NAME_LEN + 32];
	const char *version = name + sizeof(prefix) - 1;
	ext2_ino_t ino;

	snprintf(name, sizeof(name), "%.*s", ext2fs_dirent_name_len(d), d->name);
	if (!str_starts(name, prefix) || strlen(version) >= sizeof(s->newest) ||
	    (s->newest[0] && strverscmp(version, s->newest) <= 0))
		return 0;
	snprintf(path, sizeof(path), "%s/initrd.img-%s", s->folder, version);
	if (find(s->fs, path, &ino) == 0)
		snprintf(s->newest, sizeof(s->newest), "%s", version);
	return 0;
}

static void look_at(ext2_filsys fs, const struct gpt_partition *p, struct layout *l)
{
	static const char *const folders[] = {"/boot", ""};
	ext2_ino_t ino;

	if (!l->root[0] && find(fs, "/etc/os-release", &ino) == 0)
		memcpy(l->root, p->guid, sizeof(l->root));
	for (size_t i = 0; i < 2 && !l->version[0]; i++) {
		struct search s = {.fs = fs, .folder = folders[i]};

		if (find(fs, *folders[i] ? folders[i] : "/", &ino) < 0)
			continue;
		ext2fs_dir_iterate2(fs, ino, 0, NULL, on_entry, &s);
		if (!s.newest[0])
			continue;
		l->boot = *p;
		memcpy(l->version, s.newest, sizeof(l->version));
		snprintf(l->folder, sizeof(l->folder), "%s", folders[i]);
	}
}

/* True when @disk is laid out so that it can be started without firmware. */
static bool find_layout(const char *disk, struct layout *l)
{
	static const size_t size = GPT_BYTES;
	scoped(mem) struct gpt_partition *parts = calloc(GPT_MAX, sizeof(*parts));
	scoped(mem) uint8_t *head = calloc(1, size);
	scoped(fd) int fd = open(disk, O_RDONLY | O_CLOEXEC);
	struct stat st;
	size_t n = 0;

	*l = (struct layout){.disk = disk};
	if (!parts || !head || fd < 0 || fstat(fd, &st) < 0 ||
	    pread(fd, head, size, 0) != (ssize_t)size ||
	    gpt_parse(head, size, (uint64_t)st.st_size, parts, &n) < 0)
		return false;
	for (size_t i = 0; i < n; i++) {
		scoped(ext2) ext2_filsys fs = NULL;

		if (open_partition(disk, &parts[i], &fs) == 0)
			look_at(fs, &parts[i], l);
	}
	return l->root[0] && l->version[0];
}

static int copy_open(ext2_file_t in, int fd, uint64_t max)
{
	scoped(mem) char *data = malloc(CHUNK);
	uint64_t total = 0;
	unsigned int n = 0;
	int r;

	if (!data)
		return -ENOMEM;
	do {
		if (ext2fs_file_read(in, data, CHUNK, &n) != 0 || total + n > max)
			return -EILSEQ;
		r = files_write_all(fd, data, n);
		if (r < 0)
			return r;
		total += n;
	} while (n > 0);
	return total > 0 ? 0 : -EILSEQ;
}

static int take_file(ext2_filsys fs, const char *path, const char *to, uint64_t max)
{
	scoped(fd) int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ext2_file_t in;
	ext2_ino_t ino;
	int r;

	if (fd < 0)
		return -errno;
	if (find(fs, path, &ino) < 0 || ext2fs_file_open(fs, ino, 0, &in) != 0)
		return -EILSEQ;
	r = copy_open(in, fd, max);
	ext2fs_file_close(in);
	return r;
}

static int take_files(const struct layout *l, const char *dir)
{
	scoped(mem) char *kernel = str_format("%s/vmlinuz-%s", l->folder, l->version);
	scoped(mem) char *initrd = str_format("%s/initrd.img-%s", l->folder, l->version);
	scoped(mem) char *to_kernel = str_format("%s/vmlinuz", dir);
	scoped(mem) char *to_initrd = str_format("%s/initrd.img", dir);
	scoped(ext2) ext2_filsys fs = NULL;
	int r;

	if (!kernel || !initrd || !to_kernel || !to_initrd)
		return -ENOMEM;
	r = open_partition(l->disk, &l->boot, &fs);
	if (r == 0)
		r = take_file(fs, kernel, to_kernel, KERNEL_MAX);
	if (r == 0)
		r = take_file(fs, initrd, to_initrd, INITRD_MAX);
	if (r < 0) {
		unlink(to_kernel);
		unlink(to_initrd);
	}
	return r;
}

/* libext2fs reads raw disks only. */
static int make_raw(const char *disk, const char *raw, const struct giveup *g, struct err *e)
{
	const char *argv[] = {"qemu-img", "convert", "-f", "qcow2", "-O", "raw", disk, raw, NULL};
	scoped(buf) struct buf tail = BUF_INIT;
	int r = run_program(argv, g, NULL, NULL, &tail, e);

	if (r <= 0)
		return r;
	unlink(raw);
	return err_set(e, strstr(run_last_line(&tail), "No space") ? ERR_NO_SPACE : ERR_IMAGE,
		       "cannot unpack %s to look for its kernel: %s", disk, run_last_line(&tail));
}

int image_kernel_take(const char *dir, const char *disk, const char *format, const struct giveup *g,
		      char **ret_cmdline, struct err *e)
{
	scoped(mem) char *raw = str_format("%s/disk.tmp", dir);
	bool is_raw = str_equal(format, "raw");
	struct layout l;
	int r = 0;

	if (!raw)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	if (!is_raw)
		r = make_raw(disk, raw, g, e);
	if (r < 0)
		return r;
	if (find_layout(is_raw ? disk : raw, &l))
		r = take_files(&l, dir);
	else
		r = -EILSEQ;
	if (!is_raw)
		unlink(raw);
	if (r == -EILSEQ || r == -EINVAL)
		return 0; /* firmware knows more layouts than we do */
	if (r < 0)
		return err_errno(e, r, "cannot keep the kernel of %s in %s", disk, dir);
	*ret_cmdline = str_format("root=PARTUUID=%s rw quiet console=" CONSOLE, l.root);
	return *ret_cmdline ? 1 : err_set(e, ERR_NO_MEMORY, "out of memory");
}
