/* SPDX-License-Identifier: MIT */
/*
 * A cluster as one file, and back.
 *
 * How it works: a key that is made for this file is let into the members, they are captured (capture.c), and it is put out
 * again. What a member needs beyond that and that another host may not have goes along: its kernel, and its disk as one
 * file without the image below it. The head says under which QEMU, and with KVM on which CPU, the memory goes on. To import
 * is to unpack all of it into a capture; what may be in there is a closed list, and nothing in it names a path. Once the
 * members run, the importing store's key takes the place of both that key and the first store's.
 */
#include "base/bounds.h"
#include "base/clock.h"
#include "base/files.h"
#include "base/giveup.h"
#include "base/kvm.h"
#include "base/scoped.h"
#include "client/capture.h"
#include "guest/bundle.h"
#include "guest/image.h"
#include "guest/run.h"
#include "wire/json.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

enum { FORMAT = 1, EXEC_MS = 60000, CPUINFO_MAX = 4 << 20 };

/* What members may take in all to put the key out when nobody wants the file any more, since one may hang; and each. */
enum { GIVEN_UP_MS = 3000, GIVEN_UP_LEAST_MS = 300 };

/* What of a member is in the file; what it has not is left out. */
static const char *const parts[] = {
	MEMBER_CONFIG, MEMBER_MEMORY, MEMBER_DISK,   MEMBER_EFI,       MEMBER_HOST_KEY,
	MEMBER_SEED,   MEMBER_KERNEL, MEMBER_INITRD, MEMBER_LOGIN_KEY, MEMBER_HOST_PUBLIC,
};
enum { N_PARTS = sizeof(parts) / sizeof(parts[0]) };

/* --- What memory depends on ------------------------------------------------------------------------------------ */

static void on_line(void *arg, const char *line)
{
	char *first = arg;

	if (!*first)
		snprintf(first, ERR_MSG_SIZE / 4, "%s", line);
}

static int find_qemu(char ret[ERR_MSG_SIZE / 4], struct err *e)
{
	const char *const argv[] = {"qemu-system-x86_64", "--version", NULL};
	scoped(buf) struct buf tail = BUF_INIT;
	int r;

	*ret = '\0';
	r = run_program(argv, NULL, on_line, ret, &tail, e);
	return r > 0 ? err_set(e, ERR_HOST, "qemu-system-x86_64 does not say its version") : r;
}

/* The value of the first "KEY : value" of /proc/cpuinfo: heap, or NULL. */
static char *cpu_field(const char *cpuinfo, const char *key)
{
	const char *line = strstr(cpuinfo, key);
	const char *value = line ? strchr(line, ':') : NULL;

	if (!value)
		return NULL;
	value += 1 + strspn(value + 1, " ");
	return str_format("%.*s", (int)strcspn(value, "\n"), value);
}

static int add_cpu(json_t *root)
{
	scoped(mem) char *text = NULL;
	scoped(mem) char *model = NULL;
	scoped(mem) char *flags = NULL;

	if (files_read("/proc/cpuinfo", CPUINFO_MAX, &text, NULL) < 0)
		return -EIO;
	model = cpu_field(text, "model name");
	flags = cpu_field(text, "flags");
	return json_object_set_new(root, "cpu", json_string(model ? model : "")) < 0 ||
			       json_object_set_new(root, "flags", json_string(flags ? flags : "")) <
				       0
		       ? -ENOMEM
		       : 0;
}

/* {"qemu", "accel"}, and with KVM {"cpu", "flags"}: QEMU's own CPU is the same everywhere. */
static json_t *describe_host(struct err *e)
{
	enum accel accel;
	char qemu[ERR_MSG_SIZE / 4];
	scoped(json) json_t *root = NULL;
	bool kvm;

	if (accel_wanted(&accel, e) < 0 || find_qemu(qemu, e) < 0)
		return NULL;
	kvm = accel_is_kvm(accel);
	root = json_pack("{s:s, s:s}", "qemu", qemu, "accel", kvm ? "kvm" : "tcg");
	if (!root || (kvm && add_cpu(root) < 0)) {
		err_set(e, ERR_NO_MEMORY, "out of memory");
		return NULL;
	}
	return take_ptr(&root);
}

