/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "time-util.h"

#define UUID_TEXT_SIZE 37 /* with the NUL */

typedef struct Uuid {
        uint8_t bytes[16];
} Uuid;

/* A new UUIDv7 (RFC 9562, 5.7): 48 bits of Unix milliseconds, then random bits. Returns 0 or -errno
 * of getrandom(2). */
int uuid_new_v7(usec_t realtime_usec, Uuid *ret);

/* Reads the 36-character form, either case. Returns 0 or -EINVAL. */
int uuid_parse(const char *s, Uuid *ret);

/* Writes the lower-case 36-character form and returns buf. */
const char *uuid_format(const Uuid *u, char buf[static UUID_TEXT_SIZE]);
