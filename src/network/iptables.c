/* SPDX-License-Identifier: MIT */
#include "network/iptables.h"

#include "base/buf.h"
#include "base/files.h"
#include "base/scoped.h"
#include "base/str.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#define TABLE "filter"

/* A chain of the kernel's, what is lost when it drops, and the commands that let that through. */
static const struct chain {
	unsigned hook;
	const char *name;
	const char *so;
	const char *commands;
} chains[] = {
	{NF_INET_LOCAL_IN, "INPUT", "guests get no address and no names",
	 "iptables-legacy -I INPUT -i drv+ -p udp -m multiport --dports 53,67 -j ACCEPT"},
	{NF_INET_FORWARD, "FORWARD", "guests have no way out",
	 "iptables-legacy -I FORWARD -i drv+ -j ACCEPT && iptables-legacy -I FORWARD -o drv+ "
	 "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"},
};

struct filter {
	struct ipt_getinfo info;
	struct ipt_get_entries *entries; /* owned */
};

/* To ask for a table is to make it: so only for one that is named there. */
static bool is_made(void)
{
	scoped(mem) char *names = NULL;

	return files_read("/proc/net/ip_tables_names", 4096, &names, NULL) == 0 &&
	       (str_starts(names, TABLE "\n") || strstr(names, "\n" TABLE "\n"));
}

static int read_filter(struct filter *f)
{
	scoped(fd) int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	socklen_t len = sizeof(f->info);

	snprintf(f->info.name, sizeof(f->info.name), TABLE);
	if (fd < 0 || getsockopt(fd, IPPROTO_IP, IPT_SO_GET_INFO, &f->info, &len) < 0)
		return -errno;
	len = (socklen_t)(sizeof(*f->entries) + f->info.size);
	f->entries = calloc(1, len);
	if (!f->entries)
		return -ENOMEM;
	snprintf(f->entries->name, sizeof(f->entries->name), TABLE);
	f->entries->size = f->info.size;
	return getsockopt(fd, IPPROTO_IP, IPT_SO_GET_ENTRIES, f->entries, &len) < 0 ? -errno : 0;
}

static const struct ipt_entry *entry_at(const struct filter *f, unsigned at)
{
	return (const void *)((const char *)f->entries->entrytable + at);
}

/* By the last rule of the chain, which is its policy. */
static bool is_dropping(const struct filter *f, unsigned hook)
{
	const struct ipt_entry *last = entry_at(f, f->info.underflow[hook]);
	const struct xt_standard_target *t =
		(const void *)((const char *)last + last->target_offset);

	return (f->info.valid_hooks & (1U << hook)) && t->verdict == -NF_DROP - 1;
}

/* "drv+": the name's beginning counts. */
static bool is_ours(const char *name, const unsigned char *mask)
{
	return strncmp(name, "drv", 3) == 0 && mask[2] && !mask[3];
}

/* Whether the rule at @at is of a chain of the kernel's other than @hook; chains of users may be called by any. */
static bool is_elsewhere(const struct filter *f, unsigned at, unsigned hook)
{
	for (unsigned h = 0; h < NF_INET_NUMHOOKS; h++)
		if (h != hook && (f->info.valid_hooks & (1U << h)) && at >= f->info.hook_entry[h] &&
		    at <= f->info.underflow[h])
			return true;
	return false;
}

static bool knows_us(const struct filter *f, unsigned hook)
{
	const struct ipt_entry *entry;

	for (unsigned at = 0; at < f->info.size; at += entry->next_offset) {
		entry = entry_at(f, at);
		if (!is_elsewhere(f, at, hook) &&
		    (is_ours(entry->ip.iniface, entry->ip.iniface_mask) ||
		     is_ours(entry->ip.outiface, entry->ip.outiface_mask)))
			return true;
	}
	return false;
}

int iptables_what_drops(struct buf *out)
{
	struct filter f = {0};
	int r = is_made() ? read_filter(&f) : -ENOENT;

	for (size_t i = 0; i < sizeof(chains) / sizeof(chains[0]) && r == 0; i++) {
		const struct chain *c = &chains[i];

		if (is_dropping(&f, c->hook) && !knows_us(&f, c->hook))
			r = buf_addf(
				out,
				"%sthe firewall's chain %s of iptables-legacy drops what it does "
				"not know (policy DROP), so %s; let them through with: %s",
				out->len ? "; " : "", c->name, c->so, c->commands);
	}
	free(f.entries);
	return r == -ENOENT ? 0 : r;
}