static int check_host(const json_t *head, struct err *e)
{
	scoped(json) json_t *here = describe_host(e);

	if (!here)
		return err_code_number(e->code);
	if (!str_equal(json_text(head, "qemu"), json_text(here, "qemu")))
		return err_set(
			e, ERR_UNSUPPORTED,
			"the file was written under '%.120s', and this host has '%s': memory "
			"goes on under the same QEMU only",
			json_text(head, "qemu"), json_text(here, "qemu"));
	if (!str_equal(json_text(head, "accel"), json_text(here, "accel")))
		return err_set(e, ERR_UNSUPPORTED,
			       "the guests of the file ran by %.8s, and those of this host run by "
			       "%s: their CPU is another",
			       json_text(head, "accel"), json_text(here, "accel"));
	if (!str_equal(json_text(head, "cpu"), json_text(here, "cpu")) ||
	    !str_equal(json_text(head, "flags"), json_text(here, "flags")))
		return err_hint(e,
				err_set(e, ERR_UNSUPPORTED,
					"the guests of the file ran on '%.120s', and this host is "
					"'%s', or has other features",
					json_text(head, "cpu"), json_text(here, "cpu")),
				"by KVM memory goes on on the same CPU only");
	return 0;
}

/* --- Keys ------------------------------------------------------------------------------------------------------ */

/* The line of a file's key names that of the first store behind this, so whoever imports the file can put both out. */
#define FOR " for "

static int run_in(struct drover_vm *vm, const char *command, const struct limits *l, struct err *e)
{
	struct drover_exec x = DROVER_EXEC_INIT;
	struct drover_result result;
	struct drover_error pe;
	int status;

	if (!command)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	x.command = command;
	x.timeout_ms = l->timeout_ms ? (unsigned)l->timeout_ms : EXEC_MS;
	x.cancel = l->cancel;
	if (drover_vm_exec(vm, &x, &result, &pe) < 0)
		return private_error(e, &pe);
	status = result.status;
	drover_result_done(&result);
	if (status != 0)
		return err_set(e, ERR_SSH,
			       "the keys that %s lets in cannot be changed: it ended with %d",
			       vm->name, status);
	return 0;
}

/* What the user's authorized_keys are after it: @line ("": none) is in, what has @out in it is not. */
static int change_keys(struct drover_vm *vm, const char *line, const char *out,
		       const struct limits *l, struct err *e)
{
	scoped(mem) char *command = str_format(
		"umask 077; f=~/.ssh/authorized_keys; mkdir -p ~/.ssh && touch $f && "
		"{ grep -vF '%s' $f; true; } >$f.new && { [ -z '%s' ] || echo '%s' >>$f.new; } && "
		"cat $f.new >$f && rm $f.new",
		out, line, line);

	return run_in(vm, command, l, e);
}

/*
 * @own is in, and neither the key that @came with the file nor that of the first store is. Where the login is not root's,
 * root has the latter too: it is replaced there, if the login may.
 */
static int take_over(struct drover_vm *vm, const char *own, const char *came,
		     struct drover_cancel *cancel, struct err *e)
{
	scoped(mem) char *command =
		str_format("umask 077; f=~/.ssh/authorized_keys; first=$(grep -F '%s" FOR "' $f); "
			   "first=${first#*" FOR "}; "
			   "{ grep -vF -e '%s' ${first:+-e \"$first\"} $f; echo '%s'; } >$f.new && "
			   "cat $f.new >$f && rm $f.new || exit; "
			   "[ -z \"$first\" ] || [ \"$(id -u)\" = 0 ] || "
			   "sudo -n sed -i \"s|$first|%s|\" /root/.ssh/authorized_keys || true",
			   came, came, own, own);

	return run_in(vm, command, &(struct limits){.cancel = cancel}, e);
}

int cluster_take_keys(struct drover_cluster *c, struct drover_cancel *cancel, struct err *e)
{
	int r = 0;

	for (size_t i = 0; i < c->n_vms && r == 0; i++) {
		struct drover_vm *vm = c->vms[i];
		scoped(mem) char *path = store_member_path(&c->store, vm->name, MEMBER_LOGIN_KEY);
		scoped(mem) char *public = path ? str_format("%s.pub", path) : NULL;
		scoped(mem) char *came = NULL;
		scoped(mem) char *own = NULL;

		if (!public)
			return err_set(e, ERR_NO_MEMORY, "out of memory");
		if (!files_exist(path))
			continue;
		r = keys_make(path, "export", &came, e);
		if (r == 0)
			r = keys_ensure(&c->store, &own, e);
		if (r == 0)
			r = take_over(vm, own, came, cancel, e);
		if (r == 0 && (unlink(public) < 0 || unlink(path) < 0))
			r = err_errno(e, -errno, "remove %s", path);
	}
	return r;
}

