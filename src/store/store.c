/* SPDX-License-Identifier: MIT */
#include "store/store.h"

#include "base/err.h"
#include "base/files.h"
#include "base/giveup.h"
#include "base/lock.h"
#include "base/scoped.h"

#include <fcntl.h>
#include <pwd.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>

/* macOS has the shortest sun_path: 104 bytes with the NUL. A name below run/ is <16 hex>.sock. */
enum { SOCKET_PATH_MAX = 104, SOCKET_NAME_LEN = SOCKET_KEY_LEN + 5 };

static char *home_dir(void)
{
	const char *home = getenv("HOME");
	struct passwd *pw;

	if (home && *home)
		return strdup(home);
	pw = getpwuid(getuid());
	return strdup(pw && pw->pw_dir ? pw->pw_dir : "/");
}

/* $@var/drover, else ~/@fallback/drover. */
static char *xdg_dir(const char *var, const char *fallback)
{
	const char *base = getenv(var);
	scoped(mem) char *home = NULL;

	if (base && base[0] == '/')
		return str_format("%s/drover", base);
	home = home_dir();
	return home ? str_format("%s/%s/drover", home, fallback) : NULL;
}

static int find_root(const char *root, struct store *s)
{
	const char *env = getenv("DROVER_HOME");
	const char *cache = getenv("DROVER_IMAGE_CACHE");
	const char *named = root && *root ? root : env && *env ? env : NULL;
	scoped(mem) char *xdg_cache = NULL;

	if (named)
		s->root = files_absolute(named);
	else
		s->root = xdg_dir("XDG_STATE_HOME", ".local/state");
	if (!s->root)
		return -ENOMEM;
	if (cache && *cache) {
		s->images = files_absolute(cache);
	} else if (named) {
		s->images = str_format("%s/images", s->root);
	} else {
		xdg_cache = xdg_dir("XDG_CACHE_HOME", ".cache");
		s->images = xdg_cache ? str_format("%s/images", xdg_cache) : NULL;
	}
	return s->images ? 0 : -ENOMEM;
}

/* Sockets live below the root; where that makes their path too long, in a directory of its own per root. */
static int find_run(struct store *s, struct err *e)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	char key[SOCKET_KEY_LEN + 1];

	if (strlen(s->root) + strlen("/run/") + SOCKET_NAME_LEN < SOCKET_PATH_MAX) {
		s->run = str_format("%s/run", s->root);
	} else {
		name_socket_key(s->root, key);
		if (runtime && *runtime == '/')
			s->run = str_format("%s/drover/%s", runtime, key);
		else
			s->run = str_format("/tmp/drover-%u/%s", (unsigned)geteuid(), key);
		if (s->run && strlen(s->run) + 1 + SOCKET_NAME_LEN >= SOCKET_PATH_MAX)
			return err_hint(
				e,
				err_set(e, ERR_INVALID,
					"the state directory's path is too long for a socket: %s",
					s->root),
				"set DROVER_HOME to a shorter one");
	}
	return s->run ? 0 : err_set(e, ERR_NO_MEMORY, "out of memory");
}

static int make_dir(const char *path, struct err *e)
{
	int r = files_mkdir_all(path, 0700);

	if (r == 0)
		return 0;
	return err_hint(e, err_errno(e, r, "make directory %s", path),
			"set DROVER_HOME to a folder that is yours, and has room");
}

/* Sockets are only as private as their directory, whose name anybody can guess: nobody else may have made it. */
static int check_private(const char *path, struct err *e)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return err_errno(e, -errno, "look at %s", path);
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077))
		return err_set(
			e, ERR_DENIED,
			"%s is not a directory that is yours alone (mode 0700): remove it, or "
			"set XDG_RUNTIME_DIR",
			path);
	return 0;
}

/* A run directory outside the root, and the one above it, which is named for drover too. */
static int check_run(const struct store *s, struct err *e)
{
	scoped(mem) char *above = strdup(s->run);
	int r;

	if (!above)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	if (str_starts(s->run, s->root))
		return 0;
	*strrchr(above, '/') = '\0';
	r = check_private(above, e);
	return r == 0 ? check_private(s->run, e) : r;
}

