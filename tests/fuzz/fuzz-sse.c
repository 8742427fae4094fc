/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A stream of events, of which the first byte says how it is cut: what is read does not depend on
 * it. What the service writes of any text is read as one event with that text. */
#include "event-reader.h"
#include "fuzz.h"
#include "sse.h"

typedef struct Log {
        StrBuf text;
        unsigned n;
} Log;

static bool on_event(const char *event, const char *data, void *userdata)
{
        Log *log = userdata;

        CHECK(*event && strlen(event) < EVENT_READER_NAME && !event[strcspn(event, "\r\n")]);
        CHECK(!strchr(data, '\r'));
        strbuf_printf(&log->text, "<%s|%s>", event, data);
        return ++log->n == 1000;
}

static int read_stream(const char *data, size_t size, size_t piece, Log *log)
{
        EventReader r = { .on_event = on_event, .userdata = log };
        int e = 0;

        for (size_t at = 0; at < size && e == 0; at += piece)
                e = event_reader_feed(&r, data + at, size - at < piece ? size - at : piece);
        strbuf_printf(&log->text, "%s", strbuf_str(&r.id));
        CHECK(strlen(strbuf_str(&r.id)) == r.id.len);
        event_reader_done(&r);
        return e;
}

/* Lines end with LF in what is read. */
static void fold_lines(char *s)
{
        char *to = s;

        for (; *s; s++) {
                if (s[0] == '\r' && s[1] == '\n')
                        continue;
                *to++ = (char) (*s == '\r' ? '\n' : *s);
        }
        *to = '\0';
}

static void check_written(const char *data, size_t size)
{
        _cleanup_(freep) char *text = strndup(data, size);
        _cleanup_(strbuf_done) StrBuf b = {}, expected = {};
        Log log = {};

        CHECK(text);
        sse_put_comment(&b, text);
        sse_put_event(&b, "job", "7", text);
        sse_put_retry(&b, 2000);
        CHECK(read_stream(strbuf_str(&b), b.len, b.len, &log) == 0);
        fold_lines(text);
        strbuf_printf(&expected, "<job|%s>7", text);
        CHECK(log.n == 1 && streq(strbuf_str(&log.text), strbuf_str(&expected)));
        strbuf_done(&log.text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const char *text = (const char *) data + 1;
        Log whole = {}, cut = {};

        if (size < 2)
                return 0;
        CHECK(read_stream(text, size - 1, size - 1, &whole) ==
                read_stream(text, size - 1, data[0] % 32U + 1, &cut));
        CHECK(whole.n == cut.n && streq(strbuf_str(&whole.text), strbuf_str(&cut.text)));
        strbuf_done(&whole.text);
        strbuf_done(&cut.text);
        check_written(text, size - 1);
        return 0;
}
