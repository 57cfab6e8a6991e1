/* SPDX-License-Identifier: MIT */
/*
 * An empty qcow2, written without qemu-img, whose start costs more than all of this: a cluster for the header, one for the table
 * of reference counts, one for its only block, then the table of the guest's clusters, all zero.
 */
#include "guest/qcow2.h"

#include "base/files.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

enum {
	CLUSTER_BITS = 16,
	CLUSTER = 1 << CLUSTER_BITS,
	ENTRIES = CLUSTER / 8,  /* of a table of offsets */
	COUNTS_AT = CLUSTER,    /* the table of reference counts */
	BLOCK_AT = 2 * CLUSTER, /* its block: 16 bits for each cluster */
	GUEST_AT = 3 * CLUSTER, /* the guest's table */
	BASE_AT = 512,          /* the base's name, in the first cluster */
	BASE_MAX = 1023,
	FORMAT_TYPE = (int)0xe2792aca
};

struct header {
	char magic[4];
	uint32_t version;
	uint64_t base_at;
	uint32_t base_len;
	uint32_t cluster_bits;
	uint64_t bytes;
	uint32_t encryption;
	uint32_t guest_entries;
	uint64_t guest_at;
	uint64_t counts_at;
	uint32_t counts_clusters;
	uint32_t n_snapshots;
	uint64_t snapshots_at;
	uint64_t incompatible;
	uint64_t compatible;
	uint64_t autoclear;
	uint32_t count_order;
	uint32_t header_len;
	struct {
		uint32_t type;
		uint32_t len;
		char text[8];
	} format; /* type 0: there is none, and no other extension */
	uint64_t no_more;
} __attribute__((packed));

/* Clusters of a guest's table of @entries. */
static uint64_t guest_clusters(uint64_t entries)
{
	return entries ? (entries + ENTRIES - 1) / ENTRIES : 1;
}

static int fill_base(struct header *h, const char *base, const char *format)
{
	size_t len = strlen(base);
	size_t format_len = strlen(format);

	if (len > BASE_MAX || format_len > sizeof(h->format.text))
		return -ENAMETOOLONG;
	h->base_at = htobe64(BASE_AT);
	h->base_len = htobe32((uint32_t)len);
	h->format.type = htobe32((uint32_t)FORMAT_TYPE);
	h->format.len = htobe32((uint32_t)format_len);
	memcpy(h->format.text, format, format_len);
	return 0;
}

static int write_at(int fd, const void *data, size_t len, off_t at)
{
	return lseek(fd, at, SEEK_SET) < 0 ? -errno : files_write_all(fd, data, len);
}

int qcow2_write_empty(int fd, uint64_t bytes, const char *base, const char *base_format)
{
	const uint64_t cover = (uint64_t)CLUSTER * ENTRIES; /* of one entry */
	const uint64_t entries = (bytes + cover - 1) / cover;
	const uint64_t clusters = GUEST_AT / CLUSTER + guest_clusters(entries);
	const uint64_t block_at = htobe64(BLOCK_AT);
	uint16_t counts[CLUSTER / 2] = {0};
	struct header h = {.magic = "QFI\xfb",
			   .version = htobe32(3),
			   .cluster_bits = htobe32(CLUSTER_BITS),
			   .bytes = htobe64(bytes),
			   .guest_entries = htobe32((uint32_t)entries),
			   .guest_at = htobe64(GUEST_AT),
			   .counts_at = htobe64(COUNTS_AT),
			   .counts_clusters = htobe32(1),
			   .count_order = htobe32(4),
			   .header_len = htobe32(offsetof(struct header, format))};
	int r = base ? fill_base(&h, base, base_format) : 0;

	if (r == 0 && clusters > CLUSTER / 2)
		r = -EFBIG;
	if (r < 0)
		return r;
	for (uint64_t i = 0; i < clusters; i++)
		counts[i] = htobe16(1);
	r = write_at(fd, &h, sizeof(h), 0);
	if (r == 0 && base)
		r = write_at(fd, base, strlen(base), BASE_AT);
	if (r == 0)
		r = write_at(fd, &block_at, sizeof(block_at), COUNTS_AT);
	if (r == 0)
		r = write_at(fd, counts, clusters * sizeof(counts[0]), BLOCK_AT);
	return r == 0 && ftruncate(fd, (off_t)(clusters * CLUSTER)) < 0 ? -errno : r;
}
