/* SPDX-License-Identifier: MIT */
/* One harness a program: libFuzzer drives it (-Dfuzz=true, clang), or replay.c with the corpus (every build). */
#ifndef DROVER_TESTS_FUZZ_H
#define DROVER_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Takes any bytes; aborts when what must hold does not. Returns 0. */
int fuzz_one(const uint8_t *data, size_t size);

#endif
