/* SPDX-License-Identifier: MIT */
/* What a member is made of. Runs in work threads: touches nothing but its struct prepare and the disk. */
#include "base/files.h"
#include "base/host.h"
#include "base/scoped.h"
#include "client/client.h"
#include "guest/guest.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

enum { KEY_MAX = 65536 };

void prepare_done(struct prepare *p)
{
	member_config_done(&p->config);
	for (size_t i = 0; i < p->n_credentials; i++)
		free(p->credentials[i]);
	free(p->credentials);
	p->credentials = NULL;
	p->n_credentials = 0;
}

void prepare_date(struct member_config *c)
{
	time_t now = time(NULL);
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(c->created_at, sizeof(c->created_at), "%Y-%m-%dT%H:%M:%SZ", &tm);
}

void prepare_base(struct prepare *p, const struct prepare *image)
{
	memcpy(p->image_disk, image->image_disk, sizeof(p->image_disk));
	memcpy(p->image_format, image->image_format, sizeof(p->image_format));
	memcpy(p->warm_key, image->warm_key, sizeof(p->warm_key));
}

int prepare_config(struct member_config *c, const struct prepare *image, const char *name,
		   const struct settings *s, struct err *e)
{
	const struct member_config *from = &image->config;
	bool has_kernel = !s->firmware; /* else the disk starts itself */
	int r;

	*c = (struct member_config){.cpus = s->cpus,
				    .memory_mb = s->memory_mb ? s->memory_mb : from->memory_mb,
				    .disk_mb = s->disk_mb,
				    .no_egress = s->no_egress,
				    .second_line = s->warm || s->second_line};
	if (!str_dup(from->image, &c->image) || !str_dup(from->user, &c->user) ||
	    !str_dup(has_kernel ? from->kernel_path : NULL, &c->kernel_path) ||
	    !str_dup(has_kernel ? from->initrd_path : NULL, &c->initrd_path) ||
	    !str_dup(has_kernel ? from->cmdline : NULL, &c->cmdline) ||
	    !str_dup(from->disk_format, &c->disk_format) ||
	    !str_dup(from->provision, &c->provision))
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	snprintf(c->name, sizeof(c->name), "%s", name);
	snprintf(c->backend, sizeof(c->backend), "%s", s->backend);
	snprintf(c->firmware, sizeof(c->firmware), "%s", s->firmware ?: "");
	prepare_date(c);
	r = kernel_configure(c, s, e);
	return r < 0 ? r : shares_configure(c, s->shares, s->n_shares, e);
}

static bool provides(const struct prepare *p, const char *provision)
{
	return !p->is_fake && str_equal(p->config.provision, provision);
}

/* The fake backend looks at no disk, but a member has one. */
static int make_placeholder(const struct prepare *p, const char *file, struct err *e)
{
	scoped(mem) char *path = store_member_path(p->store, p->config.name, file);
	int r;

	if (!path)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	if (files_exist(path))
		return 0;
	r = files_publish(path, "fake\n", 5, 0600);
	return r < 0 ? err_errno(e, r, "write %s", path) : 0;
}

static int make_disk(struct prepare *p, struct err *e)
{
	scoped(mem) char *path = store_member_path(p->store, p->config.name, MEMBER_DISK);
	int64_t mb;

	if (!path)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	if (!p->image_disk[0] || files_exist(path))
		return 0;
	mb = disk_create(path, p->image_disk, p->image_format, (uint64_t)p->config.disk_mb, e);
	if (mb < 0)
		return (int)mb;
	p->config.disk_mb = mb; /* an image may have more than was asked for */
	return 0;
}

/* Once, when the disk is made: which firmware starts it, and for UEFI the variables that it keeps between boots. */
static int make_firmware(struct prepare *p, struct err *e)
{
	scoped(mem) char *path = store_member_path(p->store, p->config.name, MEMBER_EFI);
	char *chosen = p->config.firmware;
	enum firmware wanted = FIRMWARE_BIOS;
	const char *code;
	const char *variables;
	int r;

	if (kernel_path(&p->config) || strcmp(p->config.backend, "qemu") != 0)
		return 0;
	if (!path)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	if (!p->image_disk[0])
		return err_set(e, ERR_IMAGE, "the image %s has no disk that firmware could start",
			       p->config.image);
	r = firmware_of_disk(p->image_disk, p->image_format, path, &wanted, e);
	if (r < 0)
		return r;
	if (!*chosen)
		snprintf(chosen, sizeof(p->config.firmware), "%s",
			 wanted == FIRMWARE_UEFI ? "uefi" : "bios");
	if (strcmp(chosen, "uefi") != 0)
		return 0;
	r = host_find_uefi(&code, &variables, e);
	return r < 0 ? r : disk_copy(variables, "raw", path, NULL, e);
}