/* A new key into the capture, and into the members. */
static int let_in(struct drover_capture *k, struct drover_cluster *c, const struct giveup *g,
		  struct drover_cancel *cancel, char **ret, struct err *e)
{
	scoped(mem) char *path = str_format("%s/" MEMBER_LOGIN_KEY, k->inside.root);
	scoped(mem) char *own = NULL;
	scoped(mem) char *line = NULL;
	int r = path ? keys_make(path, "export", ret, e)
		     : err_set(e, ERR_NO_MEMORY, "out of memory");

	if (r == 0)
		r = keys_ensure(&c->store, &own, e);
	if (r == 0 && !(line = str_format("%s" FOR "%s", *ret, own)))
		r = err_set(e, ERR_NO_MEMORY, "out of memory");
	for (size_t i = 0; i < c->n_vms && r == 0; i++) {
		const char *state = drover_vm_state(c->vms[i]);

		if (strcmp(state, "running") != 0)
			r = err_set(e, ERR_NOT_RUNNING,
				    "%s is %s, and a key is to be let in before it is exported",
				    c->vms[i]->name, state);
		else
			r = giveup_check(g, e);
		if (r == 0)
			r = change_keys(c->vms[i], line, *ret, &(struct limits){.cancel = cancel},
					e);
	}
	return r;
}

/* Best effort: a member that cannot be asked now keeps a key whose other half is in the file alone, or nowhere. */
static void put_out(struct drover_cluster *c, const char *key, bool is_wanted)
{
	int64_t end_ms = clock_ms() + GIVEN_UP_MS;
	struct err late = ERR_INIT;

	for (size_t i = 0; i < c->n_vms; i++) {
		uint64_t left = clock_left_ms(end_ms);
		uint64_t ms = left > GIVEN_UP_LEAST_MS ? left : GIVEN_UP_LEAST_MS;
		const struct limits l = {.timeout_ms = is_wanted ? 0 : ms};

		change_keys(c->vms[i], "", key, &l, &late);
	}
}

/* --- Export ---------------------------------------------------------------------------------------------------- */

/* The file of the member that is written as @part; heap; NULL: out of memory. */
static char *source_of(const struct drover_capture *k, size_t i, const char *part)
{
	const struct member_config *c = &k->configs[i];

	if (strcmp(part, MEMBER_LOGIN_KEY) == 0)
		return str_format("%s/" MEMBER_LOGIN_KEY, k->inside.root);
	if (strcmp(part, MEMBER_KERNEL) == 0)
		return strdup(kernel_path(c) ? kernel_path(c) : "");
	if (strcmp(part, MEMBER_INITRD) == 0)
		return strdup(kernel_initrd(c) ? kernel_initrd(c) : "");
	return store_member_path(&k->inside, c->name, part);
}

/* The captured disk without points and without the image below it. */
static int flatten(const struct drover_capture *k, size_t i, const struct giveup *g, struct err *e)
{
	scoped(mem) char *disk = store_member_path(&k->inside, k->configs[i].name, MEMBER_DISK);

	if (!disk)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	return files_exist(disk) ? disk_copy(disk, "qcow2", disk, g, e) : 0;
}

static int write_member(const struct drover_capture *k, size_t i, struct bundle *b,
			const struct giveup *g, struct err *e)
{
	const char *name = k->configs[i].name;
	int r = flatten(k, i, g, e);

	for (size_t j = 0; j < N_PARTS && r == 0; j++) {
		scoped(mem) char *path = source_of(k, i, parts[j]);
		scoped(mem) char *as = str_format("%s/%s", name, parts[j]);

		if (!path || !as)
			return err_set(e, ERR_NO_MEMORY, "out of memory");
		if (files_exist(path))
			r = bundle_add(b, as, path, e);
	}
	return r;
}

static char *make_head(const struct drover_capture *k, struct err *e)
{
	scoped(json) json_t *root = describe_host(e);
	json_t *members = json_array();
	char *text;

	if (!root) {
		json_decref(members);
		return NULL;
	}
	for (size_t i = 0; i < k->n; i++)
		json_array_append_new(members, json_string(k->configs[i].name));
	json_object_set_new(root, "format", json_integer(FORMAT));
	json_object_set_new(root, "members", members);
	text = json_dumps(root, JSON_COMPACT);
	if (!text)
		err_set(e, ERR_NO_MEMORY, "out of memory");
	return text;
}

