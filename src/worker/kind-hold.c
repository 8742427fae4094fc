/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kind-hold.h"

#include "macros.h"

static void copy_text(char *buf, size_t size, const char *text)
{
        size_t n = strlen(text);

        if (n >= size)
                n = size - 1;
        while (n > 0 && ((unsigned char) text[n] & 0xc0) == 0x80) /* not in a character */
                n--;
        memcpy(buf, text, n);
        buf[n] = '\0';
}

bool kind_hold_begin(KindHold *h, const RetryPolicy *policy, const char *code, const char *message,
        usec_t now_usec, uint32_t random)
{
        RetryPolicy p = *policy;
        bool news = h->n == 0 || !streq(h->code, code);

        if (!news && kind_hold_is_on(h, now_usec))
                return false;
        if (p.first_usec < KIND_HOLD_MIN_USEC)
                p.first_usec = KIND_HOLD_MIN_USEC;
        if (p.max_usec > KIND_HOLD_MAX_USEC)
                p.max_usec = KIND_HOLD_MAX_USEC;
        if (p.max_usec < KIND_HOLD_MIN_USEC)
                p.max_usec = KIND_HOLD_MIN_USEC;
        if (news)
                h->n = 0;
        h->n++;
        h->until_usec = now_usec + retry_delay_usec(&p, h->n, 0, random);
        copy_text(h->code, sizeof(h->code), code);
        copy_text(h->message, sizeof(h->message), message);
        return (h->n & (h->n - 1)) == 0;
}

bool kind_hold_end(KindHold *h)
{
        bool was = h->n > 0;

        *h = (KindHold){};
        return was;
}

bool kind_hold_is_on(const KindHold *h, usec_t now_usec)
{
        return h->n > 0 && now_usec < h->until_usec;
}
