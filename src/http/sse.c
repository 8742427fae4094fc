/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sse.h"

/* A line of each line of the value. CR ends a line there as well, and would end ours. */
static void put_field(StrBuf *b, const char *name, const char *value)
{
        for (;;) {
                size_t n = strcspn(value, "\r\n");

                strbuf_puts(b, name);
                strbuf_append(b, value, n);
                strbuf_putc(b, '\n');
                if (!value[n])
                        return;
                value += n + (value[n] == '\r' && value[n + 1] == '\n' ? 2 : 1);
        }
}

void sse_put_event(StrBuf *b, const char *event, const char *id, const char *data)
{
        assert(!event[strcspn(event, "\r\n")]);
        strbuf_printf(b, "event: %s\n", event);
        if (id)
                strbuf_printf(b, "id: %s\n", id);
        put_field(b, "data: ", data);
        strbuf_putc(b, '\n');
}

void sse_put_id(StrBuf *b, const char *id)
{
        strbuf_printf(b, "id: %s\n\n", id);
}

void sse_put_comment(StrBuf *b, const char *text)
{
        put_field(b, ": ", text);
        strbuf_putc(b, '\n');
}

void sse_put_retry(StrBuf *b, unsigned msec)
{
        strbuf_printf(b, "retry: %u\n\n", msec);
}
