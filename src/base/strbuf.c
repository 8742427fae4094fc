/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "strbuf.h"

#include <stdio.h>

void strbuf_done(StrBuf *b)
{
        free(b->data);
        *b = (StrBuf){ 0 };
}

/* Makes room for n more bytes and the NUL. Doubles, so that appending is linear altogether. */
static int strbuf_reserve(StrBuf *b, size_t n)
{
        size_t need, size;
        char *p;

        if (b->error < 0)
                return b->error;
        if (__builtin_add_overflow(b->len, n, &need) || __builtin_add_overflow(need, 1, &need))
                return b->error = -ENOMEM;
        if (need <= b->allocated)
                return 0;

        size = b->allocated * 2;
        if (size < need)
                size = need < 64 ? 64 : need;
        p = realloc(b->data, size);
        if (!p)
                return b->error = -ENOMEM;

        b->data = p;
        b->allocated = size;
        return 0;
}

void strbuf_append(StrBuf *b, const void *data, size_t n)
{
        if (strbuf_reserve(b, n) < 0)
                return;
        if (n > 0)
                memcpy(b->data + b->len, data, n);
        b->len += n;
        b->data[b->len] = '\0';
}

void strbuf_puts(StrBuf *b, const char *s)
{
        strbuf_append(b, s, strlen(s));
}

void strbuf_putc(StrBuf *b, char c)
{
        strbuf_append(b, &c, 1);
}

void strbuf_vprintf(StrBuf *b, const char *format, va_list ap)
{
        va_list again;
        int n;

        va_copy(again, ap);
        n = vsnprintf(NULL, 0, format, again);
        va_end(again);
        if (n < 0 || strbuf_reserve(b, (size_t) n) < 0)
                return;

        (void) vsnprintf(b->data + b->len, (size_t) n + 1, format, ap);
        b->len += (size_t) n;
}

void strbuf_printf(StrBuf *b, const char *format, ...)
{
        va_list ap;

        va_start(ap, format);
        strbuf_vprintf(b, format, ap);
        va_end(ap);
}

void strbuf_consume(StrBuf *b, size_t n)
{
        assert(n <= b->len);
        if (n == 0)
                return;
        memmove(b->data, b->data + n, b->len - n + 1);
        b->len -= n;
}

void strbuf_clear(StrBuf *b)
{
        b->len = 0;
        b->error = 0;
        if (b->data)
                b->data[0] = '\0';
}

char *strbuf_steal(StrBuf *b)
{
        char *s;

        strbuf_append(b, "", 0);
        if (b->error < 0) {
                strbuf_done(b);
                return NULL;
        }
        s = b->data;
        *b = (StrBuf){ 0 };
        return s;
}
