/* SPDX-License-Identifier: MIT */
/* The tables of the host's packet filter for IPv4, asked of the kernel without libnftables: a client looks at them too. */
#ifndef DROVER_STORE_HOST_TABLES_H
#define DROVER_STORE_HOST_TABLES_H

/* @name is borrowed. */
typedef void host_table_cb(void *arg, const char *name);

/* Each table of the caller's network namespace. 0 or -errno: -EPERM without CAP_NET_ADMIN; a kernel without has none. */
int host_tables_each(host_table_cb *each, void *arg);

#endif
