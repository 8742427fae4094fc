/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "guard.h"
#include "macros.h"

/* Cuts a text into a HttpHead as the HTTP library does it (NULs in place of line ends), so that the
 * guard can be tested on whole requests. Lines end with "\n" here, whether or not a CR is before
 * it. Returns false if there is no request line. text is changed and must be NUL-terminated. */
static inline bool head_from_text(
        char *text, size_t size, HttpField fields[static 128], HttpHead *ret)
{
        HttpHead h = { .fields = fields, .size = size, .exact = true };
        char *line = text;
        char *end = strchr(line, '\n');
        char *space;

        if (!end)
                return false;
        *end = '\0';
        line[strcspn(line, "\r")] = '\0';
        h.method = line;
        space = strchr(line, ' ');
        if (!space)
                return false;
        *space = '\0';
        h.target = space + 1;
        space = strrchr(space + 1, ' ');
        if (!space)
                return false;
        *space = '\0';
        h.version = space + 1;
        while ((line = end + 1) < text + size && h.n_fields < 128) {
                char *colon;

                end = strchr(line, '\n');
                if (!end)
                        break;
                *end = '\0';
                line[strcspn(line, "\r")] = '\0';
                colon = strchr(line, ':');
                if (!colon)
                        continue;
                *colon++ = '\0';
                colon += strspn(colon, " \t");
                fields[h.n_fields++] = (HttpField){ line, strlen(line), colon, strlen(colon) };
        }
        *ret = h;
        return true;
}