/*
 * What points are kept in where there is no disk: a few blocks, until one is saved. cloud-hypervisor saves none, and a member
 * that comes from it to QEMU gets the file then.
 */
static int make_points_file(const struct prepare *p, struct err *e)
{
	scoped(mem) char *path = store_member_path(p->store, p->config.name, MEMBER_POINTS);
	scoped(mem) char *disk = store_member_path(p->store, p->config.name, MEMBER_DISK);
	int64_t mb;

	if (!path || !disk)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	if (str_equal(p->config.backend, "cloud-hypervisor") || files_exist(disk) ||
	    files_exist(path))
		return 0;
	mb = disk_create(path, NULL, NULL, 1, e);
	return mb < 0 ? (int)mb : 0;
}

/* The texts that a seed is made of; the seed borrows them. */
struct seed_texts {
	char *public_key;
	char *host_key;
	char *host_key_public;
};

static inline void scoped_texts(struct seed_texts *t)
{
	if (t->host_key)
		explicit_bzero(t->host_key, strlen(t->host_key));
	free(t->public_key);
	free(t->host_key);
	free(t->host_key_public);
}

static int read_key(const struct prepare *p, const char *file, char **ret, struct err *e)
{
	scoped(mem) char *path = store_member_path(p->store, p->config.name, file);
	int r = path ? files_read(path, KEY_MAX, ret, NULL) : -ENOMEM;

	return r < 0 ? err_errno(e, r, "read %s of %s", file, p->config.name) : 0;
}

static int read_texts(const struct prepare *p, struct seed_texts *t, struct seed *ret,
		      struct err *e)
{
	int r = keys_ensure(p->store, &t->public_key, e);

	if (r == 0)
		r = read_key(p, MEMBER_HOST_KEY, &t->host_key, e);
	if (r == 0)
		r = read_key(p, MEMBER_HOST_PUBLIC, &t->host_key_public, e);
	if (r < 0)
		return r;
	t->host_key_public[strcspn(t->host_key_public, "\n")] = '\0';
	*ret = (struct seed){.name = member_config_inside(&p->config),
			     .mac = p->config.mac,
			     .user = p->config.user,
			     .public_key = t->public_key,
			     .host_key = t->host_key,
			     .host_key_public = t->host_key_public};
	return 0;
}

static int make_seed(struct prepare *p, const struct seed *seed, struct err *e)
{
	scoped(mem) char *path =
		store_member_path(p->store, p->config.name,
				  provides(p, PROVISION_CREDENTIALS) ? "credentials" : MEMBER_SEED);
	int r;

	if (!path)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	if (!provides(p, PROVISION_CREDENTIALS))
		return files_exist(path) ? 0 : seed_write_iso(path, seed, e);
	r = files_mkdir_all(path, 0700);
	if (r < 0)
		return err_errno(e, r, "make directory %s", path);
	return seed_write_credentials(path, seed, &p->credentials, &p->n_credentials, e);
}

/* What makes of a copy of a template this member; for any other start there is nothing to say on the second line. */
static int make_script(const struct prepare *p, const struct seed *seed, struct err *e)
{
	scoped(mem) char *path = store_member_path(p->store, p->config.name, MEMBER_SCRIPT);
	scoped(buf) struct buf b = BUF_INIT;
	const struct identity identity = {.name = seed->name,
					  .user = seed->user,
					  .public_key = seed->public_key,
					  .host_key = seed->host_key,
					  .host_key_public = seed->host_key_public,
					  .mac = p->config.mac,
					  .ip = p->config.ip};
	int r = path ? 0 : -ENOMEM;

	if (r == 0 && p->is_new && p->warm_key[0])
		r = identity_give(&identity, &b);
	if (r == 0)
		r = files_publish(path, b.data, b.len, 0600);
	if (b.data)
		explicit_bzero(b.data, b.len);
	return r < 0 ? err_errno(e, r, "write the script of %s", p->config.name) : 0;
}

/* What tells the guest who it is. */
static int make_identity(struct prepare *p, struct err *e)
{
	scoped(texts) struct seed_texts t = {0};
	struct seed seed = {0};
	int r = read_texts(p, &t, &seed, e);

	if (r == 0)
		r = make_seed(p, &seed, e);
	return r == 0 && p->config.second_line ? make_script(p, &seed, e) : r;
}

/* What lies where a new member is made to go on from is of a fork whose client died: not this member's. */
static void drop_begin(const struct prepare *p)
{
	static const char *const files[] = {MEMBER_MEMORY, MEMBER_POINT};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		scoped(mem) char *path = store_member_path(p->store, p->config.name, files[i]);

		if (path)
			unlink(path);
	}
}

