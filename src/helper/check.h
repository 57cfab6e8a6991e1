/* SPDX-License-Identifier: MIT */
/* drover-helper --check: what of the host only the helper can try. */
#ifndef DROVER_HELPER_CHECK_H
#define DROVER_HELPER_CHECK_H

/* Prints a JSON object a line on stdout: check, state (ok, warning, missing), found, fix. Blocks some 100 ms. 0 or < 0. */
int helper_check(void);

#endif
