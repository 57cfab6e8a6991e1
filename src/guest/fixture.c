/* SPDX-License-Identifier: MIT */
/*
 * A directory as an image. It is looked through once, for what cannot be taken and for how large the image must be;
 * mke2fs copies it, piece by piece; what mke2fs adds or leaves as it likes (lost+found, the top directory's mode and time)
 * is put right by libext2fs.
 */
#include "base/err.h"
#include "base/files.h"
#include "base/giveup.h"
#include "base/scoped.h"
#include "base/str.h"
#include "guest/guest.h"
#include "guest/run.h"

#include <errno.h>
#define EXT2_FLAT_INCLUDES 0 /* its own header asks for it undefined, which -Wundef minds */
#include <ext2fs.h>
#include <fcntl.h>
#include <fts.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	BLOCK = 4096,
	INODE = 256,
	DIRECTORY = 2 * BLOCK,
	ENTRY = 12, /* beside the name */
	SPARE = 16 << 20,
};

static inline void scoped_ext2(ext2_filsys *fs)
{
	if (*fs)
		ext2fs_close_free(fs);
}

static inline void scoped_fts(FTS **t)
{
	if (*t)
		fts_close(*t);
}

struct extent {
	uint64_t max; /* of bytes */
	uint64_t bytes;
	uint64_t inodes;
};

