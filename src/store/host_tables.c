/* SPDX-License-Identifier: MIT */
#include "store/host_tables.h"

#include "base/scoped.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

enum { MESSAGES_MAX = 32 << 10 };

static void tell_table(const struct nlmsghdr *h, host_table_cb *each, void *arg)
{
	size_t at = NLMSG_SPACE(sizeof(struct nfgenmsg));

	while (at + sizeof(struct nlattr) <= h->nlmsg_len) {
		const char *text = (const char *)h + at;
		struct nlattr a;

		memcpy(&a, text, sizeof(a));
		if (a.nla_len < NLA_HDRLEN || a.nla_len > h->nlmsg_len - at)
			return;
		text += NLA_HDRLEN;
		if ((a.nla_type & NLA_TYPE_MASK) == NFTA_TABLE_NAME &&
		    memchr(text, '\0', a.nla_len - NLA_HDRLEN))
			each(arg, text);
		at += NLA_ALIGN(a.nla_len);
	}
}

/* 1: there is more; 0: that was all; or -errno. */
static int read_messages(const char *data, size_t len, host_table_cb *each, void *arg)
{
	size_t at = 0;

	while (at + sizeof(struct nlmsghdr) <= len) {
		const struct nlmsghdr *h = (const void *)(data + at);
		struct nlmsgerr error;

		if (h->nlmsg_len < sizeof(*h) || h->nlmsg_len > len - at)
			return -EBADMSG;
		if (h->nlmsg_type == NLMSG_DONE)
			return 0;
		if (h->nlmsg_type == NLMSG_ERROR) {
			if (h->nlmsg_len < NLMSG_SPACE(sizeof(error)))
				return -EBADMSG;
			memcpy(&error, (const char *)h + NLMSG_HDRLEN, sizeof(error));
			return error.error;
		}
		tell_table(h, each, arg);
		at += NLMSG_ALIGN(h->nlmsg_len);
	}
	return 1;
}

/* A kernel that was built without answers so. */
static bool is_absent(int r)
{
	return r == -EPROTONOSUPPORT || r == -EAFNOSUPPORT || r == -EOPNOTSUPP || r == -EINVAL;
}

int host_tables_each(host_table_cb *each, void *arg)
{
	const struct {
		struct nlmsghdr head;
		struct nfgenmsg body;
	} request = {.head = {.nlmsg_len = sizeof(request),
			      .nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE,
			      .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
		     .body = {.nfgen_family = NFPROTO_IPV4, .version = NFNETLINK_V0}};
	scoped(fd) int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	scoped(mem) char *data = malloc(MESSAGES_MAX);
	int r = 1;

	if (!data)
		return -ENOMEM;
	if (fd < 0 || send(fd, &request, sizeof(request), 0) < 0)
		return is_absent(-errno) ? 0 : -errno;
	while (r > 0) {
		ssize_t n = recv(fd, data, MESSAGES_MAX, 0);

		r = n < 0 ? -errno : read_messages(data, (size_t)n, each, arg);
	}
	return is_absent(r) ? 0 : r;
}
