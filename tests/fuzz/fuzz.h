/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* One input of a fuzzer. Aborts on a finding; returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* assert() as a call, so that many of them are no more complex than one. */
#define CHECK(expression) fuzz_check((expression), #expression, __FILE__, __LINE__)

static inline void fuzz_check(bool holds, const char *text, const char *file, int line)
{
        if (holds)
                return;
        (void) fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, text);
        abort();
}
