/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "uuid.h"

#include <sys/random.h>

#include "macros.h"

int uuid_new_v7(usec_t realtime_usec, Uuid *ret)
{
        uint64_t ms = realtime_usec / USEC_PER_MSEC;
        Uuid u;

        if (getrandom(u.bytes, sizeof(u.bytes), 0) != (ssize_t) sizeof(u.bytes))
                return errno > 0 ? -errno : -EIO;

        for (int i = 0; i < 6; i++)
                u.bytes[i] = (uint8_t) (ms >> (40 - 8 * i));
        u.bytes[6] = (uint8_t) ((u.bytes[6] & 0x0f) | 0x70);
        u.bytes[8] = (uint8_t) ((u.bytes[8] & 0x3f) | 0x80);

        *ret = u;
        return 0;
}

static int unhex(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return -EINVAL;
}

int uuid_parse(const char *s, Uuid *ret)
{
        Uuid u;
        size_t i = 0;

        if (strlen(s) != UUID_TEXT_SIZE - 1)
                return -EINVAL;

        for (const char *p = s; *p;) {
                int hi, lo;

                if (p - s == 8 || p - s == 13 || p - s == 18 || p - s == 23) {
                        if (*p++ != '-')
                                return -EINVAL;
                        continue;
                }
                hi = unhex(p[0]);
                lo = unhex(p[1]);
                if (hi < 0 || lo < 0)
                        return -EINVAL;
                u.bytes[i++] = (uint8_t) (hi << 4 | lo);
                p += 2;
        }

        *ret = u;
        return 0;
}

const char *uuid_format(const Uuid *u, char buf[static UUID_TEXT_SIZE])
{
        static const char hex[] = "0123456789abcdef";
        char *p = buf;

        for (size_t i = 0; i < sizeof(u->bytes); i++) {
                if (i == 4 || i == 6 || i == 8 || i == 10)
                        *p++ = '-';
                *p++ = hex[u->bytes[i] >> 4];
                *p++ = hex[u->bytes[i] & 15];
        }
        *p = '\0';
        return buf;
}
