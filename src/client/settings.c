/* SPDX-License-Identifier: MIT */
/* A call's options with every default filled in, and its progress. */
#include "base/bounds.h"
#include "base/clock.h"
#include "base/host.h"
#include "base/scoped.h"
#include "client/client.h"
#include "config.h"

#include <string.h>

enum {
	DEFAULT_CPUS = 2,
	DEFAULT_DISK_MB = 10240,
	DEFAULT_TIMEOUT_MS = 600000,
	OPTIONS_MAX = 4096, /* bytes: a larger structure is one that nobody initialised */
};

int options_take(void *to, size_t known, const void *from, const char *init, struct err *e)
{
	const unsigned char *bytes = from;
	size_t size = known;

	memset(to, 0, known);
	if (from)
		memcpy(&size, from, sizeof(size));
	if (size < sizeof(size) || size > OPTIONS_MAX)
		return err_set(e, ERR_INVALID, "the options were not initialised with %s", init);
	for (size_t i = known; i < size; i++)
		if (bytes[i])
			return err_hint(
				e,
				err_set(e, ERR_UNSUPPORTED,
					"the options have a field that libdrover " DROVER_VERSION
					" does not know"),
				"run the program with the libdrover that it was built for");
	if (from)
		memcpy(to, from, size < known ? size : known);
	memcpy(to, &known, sizeof(known));
	return 0;
}

int limits_read(const struct drover_call *o, struct limits *ret, struct err *e)
{
	struct drover_call call;
	int r = options_take(&call, sizeof(call), o, "DROVER_CALL_INIT", e);

	*ret = (struct limits){0};
	if (r == 0)
		*ret = (struct limits){call.timeout_ms, call.cancel};
	return r;
}

int limits_from(const struct drover_call *o, struct limits *ret, struct err *e)
{
	int r = limits_read(o, ret, e);

	return r < 0 ? r : cancel_check(ret->cancel, e);
}

struct giveup limits_giveup(const struct limits *l)
{
	return (struct giveup){
		.cancel_fd = l->cancel ? l->cancel->event_fd : -1,
		.end_ms = l->timeout_ms ? clock_ms() + (int64_t)l->timeout_ms : 0,
		.limit_s = (double)l->timeout_ms / 1000,
	};
}

struct giveup cancel_giveup(const struct drover_cancel *cancel)
{
	return (struct giveup){.cancel_fd = cancel ? cancel->event_fd : -1};
}

int cancel_check(const struct drover_cancel *cancel, struct err *e)
{
	const struct giveup g = cancel_giveup(cancel);

	return giveup_check(&g, e);
}

static const char *const backends[] = {"qemu", "cloud-hypervisor", "fake"};

/* @name as one of ours, which is static; NULL: there is none of that name. */
static const char *backend_named(const char *name)
{
	for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++)
		if (strcmp(name, backends[i]) == 0)
			return backends[i];
	return NULL;
}

/* Before an image is fetched for it. A program that nothing would run is refused, once it is known what does. */
static int check_hypervisor(const struct settings *s, bool known, struct err *e)
{
	scoped(mem) char *program = NULL;

	if (strcmp(s->backend, "cloud-hypervisor") != 0 && known && s->hypervisor)
		return err_hint(
			e,
			err_set(e, ERR_INVALID,
				"the backend is %s, which takes no --hypervisor: that is the "
				"program cloud-hypervisor",
				s->backend),
			"for new members, --backend cloud-hypervisor goes with it");
	if (strcmp(s->backend, "cloud-hypervisor") != 0)
		return 0;
	return host_find_cloud_hypervisor(s->hypervisor, &program, e);
}

/* "auto" is QEMU: it runs on every host, with and without KVM, and it alone keeps points. */
static int find_backend(const char *name, struct settings *s, struct err *e)
{
	s->any_backend = !name || !*name || strcmp(name, "auto") == 0;
	s->backend = backend_named(s->any_backend ? "qemu" : name);
	if (!s->backend)
		return err_set(e, ERR_INVALID,
			       "unknown backend '%s': there are auto, qemu, cloud-hypervisor, fake",
			       name);
	return check_hypervisor(s, !s->any_backend, e);
}

static bool is_fake(const char *backend)
{
	return strcmp(backend, "fake") == 0;
}

/* The one that @names had, where none is named. */
static int take_backend(struct settings *s, const struct store *store,
			const struct name_list *names, struct err *e)
{
	for (size_t i = 0; i < names->n; i++) {
		scoped(config) struct member_config config = {0};
		const char *had;

		if (store_config_load(store, names->names[i], &config, NULL) < 0)
			continue; /* it is new, or booting it says what is wrong */
		had = backend_named(config.backend);
		if (!had)
			continue;
		if (s->any_backend) {
			s->any_backend = false;
			s->backend = had;
		}
		if (is_fake(had) != is_fake(s->backend))
			return err_set(e, ERR_INVALID,
				       "member %s was made for the backend %s: it cannot run on %s",
				       names->names[i], had, s->backend);
	}
	return 0;
}

int settings_find_backend(struct settings *s, const struct store *store,
			  const struct name_list *names, struct err *e)
{
	int r = take_backend(s, store, names, e);

	return r < 0 ? r : check_hypervisor(s, true, e);
}

int settings_check_count(const struct settings *s, size_t n, struct err *e)
{
	if (n <= CLUSTER_MAX_MEMBERS || is_fake(s->backend))
		return 0;
	return err_set(e, ERR_NO_ADDRESS, "%zu members: a cluster's network has %d addresses", n,
		       CLUSTER_MAX_MEMBERS);
}