static int write_all(const struct drover_capture *k, const char *head, int fd,
		     const struct giveup *g, struct err *e)
{
	scoped(bundle) struct bundle *b = NULL;
	int r = bundle_begin(fd, head, g, &b, e);

	for (size_t i = 0; i < k->n && r == 0; i++)
		r = write_member(k, i, b, g, e);
	return r < 0 ? r : bundle_finish(b, e);
}

/* The key is put out again however it ends. */
static int export_to(struct drover_capture *k, struct drover_cluster *c, int fd,
		     const struct limits *l, int64_t *ret_held, struct err *e)
{
	const struct giveup g = limits_giveup(l);
	scoped(mem) char *head = make_head(k, e);
	scoped(mem) char *key = NULL;
	int r = head ? let_in(k, c, &g, l->cancel, &key, e) : err_code_number(e->code);

	if (r == 0)
		r = capture_take(k, c, l, ret_held, e);
	if (key)
		put_out(c, key, r == 0);
	return r < 0 ? r : write_all(k, head, fd, &g, e);
}

/* A wait for what is no descriptor would never end. */
static int check_descriptor(int fd, struct err *e)
{
	return fcntl(fd, F_GETFD) < 0 ? err_errno(e, -errno, "the file's descriptor %d", fd) : 0;
}

int drover_cluster_export(struct drover_cluster *c, int fd, const struct drover_call *o,
			  struct drover_error *pe)
{
	struct drover_capture *k = NULL;
	struct limits l;
	struct giveup g;
	struct err e = ERR_INIT;
	int64_t held_ms = 0;
	int r = limits_from(o, &l, &e);

	g = limits_giveup(&l);
	if (r == 0)
		r = check_descriptor(fd, &e);
	if (r == 0)
		r = capture_prepare(c, &g, &k, &e);
	if (r == 0)
		r = export_to(k, c, fd, &l, &held_ms, &e);
	drover_capture_close(k);
	return r < 0 ? public_error(pe, &e, r) : (int)held_ms;
}

/* --- Import ---------------------------------------------------------------------------------------------------- */

static int add_member(struct drover_capture *k, const char *name, struct err *e)
{
	int r;

	name = name ? name : "";
	r = name_check(name, e);
	for (size_t i = 0; i < k->n && r == 0; i++)
		if (strcmp(k->configs[i].name, name) == 0)
			r = err_set(e, ERR_INVALID, "the file is damaged: %s is in it twice", name);
	if (r == 0)
		r = store_member_mkdir(&k->inside, name, e);
	if (r < 0)
		return r;
	snprintf(k->configs[k->n++].name, NAME_SIZE, "%s", name);
	return 0;
}

static int on_head(void *arg, const char *text, struct err *e)
{
	struct drover_capture *k = arg;
	scoped(json) json_t *head = json_loads(text, 0, NULL);
	const json_t *members = json_object_get(head, "members");
	size_t n = json_array_size(members);
	json_int_t format = json_integer_value(json_object_get(head, "format"));
	int r;

	if (format != FORMAT)
		return err_set(e, ERR_UNSUPPORTED,
			       "the file has format %lld, and this drover reads format %d",
			       (long long)format, FORMAT);
	if (n == 0 || n > CLUSTER_MAX_MEMBERS)
		return err_set(e, ERR_INVALID, "the file is damaged: it has %zu members", n);
	r = check_host(head, e);
	if (r < 0)
		return r;
	k->configs = calloc(n, sizeof(*k->configs));
	if (!k->configs)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	for (size_t i = 0; i < n && r == 0; i++)
		r = add_member(k, json_string_value(json_array_get(members, i)), e);
	return r;
}

static char *where(void *arg, const char *name, struct err *e)
{
	const struct drover_capture *k = arg;
	const char *part = strchr(name, '/');
	char *path = NULL;

	for (size_t i = 0; i < k->n && part && !path; i++) {
		const char *member = k->configs[i].name;
		size_t len = strlen(member);

		if (strncmp(name, member, len) != 0 || name + len != part)
			continue;
		for (size_t j = 0; j < N_PARTS && !path; j++)
			if (strcmp(part + 1, parts[j]) == 0)
				path = store_member_path(&k->inside, member, parts[j]);
	}
	if (!path)
		err_set(e, ERR_INVALID, "the file has '%.100s' in it, which nobody asked for",
			name);
	return path;
}

static bool is_plain(const char *text)
{
	return text && *text && *text != '-' &&
	       text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_-")] == '\0';
}

