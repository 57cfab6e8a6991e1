/* SPDX-License-Identifier: MIT */
/* Replays a corpus folder: each file whole, cut at every length, and with every byte changed. One TAP line a file. */
#include "fuzz/fuzz.h"

#include "base/files.h"
#include "base/scoped.h"
#include "base/str.h"

#include <stdio.h>
#include <string.h>

enum { MAX_FILE = 1 << 16, MAX_VARIED = 2048 };

/* A heap copy of exact size, so that a sanitizer sees a read beyond it. */
static void one(const char *data, size_t len)
{
	char *copy = malloc(len ? len : 1);

	if (!copy)
		abort();
	memcpy(copy, data, len);
	fuzz_one((const uint8_t *)copy, len);
	free(copy);
}

static void vary(char *data, size_t len)
{
	one(data, len);
	if (len > MAX_VARIED)
		return;
	for (size_t i = 0; i < len; i++) {
		static const char changes[] = {'\0', '"', '{', '}', '\\', '\xff'};
		char kept = data[i];

		one(data, i);
		for (size_t c = 0; c < sizeof(changes); c++) {
			data[i] = changes[c];
			one(data, len);
		}
		data[i] = kept;
	}
}

int main(int argc, char **argv)
{
	scoped(dir) DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;
	struct dirent *entry;
	int n = 0;

	if (!dir) {
		puts("Bail out! no corpus");
		return 1;
	}
	while ((entry = readdir(dir))) {
		scoped(mem) char *path = str_format("%s/%s", argv[1], entry->d_name);
		scoped(mem) char *data = NULL;
		size_t len = 0;

		if (entry->d_name[0] == '.' || !path || files_read(path, MAX_FILE, &data, &len) < 0)
			continue;
		vary(data, len);
		printf("ok %d - %s\n", ++n, entry->d_name);
	}
	printf("1..%d\n", n);
	return n > 0 ? 0 : 1;
}
