/* SPDX-License-Identifier: MIT */
#include "base/curl.h"

#include "base/err.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

struct curl_calls curl;

static int find_calls(void *library, struct err *e)
{
#define X(name)                                               \
	*(void **)&curl.name = dlsym(library, "curl_" #name); \
	if (!curl.name)                                       \
		return err_set(e, ERR_MISSING_PROGRAM,        \
			       "the libcurl of this host has no curl_" #name);
	CURL_CALLS(X)
#undef X
	return 0;
}

static int load(long parts, struct err *e)
{
	/* Debian has the second beside the first, with another TLS library. */
	static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4"};
	void *library = NULL;
	int r;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && !library; i++)
		library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
	if (!library)
		return err_hint(e,
				err_set(e, ERR_MISSING_PROGRAM,
					"HTTP is spoken by libcurl, which is not installed"),
				"apt-get install libcurl4");
	r = find_calls(library, e);
	if (r == 0 && curl.global_init(parts) != CURLE_OK)
		r = err_set(e, ERR_NO_MEMORY, "out of memory");
	return r;
}

int curl_load(long parts, struct err *e)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static bool loaded;
	int r = 0;

	pthread_mutex_lock(&lock);
	if (!loaded)
		r = load(parts, e);
	loaded = r == 0;
	pthread_mutex_unlock(&lock);
	return r;
}
