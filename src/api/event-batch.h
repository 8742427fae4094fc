/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "store-event.h"
#include "time-util.h"

/* Events as they go out, made once for all who read them. Batches form a chain: each holds the one
 * after it, a reader holds the one it stands on, and what nobody will read any more is freed. */

typedef struct EventItem {
        uint64_t xid;
        Uuid uuid;
        bool ended; /* the job's last event */
        uint64_t hash; /* of what it says: a job's event that says the same again is left out */
        /* Places in the batch's text. Each NUL-terminated. */
        size_t job, tenant, subject, kind, queue, state;
        size_t text, text_size;
        size_t full, full_size; /* the same with the result; 0: there is none */
} EventItem;

typedef struct EventBatch EventBatch;
struct EventBatch {
        unsigned refs;
        uint64_t seq;
        EventBatch *next; /* held */
        EventItem *items;
        unsigned n;
        StrBuf text;
        size_t *account; /* where its size is counted */
        size_t size;
};

/* Makes a batch of a page and moves the cursor behind it; s: the page's snapshot. account must
 * outlive the batch. */
int event_batch_new(const StoreEvent *rows, unsigned n_rows, EventCursor *cursor,
        const EventSnapshot *s, size_t *account, EventBatch **ret);
/* Without items: the end of a chain that grows. */
int event_batch_new_empty(size_t *account, EventBatch **ret);
EventBatch *event_batch_ref(EventBatch *b);
EventBatch *event_batch_unref(EventBatch *b);
DEFINE_CLEANUP(EventBatch, event_batch_unref)

static inline const char *event_batch_text(const EventBatch *b, size_t at)
{
        return b->text.data + at;
}

/* Of what an event says. */
uint64_t event_hash(const char *body);
