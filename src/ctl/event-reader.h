/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

#include "strbuf.h"

/* Reads Server-Sent Events from pieces of any size, as the HTML standard says. */

#define EVENT_READER_MAX  (4UL << 20) /* bytes of one event */
#define EVENT_READER_NAME 64U /* bytes of its name that are kept */

typedef struct EventReader {
        /* Called for each event; true: that is enough, the rest is not read. */
        bool (*on_event)(const char *event, const char *data, void *userdata);
        void *userdata;
        StrBuf id; /* to go on from, "" if none came yet */
        /* the parser's */
        StrBuf line, data;
        char event[EVENT_READER_NAME];
        bool has_data, after_cr;
} EventReader;

void event_reader_done(EventReader *r);
/* A new connection: what was not whole is forgotten, the id stays. */
void event_reader_restart(EventReader *r);
/* Returns 0, 1 (on_event said that it is enough), -EFBIG or -ENOMEM. */
int event_reader_feed(EventReader *r, const char *data, size_t n);