int store_open(const char *root, struct store *ret, struct err *e)
{
	struct store s = {0};
	scoped(mem) char *clusters = NULL;
	int r;

	r = find_root(root, &s);
	if (r < 0)
		err_set(e, ERR_NO_MEMORY, "out of memory");
	if (r == 0)
		r = find_run(&s, e);
	clusters = r == 0 ? str_format("%s/clusters", s.root) : NULL;
	if (r == 0)
		r = make_dir(clusters, e);
	if (r == 0)
		r = make_dir(s.run, e);
	if (r == 0)
		r = check_run(&s, e);
	if (r < 0) {
		store_close(&s);
		return r;
	}
	*ret = s;
	return 0;
}

void store_close(struct store *s)
{
	free(s->root);
	free(s->run);
	free(s->images);
	*s = (struct store){0};
}

char *store_member_path(const struct store *s, const char *name, const char *file)
{
	char cluster[NAME_SIZE];

	name_cluster(name, cluster);
	if (!file)
		return str_format("%s/clusters/%s/%s", s->root, cluster, name);
	return str_format("%s/clusters/%s/%s/%s", s->root, cluster, name, file);
}

char *store_socket_path(const struct store *s, const char *name, const char *suffix)
{
	char key[SOCKET_KEY_LEN + 1];

	name_socket_key(name, key);
	return str_format("%s/%s.%s", s->run, key, suffix);
}

char *store_network_path(const struct store *s, const char *name, pid_t supervisor)
{
	char suffix[24];

	snprintf(suffix, sizeof(suffix), "%d.net", (int)supervisor);
	return store_socket_path(s, name, suffix);
}

int store_member_mkdir(const struct store *s, const char *name, struct err *e)
{
	scoped(mem) char *dir = store_member_path(s, name, NULL);

	return dir ? make_dir(dir, e) : err_set(e, ERR_NO_MEMORY, "out of memory");
}

/* The directories above the file @path, as far as nothing is in them. */
static void remove_empty(char *path)
{
	for (int i = 0; i < 2; i++) {
		*strrchr(path, '/') = '\0';
		if (rmdir(path) < 0)
			return;
	}
}

int store_member_lock(const struct store *s, const char *name, int *ret_fd, struct err *e)
{
	scoped(mem) char *path = store_member_path(s, name, ".lock");

	for (int tries = 0; path && tries < 100; tries++) {
		scoped(fd) int fd = -1;
		int r = store_member_mkdir(s, name, e);

		if (r < 0)
			return r;
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0 && errno == ENOENT)
			continue; /* removed in between */
		if (fd < 0) {
			r = err_errno(e, -errno, "open lock %s", path);
			remove_empty(path);
			return r;
		}
		if (flock(fd, LOCK_EX | LOCK_NB) < 0)
			return errno == EWOULDBLOCK
				       ? err_set(e, ERR_BUSY, "%s is in use by another drover",
						 name)
				       : err_errno(e, -errno, "lock %s", path);
		if (!lock_is_current(fd, path))
			continue; /* a remover has taken the directory away meanwhile */
		*ret_fd = take_fd(&fd);
		return 0;
	}
	return err_set(e, ERR_BUSY, "%s is being removed by another drover", name);
}

/* Names that share one by chance only wait for each other. */
static off_t byte_of(const char *cluster)
{
	char key[SOCKET_KEY_LEN + 1];

	name_socket_key(cluster, key);
	return (off_t)(strtoull(key, NULL, 16) >> 2);
}

static int compare_bytes(const void *a, const void *b)
{
	off_t x = *(const off_t *)a;
	off_t y = *(const off_t *)b;

	return (x > y) - (x < y);
}

static int take_bytes(int fd, const struct name_list *clusters, const struct giveup *g)
{
	scoped(mem) off_t *bytes = calloc(clusters->n + 1, sizeof(*bytes));
	int r = bytes ? 0 : -ENOMEM;

	for (size_t i = 0; i < clusters->n && bytes; i++)
		bytes[i] = byte_of(clusters->names[i]);
	if (bytes) /* in one order, so that no two wait for each other */
		qsort(bytes, clusters->n, sizeof(*bytes), compare_bytes);
	for (size_t i = 0; i < clusters->n && r == 0; i++)
		r = lock_take_byte(fd, bytes[i], g);
	return r;
}

int store_starts_lock(const struct store *s, const struct name_list *clusters,
		      const struct giveup *g, int *ret_fd, struct err *e)
{
	scoped(mem) char *path = str_format("%s/.lock", s->root);
	scoped(fd) int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
	int r;

	if (!path)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	r = fd < 0 ? -errno : take_bytes(fd, clusters, g);
	if (r < 0 && giveup_is_why(g, r, e))
		return r;
	if (r < 0)
		return err_errno(e, r, "lock %s", path);
	*ret_fd = take_fd(&fd);
	return 0;
}