/* One that has said so: what is just being started may not have written it yet. */
static bool has_way_out(const struct drover_cluster *c)
{
	bool any = false;

	for (size_t i = 0; i < c->n_vms && !c->no_egress; i++) {
		scoped(config) struct member_config config = {0};

		if (store_config_load(&c->store, c->vms[i]->name, &config, NULL) < 0)
			continue;
		if (config.no_egress)
			return false;
		any = true;
	}
	return any;
}

/* A network that runs stays as it is, and a member that is to have no way out is given none. */
static int check_egress(struct settings *s, const struct drover_cluster *c,
			const struct name_list *names, struct err *e)
{
	bool none = s->no_egress;

	for (size_t i = 0; i < names->n && !none; i++) {
		scoped(config) struct member_config config = {0};

		none = store_config_load(&c->store, names->names[i], &config, NULL) == 0 &&
		       config.no_egress;
	}
	if (!none || !has_way_out(c))
		return 0;
	return err_hint(e,
			err_set(e, ERR_INVALID,
				"%s is to have no way out, and joins a cluster that has one",
				names->names[0]),
			"`drover down` the cluster first and start it with --no-egress");
}

int settings_join(struct settings *s, const struct drover_cluster *c, const struct name_list *names,
		  struct err *e)
{
	scoped(names) struct name_list live = {0};
	const bool named = !s->any_backend;
	const char *wanted = s->backend;
	int r;

	if (c->n_vms > 0 && name_list_add(&live, c->vms[0]->name) < 0)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	s->any_backend = true;
	r = take_backend(s, &c->store, &live, e);
	if (r == 0 && named && strcmp(wanted, s->backend) != 0)
		return err_set(e, ERR_INVALID, "%s joins a cluster whose backend is %s, not %s",
			       names->names[0], s->backend, wanted);
	if (r == 0)
		r = settings_find_backend(s, &c->store, names, e);
	if (r == 0 && s->network && strcmp(s->network, c->network_kind) != 0)
		return err_set(e, ERR_INVALID, "%s joins a cluster whose network is %s, not %s",
			       names->names[0], c->network_kind, s->network);
	s->network = c->network_kind;
	return r < 0 ? r : check_egress(s, c, names, e);
}

static int find_network(const char *name, const char **ret, struct err *e)
{
	if (!name || !*name)
		return 0;
	if (strcmp(name, "private") != 0 && strcmp(name, "host") != 0)
		return err_set(e, ERR_INVALID, "unknown network '%s': there are private and host",
			       name);
	*ret = name;
	return 0;
}

static int find_firmware(const char *name, const char *backend, const char **ret, struct err *e)
{
	if (!name || !*name || strcmp(name, "auto") == 0)
		return 0;
	if (strcmp(name, "bios") != 0 && strcmp(name, "uefi") != 0)
		return err_set(e, ERR_INVALID, "unknown firmware '%s': there are auto, bios, uefi",
			       name);
	if (strcmp(backend, "cloud-hypervisor") == 0)
		return err_set(
			e, ERR_UNSUPPORTED,
			"cloud-hypervisor has one firmware of its own: --firmware is for qemu");
	*ret = name;
	return 0;
}

int settings_from(const struct drover_options *options, struct settings *ret, struct err *e)
{
	struct drover_options o;
	int r = options_take(&o, sizeof(o), options, "DROVER_OPTIONS_INIT", e);

	if (r < 0)
		return r;
	*ret = (struct settings){
		.home = o.home,
		.hypervisor = o.hypervisor,
		.cpus = o.cpus ? o.cpus : DEFAULT_CPUS,
		.wanted_cpus = o.cpus,
		.wanted_disk_mb = o.disk_mb,
		.memory_mb = o.memory_mb,
		.disk_mb = o.disk_mb ? o.disk_mb : DEFAULT_DISK_MB,
		.timeout_ms = o.timeout_ms ? o.timeout_ms : DEFAULT_TIMEOUT_MS,
		.wanted_timeout_ms = o.timeout_ms,
		.no_egress = o.no_egress,
		.detached = o.detached,
		.temporary = o.temporary,
		.on_progress = o.on_progress,
		.progress_arg = o.progress_arg,
		.cancel = o.cancel,
		.started = clock_ms(),
		.shares = o.shares,
		.n_shares = o.n_shares,
		.kernel = o.kernel,
		.initrd = o.initrd,
		.append = o.append,
		.warm = o.warm,
		.undivided = o.undivided,
	};
	r = find_backend(o.backend, ret, e);
	if (r == 0)
		r = find_network(o.network, &ret->network, e);
	if (r == 0)
		r = find_firmware(o.firmware, ret->backend, &ret->firmware, e);
	if (r < 0)
		return r;
	ret->image = o.image && *o.image ? o.image : "debian-12";
	r = host_check_sizes(ret->cpus, ret->memory_mb, e);
	if (r == 0)
		r = kernel_check(ret, e);
	if (r == 0)
		r = warm_check_settings(ret, e);
	return r < 0 ? r : shares_check(ret->shares, ret->n_shares, e);
}

void settings_progress(const struct settings *s, const char *member, const char *stage, int percent,
		       const char *fmt, ...)
{
	char text[WIRE_MAX_WARNING];
	va_list ap;

	if (!s->on_progress)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	s->on_progress(s->progress_arg, &(struct drover_progress){
						.member = member,
						.stage = stage,
						.text = text,
						.percent = percent,
						.elapsed_ms = clock_ms() - s->started,
					});
}
