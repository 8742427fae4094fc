/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "event-reader.h"

#include <stdio.h>

void event_reader_done(EventReader *r)
{
        strbuf_done(&r->id);
        strbuf_done(&r->line);
        strbuf_done(&r->data);
}

static void forget_event(EventReader *r)
{
        strbuf_clear(&r->data);
        r->event[0] = '\0';
        r->has_data = false;
}

void event_reader_restart(EventReader *r)
{
        forget_event(r);
        strbuf_clear(&r->line);
        r->after_cr = false;
}

/* Of a line "name: value", whose value has no NUL. */
static void take_field(EventReader *r, const char *name, const char *value)
{
        if (streq(name, "event")) {
                (void) snprintf(r->event, sizeof(r->event), "%s", value);
        } else if (streq(name, "data")) {
                if (r->has_data)
                        strbuf_putc(&r->data, '\n');
                strbuf_puts(&r->data, value);
                r->has_data = true;
        } else if (streq(name, "id") && strlen(value) < EVENT_READER_MAX) {
                strbuf_clear(&r->id);
                strbuf_puts(&r->id, value);
        }
}

static int take_line(EventReader *r)
{
        char *line = r->line.data;
        char *colon;
        int e = 0;

        if (r->line.len == 0) {
                if (r->has_data)
                        e = r->on_event(r->event[0] ? r->event : "message", strbuf_str(&r->data),
                                r->userdata);
                forget_event(r);
                return e;
        }
        if (strlen(line) == r->line.len && line[0] != ':') {
                colon = strchr(line, ':');
                if (colon)
                        *colon++ = '\0';
                take_field(r, line, colon ? colon + (*colon == ' ') : "");
        }
        strbuf_clear(&r->line);
        e = strbuf_error(&r->data);
        return e < 0 ? e : strbuf_error(&r->id);
}

/* A line ends with LF, CR LF or CR. */
int event_reader_feed(EventReader *r, const char *data, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                bool second = STEAL(r->after_cr) && data[i] == '\n';
                int e;

                if (second)
                        continue;
                if (data[i] != '\n' && data[i] != '\r') {
                        strbuf_putc(&r->line, data[i]);
                        if (r->line.len + r->data.len > EVENT_READER_MAX)
                                return -EFBIG;
                        continue;
                }
                r->after_cr = data[i] == '\r';
                e = strbuf_error(&r->line);
                if (e == 0)
                        e = take_line(r);
                if (e != 0)
                        return e;
        }
        return strbuf_error(&r->line);
}