/* In place and always of one length: a disk that is full by then need not give anything. @flags: more of open's. */
static int write_failure(const char *path, const char *sentence, int flags)
{
	scoped(fd) int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
	char text[ERR_MSG_SIZE] = "";

	snprintf(text, sizeof(text), "%s", sentence);
	return fd < 0 ? -errno : files_write_all(fd, text, sizeof(text));
}

static pid_t read_pid(const struct store *s, const char *name);

/* Whoever ran @name before and still has a pidfile was killed, and its supervisor with it: the caller has the lock. */
static void remove_network_before(const struct store *s, const char *name, pid_t now)
{
	pid_t before = read_pid(s, name);
	scoped(mem) char *net = before ? store_network_path(s, name, before) : NULL;

	if (net && before != now)
		files_remove_tree(net);
}

static int write_owner_file(const struct store *s, const char *name, const char *file,
			    const char *text, const char *like, struct err *e)
{
	scoped(mem) char *path = store_member_path(s, name, file);
	scoped(mem) char *same = like ? store_member_path(s, like, file) : NULL;
	int r;

	if (!path)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	if (same && link(same, path) == 0)
		return 0; /* no such thing in every file system, nor over a file that is there */
	r = files_publish(path, text, strlen(text), 0600);
	return r < 0 ? err_errno(e, r, "write %s", path) : 0;
}

int store_owner_write(const struct store *s, const char *name, const struct procid *id,
		      const char *like, struct err *e)
{
	scoped(mem) char *failure_path = store_member_path(s, name, "failure");
	char owner[128];
	char pid[16];
	int r;

	if (!failure_path)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	r = write_failure(failure_path, "", O_EXCL);
	if (r == -EEXIST) { /* not its first start */
		remove_network_before(s, name, id->pid);
		r = write_failure(failure_path, "", 0);
	}
	if (r < 0)
		return err_errno(e, r, "write %s", failure_path);
	snprintf(owner, sizeof(owner), "%d %llu %s\n", (int)id->pid,
		 (unsigned long long)id->start_ticks, id->boot_id);
	snprintf(pid, sizeof(pid), "%d", (int)id->pid);
	r = write_owner_file(s, name, MEMBER_OWNER, owner, like, e);
	return r < 0 ? r : write_owner_file(s, name, MEMBER_PID, pid, like, e);
}

void store_owner_clear(const struct store *s, const char *name)
{
	scoped(mem) char *owner_path = store_member_path(s, name, MEMBER_OWNER);
	scoped(mem) char *pid_path = store_member_path(s, name, MEMBER_PID);

	if (owner_path)
		unlink(owner_path);
	if (pid_path)
		unlink(pid_path);
}

void store_failure_write(const struct store *s, const char *name, const char *sentence)
{
	scoped(mem) char *path = store_member_path(s, name, "failure");

	if (path)
		write_failure(path, sentence, 0);
}

void store_failure_read(const struct store *s, const char *name, char *ret, size_t size)
{
	scoped(mem) char *path = store_member_path(s, name, "failure");
	scoped(mem) char *text = NULL;

	if (path && files_read(path, ERR_MSG_SIZE, &text, NULL) == 0)
		snprintf(ret, size, "%s", text);
	else
		ret[0] = '\0';
}

/* The pid that the member's pidfile holds, or 0. */
static pid_t read_pid(const struct store *s, const char *name)
{
	scoped(mem) char *path = store_member_path(s, name, MEMBER_PID);
	scoped(mem) char *text = NULL;
	int64_t pid = 0;

	if (!path || files_read(path, 64, &text, NULL) < 0)
		return 0;
	if (str_to_int64(text, 1, INT32_MAX, &pid) < 0)
		return 0;
	return (pid_t)pid;
}

pid_t store_owner_alive(const struct store *s, const char *name)
{
	scoped(mem) char *path = store_member_path(s, name, MEMBER_OWNER);
	scoped(mem) char *text = NULL;
	struct procid id = {0};
	unsigned long long ticks = 0;
	pid_t pid = read_pid(s, name);
	uint64_t now;

	if (pid == 0)
		return 0;
	if (!path || files_read(path, 256, &text, NULL) < 0)
		return procid_start_ticks(pid, &now) == 0 ? pid : 0; /* a protocol-2 helper's */
	if (sscanf(text, "%d %llu %36s", &id.pid, &ticks, id.boot_id) != 3)
		return 0;
	id.start_ticks = ticks;
	return id.pid == pid && procid_is_alive(&id) ? pid : 0;
}

