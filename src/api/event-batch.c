/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "event-batch.h"

#include "job.h"
#include "parse-util.h"
#include "sse.h"

int event_batch_new_empty(size_t *account, EventBatch **ret)
{
        EventBatch *b = new0(EventBatch, 1);

        if (!b)
                return -ENOMEM;
        b->refs = 1;
        b->account = account;
        *ret = b;
        return 0;
}

EventBatch *event_batch_ref(EventBatch *b)
{
        b->refs++;
        return b;
}

EventBatch *event_batch_unref(EventBatch *b)
{
        while (b && --b->refs == 0) {
                EventBatch *next = b->next;

                *b->account -= b->size;
                free(b->items);
                strbuf_done(&b->text);
                free(b);
                b = next;
        }
        return NULL;
}

/* FNV-1a. */
uint64_t event_hash(const char *body)
{
        uint64_t h = 14695981039346656037ULL;

        for (; *body; body++)
                h = (h ^ (unsigned char) *body) * 1099511628211ULL;
        return h;
}

static size_t put(StrBuf *b, const char *text)
{
        size_t at = b->len;

        text = text ? text : "";
        strbuf_append(b, text, strlen(text) + 1);
        return at;
}

static size_t put_event(StrBuf *b, const char *event, const char *id, const char *body, size_t *ret)
{
        size_t at = b->len;

        sse_put_event(b, event, id, body);
        *ret = b->len - at;
        return at;
}

/* The body is an object, and the result goes in as its last member. */
static void put_full(
        EventItem *item, StrBuf *b, const char *event, const char *id, const StoreEvent *row)
{
        _cleanup_(strbuf_done) StrBuf full = {};
        size_t n = strlen(row->body);

        if (!row->result || n < 2)
                return;
        strbuf_append(&full, row->body, n - 1);
        strbuf_printf(&full, "%s\"result\": %s}", n > 2 ? ", " : "", row->result);
        if (strbuf_error(&full) < 0)
                b->error = strbuf_error(&full);
        item->full = put_event(b, event, id, strbuf_str(&full), &item->full_size);
}

static int put_item(EventBatch *b, const StoreEvent *row, bool ended, const char *id)
{
        const char *event = ended ? "end" : streq_ptr(row->soft, "t") ? "progress" : "state";
        EventItem *item = b->items + b->n;

        item->ended = ended;
        item->hash = event_hash(row->body);
        item->job = put(&b->text, row->job);
        item->tenant = put(&b->text, row->tenant);
        item->subject = put(&b->text, row->subject);
        item->kind = put(&b->text, row->kind);
        item->queue = put(&b->text, row->queue);
        item->state = put(&b->text, row->state);
        item->text = put_event(&b->text, event, id, row->body, &item->text_size);
        put_full(item, &b->text, event, id, row);
        b->n++;
        return strbuf_error(&b->text);
}

static int take_row(
        EventBatch *b, const StoreEvent *row, EventCursor *cursor, const EventSnapshot *s)
{
        _cleanup_(strbuf_done) StrBuf id = {};
        bool ended = streq_ptr(row->ended, "t");
        EventItem *item = b->items + b->n;

        if (parse_u64(row->xid, 1, UINT64_MAX, &item->xid) < 0 || !row->job ||
                uuid_parse(row->job, &item->uuid) < 0)
                return -EPROTO;
        if (item->xid >= s->xmax)
                return 0; /* of a later snapshot than we take it for: told then */
        event_cursor_take(cursor, s, item->xid, &item->uuid);
        /* Nothing to say: a later row of the page says it, the job is no more, or it has ended,
         * which is said in the place where it ended. */
        if (!row->body || !row->state ||
                ended != job_state_is_terminal(job_state_from_string(row->state)))
                return 0;
        event_cursor_format(cursor, &id);
        if (strbuf_error(&id) < 0)
                return strbuf_error(&id);
        return put_item(b, row, ended, strbuf_str(&id));
}

int event_batch_new(const StoreEvent *rows, unsigned n_rows, EventCursor *cursor,
        const EventSnapshot *s, size_t *account, EventBatch **ret)
{
        _cleanup_(event_batch_unrefp) EventBatch *b = NULL;
        EventCursor moved = *cursor;
        int r = event_batch_new_empty(account, &b);

        if (r < 0)
                return r;
        b->items = new0(EventItem, n_rows);
        if (!b->items)
                return -ENOMEM;
        for (unsigned i = 0; i < n_rows && rows[i].xid && r >= 0; i++)
                r = take_row(b, rows + i, &moved, s);
        if (r < 0)
                return r;
        if (n_rows < REEVE_EVENT_PAGE_MAX)
                event_cursor_finish(&moved, s);
        b->size = b->text.allocated + n_rows * sizeof(EventItem);
        *account += b->size;
        *cursor = moved;
        *ret = TAKE_PTR(b);
        return 0;
}
