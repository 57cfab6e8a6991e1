/* SPDX-License-Identifier: MIT */
/* GUID partition tables, from bytes that nobody vouches for. Pure. */
#ifndef DROVER_GUEST_GPT_H
#define DROVER_GUEST_GPT_H

#include <stddef.h>
#include <stdint.h>

enum { GPT_SECTOR = 512, GPT_BYTES = 34 * GPT_SECTOR, GPT_MAX = 128, GPT_GUID_SIZE = 37 };

struct gpt_partition {
	uint64_t start; /* bytes; start and size are within the disk */
	uint64_t size;
	char guid[GPT_GUID_SIZE]; /* the partition's own, as PARTUUID has it */
	char type[GPT_GUID_SIZE]; /* in the same form */
};

#define GPT_TYPE_EFI_SYSTEM "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"

/*
 * The partitions in use. @data: the disk's first @size bytes (GPT_BYTES hold a whole table). -EINVAL where there is no sound
 * table: signature, both checksums, sizes.
 */
int gpt_parse(const uint8_t *data, size_t size, uint64_t disk_bytes,
	      struct gpt_partition ret[GPT_MAX], size_t *ret_n);

/* Of IEEE 802.3, as the table has them. */
uint32_t gpt_crc32(const uint8_t *data, size_t size);

#endif
