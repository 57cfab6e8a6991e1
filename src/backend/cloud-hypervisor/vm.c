/* SPDX-License-Identifier: MIT */
/*
 * What a VM is to cloud-hypervisor.
 *
 * How it works: the program is started with a listening socket for its REST API, so that calls wait in the kernel until it
 * answers, and with one for its events. Then vmm.ping (its version), vm.create, the serial line, vm.boot. The guest runs
 * with the event "booted"; the end is the process' end. Whatever is refused or takes too long before that ends the VM with
 * an error. A helper that follows a killed one asks how far that had come (vm.info) and goes on from there.
 *
 * A guest that resets itself gets a new VM in the same process: the event "rebooting" comes before the old one is closed,
 * the serial line's socket with it, and "rebooted" when there is another.
 */
#include "backend/cloud-hypervisor/vm.h"

#include "base/curl.h"
#include "base/files.h"
#include "base/scoped.h"
#include "base/str.h"
#include "network/links.h"
#include "network/private_net.h"
#include "network/tap.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { CHILD_FD_API = 3, CHILD_FD_EVENTS = 4 };
enum {
	PING_MS = 10000, /* from exec to the first answer */
	CREATE_MS = 10000,
	BOOT_MS = 30000,
	ORDER_MS = 30000, /* pause, resume, counters, power button */
	MIN_VERSION = 41  /* bzImage, serial socket, Landlock */
};

/* Where distributions put the firmware that it boots a disk with; the last is the one that the project itself offers. */
static const char *const firmware_paths[] = {
	"/usr/share/cloud-hypervisor/CLOUDHV.fd",
	"/usr/share/cloud-hypervisor/hypervisor-fw",
};

static const char *find_firmware(void)
{
	for (size_t i = 0; i < sizeof(firmware_paths) / sizeof(firmware_paths[0]); i++)
		if (files_exist(firmware_paths[i]))
			return firmware_paths[i];
	return NULL;
}

static struct local_vm *ch_alloc(struct backend *b)
{
	struct ch_vm *vm = calloc(1, sizeof(*vm));

	return vm ? local_vm_of(&vm->base) : NULL;
}

static int ch_check(struct local_vm *base, struct err *e)
{
	struct ch_vm *vm = ch_vm_of(base);
	const struct vm_spec *s = &vm->spec;

	if (s->n_mount_paths + s->n_mount_rw_paths > 0)
		return err_hint(e,
				err_set(e, ERR_UNSUPPORTED,
					"%s: the backend cloud-hypervisor has no mounts", s->name),
				"use a fixture, or the backend qemu");
	if (ch_check_kvm(ch_of(base->base.backend), e) < 0)
		return err_code_number(e->code);
	if (s->kernel_path)
		return 0;
	vm->firmware = find_firmware();
	if (vm->firmware)
		return 0;
	return err_hint(e,
			err_set(e, ERR_UNSUPPORTED,
				"%s boots by firmware, and cloud-hypervisor's is not installed (%s "
				"or %s)",
				s->name, firmware_paths[0], firmware_paths[1]),
			"use an image whose kernel can be read, or the backend qemu");
}

/* --- What it says -------------------------------------------------------------------------------------------- */

static int unix_socket(const char *path, struct sockaddr_un *ret_address, struct err *e)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (fd < 0)
		return err_errno(e, -errno, "socket");
	if (strlen(path) >= sizeof(ret_address->sun_path)) {
		close(fd);
		return err_set(e, ERR_INVALID, "the socket's path is too long: %s", path);
	}
	memcpy(ret_address->sun_path, path, strlen(path));
	return fd;
}

static int connect_serial(const struct ch_vm *vm, struct err *e)
{
	struct sockaddr_un address;
	int fd = unix_socket(vm->serial_path, &address, e);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		int r = err_errno(e, -errno, "connect to %s", vm->serial_path);

		close(fd);
		return r;
	}
	return fd;
}

