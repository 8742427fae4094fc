/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "calendar.h"

#include <ctype.h>
#include <stdint.h>
#include <strings.h>

#include "macros.h"

/* GLOSSARY
 * component  a number, a range A..B, or either with a repetition /N; or the * that stands alone
 * chain      components with commas between them: one field of a date or time
 */

#define CALENDAR_MAX 256 /* bytes of an expression */

static const char *const shortcuts[] = { "minutely", "hourly", "daily", "weekly", "monthly",
        "quarterly", "semiannually", "semi-annually", "biannually", "bi-annually", "yearly",
        "annually" };

static const char *const days[][2] = { { "monday", "mon" }, { "tuesday", "tue" },
        { "wednesday", "wed" }, { "thursday", "thu" }, { "friday", "fri" }, { "saturday", "sat" },
        { "sunday", "sun" } };

typedef struct Field {
        unsigned min, max;
        bool fraction; /* seconds may have one */
        bool year; /* two digits stand for 1970..2069 */
} Field;

static const Field field_year = { .min = 1970, .max = 2199, .year = true };
static const Field field_month = { .min = 1, .max = 12 };
static const Field field_day = { .min = 1, .max = 31 };
static const Field field_hour = { .max = 23 };
static const Field field_minute = { .max = 59 };
static const Field field_second = { .max = 59, .fraction = true };

/* Digits and perhaps a fraction. Advances *p. A repetition (no field) may be any number but 0. */
static bool read_number(const char **p, const Field *f, bool fraction, unsigned *ret)
{
        const char *start = *p;
        unsigned v = 0;

        for (; isdigit((unsigned char) **p); (*p)++) {
                if (v > 100000)
                        return false;
                v = v * 10 + (unsigned) (**p - '0');
        }
        if (*p == start)
                return false;
        if (f && f->year && v < 100)
                v += v < 70 ? 2000 : 1900;
        if (fraction && (*p)[0] == '.' && (*p)[1] != '.') {
                for (start = ++*p; isdigit((unsigned char) **p);)
                        (*p)++;
                if (*p == start)
                        return false;
        }
        *ret = v;
        return !f || (v >= f->min && v <= f->max);
}

static bool read_component(const char **p, const Field *f)
{
        unsigned first, last, step;

        if (!read_number(p, f, f->fraction, &first))
                return false;
        if (strncmp(*p, "..", 2) == 0) {
                *p += 2;
                if (!read_number(p, f, f->fraction, &last) || last < first)
                        return false;
        }
        if (**p == '/') {
                (*p)++;
                if (!read_number(p, NULL, f->fraction, &step))
                        return false;
                return step > 0 || (f->fraction && (*p)[-1] != '0');
        }
        return true;
}

static bool read_chain(const char **p, const Field *f)
{
        if (**p == '*') {
                (*p)++;
                return true;
        }
        for (;;) {
                if (!read_component(p, f))
                        return false;
                if (**p != ',')
                        return true;
                (*p)++;
        }
}

/* MM-DD or YYYY-MM-DD, with ~ instead of the last - to count days from the month's end. */
static bool date_is_valid(const char *s)
{
        const Field *fields[] = { &field_year, &field_month, &field_day };
        size_t n_marks = 0, i;

        for (const char *p = s; *p; p++)
                n_marks += *p == '-' || *p == '~';
        if (n_marks != 1 && n_marks != 2)
                return false;
        for (i = 2 - n_marks; i < ELEMENTSOF(fields); i++) {
                if (!read_chain(&s, fields[i]))
                        return false;
                if (i == 2)
                        break;
                if (*s != '-' && !(i == 1 && *s == '~'))
                        return false;
                s++;
        }
        return *s == '\0';
}

/* HH:MM or HH:MM:SS. */
static bool time_is_valid(const char *s)
{
        if (!read_chain(&s, &field_hour) || *s != ':')
                return false;
        s++;
        if (!read_chain(&s, &field_minute))
                return false;
        if (*s == ':') {
                s++;
                if (!read_chain(&s, &field_second))
                        return false;
        }
        return *s == '\0';
}

static int read_day(const char **p)
{
        for (size_t i = 0; i < ELEMENTSOF(days); i++)
                for (size_t j = 0; j < 2; j++) {
                        size_t n = strlen(days[i][j]);

                        if (strncasecmp(*p, days[i][j], n) == 0 &&
                                !isalpha((unsigned char) (*p)[n])) {
                                *p += n;
                                return (int) i;
                        }
                }
        return -1;
}

/* "Mon", "Mon..Fri", "Mon-Fri", "Mon,Wed". */
static bool weekdays_are_valid(const char *s)
{
        for (;;) {
                int first = read_day(&s);

                if (first < 0)
                        return false;
                if (strncmp(s, "..", 2) == 0 || *s == '-') {
                        s += *s == '-' ? 1 : 2;
                        if (read_day(&s) < first)
                                return false;
                }
                if (*s != ',')
                        return *s == '\0';
                s++;
        }
}

static bool shortcut_is_valid(const char *s)
{
        for (size_t i = 0; i < ELEMENTSOF(shortcuts); i++)
                if (strcasecmp(shortcuts[i], s) == 0)
                        return true;
        return false;
}

static bool zone_is_valid(const char *s)
{
        if (!isalpha((unsigned char) *s) || strstr(s, "..") || strstr(s, "//"))
                return false;
        for (; *s; s++)
                if (!isalnum((unsigned char) *s) && !strchr("/_+-", *s))
                        return false;
        return s[-1] != '/';
}

static bool scan(const char *s, bool *ret_zone)
{
        char copy[CALENDAR_MAX], *save = NULL, *word;
        bool any = false, zone;

        if (strlen(s) >= sizeof(copy))
                return false;
        memcpy(copy, s, strlen(s) + 1);
        word = strtok_r(copy, " \t", &save);
        if (!word)
                return false;

        if (shortcut_is_valid(word)) {
                any = true;
                word = strtok_r(NULL, " \t", &save);
        } else {
                static bool (*const parts[])(
                        const char *) = { weekdays_are_valid, date_is_valid, time_is_valid };

                for (size_t i = 0; i < ELEMENTSOF(parts) && word; i++)
                        if (parts[i](word)) {
                                any = true;
                                word = strtok_r(NULL, " \t", &save);
                        }
        }
        zone = any && word && zone_is_valid(word);
        if (zone)
                word = strtok_r(NULL, " \t", &save);
        *ret_zone = zone;
        return any && !word;
}

bool calendar_is_valid(const char *s)
{
        bool zone;

        return scan(s, &zone);
}

bool calendar_has_zone(const char *s)
{
        bool zone = false;

        return scan(s, &zone) && zone;
}
