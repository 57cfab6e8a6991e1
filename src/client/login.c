/* SPDX-License-Identifier: MIT */
#include "client/login.h"

bool login_may_come(struct login_tries *t, enum err_code code, int64_t now_ms, int64_t end_ms)
{
	if (code == ERR_DENIED && t->refused_since == 0)
		t->refused_since = now_ms;
	if (code == ERR_DENIED && now_ms - t->refused_since > LOGIN_REFUSED_S * INT64_C(1000))
		return false;
	return now_ms < end_ms && (code == ERR_DENIED || code == ERR_SSH ||
				   code == ERR_UNREACHABLE || code == ERR_TIMEOUT);
}
