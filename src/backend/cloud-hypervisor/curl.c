/* SPDX-License-Identifier: MIT */
#include "backend/cloud-hypervisor/curl.h"

#include "base/err.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>

struct curl_calls curl;

int curl_load(struct err *e)
{
	/* Debian has the second beside the first, with another TLS library: here there is no TLS. */
	static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4"};
	static bool loaded;
	void *library = NULL;

	if (loaded)
		return 0;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && !library; i++)
		library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
	if (!library)
		return err_hint(e,
				err_set(e, ERR_MISSING_PROGRAM,
					"cloud-hypervisor is spoken to through libcurl, which is "
					"not installed"),
				"apt-get install libcurl4");
#define X(name)                                               \
	*(void **)&curl.name = dlsym(library, "curl_" #name); \
	if (!curl.name)                                       \
		return err_set(e, ERR_MISSING_PROGRAM,        \
			       "the libcurl of this host has no curl_" #name);
	CURL_CALLS(X)
#undef X
	if (curl.global_init(CURL_GLOBAL_NOTHING) != CURLE_OK)
		return err_set(e, ERR_NO_MEMORY, "out of memory");
	loaded = true;
	return 0;
}
