/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Two lines: a Last-Event-ID and a snapshot. What is taken reads back as it was written; a change
 * that was told is told no more, nor is what was told before. */
#include "fuzz.h"

#include "event-cursor.h"

static void check_text(const EventCursor *c)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        _cleanup_(strbuf_done) StrBuf again = {};
        EventCursor back;

        event_cursor_format(c, &b);
        assert(event_cursor_parse(strbuf_str(&b), &back) == 0);
        event_cursor_format(&back, &again);
        assert(streq(strbuf_str(&b), strbuf_str(&again)));
}

static void check_taking(EventCursor *c, const EventSnapshot *s, uint64_t xid)
{
        const Uuid job = { { 1, 2, 3 } };
        const Uuid next = { { 1, 2, 4 } };
        EventCursor before = *c;

        if (xid == 0 || xid >= s->xmax || event_cursor_has(c, xid, &job))
                return;
        for (unsigned i = 0; i < s->n_open; i++)
                if (s->open[i] == xid)
                        return; /* nothing is seen of it */
        event_cursor_take(c, s, xid, &job);
        assert(event_cursor_has(c, xid, &job));
        assert(!event_cursor_has(c, xid, &next) || event_cursor_has(&before, xid, &next));
        check_text(c);
        /* But for one that contradicts itself: of what is open nothing can have been told. */
        for (unsigned i = 0; i < s->n_open && s->open[i] < c->next.xid; i++)
                assert(s->open[i] == before.next.xid ||
                        event_cursor_has(c, s->open[i], &next) ==
                                event_cursor_has(&before, s->open[i], &next));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(freep) char *text = calloc(1, size + 1);
        EventSnapshot s;
        EventCursor c;
        char *second;

        assert(text);
        memcpy(text, data, size);
        second = strchr(text, '\n');
        if (second)
                *second++ = '\0';
        if (event_cursor_parse(text, &c) < 0)
                return 0;
        check_text(&c);
        if (!second || event_snapshot_parse(second, &s) < 0)
                return 0;
        for (unsigned i = 0; i < c.n_open && i < 4; i++) {
                EventCursor copy = c;

                check_taking(&copy, &s, c.open[i].xid);
        }
        check_taking(&c, &s, c.next.xid);
        check_taking(&c, &s, c.next.xid + 1);
        check_taking(&c, &s, s.xmax - 1);
        event_cursor_finish(&c, &s);
        check_text(&c);
        return 0;
}
