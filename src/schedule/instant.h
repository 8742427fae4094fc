/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "time-util.h"

/* Room for "2026-11-21 10:20:30 UTC". */
#define INSTANT_MAX 32

/* The last instant of a calendar event (systemd.time(7)) that is not later than the given time
 * (CLOCK_REALTIME), as text that PostgreSQL and people read. systemd-analyze is asked, so that what
 * the timer and this take for an instant is the same, summer time included. An event without a zone
 * is in UTC. Blocks for some 10 ms for each call of it. Returns 0, -ENOENT (there was none within
 * ten years), -EINVAL (not a calendar event) or another -errno. */
int instant_before(const char *calendar, usec_t at_usec, char ret[static INSTANT_MAX]);
