/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>

#include "macros.h"

#define SHA256_HEX_MAX 65 /* bytes of the lower-case hexadecimal form with its NUL */

/* SHA-256 (FIPS 180-4) in pieces. The only file that uses libcrypto. */
typedef struct Sha256 Sha256;

/* Errors of all: -ENOMEM, or -EIO if the library refuses (a broken set-up of the machine). */
int sha256_new(Sha256 **ret);
Sha256 *sha256_free(Sha256 *s);
DEFINE_CLEANUP(Sha256, sha256_free)
int sha256_update(Sha256 *s, const void *data, size_t n);
/* Ends it: after this only sha256_free() may be called. */
int sha256_final(Sha256 *s, char ret_hex[static SHA256_HEX_MAX]);

/* All at once. */
int sha256_hex(const void *data, size_t n, char ret_hex[static SHA256_HEX_MAX]);