/* It goes on without its console, if need be. */
static void follow_reset(struct ch_vm *vm)
{
	struct err e = ERR_INIT;
	int fd;

	if (!vm->console || !vm->serial_path)
		return;
	fd = connect_serial(vm, &e);
	if (fd < 0 || console_reconnect(vm->console, fd) < 0)
		fprintf(stderr, "%s has no console after its reset: %s\n", vm->spec.name,
			fd < 0 ? e.msg : "out of memory");
}

static void on_event(void *arg, const char *source, const char *event)
{
	struct local_vm *vm = arg;

	if (strcmp(source, "vm") != 0)
		return;
	if (strcmp(event, "booted") == 0)
		vm_running(vm);
	else if (strcmp(event, "rebooting") == 0)
		vm_was_reset(vm);
	else if (strcmp(event, "rebooted") == 0)
		follow_reset(ch_vm_of(vm));
}

static void end_refused(struct local_vm *vm, const char *what, const char *error)
{
	scoped(mem) char *text = str_format("cloud-hypervisor did not %s: %s", what, error);

	vm_end_with(vm, ERR_BOOT, text ? text : what);
}

/* The event has come before, unless a helper that was killed had read it. */
static void on_booted(void *arg, json_t *ret, const char *error)
{
	if (error)
		end_refused(arg, "boot it", error);
	else
		vm_running(arg);
}

/* --- Launch -------------------------------------------------------------------------------------------------- */

static int listen_at(const char *path, struct err *e)
{
	struct sockaddr_un address;
	int fd = unix_socket(path, &address, e);

	if (fd < 0)
		return fd;
	unlink(path);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 16) < 0) {
		int r = err_errno(e, -errno, "listen at %s", path);

		close(fd);
		return r;
	}
	return fd;
}

/* Both ways to the serial line, and its copy in the log. */
static int open_console(struct ch_vm *vm, struct err *e)
{
	const char *log = vm->spec.serial_log_path;
	int fd = connect_serial(vm, e);
	int r = fd < 0 ? fd : vm_open_console(local_vm_of(&vm->base), fd, e);

	if (r < 0)
		return r;
	return log ? console_log(vm->console, log, e) : 0;
}

static void boot(struct ch_vm *vm)
{
	struct local_vm *arg = local_vm_of(&vm->base);
	struct err e = ERR_INIT;

	if (open_console(vm, &e) < 0)
		vm_end_with(arg, e.code, e.msg);
	else if (rest_call(vm->rest, "vm.boot", json_null(), BOOT_MS, on_booted, vm) < 0)
		vm_end_with(arg, ERR_NO_MEMORY, "out of memory");
}

static void on_created(void *arg, json_t *ret, const char *error)
{
	if (error)
		end_refused(arg, "take the VM", error);
	else
		boot(ch_vm_of(arg));
}

static void on_ping(void *arg, json_t *ret, const char *error)
{
	struct ch_vm *vm = ch_vm_of(arg);
	struct ch *ch = ch_of(vm->base.backend);
	const char *version = json_string_value(json_object_get(ret, "version"));
	struct err e = ERR_INIT;
	json_t *config;

	if (error) {
		end_refused(arg, "answer", error);
		return;
	}
	if (!version || atoi(version) < MIN_VERSION) {
		err_set(&e, ERR_UNSUPPORTED, "%s is version %s; %d or newer is needed", ch->program,
			version ? version : "unknown", MIN_VERSION);
		vm_end_with(arg, e.code, e.msg);
		return;
	}
	config = config_make(vm, ch->landlock, &e);
	if (!config)
		vm_end_with(arg, e.code, e.msg);
	else if (rest_call(vm->rest, "vm.create", config, CREATE_MS, on_created, vm) < 0)
		vm_end_with(arg, ERR_NO_MEMORY, "out of memory");
	json_decref(config);
}

