/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "uri.h"

#include "parse-util.h"

static int hex_value(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return -1;
}

static bool is_control(char c, bool multiline)
{
        if (multiline && (c == '\n' || c == '\r' || c == '\t'))
                return false;
        return (unsigned char) c < ' ' || c == 0x7f;
}

static int decode(const char *s, size_t n, bool plus, bool multiline, char *buf)
{
        size_t len = 0;

        for (size_t i = 0; i < n; i++) {
                char c = s[i];

                if (c == '%') {
                        int high = i + 2 < n ? hex_value(s[i + 1]) : -1;
                        int low = i + 2 < n ? hex_value(s[i + 2]) : -1;

                        if (high < 0 || low < 0)
                                return -EINVAL;
                        c = (char) (high * 16 + low);
                        i += 2;
                } else if (c == '+' && plus)
                        c = ' ';
                if (is_control(c, multiline))
                        return -EINVAL;
                buf[len++] = c;
        }
        if (!utf8_is_valid(buf, len))
                return -EINVAL;
        return (int) len;
}

int uri_decode(const char *s, size_t n, bool plus, char *buf)
{
        return decode(s, n, plus, false, buf);
}

/* Decodes one half of a pair to *at, with a NUL, and moves *at on. */
static char *take(const char *s, size_t n, bool multiline, char **at)
{
        char *start = *at;
        int len = decode(s, n, true, multiline, start);

        if (len < 0)
                return NULL;
        start[len] = '\0';
        *at = start + len + 1;
        return start;
}

static int take_pair(UriParams *p, const char *s, size_t n, bool multiline, char **at)
{
        const char *equals = memchr(s, '=', n);
        size_t name_size = equals ? (size_t) (equals - s) : n;
        UriParam item;

        item.name = take(s, name_size, false, at);
        if (!item.name || item.name[0] == '\0')
                return URI_MALFORMED;
        item.value = equals ? take(equals + 1, n - name_size - 1, multiline, at)
                            : take("", 0, false, at);
        if (!item.value)
                return URI_MALFORMED;
        if (uri_params_get(p, item.name))
                return URI_DUPLICATE;
        p->items[p->n_items++] = item;
        return URI_DONE;
}

int uri_params_parse(const char *s, size_t n, size_t max, bool multiline, UriParams *ret)
{
        UriParams p = {};
        size_t count = 1;
        char *at;
        int r = URI_DONE;

        for (size_t i = 0; i < n; i++)
                count += s[i] == '&';
        if (n > 0 && count > max)
                return URI_TOO_MANY;
        /* Each pair may need two NULs more than its text has separators. */
        p.buffer = malloc(n + 2 * count + 1);
        p.items = new0(UriParam, count);
        if (!p.buffer || !p.items) {
                uri_params_done(&p);
                return -ENOMEM;
        }
        at = p.buffer;
        for (size_t i = 0; i < n && r == URI_DONE;) {
                const char *end = memchr(s + i, '&', n - i);
                size_t size = end ? (size_t) (end - (s + i)) : n - i;

                r = take_pair(&p, s + i, size, multiline, &at);
                i += size + 1;
        }
        if (r != URI_DONE) {
                uri_params_done(&p);
                return r;
        }
        *ret = p;
        return URI_DONE;
}

void uri_params_done(UriParams *p)
{
        p->items = mfree(p->items);
        p->buffer = mfree(p->buffer);
        p->n_items = 0;
}

const char *uri_params_get(const UriParams *p, const char *name)
{
        for (size_t i = 0; i < p->n_items; i++)
                if (streq(p->items[i].name, name))
                        return p->items[i].value;
        return NULL;
}
