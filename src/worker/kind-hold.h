/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

#include "retry.h"

/* A kind whose handler cannot even be started on this host: no socket, no unit, no program. That is
 * no job's fault, so no job pays for it: what was claimed goes back, and the worker claims no more
 * of the kind for a while, longer each time in a row. Pure. */

/* The pause, whatever RetrySec= and RetryMaxSec= say: no circle without rest, and what has been
 * mended is found out soon. */
#define KIND_HOLD_MIN_USEC USEC_PER_SEC
#define KIND_HOLD_MAX_USEC USEC_PER_MIN

typedef struct KindHold {
        unsigned n; /* in a row; 0: nothing is wrong */
        usec_t until_usec; /* CLOCK_MONOTONIC: the next try */
        usec_t since_usec; /* CLOCK_REALTIME of the first; the caller's */
        char code[32];
        char message[512];
} KindHold;

/* A run of the kind could not be started. One more in a row, unless the pause is not over yet: then
 * others were claimed together with the first. Returns true if that should be logged: it is new, or
 * the 2nd, 4th, 8th, ... time. code is cut to what fits, message is valid UTF-8 that was cut by
 * verdict_set_error(). */
bool kind_hold_begin(KindHold *h, const RetryPolicy *policy, const char *code, const char *message,
        usec_t now_usec, uint32_t random);
/* One was started. Returns true if something had been wrong. */
bool kind_hold_end(KindHold *h);
/* Whether it is not to be tried now. */
bool kind_hold_is_on(const KindHold *h, usec_t now_usec);
