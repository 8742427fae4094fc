/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "time-util.h"

#include <ctype.h>
#include <stdio.h>

#include "macros.h"

usec_t now_usec(clockid_t clock)
{
        struct timespec ts;

        if (clock_gettime(clock, &ts) < 0)
                return 0;
        return (usec_t) ts.tv_sec * USEC_PER_SEC + (usec_t) ts.tv_nsec / 1000;
}

static const struct {
        const char *name;
        usec_t usec;
} span_units[] = {
        { "us", 1 },
        { "usec", 1 },
        { "ms", USEC_PER_MSEC },
        { "msec", USEC_PER_MSEC },
        { "s", USEC_PER_SEC },
        { "sec", USEC_PER_SEC },
        { "second", USEC_PER_SEC },
        { "seconds", USEC_PER_SEC },
        { "m", USEC_PER_MIN },
        { "min", USEC_PER_MIN },
        { "minute", USEC_PER_MIN },
        { "minutes", USEC_PER_MIN },
        { "h", USEC_PER_HOUR },
        { "hr", USEC_PER_HOUR },
        { "hour", USEC_PER_HOUR },
        { "hours", USEC_PER_HOUR },
        { "d", USEC_PER_DAY },
        { "day", USEC_PER_DAY },
        { "days", USEC_PER_DAY },
        { "w", 7 * USEC_PER_DAY },
        { "week", 7 * USEC_PER_DAY },
        { "weeks", 7 * USEC_PER_DAY },
};

static int find_unit(const char *s, size_t n, usec_t *ret)
{
        if (n == 0) {
                *ret = USEC_PER_SEC;
                return 0;
        }

        for (size_t i = 0; i < ELEMENTSOF(span_units); i++)
                if (strlen(span_units[i].name) == n && strncmp(span_units[i].name, s, n) == 0) {
                        *ret = span_units[i].usec;
                        return 0;
                }

        return -EINVAL;
}

/* One "12.5min" of a span. Advances *s. The fraction is kept exact to the microsecond by integers
 * alone. */
static int parse_one_span(const char **s, usec_t *ret)
{
        usec_t whole = 0, frac = 0, scale = 1, unit, total;
        const char *p = *s, *name;
        bool digits = false;
        int r;

        for (; isdigit((unsigned char) *p); p++, digits = true)
                if (__builtin_mul_overflow(whole, 10, &whole) ||
                        __builtin_add_overflow(whole, (usec_t) (*p - '0'), &whole))
                        return -ERANGE;
        if (*p == '.')
                for (p++; isdigit((unsigned char) *p); p++, digits = true)
                        if (scale < 1000000) {
                                frac = frac * 10 + (usec_t) (*p - '0');
                                scale *= 10;
                        }
        if (!digits)
                return -EINVAL;

        while (*p == ' ')
                p++;
        for (name = p; isalpha((unsigned char) *p);)
                p++;
        r = find_unit(name, (size_t) (p - name), &unit);
        if (r < 0)
                return r;

        if (__builtin_mul_overflow(whole, unit, &total) ||
                __builtin_add_overflow(total, frac * unit / scale, &total))
                return -ERANGE;

        *s = p;
        *ret = total;
        return 0;
}

int parse_timespan(const char *s, usec_t *ret_usec)
{
        usec_t sum = 0, one;
        int r;

        while (*s == ' ' || *s == '\t')
                s++;
        if (streq(s, "infinity")) {
                *ret_usec = USEC_INFINITY;
                return 0;
        }
        if (!*s)
                return -EINVAL;

        while (*s) {
                r = parse_one_span(&s, &one);
                if (r < 0)
                        return r;
                if (__builtin_add_overflow(sum, one, &sum) || sum == USEC_INFINITY)
                        return -ERANGE;
                while (*s == ' ' || *s == '\t')
                        s++;
        }

        *ret_usec = sum;
        return 0;
}

const char *format_timespan(char buf[static TIMESPAN_MAX], usec_t usec)
{
        static const struct {
                const char *name;
                usec_t usec;
        } units[] = {
                { "d", USEC_PER_DAY },
                { "h", USEC_PER_HOUR },
                { "min", USEC_PER_MIN },
                { "s", USEC_PER_SEC },
                { "ms", USEC_PER_MSEC },
                { "us", 1 },
        };
        unsigned n_written = 0;
        size_t len = 0;

        if (usec == USEC_INFINITY || usec == 0) {
                snprintf(buf, TIMESPAN_MAX, "%s", usec ? "infinity" : "0");
                return buf;
        }

        for (size_t i = 0; i < ELEMENTSOF(units) && n_written < 3; i++) {
                usec_t n = usec / units[i].usec;

                if (n == 0)
                        continue;
                len += (size_t) snprintf(buf + len, TIMESPAN_MAX - len, "%s%llu%s",
                        n_written ? " " : "", (unsigned long long) n, units[i].name);
                usec %= units[i].usec;
                n_written++;
        }

        return buf;
}

const char *format_rfc3339(char buf[static RFC3339_MAX], usec_t realtime_usec)
{
        time_t t = (time_t) (realtime_usec / USEC_PER_SEC);
        struct tm tm;

        if (!gmtime_r(&t, &tm) || strftime(buf, RFC3339_MAX, "%Y-%m-%dT%H:%M:%S", &tm) == 0) {
                buf[0] = '\0';
                return buf;
        }
        snprintf(buf + strlen(buf), RFC3339_MAX - strlen(buf), ".%03uZ",
                (unsigned) (realtime_usec / USEC_PER_MSEC % 1000));
        return buf;
}
