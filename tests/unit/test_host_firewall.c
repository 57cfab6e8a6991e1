/* SPDX-License-Identifier: MIT */
/* Firewalls that are in the way of guests of the host, and the rules that are told. */
#include "host.h"

#include "base/scoped.h"
#include "base/str.h"
#include "network/host_net.h"

#include <string.h>

/* Runs what stands between "nft '" and "'" in @text, each time; how often that was. */
static int run_rules(const char *text)
{
	int n = 0;

	while ((text = strstr(text, ": nft '"))) {
		scoped(mem) char *command = NULL;
		const char *end = strchr(text + 7, '\'');

		command = end ? strndup(text + 2, (size_t)(end + 1 - (text + 2))) : NULL;
		if (!command || !sh(command))
			return -1;
		text = end;
		n++;
	}
	return n;
}

static int body_firewalls(void)
{
	static const struct {
		const char *chain;
		const char *rule;
	} all[] = {
		{"inet fw f { type filter hook forward priority 10; policy drop; }", "oifname"},
		{"ip filter FORWARD { type filter hook forward priority 0; policy drop; }",
		 "oifname"},
		{"ip filter INPUT { type filter hook input priority 0; policy drop; }",
		 "udp dport { 53, 67 }"},
	};
	scoped(mem) char *both = NULL;

	NEED(sh("nft 'add table ip6 six; add table ip out; add table inet fw; add table ip filter;"
		"add chain ip6 six f { type filter hook forward priority 0; policy drop; };"
		"add chain ip out o { type filter hook output priority 0; policy drop; };"
		"add chain inet fw ok { type filter hook forward priority 0; policy accept; }'"));
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		scoped(mem) char *before = host_net_warning();
		scoped(mem) char *make = str_format("nft 'add chain %s'", all[i].chain);
		scoped(mem) char *warning = NULL;
		scoped(mem) char *after = NULL;

		NEED(!before && sh(make));
		warning = host_net_warning();
		NEED(warning && strstr(warning, all[i].rule));
		NEED(run_rules(warning) == 1); /* the very command */
		after = host_net_warning();
		NEED(!after);
	}
	NEED(sh("nft 'flush chain ip filter INPUT; flush chain ip filter FORWARD'"));
	both = host_net_warning();
	NEED(both && run_rules(both) == 2);
	return 0;
}

/* Docker's chains and policy, of the old kind. A rule that lets guests through may be in a chain of the user's. */
static int body_iptables_legacy(void)
{
	static const char *const chains[] = {"FORWARD", "INPUT"};
	char command[128];

	NEED(!host_net_warning() && sh("! grep -q filter /proc/net/ip_tables_names"));
	NEED(sh("iptables-legacy -N DOCKER-USER && iptables-legacy -I FORWARD -j DOCKER-USER"));
	for (size_t i = 0; i < sizeof(chains) / sizeof(chains[0]); i++) {
		scoped(mem) char *before = host_net_warning();
		scoped(mem) char *warning = NULL;
		scoped(mem) char *after = NULL;
		const char *rule;

		snprintf(command, sizeof(command), "iptables-legacy -P %s DROP", chains[i]);
		NEED(!before && sh(command));
		warning = host_net_warning();
		rule = warning ? strstr(warning, "iptables-legacy -I ") : NULL;
		NEED(rule && strstr(warning, chains[i]) && sh(rule));
		after = host_net_warning();
		NEED(!after);
	}
	NEED(sh("iptables-legacy -F && iptables-legacy -A DOCKER-USER -i drv+ -j ACCEPT && "
		"iptables-legacy -A INPUT -i drv+ -j ACCEPT"));
	NEED(!host_net_warning());
	return 0;
}

ON_A_HOST(a_firewall_that_drops_is_told_with_the_rule_that_mends_it, body_firewalls)
ON_A_HOST(iptables_legacy_that_drops_is_told_with_the_rule_that_mends_it, body_iptables_legacy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_firewall_that_drops_is_told_with_the_rule_that_mends_it),
		TEST(iptables_legacy_that_drops_is_told_with_the_rule_that_mends_it),
	};

	return RUN_TESTS(tests);
}