bool store_owner_serves(const struct store *s, pid_t pid)
{
	scoped(names) struct name_list all = {0};

	if (store_list(s, &all, NULL) < 0)
		return false;
	for (size_t i = 0; i < all.n; i++)
		if (store_owner_alive(s, all.names[i]) == pid)
			return true;
	return false;
}

bool store_member_exists(const struct store *s, const char *name)
{
	scoped(mem) char *path = store_member_path(s, name, MEMBER_CONFIG);

	return path && files_exist(path);
}

static void remove_socket(const struct store *s, const char *name, const char *suffix)
{
	scoped(mem) char *path = store_socket_path(s, name, suffix);

	if (path)
		unlink(path);
}

/* And, when no member is left in it, its helpers' logs. */
static void remove_cluster_dir(const struct store *s, const char *name)
{
	char cluster[NAME_SIZE];
	scoped(mem) char *path = NULL;

	name_cluster(name, cluster);
	path = str_format("%s/clusters/%s", s->root, cluster);
	if (path && rmdir(path) == 0) /* refuses while siblings live */
		store_logs_remove(s, name);
}

int store_member_remove(const struct store *s, const char *name, struct err *e)
{
	scoped(mem) char *dir = store_member_path(s, name, NULL);
	scoped(mem) char *config = store_member_path(s, name, MEMBER_CONFIG);
	int r;

	if (!dir || !config)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	/* First: from here on there is no such member, whatever happens. */
	if (unlink(config) < 0 && errno != ENOENT && errno != ENOTDIR)
		return err_errno(e, -errno, "remove %s", config);
	r = files_remove_tree(dir);
	if (r < 0)
		return err_errno(e, r, "remove %s", dir);
	remove_socket(s, name, "sock");
	remove_socket(s, name, "ctl");
	remove_cluster_dir(s, name);
	return 0;
}

void store_owner_retract(const struct store *s, const char *name)
{
	scoped(mem) char *failure = store_member_path(s, name, "failure");
	scoped(mem) char *lock = store_member_path(s, name, ".lock");
	scoped(mem) char *dir = store_member_path(s, name, NULL);

	if (!failure || !lock || !dir || store_member_exists(s, name))
		return;
	unlink(failure);
	unlink(lock);
	if (rmdir(dir) == 0)
		remove_cluster_dir(s, name);
}

void store_member_forget(const struct store *s, const char *name)
{
	if (!store_member_exists(s, name))
		store_member_remove(s, name, NULL);
}

void store_fail_owner(const struct store *s, pid_t pid, const char *sentence)
{
	struct name_list all = {0};

	if (store_list(s, &all, NULL) < 0)
		return;
	for (size_t i = 0; i < all.n; i++)
		if (read_pid(s, all.names[i]) == pid)
			store_failure_write(s, all.names[i], sentence);
	name_list_done(&all);
}

void store_sweep_owner(const struct store *s, pid_t pid, bool remove_members)
{
	struct name_list all = {0};

	if (store_list(s, &all, NULL) < 0)
		return;
	for (size_t i = 0; i < all.n; i++) {
		if (read_pid(s, all.names[i]) != pid)
			continue;
		store_owner_clear(s, all.names[i]);
		remove_socket(s, all.names[i], "sock");
		remove_socket(s, all.names[i], "ctl");
		if (remove_members)
			store_member_remove(s, all.names[i], NULL);
	}
	name_list_done(&all);
}

void store_sweep_dead(const struct store *s, const char *name)
{
	scoped(mem) char *pid = store_member_path(s, name, MEMBER_PID);
	scoped(mem) char *net = store_network_path(s, name, read_pid(s, name));
	scoped(lock) int lock = -1;

	if (!pid || !net || !files_exist(pid) || store_owner_alive(s, name) ||
	    store_member_lock(s, name, &lock, NULL) < 0)
		return; /* whoever holds the lock is about to write an owner, or was and goes */
	store_owner_clear(s, name);
	remove_socket(s, name, "sock");
	remove_socket(s, name, "ctl");
	files_remove_tree(net);
}
