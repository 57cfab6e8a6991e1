/* SPDX-License-Identifier: MIT */
#include "guest/gpt.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum {
	HEADER_MIN = 92,
	HEADER_CRC_AT = 16,
	ENTRIES_LBA_AT = 72,
	ENTRIES_N_AT = 80,
	ENTRY_SIZE_AT = 84,
	ENTRIES_CRC_AT = 88,
	ENTRY_MIN = 128,
	GUID_LEN = 16
};

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t get64(const uint8_t *p)
{
	return get32(p) | (uint64_t)get32(p + 4) << 32;
}

uint32_t gpt_crc32(const uint8_t *data, size_t size)
{
	uint32_t crc = ~0U;

	for (size_t i = 0; i < size; i++) {
		crc ^= data[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320U : 0);
	}
	return ~crc;
}

static bool header_is_sound(const uint8_t *header)
{
	uint8_t copy[GPT_SECTOR];
	uint32_t size = get32(header + 12);

	if (memcmp(header, "EFI PART", 8) != 0 || size < HEADER_MIN || size > GPT_SECTOR)
		return false;
	memcpy(copy, header, GPT_SECTOR);
	memset(copy + HEADER_CRC_AT, 0, 4);
	return gpt_crc32(copy, size) == get32(header + HEADER_CRC_AT);
}

/* The first three groups are little-endian numbers. */
static void format_guid(const uint8_t *g, char ret[GPT_GUID_SIZE])
{
	snprintf(ret, GPT_GUID_SIZE,
		 "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", g[3], g[2],
		 g[1], g[0], g[5], g[4], g[7], g[6], g[8], g[9], g[10], g[11], g[12], g[13], g[14],
		 g[15]);
}

static bool take_entry(const uint8_t *entry, uint64_t sectors, struct gpt_partition *ret)
{
	static const uint8_t unused[GUID_LEN];
	uint64_t first = get64(entry + 32);
	uint64_t last = get64(entry + 40);

	if (memcmp(entry, unused, GUID_LEN) == 0 || first > last || last >= sectors)
		return false;
	ret->start = first * GPT_SECTOR;
	ret->size = (last - first + 1) * GPT_SECTOR;
	format_guid(entry + GUID_LEN, ret->guid);
	format_guid(entry, ret->type);
	return true;
}

int gpt_parse(const uint8_t *data, size_t size, uint64_t disk_bytes,
	      struct gpt_partition ret[GPT_MAX], size_t *ret_n)
{
	const uint8_t *header = data + GPT_SECTOR;
	uint64_t lba;
	uint32_t n;
	uint32_t entry_size;
	size_t found = 0;

	if (size < 2 * (size_t)GPT_SECTOR || !header_is_sound(header))
		return -EINVAL;
	lba = get64(header + ENTRIES_LBA_AT);
	n = get32(header + ENTRIES_N_AT);
	entry_size = get32(header + ENTRY_SIZE_AT);
	if (n > GPT_MAX || entry_size < ENTRY_MIN || entry_size > GPT_SECTOR || lba < 2 ||
	    lba > size / GPT_SECTOR || (uint64_t)n * entry_size > size - lba * GPT_SECTOR)
		return -EINVAL;
	data += lba * GPT_SECTOR;
	if (gpt_crc32(data, (size_t)n * entry_size) != get32(header + ENTRIES_CRC_AT))
		return -EINVAL;
	for (uint32_t i = 0; i < n; i++)
		if (take_entry(data + (size_t)i * entry_size, disk_bytes / GPT_SECTOR, &ret[found]))
			found++;
	*ret_n = found;
	return 0;
}
