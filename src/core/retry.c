/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "retry.h"

#include "reeve-limits.h"

usec_t retry_backoff_usec(const RetryPolicy *p, unsigned attempt)
{
        unsigned shift = attempt > 1 ? attempt - 1 : 0;

        if (p->first_usec == 0)
                return 0;
        /* Shifting max instead of first: it cannot overflow. */
        if (shift >= 64 || p->first_usec > p->max_usec >> shift)
                return p->max_usec;
        return p->first_usec << shift;
}

usec_t retry_delay_usec(const RetryPolicy *p, unsigned attempt, usec_t hint_usec, uint32_t random)
{
        usec_t delay = retry_backoff_usec(p, attempt), jitter;

        if (hint_usec > REEVE_RETRY_HINT_MAX_USEC)
                hint_usec = REEVE_RETRY_HINT_MAX_USEC;
        if (hint_usec > delay)
                delay = hint_usec;

        /* (delay / 8) * (random / 2^32) without a product that leaves 64 bits. */
        jitter = (delay >> 35) * random + (((delay >> 3) & UINT32_MAX) * random >> 32);
        return __builtin_add_overflow(delay, jitter, &delay) ? USEC_INFINITY - 1 : delay;
}

bool retry_next(const RetryPolicy *p, int64_t attempt, int64_t max_attempts, usec_t hint_usec,
        uint32_t random, usec_t *ret_delay_usec)
{
        if (attempt + 1 >= max_attempts)
                return false;
        *ret_delay_usec = retry_delay_usec(p, (unsigned) attempt + 1, hint_usec, random);
        return true;
}