static int spawn(struct ch_vm *vm, int api, int events, struct err *e)
{
	struct ch *ch = ch_of(vm->base.backend);
	char *argv[] = {
		(char *)"cloud-hypervisor",
		(char *)"--api-socket",
		(char *)"fd=3",
		(char *)"--event-monitor",
		(char *)"fd=4",
		(char *)"--seccomp",
		(char *)"true",
		NULL,
	};
	struct child_options o = {
		.file = ch->program,
		.argv = argv,
		.fds = {{api, CHILD_FD_API}, {events, CHILD_FD_EVENTS}},
		.n_fds = 2,
	};

	return vm_spawn(local_vm_of(&vm->base), &o, e);
}

/* A tap that cloud-hypervisor opens by its name: over REST it takes no descriptor. */
static int make_tap(struct ch_vm *vm, struct err *e)
{
	scoped(fd) int fd = -1;
	int r = private_net_tap(vm->net->net, &fd, vm->ifname, e);

	if (r == 0)
		r = tap_keep(fd, e);
	vm->has_tap = r == 0;
	return r;
}

static int make_paths(struct ch_vm *vm, struct err *e)
{
	const char *dir = ch_of(vm->base.backend)->local.dir;

	vm->api_path = str_format("%s/%s.api", dir, vm->ifname);
	vm->line_dir = str_format("%s/%s", dir, vm->ifname);
	vm->serial_path = str_format("%s/%s/serial", dir, vm->ifname);
	if (!vm->api_path || !vm->line_dir || !vm->serial_path)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	return 0;
}

/* Landlock lets cloud-hypervisor make and remove files in it: a folder of its own, so that it reaches no other member's. */
static int make_line_dir(const struct ch_vm *vm, struct err *e)
{
	int r = files_mkdir_all(vm->line_dir, 0700);

	unlink(vm->serial_path);
	return r < 0 ? err_errno(e, r, "make %s", vm->line_dir) : 0;
}

/* Takes @events, and makes the first call. libcurl is loaded while the program, which runs by now, begins to listen. */
static int open_lines(struct ch_vm *vm, int events, const char *action, rest_reply_cb *on_reply,
		      struct err *e)
{
	uv_loop_t *loop = vm->base.backend->loop;
	int r = curl_load(CURL_GLOBAL_NOTHING, e);

	vm->events = events_open(loop, events, on_event, vm);
	if (r < 0)
		return r;
	vm->rest = rest_open(loop, vm->api_path);
	if (!vm->events || !vm->rest ||
	    rest_call(vm->rest, action, NULL, PING_MS, on_reply, vm) < 0)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	return 0;
}

static int ch_launch(struct local_vm *base, struct err *e)
{
	struct ch_vm *vm = ch_vm_of(base);
	scoped(fd) int api = -1;
	int events[2] = {-1, -1};
	int r = make_tap(vm, e);

	if (r == 0)
		r = make_paths(vm, e);
	if (r == 0) {
		api = listen_at(vm->api_path, e);
		r = api < 0 ? api : make_line_dir(vm, e);
	}
	if (r == 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, events) < 0)
		r = err_errno(e, -errno, "socketpair");
	if (r == 0)
		r = spawn(vm, api, events[1], e);
	if (r == 0)
		r = vm_keep(base, events, 1, e);
	if (r == 0)
		r = open_lines(vm, take_fd(&events[0]), "vmm.ping", on_ping, e);
	close_fd(&events[0]);
	close_fd(&events[1]);
	return r;
}

