/* SPDX-License-Identifier: MIT */
#include "client/login.h"

#define REFUSED_NS ((uint64_t)LOGIN_REFUSED_S * UINT64_C(1000000000))

bool login_may_come(struct login_tries *t, enum err_code code, uint64_t now, uint64_t deadline)
{
	if (code == ERR_DENIED && t->refused_since == 0)
		t->refused_since = now;
	if (code == ERR_DENIED && now - t->refused_since > REFUSED_NS)
		return false;
	return now < deadline && (code == ERR_DENIED || code == ERR_SSH ||
				  code == ERR_UNREACHABLE || code == ERR_TIMEOUT);
}