/* The bytes of a file that are no hole; < 0 when it cannot be read. */
static int64_t data_bytes(const FTSENT *f)
{
	scoped(fd) int fd = open(f->fts_accpath, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	int64_t total = 0;
	off_t end = 0;

	if (fd < 0)
		return -errno;
	for (;;) {
		off_t begin = lseek(fd, end, SEEK_DATA);

		if (begin < 0)
			return errno == ENXIO ? total : f->fts_statp->st_size;
		end = lseek(fd, begin, SEEK_HOLE);
		if (end < 0)
			return f->fts_statp->st_size;
		total += end - begin;
	}
}

static int count_entry(const FTSENT *f, struct extent *x, struct err *e)
{
	int64_t bytes = 0;

	switch (f->fts_info) {
	case FTS_DP:
		return 0;
	case FTS_D:
		bytes = DIRECTORY;
		break;
	case FTS_SL:
	case FTS_SLNONE:
		bytes = BLOCK;
		break;
	case FTS_F:
		bytes = data_bytes(f);
		if (bytes < 0)
			return err_errno(e, (int)bytes, "the fixture cannot take %s", f->fts_path);
		break;
	case FTS_DNR:
	case FTS_NS:
	case FTS_ERR:
		return err_errno(e, -f->fts_errno, "the fixture cannot take %s", f->fts_path);
	default:
		return err_set(e, ERR_INVALID,
			       "the fixture cannot take %s: it is neither file, directory nor link",
			       f->fts_path);
	}
	x->bytes += (uint64_t)bytes + BLOCK + ENTRY + f->fts_namelen;
	x->inodes++;
	return 0;
}

static int measure(const char *host, const struct giveup *g, struct extent *x, struct err *e)
{
	char *roots[] = {(char *)host, NULL};
	scoped(fts) FTS *t = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	FTSENT *f;

	if (!t)
		return err_errno(e, -errno, "read %s", host);
	while ((errno = 0, f = fts_read(t))) {
		int r = count_entry(f, x, e);

		if (r < 0)
			return r;
		r = giveup_check(g, e);
		if (r < 0)
			return r;
		if (x->bytes > x->max)
			return err_set(e, ERR_TOO_LARGE,
				       "%s has more than %llu MiB: too large for a fixture", host,
				       (unsigned long long)x->max >> 20);
	}
	return errno ? err_errno(e, -errno, "read %s", host) : 0;
}

/* By setpriv, so that it ends with this process, however that does: a large directory takes its time. */
static int run_mke2fs(const char *host, const char *label, const char *path, const struct extent *x,
		      const struct giveup *g, struct err *e)
{
	scoped(mem) char *inodes = str_format("%llu", (unsigned long long)x->inodes + 16);
	scoped(mem) char *program = files_find_program("mke2fs");
	scoped(buf) struct buf tail = BUF_INIT;
	const char *argv[] = {
		"setpriv", "--pdeathsig", "KILL", program, "-q", "-F", "-t", "ext4", "-b", "4096",
		"-I", "256", "-m", "0",
		/* no journal, and nothing that an old guest does not know */
		"-O",
		"none,dir_index,dir_nlink,ext_attr,extents,extra_isize,filetype,huge_file,large_file,sparse_super",
		"-E", "nodiscard", "-N", inodes, "-L", label, "-d", host, path, NULL};
	int r;

	if (!program)
		return err_hint(e, err_set(e, ERR_MISSING_PROGRAM, "fixtures need mke2fs"),
				"apt-get install e2fsprogs");
	if (!inodes)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	r = run_program(argv, g, NULL, NULL, &tail, e);
	if (r <= 0)
		return r;
	return err_set(e, strstr(run_last_line(&tail), "No space") ? ERR_NO_SPACE : ERR_IO,
		       "mke2fs cannot make an image of %s: %s", host, run_last_line(&tail));
}

static int drop_lost_and_found(ext2_filsys fs, struct ext2_inode *root)
{
	struct ext2_inode gone = {.i_dtime = root->i_mtime};
	ext2_ino_t ino;

	if (ext2fs_lookup(fs, EXT2_ROOT_INO, "lost+found", 10, NULL, &ino) != 0)
		return 0;
	if (ext2fs_punch(fs, ino, NULL, NULL, 0, ~0ULL) != 0 ||
	    ext2fs_unlink(fs, EXT2_ROOT_INO, "lost+found", ino, 0) != 0)
		return -EIO;
	if (ext2fs_write_inode(fs, ino, &gone) != 0)
		return -EIO;
	ext2fs_inode_alloc_stats2(fs, ino, -1, 1);
	root->i_links_count--;
	return 0;
}

/* The top directory as it is on the host. */
static int set_top(const char *host, const char *path)
{
	scoped(mem) char *own = str_format("%s/lost+found", host);
	scoped(ext2) ext2_filsys fs = NULL;
	struct ext2_inode root;
	struct stat st;
	int r = 0;

	if (!own)
		return -ENOMEM;
	if (stat(host, &st) < 0)
		return -errno;
	if (ext2fs_open2(path, NULL, EXT2_FLAG_RW, 0, 0, unix_io_manager, &fs) != 0 ||
	    ext2fs_read_bitmaps(fs) != 0 || ext2fs_read_inode(fs, EXT2_ROOT_INO, &root) != 0)
		return -EIO;
	if (!files_exist(own))
		r = drop_lost_and_found(fs, &root);
	root.i_mode = (__u16)(LINUX_S_IFDIR | (st.st_mode & 07777));
	root.i_uid = (__u16)st.st_uid;
	ext2fs_set_i_uid_high(root, (__u16)(st.st_uid >> 16));
	root.i_gid = (__u16)st.st_gid;
	ext2fs_set_i_gid_high(root, (__u16)(st.st_gid >> 16));
	root.i_atime = root.i_mtime = root.i_ctime = (__u32)st.st_mtime;
	if (r < 0 || ext2fs_write_inode(fs, EXT2_ROOT_INO, &root) != 0)
		return -EIO;
	return ext2fs_close_free(&fs) == 0 ? 0 : -EIO;
}

static int make_image(const char *host, const char *label, const char *path, uint64_t max,
		      const struct giveup *g, struct err *e)
{
	scoped(fd) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	struct extent x = {.max = max};
	int r;

	if (fd < 0)
		return err_errno(e, -errno, "make %s", path);
	r = measure(host, g, &x, e);
	if (r < 0)
		return r;
	x.bytes += SPARE + x.bytes / 20 + x.inodes * INODE;
	x.bytes = (x.bytes + BLOCK - 1) / BLOCK * BLOCK;
	if (ftruncate(fd, (off_t)x.bytes) < 0) /* sparse: what is spare costs nothing */
		return err_errno(e, -errno, "make %s", path);
	r = run_mke2fs(host, label, path, &x, g, e);
	if (r < 0)
		return r;
	r = set_top(host, path);
	return r < 0 ? err_errno(e, r, "make %s", path) : 0;
}

int fixture_build(const char *host, const char *label, const char *path, uint64_t max,
		  const struct giveup *g, struct err *e)
{
	scoped(mem) char *tmp = str_format("%s.new", path);
	struct stat st;
	int r;

	if (!tmp)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	if (stat(host, &st) < 0)
		return err_errno(e, -errno, "the fixture %s", host);
	if (!S_ISDIR(st.st_mode))
		return err_set(e, ERR_INVALID, "the fixture %s is not a directory", host);
	r = make_image(host, label, tmp, max, g, e);
	if (r == 0 && rename(tmp, path) < 0)
		r = err_errno(e, -errno, "make %s", path);
	if (r < 0)
		unlink(tmp);
	return r;
}
