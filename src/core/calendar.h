/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

/* Whether s is a calendar event of systemd.time(7): "daily", "Mon..Fri *-*-* 08:30",
 * "*-*-1 00:00:00 Europe/Berlin". Says nothing about whether the zone exists on a host, nor about
 * dates that never come. */
bool calendar_is_valid(const char *s);
/* Whether a valid one names a zone, UTC included. */
bool calendar_has_zone(const char *s);
