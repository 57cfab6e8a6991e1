/* SPDX-License-Identifier: MIT */
/* What cloud-hypervisor tells by itself (--event-monitor fd=): JSON objects, one after the other, on a socket. */
#ifndef DROVER_BACKEND_CLOUD_HYPERVISOR_EVENTS_H
#define DROVER_BACKEND_CLOUD_HYPERVISOR_EVENTS_H

#include <uv.h>

struct events;

/* @source is "vmm", "vm", "guest" ..., @event "booted", "paused", "panic" ...; both borrowed. events_close is allowed. */
typedef void events_cb(void *arg, const char *source, const char *event);

/* Takes @fd. What is no event ends the reading, not the VM. NULL: out of memory. */
struct events *events_open(uv_loop_t *loop, int fd, events_cb *cb, void *arg);

/* NULL is harmless. */
void events_close(struct events *v);

#endif
