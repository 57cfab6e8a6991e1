/* SPDX-License-Identifier: MIT */
/*
 * What of the host is as drover needs it. Namespaces, the tun device and KVM are tried by the helper (--check), which has
 * the code for it; the rest is looked at here.
 */
#include "base/files.h"
#include "base/host.h"
#include "base/scoped.h"
#include "client/client.h"
#include "guest/run.h"
#include "wire/json.h"

#include <fcntl.h>
#include <pwd.h>
#include <string.h>
#include <sys/statvfs.h>

enum { SPACE_NEEDED_MB = 1024, SPACE_GOOD_MB = 4096, QEMU_MAJOR = 7, QEMU_MINOR = 2 };
enum {
	MEMBER_MB = 1024,
	QEMU_MB = 256
}; /* of a member that is made without a size, and what runs it */

struct list_of_checks {
	struct drover_check *all; /* owned */
	size_t n;
	int r; /* 0 or -ENOMEM */
	const struct giveup *giveup;
};

static void add(struct list_of_checks *l, const char *name, const char *state, const char *found,
		const char *fix)
{
	struct drover_check *all = reallocarray(l->all, l->n + 1, sizeof(*all));
	struct drover_check *one;

	if (!all) {
		l->r = -ENOMEM;
		return;
	}
	l->all = all;
	one = &all[l->n++];
	snprintf(one->name, sizeof(one->name), "%s", name);
	snprintf(one->state, sizeof(one->state), "%s", state);
	snprintf(one->found, sizeof(one->found), "%s", found);
	snprintf(one->fix, sizeof(one->fix), "%s", fix);
	str_make_printable(one->found);
}

/* --- Programs ------------------------------------------------------------------------------------------------ */

struct program {
	const char *name;
	const char *package; /* Debian's; NULL: none */
	const char *purpose; /* NULL: nothing runs without it */
	bool tells_version;
	const char *elsewhere; /* where it is when no PATH leads there */
};

static const struct program programs[] = {
	{"qemu-system-x86_64", "qemu-system-x86", NULL, true, NULL},
	{"qemu-img", "qemu-utils", NULL, true, NULL},
	{"dnsmasq", "dnsmasq-base", NULL, true, NULL},
	{"slirp4netns", "slirp4netns", NULL, true, NULL},
	{"ssh", "openssh-client", "drover ssh", false, NULL},
	{"mmdebstrap", "mmdebstrap", "building images", false, NULL},
	{"mkfs.ext4", "e2fsprogs", "building images and fixtures", false, NULL},
	{"cpio", "cpio", "building images", false, NULL},
	{"newuidmap", "uidmap", "building images without root", false, NULL},
	{"virtiofsd", "qemu-system-common", "live mounts", false, "/usr/lib/qemu/virtiofsd"},
	{"cloud-hypervisor", NULL, "the backend cloud-hypervisor", true, NULL},
};

static void on_first_line(void *arg, const char *line)
{
	char *first = arg;

	if (line && !*first)
		snprintf(first, sizeof(((struct drover_check *)NULL)->found), "%s", line);
}

static void ask_version(const struct list_of_checks *l, const char *path, char *ret)
{
	const char *const argv[] = {path, "--version", NULL};
	scoped(buf) struct buf tail = BUF_INIT;

	run_program(argv, l->giveup, on_first_line, ret, &tail, NULL);
}

static bool is_too_old(const char *version)
{
	size_t at = strcspn(version, "0123456789");
	int major = 0;
	int minor = 0;

	return sscanf(version + at, "%d.%d", &major, &minor) == 2 &&
	       (major < QEMU_MAJOR || (major == QEMU_MAJOR && minor < QEMU_MINOR));
}

static void how_to_install(const struct program *p, char *ret, size_t size)
{
	scoped(mem) char *apt = files_find_program("apt-get");

	if (!p->package)
		snprintf(ret, size, "put the program %s into a folder of PATH", p->name);
	else if (apt)
		snprintf(ret, size, "as root: apt-get install %s", p->package);
	else
		snprintf(ret, size, "install %s (on Debian: the package %s)", p->name, p->package);
}

