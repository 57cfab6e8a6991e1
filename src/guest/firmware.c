/* SPDX-License-Identifier: MIT */
/* Which firmware a disk is made for. */
#include "base/err.h"
#include "base/scoped.h"
#include "guest/gpt.h"
#include "guest/guest.h"

#include <string.h>

/* The first sector: a BIOS runs the code at its start if the mark at its end is right. */
enum { CODE_SIZE = 440, MARK_AT = 510 };

static bool has_mark(const uint8_t *head)
{
	return head[MARK_AT] == 0x55 && head[MARK_AT + 1] == 0xaa;
}

static bool has_bios_code(const uint8_t *head)
{
	static const uint8_t none[CODE_SIZE];

	return memcmp(head, none, CODE_SIZE) != 0;
}

static bool has_efi_partition(const struct gpt_partition *parts, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(parts[i].type, GPT_TYPE_EFI_SYSTEM) == 0)
			return true;
	return false;
}

int firmware_of_disk(const char *disk, const char *format, const char *near, enum firmware *ret,
		     struct err *e)
{
	scoped(mem) struct gpt_partition *parts = calloc(GPT_MAX, sizeof(*parts));
	scoped(mem) uint8_t *head = calloc(1, GPT_BYTES);
	size_t n = 0;
	int r;

	if (!parts || !head)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	r = disk_read_head(disk, format, near, head, GPT_BYTES, e);
	if (r < 0)
		return r;
	if (!has_mark(head))
		return err_set(e, ERR_IMAGE,
			       "the image %s has no partition table, and so no boot loader that "
			       "firmware could start",
			       disk);
	*ret = FIRMWARE_BIOS;
	/* The table's own checks ask that partitions are within the disk, whose size is no matter here. */
	if (gpt_parse(head, GPT_BYTES, UINT64_MAX, parts, &n) == 0 && has_efi_partition(parts, n) &&
	    !has_bios_code(head))
		*ret = FIRMWARE_UEFI;
	return 0;
}