static bool has_part(const struct drover_capture *k, const char *name, const char *part)
{
	scoped(mem) char *path = store_member_path(&k->inside, name, part);

	return path && files_exist(path);
}

/* What a configuration out of a file may say: nothing about this host. */
static int check_config(const struct drover_capture *k, const char *name,
			const struct member_config *c, struct err *e)
{
	const char *wrong = NULL;

	if (strcmp(c->name, name) != 0 || name_check(member_config_inside(c), NULL) < 0)
		wrong = "name";
	else if (strcmp(c->backend, "qemu") != 0)
		wrong = "backend";
	else if (*c->network && strcmp(c->network, "private") != 0)
		wrong = "network";
	else if (c->n_shares)
		wrong = "shares";
	else if (!is_plain(c->user))
		wrong = "user";
	else if (!has_part(k, name, MEMBER_MEMORY))
		wrong = MEMBER_MEMORY;
	else if (!has_part(k, name, MEMBER_LOGIN_KEY))
		wrong = MEMBER_LOGIN_KEY;
	else if (kernel_path(c) && !has_part(k, name, MEMBER_KERNEL))
		wrong = MEMBER_KERNEL;
	else if (kernel_initrd(c) && !has_part(k, name, MEMBER_INITRD))
		wrong = MEMBER_INITRD;
	else if (has_part(k, name, MEMBER_DISK) && !str_equal(c->disk_format, "qcow2"))
		wrong = MEMBER_DISK;
	return wrong ? err_set(e, ERR_INVALID, "the file is damaged: the %s of %s is not valid",
			       wrong, name)
		     : 0;
}

static void replace(char **text, char *by)
{
	free(*text);
	*text = by;
}

/* What started it here is the member's own from now on; capture_deal says where it lies. */
static int settle_kernel(struct member_config *c, struct err *e)
{
	bool has_kernel = kernel_path(c);
	bool has_initrd = kernel_initrd(c);
	char *line = has_kernel ? kernel_cmdline(c) : NULL;

	replace(&c->cmdline, line);
	replace(&c->kernel_path, has_kernel ? strdup(MEMBER_KERNEL) : NULL);
	replace(&c->initrd_path, has_initrd ? strdup(MEMBER_INITRD) : NULL);
	replace(&c->own_kernel, NULL);
	replace(&c->own_initrd, NULL);
	replace(&c->append, NULL);
	if ((has_kernel && (!line || !c->kernel_path)) || (has_initrd && !c->initrd_path))
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	return 0;
}

/* A disk that stands on another file would have QEMU open that, whatever it is. */
static int check_disks(const struct drover_capture *k, const char *name, struct err *e)
{
	static const char *const disks[] = {MEMBER_DISK, MEMBER_EFI};
	int r = 0;

	for (size_t i = 0; i < sizeof(disks) / sizeof(disks[0]) && r == 0; i++) {
		scoped(mem) char *path = store_member_path(&k->inside, name, disks[i]);

		if (!path)
			return err_set(e, ERR_NO_MEMORY, "out of memory");
		if (files_exist(path))
			r = image_file_check_alone(path, e);
	}
	return r < 0 ? err_prefix(e, "the %s of the file", name) : 0;
}

static int load_member(struct drover_capture *k, struct member_config *c, struct err *e)
{
	char name[NAME_SIZE];
	int r;

	memcpy(name, c->name, sizeof(name));
	r = store_config_load(&k->inside, name, c, e);
	if (r == 0)
		r = check_config(k, name, c, e);
	memcpy(c->name, name, sizeof(name));
	if (r == 0)
		r = settle_kernel(c, e);
	return r < 0 ? r : check_disks(k, name, e);
}

int drover_capture_import(const char *home, int fd, const struct drover_call *o,
			  struct drover_capture **ret, struct drover_error *pe)
{
	struct drover_capture *k = NULL;
	struct limits l;
	struct giveup g;
	struct err e = ERR_INIT;
	int r = limits_from(o, &l, &e);

	g = limits_giveup(&l);
	if (r == 0)
		r = check_descriptor(fd, &e);
	if (r == 0)
		r = capture_new(home, &g, &k, &e);
	if (r == 0) {
		const struct bundle_taker taker = {on_head, where, k};

		r = bundle_read(fd, &taker, &g, &e);
	}
	for (size_t i = 0; k && i < k->n && r == 0; i++)
		r = load_member(k, &k->configs[i], &e);
	if (r < 0) {
		drover_capture_close(k);
		return public_error(pe, &e, r);
	}
	*ret = k;
	return 0;
}