static void check_program(struct list_of_checks *l, const struct program *p)
{
	scoped(mem) char *path = files_find_program(p->name);
	char found[sizeof(l->all->found)] = "";
	char fix[sizeof(l->all->fix)];

	if (!path && p->elsewhere)
		path = files_find_program(p->elsewhere);
	how_to_install(p, fix, sizeof(fix));
	if (path && p->tells_version)
		ask_version(l, path, found);
	if (path && !strcmp(p->name, "qemu-system-x86_64") && is_too_old(found)) {
		snprintf(found + strlen(found), sizeof(found) - strlen(found), ": older than %d.%d",
			 QEMU_MAJOR, QEMU_MINOR);
		add(l, p->name, "missing", found, fix);
	} else if (path) {
		add(l, p->name, "ok", *found ? found : path, "");
	} else if (p->purpose) {
		snprintf(found, sizeof(found), "not installed; needed for %s", p->purpose);
		add(l, p->name, "warning", found, fix);
	} else {
		add(l, p->name, "missing", "not installed", fix);
	}
}

static void check_uefi(struct list_of_checks *l)
{
	char fix[sizeof(l->all->fix)];
	const char *code;
	const char *variables;

	how_to_install(&(struct program){.name = "OVMF", .package = "ovmf"}, fix, sizeof(fix));
	if (host_find_uefi(&code, &variables, NULL) == 0)
		add(l, "uefi", "ok", code, "");
	else
		add(l, "uefi", "warning",
		    "no UEFI firmware for QEMU; needed for disks that only UEFI starts", fix);
}

/* --- Memory --------------------------------------------------------------------------------------------------- */

static void check_memory(struct list_of_checks *l)
{
	int64_t mb = host_available_mb();
	char found[sizeof(l->all->found)];

	if (mb < 0)
		return;
	snprintf(found, sizeof(found),
		 "%lld MB available; a member may take its --mem (%d MB if not said) and %d",
		 (long long)mb, MEMBER_MB, QEMU_MB);
	if (mb >= MEMBER_MB + QEMU_MB)
		add(l, "memory", "ok", found, "");
	else
		add(l, "memory", "warning", found,
		    "end something, or drover up --mem 512, or --image tiny, which takes 256");
}

/* --- The helper and what it tries ---------------------------------------------------------------------------- */

static void on_check(void *arg, const char *line)
{
	scoped(json) json_t *root = line ? wire_json_parse(line, strlen(line), NULL) : NULL;

	if (root)
		add(arg, json_text(root, "check"), json_text(root, "state"),
		    json_text(root, "found"), json_text(root, "fix"));
}

static void check_helper(struct list_of_checks *l)
{
	scoped(mem) char *path = session_helper();
	const char *const argv[] = {path, "--check", NULL};
	scoped(buf) struct buf tail = BUF_INIT;
	struct list_of_checks its = {0};
	struct err e = ERR_INIT;
	char found[sizeof(l->all->found)];
	int r = path ? run_program(argv, l->giveup, on_check, &its, &tail, &e) : -ENOMEM;

	if (r == 0 && its.n > 0) {
		add(l, "helper", "ok", path, "");
	} else {
		snprintf(found, sizeof(found), "%.200s: %.300s", path ? path : "drover-helper",
			 r < 0   ? e.msg
			 : r > 0 ? run_last_line(&tail)
				 : "this is not drover's helper");
		add(l, "helper", "missing", found, "install drover anew, or set DROVER_HELPER");
	}
	for (size_t i = 0; i < its.n; i++)
		add(l, its.all[i].name, its.all[i].state, its.all[i].found, its.all[i].fix);
	free(its.all);
}

/* --- Users --------------------------------------------------------------------------------------------------- */

static bool has_range(const char *file, const struct passwd *user)
{
	scoped(file) FILE *f = fopen(file, "re");
	char number[16];
	char line[256];

	snprintf(number, sizeof(number), "%u:", user->pw_uid);
	while (f && fgets(line, sizeof(line), f)) {
		size_t len = strlen(user->pw_name);

		if (str_starts(line, number) ||
		    (strncmp(line, user->pw_name, len) == 0 && line[len] == ':'))
			return true;
	}
	return false;
}

/* An image is built in a user namespace with more users than one. */
static void check_ranges(struct list_of_checks *l)
{
	const uid_t uid = geteuid();
	struct passwd user;
	struct passwd *known = NULL;
	char room[4096];
	char fix[sizeof(l->all->fix)];

	if (uid == 0)
		return;
	getpwuid_r(uid, &user, room, sizeof(room), &known);
	if (known && has_range("/etc/subuid", known) && has_range("/etc/subgid", known)) {
		add(l, "subuid", "ok", "/etc/subuid and /etc/subgid have ranges for this user", "");
		return;
	}
	snprintf(fix, sizeof(fix),
		 "as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %s",
		 known ? known->pw_name : "USER");
	add(l, "subuid", "warning",
	    "no range for this user in /etc/subuid and /etc/subgid; needed for building images "
	    "without root",
	    fix);
}

