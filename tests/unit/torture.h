/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "test.h"

/* Allocations that fail in turn. torture.c takes the place of malloc() and its family in the whole
 * program, the libraries beneath included (libc, libsystemd, libpq, libcrypto), with GCC and under
 * clang's ASan. */

/* Makes what it needs, calls what is tortured, checks what it got, and frees it all. Returns 0,
 * -ENOMEM, or anything else for what must not be. cmocka's assertions are for test_hold() only. */
typedef int (*TortureCall)(void *userdata);

typedef struct TortureCase {
        const char *name;
        TortureCall call;
        void *userdata;
        /* It does without some allocations: 0 is right too when one failed. */
        bool copes;
} TortureCase;

/* Runs the call whole; then with its first allocation failing, its second, and so on to its last;
 * then with all failing from the first on, the second, and so on. Fails the test if a call did not
 * return -ENOMEM, or left memory or a descriptor behind. Returns how many allocations it makes. */
unsigned torture(const TortureCase *c);
/* All of them, until one without a name. */
void torture_all(const TortureCase *cases);

/* Between them nothing fails: for what a call only needs to begin, or to check. */
void torture_hold(void);
void torture_release(void);
