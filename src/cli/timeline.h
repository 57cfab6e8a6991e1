/* SPDX-License-Identifier: MIT */
/* What happened when in a member's boot, and a picture of it. */
#ifndef DROVER_CLI_TIMELINE_H
#define DROVER_CLI_TIMELINE_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

enum timeline_stage {
	TIMELINE_IMAGE,   /* image, helper and network */
	TIMELINE_PREPARE, /* disk, keys, seed */
	TIMELINE_VMM,     /* until the guest's kernel begins */
	TIMELINE_KERNEL,
	TIMELINE_INIT, /* from the kernel's call of init to the start of the SSH server */
	TIMELINE_SSHD, /* until it answers on the member's address */
	TIMELINE_RESUME, /* instead of those from VMM on, where the guest went on from memory: until that answer */
	TIMELINE_LOGIN,
	TIMELINE_CLOUD_INIT, /* beside the others, where the guest has it */
	TIMELINE_STAGES,
};

struct timeline {
	char member[NAME_SIZE];
	/* Milliseconds since the call that booted it; each stage begins where the one before ends. -1: it has not been. */
	int64_t begin[TIMELINE_STAGES];
	int64_t end[TIMELINE_STAGES];
};

/* "image", "prepare", ... Static. */
const char *timeline_stage_name(enum timeline_stage s);

/* A picture of @n members as an SVG document. 0, or -ENOMEM. */
int timeline_svg(const struct timeline *t, size_t n, struct buf *ret);

#endif