/* --- The store ----------------------------------------------------------------------------------------------- */

static void check_space(struct list_of_checks *l, const char *name, const char *path)
{
	struct statvfs s;
	uint64_t mb = statvfs(path, &s) == 0 ? (uint64_t)s.f_bavail * s.f_frsize >> 20 : 0;
	char found[sizeof(l->all->found)];
	char fix[sizeof(l->all->fix)];

	snprintf(found, sizeof(found), "%llu MB free in %.300s", (unsigned long long)mb, path);
	snprintf(fix, sizeof(fix), "make room in %.300s, or set %s to another folder", path,
		 strcmp(name, "images") == 0 ? "DROVER_IMAGE_CACHE" : "DROVER_HOME");
	if (mb >= SPACE_GOOD_MB)
		add(l, name, "ok", found, "");
	else
		add(l, name, mb < SPACE_NEEDED_MB ? "missing" : "warning", found, fix);
}

/* True when files can be made there. */
static bool is_writable(const char *folder)
{
	scoped(mem) char *path = str_format("%s/.doctor-XXXXXX", folder);
	scoped(fd) int fd = open(folder, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);

	if (fd < 0 && errno == EOPNOTSUPP && path && (fd = mkostemp(path, O_CLOEXEC)) >= 0)
		unlink(path);
	return fd >= 0;
}

/* A folder that is made when it is needed is as good as what it is made in. */
static void check_folder(struct list_of_checks *l, const char *name, const char *folder)
{
	scoped(mem) char *path = strdup(folder);
	char found[sizeof(l->all->found)];
	char fix[sizeof(l->all->fix)];
	char *slash;

	if (!path) {
		l->r = -ENOMEM;
		return;
	}
	while (!files_exist(path) && (slash = strrchr(path, '/')) && slash > path)
		*slash = '\0';
	if (is_writable(path)) {
		check_space(l, name, path);
		return;
	}
	snprintf(found, sizeof(found), "%.300s cannot be written: %s", path, strerror(errno));
	snprintf(fix, sizeof(fix), "chown or chmod %.200s, or set %s to another folder", path,
		 strcmp(name, "images") == 0 ? "DROVER_IMAGE_CACHE" : "DROVER_HOME");
	add(l, name, "missing", found, fix);
}

static void check_store(struct list_of_checks *l, const char *home)
{
	scoped(store) struct store store = {0};
	scoped(mem) char *socket = NULL;
	char found[sizeof(l->all->found)];
	struct err e = ERR_INIT;

	if (store_open(home, &store, &e) < 0) {
		add(l, "store", "missing", e.msg, "set DROVER_HOME to a folder that is yours");
		return;
	}
	check_folder(l, "store", store.root);
	check_folder(l, "images", store.images);
	/* store_open has seen to it that the paths are short enough */
	socket = store_socket_path(&store, "name", "sock");
	snprintf(found, sizeof(found), "paths of %zu bytes in %.300s", socket ? strlen(socket) : 0,
		 store.run);
	if (is_writable(store.run))
		add(l, "sockets", "ok", found, "");
	else
		add(l, "sockets", "missing", found, "make that folder writeable");
}

static void check_all(struct list_of_checks *l, const char *home)
{
	check_helper(l);
	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
		if (giveup_check(l->giveup, NULL) == 0 &&
		    (geteuid() != 0 || strcmp(programs[i].name, "newuidmap") != 0))
			check_program(l, &programs[i]);
	check_uefi(l);
	check_memory(l);
	check_ranges(l);
	check_store(l, home);
}

int drover_doctor(const char *home, const struct drover_call *o, struct drover_check **ret,
		  struct drover_error *pe)
{
	struct giveup giveup;
	struct list_of_checks l = {.giveup = &giveup};
	struct limits limits;
	struct err e = ERR_INIT;
	int r = limits_from(o, &limits, &e);

	if (r < 0)
		return public_error(pe, &e, r);
	giveup = limits_giveup(&limits);
	check_all(&l, home);
	r = giveup_check(&giveup, &e);
	if (r == 0 && l.r < 0)
		r = err_set(&e, ERR_NO_MEMORY, "out of memory");
	if (r < 0) {
		free(l.all);
		return public_error(pe, &e, r);
	}
	*ret = l.all;
	return (int)l.n;
}
