/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "time-util.h"

/* When a failed attempt is tried again. All times in microseconds. */
typedef struct RetryPolicy {
        usec_t first_usec; /* RetrySec= */
        usec_t max_usec; /* RetryMaxSec= */
} RetryPolicy;

/* min(first * 2^(attempt - 1), max); attempt counts from 1 (0 is taken as 1). Never overflows. */
usec_t retry_backoff_usec(const RetryPolicy *p, unsigned attempt);

/* Whether an attempt that failed is followed by another; attempt: verdicts before it. The delay is
 * that of retry_delay_usec(). */
bool retry_next(const RetryPolicy *p, int64_t attempt, int64_t max_attempts, usec_t hint_usec,
        uint32_t random, usec_t *ret_delay_usec);

/* The delay to store: the backoff, or the handler's own "retry after" where that is later (0: none;
 * at most REEVE_RETRY_HINT_MAX_USEC is believed), plus up to an eighth of it by the caller's random
 * number (0: nothing is added), so that jobs that failed together do not come back together. The
 * delay is never shorter than what RetrySec= or the hint say. */
usec_t retry_delay_usec(const RetryPolicy *p, unsigned attempt, usec_t hint_usec, uint32_t random);