/* Those that the seed is made of: new ones take their time, which passes beside the network's start. */
static int make_keys(const struct prepare *p, struct err *e)
{
	scoped(mem) char *public_key = NULL;
	int r = keys_ensure(p->store, &public_key, e);

	return r < 0 ? r : keys_ensure_host(p->store, p->config.name, e);
}

int prepare_files(struct prepare *p, struct err *e)
{
	int r = kernel_check_member(&p->config, e);

	if (r == 0)
		r = store_member_mkdir(p->store, p->config.name, e);
	if (r == 0)
		r = sizes_apply(p, e);
	if (r == 0 && p->is_new) {
		drop_begin(p);
		store_console_forget(p->store, p->config.name);
	}
	if (r == 0 && p->is_new && p->warm_key[0])
		r = warm_deal(p, e);
	if (r == 0)
		r = giveup_check(p->giveup, e);
	if (r == 0 && p->is_new)
		r = p->is_fake ? make_placeholder(p, MEMBER_DISK, e) : make_disk(p, e);
	if (r == 0 && p->is_new && !p->is_fake)
		r = make_firmware(p, e);
	if (r == 0 && !p->is_fake)
		r = make_points_file(p, e);
	if (r == 0 && !p->is_fake)
		r = make_keys(p, e);
	return r == 0 ? giveup_check(p->giveup, e) : r;
}

int prepare_member(struct prepare *p, struct err *e)
{
	int r = p->is_fake ? make_placeholder(p, MEMBER_SEED, e) : make_identity(p, e);

	if (r == 0)
		r = shares_build(p, e);
	if (r == 0)
		r = store_config_save(p->store, &p->config, e); /* last: now there is a member */
	return r;
}

/* --- The spec ------------------------------------------------------------------------------------------------ */

/* The member's file, when it has it. false: out of memory. */
static bool existing(const struct prepare *p, const char *file, char **ret)
{
	scoped(mem) char *path = store_member_path(p->store, p->config.name, file);

	*ret = path && files_exist(path) ? take_ptr(&path) : NULL;
	return *ret || path;
}

static bool spec_files(const struct prepare *p, struct vm_spec *s)
{
	const char *name = p->config.name;

	s->serial_log_path = store_member_path(p->store, name, MEMBER_SERIAL_LOG);
	if (p->config.second_line) {
		s->script_path = store_member_path(p->store, name, MEMBER_SCRIPT);
		if (!s->script_path)
			return false;
	}
	if (!s->serial_log_path || !existing(p, MEMBER_DISK, &s->disk_path) ||
	    !existing(p, MEMBER_SEED, &s->seed_path) || !existing(p, MEMBER_EFI, &s->efi_path) ||
	    !existing(p, MEMBER_MEMORY, &s->memory_path) ||
	    !existing(p, MEMBER_POINT, &s->point_path))
		return false;
	if (s->disk_path)
		return str_dup(p->config.disk_format, &s->disk_format);
	return p->is_fake || existing(p, MEMBER_POINTS, &s->points_path);
}

static bool spec_kernel(const struct prepare *p, struct vm_spec *s)
{
	const struct member_config *c = &p->config;
	scoped(mem) char *line = NULL;

	if (!str_dup(kernel_path(c), &s->kernel_path) ||
	    !str_dup(kernel_initrd(c), &s->initrd_path))
		return false;
	if (!s->kernel_path)
		return true;
	line = kernel_cmdline(c);
	if (line && provides(p, PROVISION_CREDENTIALS))
		s->cmdline = str_format("%s%ssystemd.hostname=%s", line, *line ? " " : "",
					member_config_inside(c));
	else
		s->cmdline = take_ptr(&line);
	return s->cmdline;
}

static bool spec_credentials(const struct prepare *p, struct vm_spec *s)
{
	int r = 0;

	for (size_t i = 0; i < p->n_credentials && r == 0; i++)
		r = vm_spec_add_path(&s->credential_paths, &s->n_credential_paths,
				     p->credentials[i]);
	return r == 0;
}

int prepare_spec(const struct prepare *p, struct vm_spec *ret, struct err *e)
{
	struct vm_spec s = {
		.cpus = p->config.cpus,
		.memory_bytes = (uint64_t)p->config.memory_mb << 20,
	};

	if (!str_dup(p->config.name, &s.name) || !spec_files(p, &s) || !spec_kernel(p, &s) ||
	    !spec_credentials(p, &s) || shares_spec(p, &s) < 0) {
		vm_spec_done(&s);
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	}
	*ret = s;
	return 0;
}
