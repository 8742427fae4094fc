/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <strings.h>

#include "http-field.h"
#include "macros.h"
#include "parse-util.h"

static const char *skip_space(const char *s)
{
        return s + strspn(s, " \t");
}

/* The end of a token, as far as a value needs it: up to a separator. */
static size_t token_size(const char *s)
{
        return strcspn(s, " \t;,=\"");
}

bool http_type_is(const char *value, const char *type)
{
        size_t n = strlen(type);

        if (!value)
                return false;
        value = skip_space(value);
        if (strncasecmp(value, type, n) != 0)
                return false;
        value = skip_space(value + n);
        return *value == '\0' || *value == ';';
}

/* Reads a quoted string from behind its first quote. Returns what follows its last, NULL if there
 * is none. Counts in *len what it would write; writes what fits in buf. */
static const char *read_quoted(const char *s, char *buf, size_t size, size_t *len)
{
        for (; *s != '"'; s++) {
                if (*s == '\0')
                        return NULL;
                if (*s == '\\' && (s[1] == '"' || s[1] == '\\'))
                        s++;
                if (*len < size)
                        buf[*len] = *s;
                (*len)++;
        }
        return s + 1;
}

static const char *read_value(const char *s, char *buf, size_t size, size_t *len)
{
        size_t n;

        *len = 0;
        if (*s == '"')
                return read_quoted(s + 1, buf, size, len);
        n = token_size(s);
        if (n == 0)
                return NULL;
        memcpy(buf, s, n < size ? n : size);
        *len = n;
        return s + n;
}

int http_param_get(const char *value, const char *name, char *buf, size_t size)
{
        char ignored[1];
        bool found = false;
        const char *s = value + strcspn(value, ";");

        while (*s == ';') {
                const char *key = skip_space(s + 1);
                size_t n = token_size(key);
                bool wanted = n == strlen(name) && strncasecmp(key, name, n) == 0;
                size_t len;

                if (*key == '\0' && !wanted)
                        break; /* a semicolon at the end */
                if (n == 0 || key[n] != '=' || (wanted && found))
                        return -EINVAL;
                s = read_value(key + n + 1, wanted ? buf : ignored, wanted ? size : 0, &len);
                if (!s)
                        return -EINVAL;
                s = skip_space(s);
                if (wanted && len >= size)
                        return -ENOBUFS;
                if (!wanted)
                        continue;
                buf[len] = '\0';
                found = true;
        }
        return *s == '\0' || *s == ';' ? found : -EINVAL;
}

/* Whether the element's weight is zero: "q=0", "q=0.000". */
static bool weight_is_zero(const char *s, size_t n)
{
        for (size_t i = 0; i + 2 < n; i++) {
                size_t j = i + 2;

                if ((s[i] != 'q' && s[i] != 'Q') || s[i + 1] != '=' || s[j] != '0')
                        continue;
                for (j++; j < n && (s[j] == '.' || s[j] == '0'); j++)
                        ;
                if (j == n || s[j] == ' ' || s[j] == '\t' || s[j] == ';')
                        return true;
        }
        return false;
}

/* How closely an element of Accept names the type: 3 exactly, 2 by its first half, 1 by * / *, 0
 * not at all. */
static int accept_rank(const char *s, size_t n, const char *type)
{
        size_t half = strcspn(type, "/") + 1;

        if (n == strlen(type) && strncasecmp(s, type, n) == 0)
                return 3;
        if (n == half + 1 && strncasecmp(s, type, half) == 0 && s[half] == '*')
                return 2;
        return n == 3 && strncmp(s, "*/*", 3) == 0;
}

bool http_accepts(const char *accept, const char *type)
{
        int best = 0;
        bool taken = false;

        if (!accept || *skip_space(accept) == '\0')
                return true;
        while (*accept != '\0') {
                size_t n;
                int rank;

                accept += strspn(accept, " \t,");
                n = strcspn(accept, ",");
                rank = accept_rank(accept, strcspn(accept, " \t,;"), type);
                if (rank > best) {
                        size_t range = strcspn(accept, ";,");

                        best = rank;
                        taken = !weight_is_zero(accept + range, n - range);
                }
                accept += n;
        }
        return taken;
}

static const char *skip_weak(const char *s)
{
        return strncmp(s, "W/", 2) == 0 ? s + 2 : s;
}

bool http_etag_matches(const char *field, const char *etag)
{
        if (!field)
                return false;
        etag = skip_weak(etag);
        field = skip_space(field);
        if (field[0] == '*' && *skip_space(field + 1) == '\0')
                return true;
        for (;;) {
                const char *end;

                field = skip_weak(field + strspn(field, " \t,"));
                if (*field != '"')
                        return false;
                end = strchr(field + 1, '"');
                if (!end)
                        return false;
                if (strlen(etag) == (size_t) (end - field) + 1 &&
                        strncmp(field, etag, strlen(etag)) == 0)
                        return true;
                field = end + 1;
        }
}

/* At most 18 digits, so that nothing overflows. Returns what follows, NULL if there are none. */
static const char *read_number(const char *s, uint64_t *ret)
{
        uint64_t v = 0;
        size_t n = strspn(s, "0123456789");

        if (n == 0 || n > 18)
                return NULL;
        for (size_t i = 0; i < n; i++)
                v = v * 10 + (uint64_t) (s[i] - '0');
        *ret = v;
        return s + n;
}

int http_range_parse(const char *field, uint64_t size, uint64_t *ret_first, uint64_t *ret_length)
{
        uint64_t first = 0;
        uint64_t last;
        bool suffix;

        if (!field || strncasecmp(field, "bytes=", 6) != 0)
                return RANGE_WHOLE;
        field += 6;
        suffix = *field == '-';
        if (!suffix) {
                field = read_number(field, &first);
                if (!field || *field != '-')
                        return RANGE_WHOLE;
        }
        field++;
        last = size > 0 ? size - 1 : 0;
        if (*field != '\0' || suffix) {
                uint64_t v;

                field = read_number(field, &v);
                if (!field || *field != '\0' || (!suffix && v < first))
                        return RANGE_WHOLE;
                if (suffix) {
                        if (v == 0)
                                return RANGE_OUTSIDE;
                        first = v < size ? size - v : 0;
                } else if (v < last)
                        last = v;
        }
        if (size == 0 || first >= size)
                return RANGE_OUTSIDE;
        *ret_first = first;
        *ret_length = last - first + 1;
        return RANGE_PART;
}
