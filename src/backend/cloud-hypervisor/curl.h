/* SPDX-License-Identifier: MIT */
/*
 * libcurl, loaded when the first VM of this backend is wanted: with all that it needs it would more than double the size of
 * every other helper (3.7 to 9.3 MB resident), and the time that one takes to start.
 */
#ifndef DROVER_BACKEND_CLOUD_HYPERVISOR_CURL_H
#define DROVER_BACKEND_CLOUD_HYPERVISOR_CURL_H

#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>

struct err;

/* What is called of it, without "curl_". */
#define CURL_CALLS(X)          \
	X(easy_cleanup)        \
	X(easy_getinfo)        \
	X(easy_init)           \
	X(easy_setopt)         \
	X(easy_strerror)       \
	X(global_init)         \
	X(multi_add_handle)    \
	X(multi_assign)        \
	X(multi_cleanup)       \
	X(multi_info_read)     \
	X(multi_init)          \
	X(multi_remove_handle) \
	X(multi_setopt)        \
	X(multi_socket_action) \
	X(slist_append)        \
	X(slist_free_all)

struct curl_calls {
#define X(name) __typeof__(curl_##name) *name;
	CURL_CALLS(X)
#undef X
};

/* Set by curl_load. */
extern struct curl_calls curl;

/* 0, or < 0 with the sentence that says what to install. A second call does nothing. */
int curl_load(struct err *e);

#endif
