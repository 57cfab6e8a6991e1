/* SPDX-License-Identifier: MIT */
/*
 * libcurl, loaded when something is to be downloaded, or the first VM of cloud-hypervisor is wanted. With the thirty libraries
 * that it needs it would more than double the size of every other helper (3.7 to 9.3 MB resident), and take 2.5 ms of the
 * 6 that each command's start took.
 */
#ifndef DROVER_BASE_CURL_H
#define DROVER_BASE_CURL_H

#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>

struct err;

/* What is called of it, without "curl_". */
#define CURL_CALLS(X)          \
	X(easy_cleanup)        \
	X(easy_getinfo)        \
	X(easy_init)           \
	X(easy_perform)        \
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

/*
 * @parts: what of it is wanted, CURL_GLOBAL_X; the first call counts. 0, or < 0 with the sentence that says what to install.
 * For any thread.
 */
int curl_load(long parts, struct err *e);

#endif
