/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "time-util.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <time.h>

/* Reads n digits into *ret and the separator behind them (0: none). */
static bool take(const char **s, unsigned n, char separator, int *ret)
{
        int v = 0;

        for (unsigned i = 0; i < n; i++, (*s)++) {
                if (!isdigit((unsigned char) **s))
                        return false;
                v = v * 10 + (**s - '0');
        }
        *ret = v;
        if (separator == 0)
                return true;
        return *(*s)++ == separator;
}

static usec_t take_fraction(const char **s)
{
        usec_t usec = 0;
        usec_t unit = USEC_PER_SEC / 10;

        for (; isdigit((unsigned char) **s); (*s)++, unit /= 10)
                usec += unit * (usec_t) (**s - '0');
        return usec;
}

static bool take_offset(const char **s, int *ret_seconds)
{
        int hours;
        int minutes;
        char sign = *(*s)++;

        *ret_seconds = 0;
        if (sign == 'Z' || sign == 'z')
                return true;
        if ((sign != '+' && sign != '-') || !take(s, 2, ':', &hours) || !take(s, 2, 0, &minutes) ||
                hours > 23 || minutes > 59)
                return false;
        *ret_seconds = (hours * 3600 + minutes * 60) * (sign == '-' ? -1 : 1);
        return true;
}

/* Where a leap second or an offset can lead behind the last year that has four digits. */
#define YEAR_10000 253402300800L /* seconds after 1970 */

int parse_rfc3339(const char *s, usec_t *ret)
{
        struct tm tm = {};
        struct tm day;
        usec_t fraction = 0;
        time_t seconds;
        int offset;

        if (!take(&s, 4, '-', &tm.tm_year) || !take(&s, 2, '-', &tm.tm_mon) ||
                !take(&s, 2, 0, &tm.tm_mday) || (*s != 'T' && *s != 't'))
                return -EINVAL;
        s++;
        if (!take(&s, 2, ':', &tm.tm_hour) || !take(&s, 2, ':', &tm.tm_min) ||
                !take(&s, 2, 0, &tm.tm_sec))
                return -EINVAL;
        if (*s == '.') {
                s++;
                if (!isdigit((unsigned char) *s))
                        return -EINVAL;
                fraction = take_fraction(&s);
        }
        if (!take_offset(&s, &offset) || *s != '\0')
                return -EINVAL;
        if (tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60 || tm.tm_year < 1970)
                return -EINVAL;

        tm.tm_year -= 1900;
        tm.tm_mon--;
        day = (struct tm){ .tm_year = tm.tm_year, .tm_mon = tm.tm_mon, .tm_mday = tm.tm_mday };
        seconds = timegm(&day);
        /* A day that the month does not have was made another one. */
        if (day.tm_mon != tm.tm_mon || day.tm_mday != tm.tm_mday)
                return -EINVAL;
        seconds += tm.tm_hour * 3600L + tm.tm_min * 60L + tm.tm_sec - offset;
        if (seconds < 0 || seconds >= YEAR_10000)
                return -EINVAL;
        *ret = (usec_t) seconds * USEC_PER_SEC + fraction;
        return 0;
}
