/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <time.h>

typedef uint64_t usec_t; /* microseconds, as in sd-event and sd-bus */

#define USEC_INFINITY ((usec_t) UINT64_MAX)
#define USEC_PER_MSEC ((usec_t) 1000)
#define USEC_PER_SEC  ((usec_t) 1000000)
#define USEC_PER_MIN  (60 * USEC_PER_SEC)
#define USEC_PER_HOUR (60 * USEC_PER_MIN)
#define USEC_PER_DAY  (24 * USEC_PER_HOUR)

#define TIMESPAN_MAX 64 /* bytes that format_timespan() needs at most */
#define RFC3339_MAX  40 /* bytes that format_rfc3339() needs at most */

/* The clock's time in microseconds. Durations use CLOCK_BOOTTIME or CLOCK_MONOTONIC, never
 * CLOCK_REALTIME. */
usec_t now_usec(clockid_t clock);

/* Parses a time span as systemd.time(7) writes it: "5min 20s", "1.5h", "infinity"; a bare number is
 * seconds. Units: us ms s min h d w and their long names. Returns 0, -EINVAL (not a span) or
 * -ERANGE (does not fit). */
int parse_timespan(const char *s, usec_t *ret_usec);

/* Writes a span with at most three units ("1h 2min 3s", "15ms", "0", "infinity"). buf has
 * TIMESPAN_MAX bytes and is returned. */
const char *format_timespan(char buf[static TIMESPAN_MAX], usec_t usec);

/* Writes a CLOCK_REALTIME instant as RFC 3339 UTC with milliseconds ("2026-11-21T10:20:30.125Z").
 * Returns buf. */
const char *format_rfc3339(char buf[static RFC3339_MAX], usec_t realtime_usec);

/* Reads an instant as RFC 3339 writes it ("2026-11-21T10:20:30.125Z", "...+01:00"), years 1970 to
 * 9999. Parts of a microsecond are dropped, a leap second counts as the next one's begin. Returns
 * 0 or -EINVAL. */
int parse_rfc3339(const char *s, usec_t *ret_realtime_usec);
