/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "time-util.h"

/* Reads an instant as RFC 3339 writes it ("2026-11-21T10:20:30.125Z", "...+01:00"), years 1970 to
 * 9999. Parts of a microsecond are dropped, a leap second counts as the next one's begin. Returns
 * 0 or -EINVAL. */
int parse_rfc3339(const char *s, usec_t *ret_realtime_usec);