/* How far the helper came that was killed; the rest is done by this one. A guest runs on without its console, if need be. */
static void on_info(void *arg, json_t *ret, const char *error)
{
	struct ch_vm *vm = ch_vm_of(arg);
	const char *state = json_string_value(json_object_get(ret, "state"));

	if (!state) {
		if (rest_call(vm->rest, "vmm.ping", NULL, PING_MS, on_ping, vm) < 0)
			vm_end_with(arg, ERR_NO_MEMORY, "out of memory");
	} else if (strcmp(state, "Created") == 0) {
		boot(vm);
	} else if (strcmp(state, "Running") == 0) {
		open_console(vm, NULL);
		vm_running(arg);
	} else if (strcmp(state, "Paused") == 0) {
		open_console(vm, NULL);
		vm_found_paused(arg);
	}
}

static int ch_adopt(struct local_vm *base, int *lines, unsigned n, struct err *e)
{
	struct ch_vm *vm = ch_vm_of(base);
	int r;

	if (n != 1)
		return err_set(e, ERR_INTERNAL, "what was left of %s is incomplete", vm->spec.name);
	vm->has_tap = true;
	r = make_paths(vm, e);
	return r < 0 ? r : open_lines(vm, take_fd(&lines[0]), "vm.info", on_info, e);
}

static void remove_path(char **path)
{
	if (*path)
		remove(*path);
	free(*path);
	*path = NULL;
}

static void ch_close(struct local_vm *base)
{
	struct ch_vm *vm = ch_vm_of(base);

	rest_close(vm->rest);
	vm->rest = NULL;
	events_close(vm->events);
	vm->events = NULL;
	remove_path(&vm->api_path);
	remove_path(&vm->serial_path);
	remove_path(&vm->line_dir);
	if (vm->has_tap)
		links_remove(vm->ifname, NULL);
	vm->has_tap = false;
}

/* --- Orders -------------------------------------------------------------------------------------------------- */

/* When the button cannot be pressed, the time for the guest's own end runs out, and the process is ended. */
static void press_button(void *arg, json_t *ret, const char *error)
{
	struct ch_vm *vm = ch_vm_of(arg);

	if (ret && vm->rest)
		rest_call(vm->rest, "vm.power-button", json_null(), ORDER_MS, NULL, NULL);
}

static bool ch_power_button(struct local_vm *base, bool paused)
{
	struct ch_vm *vm = ch_vm_of(base);

	return vm->rest && rest_call(vm->rest, paused ? "vm.resume" : "vm.power-button",
				     json_null(), ORDER_MS, paused ? press_button : NULL, vm) == 0;
}

static void on_held(void *arg, json_t *ret, const char *error)
{
	vm_switched(arg, error);
}

static int ch_hold(struct local_vm *base, bool pause)
{
	return rest_call(ch_vm_of(base)->rest, pause ? "vm.pause" : "vm.resume", json_null(),
			 ORDER_MS, on_held, base);
}

/* {"_disk0": {"read_bytes": N, "write_bytes": N, ...}, "_net1": {...}}; without a disk there is none of it. */
static void on_counters(void *arg, json_t *ret, const char *error)
{
	int64_t unknown = ret ? 0 : -1;
	struct vm_stats s = {.disk_read_bytes = unknown, .disk_written_bytes = unknown};
	const char *name;
	json_t *device;

	json_object_foreach (ret, name, device) {
		s.disk_read_bytes += json_integer_value(json_object_get(device, "read_bytes"));
		s.disk_written_bytes += json_integer_value(json_object_get(device, "write_bytes"));
	}
	vm_answer_stats(arg, &s);
}

static int ch_ask_stats(struct local_vm *base)
{
	return rest_call(ch_vm_of(base)->rest, "vm.counters", NULL, ORDER_MS, on_counters, base);
}

static void ch_free_vm(struct local_vm *base)
{
	free(ch_vm_of(base));
}

const struct hypervisor ch_hypervisor = {
	.name = "cloud-hypervisor",
	.alloc = ch_alloc,
	.check = ch_check,
	.launch = ch_launch,
	.adopt = ch_adopt,
	.close = ch_close,
	.power_button = ch_power_button,
	.hold = ch_hold,
	.ask_stats = ch_ask_stats,
	.free = ch_free_vm,
};
