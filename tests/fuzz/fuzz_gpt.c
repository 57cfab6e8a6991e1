/* SPDX-License-Identifier: MIT */
/* The partition table of a disk from anywhere. The checksums are made right, or nothing behind them would be reached. */
#include "fuzz/fuzz.h"

#include "guest/gpt.h"

#include <stdlib.h>
#include <string.h>

static void put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void mend(uint8_t *data, size_t size)
{
	uint8_t *header = data + GPT_SECTOR;
	uint64_t at = (uint64_t)get32(header + 72) * GPT_SECTOR;
	uint64_t len = (uint64_t)get32(header + 80) * get32(header + 84);

	if (at <= size && len <= size - at)
		put32(header + 88, gpt_crc32(data + at, len));
	put32(header + 16, 0);
	if (get32(header + 12) <= GPT_SECTOR)
		put32(header + 16, gpt_crc32(header, get32(header + 12)));
}

static void check(const uint8_t *data, size_t size)
{
	static const uint64_t disk = 1 << 20;
	struct gpt_partition p[GPT_MAX];
	size_t n = 0;

	if (gpt_parse(data, size, disk, p, &n) < 0)
		return;
	for (size_t i = 0; i < n; i++)
		if (p[i].start > disk || p[i].size > disk - p[i].start ||
		    strlen(p[i].guid) != GPT_GUID_SIZE - 1)
			abort();
}

int fuzz_one(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size > 0 ? size : 1);

	if (!copy)
		return 0;
	memcpy(copy, data, size);
	check(copy, size);
	if (size >= 2 * (size_t)GPT_SECTOR) {
		mend(copy, size);
		check(copy, size);
	}
	free(copy);
	return 0;
}
