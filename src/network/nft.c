/* SPDX-License-Identifier: MIT */
#include "network/nft.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/files.h"
#include "base/scoped.h"
#include "base/str.h"
#include "store/host_tables.h"
#include "wire/json.h"

#include <nftables/libnftables.h>
#include <string.h>

/* @ret_output (heap, the caller's) may be NULL: nobody asks. */
static int run(const char *commands, unsigned flags, const char *what, char **ret_output,
	       struct err *e)
{
	struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);
	int r = 0;

	if (!nft)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	nft_ctx_buffer_output(nft);
	nft_ctx_buffer_error(nft);
	nft_ctx_output_set_flags(nft, flags);
	if (nft_run_cmd_from_buffer(nft, commands) != 0) {
		const char *text = nft_ctx_get_error_buffer(nft);

		r = err_set(e, ERR_HOST, "%s: %.*s", what, (int)strcspn(text, "\n"), text);
	} else if (ret_output) {
		*ret_output = strdup(nft_ctx_get_output_buffer(nft));
		r = *ret_output ? 0 : err_set(e, ERR_NO_MEMORY, "out of memory");
	}
	nft_ctx_free(nft);
	return r;
}

int nft_private_make(const char *subnet, const char *out, struct err *e)
{
	char commands[512];
	int r = files_write_into("/proc/sys/net/ipv4/ip_forward", "1");

	if (r < 0)
		return err_errno(e, r, "turn on forwarding");
	snprintf(commands, sizeof(commands),
		 "add table ip drover\n"
		 "add chain ip drover nat { type nat hook postrouting priority 100; }\n"
		 "add rule ip drover nat ip saddr %s oifname \"%s\" masquerade\n",
		 subnet, out);
	return run(commands, 0, "set up NAT with nftables", NULL, e);
}

void nft_private_remove(void)
{
	run("delete table ip drover\n", 0, "", NULL, NULL);
}

int nft_host_make(const struct nft_host *h, struct err *e)
{
	const char *t = h->table;
	const char *b = h->bridge;
	scoped(mem) char *commands = NULL;

	if (h->egress)
		commands = str_format(
			"add table ip %s\n"
			"add chain ip %s nat { type nat hook postrouting priority 100; }\n"
			"add chain ip %s forward { type filter hook forward priority 0; }\n"
			"add rule ip %s nat ip saddr %s oifname != \"%s\" masquerade\n"
			"add rule ip %s forward iifname \"%s\" ip saddr != %s drop\n"
			"add rule ip %s forward iifname != \"%s\" oifname \"%s\" ct state new drop\n",
			t, t, t, t, h->subnet, b, t, b, h->subnet, t, b, b);
	else
		commands = str_format(
			"add table ip %s\n"
			"add chain ip %s forward { type filter hook forward priority 0; }\n"
			"add rule ip %s forward iifname != \"%s\" oifname \"%s\" drop\n"
			"add rule ip %s forward iifname \"%s\" oifname != \"%s\" drop\n",
			t, t, t, b, b, t, b, b);
	if (!commands)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	return run(commands, 0, "set up NAT with nftables", NULL, e);
}

/* --- What there is ---------------------------------------------------------------------------------------------- */

/* The array "nftables" of what @command lists; the caller's reference. */
static int list(const char *command, json_t **ret, struct err *e)
{
	scoped(mem) char *text = NULL;
	scoped(json) json_t *root = NULL;
	json_t *all;
	int r = run(command, NFT_CTX_OUTPUT_JSON, command, &text, e);

	if (r < 0)
		return r;
	root = json_loads(text, 0, NULL);
	all = json_object_get(root, "nftables");
	if (!json_is_array(all))
		return err_set(e, ERR_INTERNAL, "nftables: '%s' gives what is no list", command);
	*ret = json_incref(all);
	return 0;
}

static void note_table(void *arg, const char *name)
{
	const char **wanted = arg;

	if (*wanted && strcmp(*wanted, name) == 0)
		*wanted = NULL;
}

int nft_table_remove(const char *name, struct err *e)
{
	const char *wanted = name;
	char command[64];
	int r = host_tables_each(note_table, &wanted);

	if (r < 0)
		return err_errno(e, r, "list the tables of nftables");
	if (wanted)
		return 0;
	snprintf(command, sizeof(command), "delete table ip %s\n", name);
	return run(command, 0, "remove a table of nftables", NULL, e);
}

/* What a chain that drops by policy is in the way of, and the rules that let it through. */
static const struct hook {
	const char *name;
	const char *so;
	const char *rules[2]; /* the second may be NULL */
} hooks[] = {
	{"input",
	 "guests get no address and no names",
	 {"iifname \"drv*\" udp dport { 53, 67 } accept", NULL}},
	{"forward",
	 "guests have no way out",
	 {"iifname \"drv*\" accept", "oifname \"drv*\" ct state established,related accept"}},
};

/* The hook whose IPv4 packets the base chain @chain drops by its last word, or NULL. */
static const struct hook *find_hook(const json_t *chain)
{
	const char *family = json_text(chain, "family");

	if (strcmp(json_text(chain, "policy"), "drop") != 0 ||
	    (strcmp(family, "ip") != 0 && strcmp(family, "inet") != 0))
		return NULL;
	for (size_t i = 0; i < sizeof(hooks) / sizeof(hooks[0]); i++)
		if (strcmp(json_text(chain, "hook"), hooks[i].name) == 0)
			return &hooks[i];
	return NULL;
}

/* 1: it has a rule about our bridges, however that is written: nft's "drv*", iptables' drv+. */
static int knows_us(const char *chain, struct err *e)
{
	scoped(mem) char *text = NULL;
	scoped(mem) char *command = str_format("list chain %s", chain);
	int r = command ? run(command, 0, command, &text, e)
			: err_set(e, ERR_NO_MEMORY, "out of memory");

	if (r < 0)
		return r;
	return strstr(text, "drv*") || strstr(text, "drv+");
}

/* Adds a sentence on @chain when it is in the way. */
static int judge_chain(const json_t *chain, struct buf *out, struct err *e)
{
	scoped(mem) char *name = str_format("%s %s %s", json_text(chain, "family"),
					    json_text(chain, "table"), json_text(chain, "name"));
	const struct hook *h = find_hook(chain);
	int r = name ? 0 : -ENOMEM;

	if (!h || r < 0)
		return r < 0 ? err_set(e, ERR_NO_MEMORY, "out of memory") : 0;
	r = knows_us(name, e);
	if (r != 0)
		return r < 0 ? r : 0;
	r = buf_addf(out,
		     "%sthe firewall's chain %s drops what it does not know (policy drop), so %s; "
		     "let them through with: nft 'insert rule %s %s",
		     out->len ? "; " : "", name, h->so, name, h->rules[0]);
	if (r == 0 && h->rules[1])
		r = buf_addf(out, "; insert rule %s %s", name, h->rules[1]);
	if (r == 0)
		r = buf_addstr(out, "'");
	return r < 0 ? err_set(e, ERR_NO_MEMORY, "out of memory") : 0;
}

int nft_what_drops(struct buf *out, struct err *e)
{
	scoped(json) json_t *all = NULL;
	int r = list("list chains", &all, e);
	json_t *item;
	size_t i;

	if (r < 0)
		return r;
	json_array_foreach (all, i, item) {
		const json_t *chain = json_object_get(item, "chain");

		r = chain ? judge_chain(chain, out, e) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}
