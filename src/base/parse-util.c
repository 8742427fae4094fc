/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "parse-util.h"

#include <ctype.h>
#include <strings.h>

#include "macros.h"
#include "reeve-limits.h"

int parse_bool(const char *s, bool *ret)
{
        static const char *const yes[] = { "1", "yes", "y", "true", "t", "on" };
        static const char *const no[] = { "0", "no", "n", "false", "f", "off" };

        for (size_t i = 0; i < ELEMENTSOF(yes); i++) {
                if (strcasecmp(s, yes[i]) == 0) {
                        *ret = true;
                        return 0;
                }
                if (strcasecmp(s, no[i]) == 0) {
                        *ret = false;
                        return 0;
                }
        }

        return -EINVAL;
}

int parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret)
{
        uint64_t v = 0;

        if (!*s)
                return -EINVAL;

        for (; *s; s++) {
                if (!isdigit((unsigned char) *s))
                        return -EINVAL;
                if (__builtin_mul_overflow(v, 10, &v) ||
                        __builtin_add_overflow(v, (uint64_t) (*s - '0'), &v))
                        return -ERANGE;
        }
        if (v < min || v > max)
                return -ERANGE;

        *ret = v;
        return 0;
}

int parse_unsigned(const char *s, unsigned min, unsigned max, unsigned *ret)
{
        uint64_t v;
        int r;

        r = parse_u64(s, min, max, &v);
        if (r < 0)
                return r;

        *ret = (unsigned) v;
        return 0;
}

int parse_i64(const char *s, int64_t *ret)
{
        bool negative = *s == '-';
        uint64_t v;
        int r;

        r = parse_u64(negative ? s + 1 : s, 0, (uint64_t) INT64_MAX + (negative ? 1 : 0), &v);
        if (r < 0)
                return r;

        *ret = negative ? (int64_t) (0 - v) : (int64_t) v;
        return 0;
}

int parse_size(const char *s, uint64_t *ret)
{
        static const char suffixes[] = "KMGT";
        uint64_t v = 0;
        const char *p, *suffix;

        for (p = s; isdigit((unsigned char) *p); p++)
                if (__builtin_mul_overflow(v, 10, &v) ||
                        __builtin_add_overflow(v, (uint64_t) (*p - '0'), &v))
                        return -ERANGE;
        if (p == s)
                return -EINVAL;

        if (*p) {
                suffix = strchr(suffixes, *p);
                if (!suffix || p[1])
                        return -EINVAL;
                for (int i = 0; i <= suffix - suffixes; i++)
                        if (__builtin_mul_overflow(v, 1024, &v))
                                return -ERANGE;
        }

        *ret = v;
        return 0;
}

/* Table 3-7 of the Unicode Standard. */
size_t utf8_sequence(const char *text, size_t n)
{
        const unsigned char *s = (const unsigned char *) text;
        size_t len;

        if (n == 0)
                return 0;
        if (s[0] < 0x80)
                return 1;
        if (s[0] >= 0xc2 && s[0] <= 0xdf)
                len = 2;
        else if ((s[0] & 0xf0) == 0xe0)
                len = 3;
        else if (s[0] >= 0xf0 && s[0] <= 0xf4)
                len = 4;
        else
                return 0;

        if (len > n)
                return 0;
        for (size_t i = 1; i < len; i++)
                if ((s[i] & 0xc0) != 0x80)
                        return 0;
        if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
                (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
                return 0;

        return len;
}

bool utf8_is_valid(const char *s, size_t n)
{
        for (size_t i = 0, len; i < n; i += len) {
                len = utf8_sequence(s + i, n - i);
                if (len == 0)
                        return false;
        }
        return true;
}

bool name_is_valid(const char *s)
{
        size_t n = strlen(s);

        if (n == 0 || n > REEVE_NAME_MAX || !isalnum((unsigned char) s[0]))
                return false;
        for (size_t i = 0; i < n; i++)
                if (!isalnum((unsigned char) s[i]) && !strchr("._-", s[i]))
                        return false;
        return true;
}
