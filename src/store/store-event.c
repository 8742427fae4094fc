/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store-event.h"

#include "store-internal.h"
#include "store-sql.h"

static const StoreColumn event_columns[] = {
        COLUMN(COLUMN_TEXT, StoreEvent, snapshot),
        COLUMN(COLUMN_I64, StoreEvent, run_id),
        COLUMN(COLUMN_TEXT_NULL, StoreEvent, xid),
        COLUMN(COLUMN_TEXT_NULL, StoreEvent, job),
        COLUMN(COLUMN_TEXT_NULL, StoreEvent, ended),
        COLUMN(COLUMN_TEXT_NULL, StoreEvent, soft),
        COLUMN(COLUMN_TEXT_NULL, StoreEvent, tenant),
        COLUMN(COLUMN_TEXT_NULL, StoreEvent, subject),
        COLUMN(COLUMN_TEXT_NULL, StoreEvent, kind),
        COLUMN(COLUMN_TEXT_NULL, StoreEvent, queue),
        COLUMN(COLUMN_TEXT_NULL, StoreEvent, state),
        COLUMN(COLUMN_TEXT_NULL, StoreEvent, body),
        COLUMN(COLUMN_TEXT_NULL, StoreEvent, result),
};

static void decode_events(StoreRequest *q, int error, const PGresult *result)
{
        StoreEventsCallback callback = (StoreEventsCallback) q->call.callback;
        _cleanup_(freep) StoreEvent *rows = NULL;
        unsigned n = 0;

        if (error == 0)
                error = store_decode(result, event_columns, ELEMENTSOF(event_columns),
                        sizeof(StoreEvent), (void **) &rows, &n);
        if (error == 0 && n == 0)
                error = -EPROTO;
        callback(error, rows, error < 0 ? 0 : n, q->call.userdata);
}

static void put_ids(StoreParams *p, const char *const *ids, unsigned n)
{
        StrBuf *a = params_array(p);

        for (unsigned i = 0; i < n; i++)
                array_text(a, ids[i]);
}

/* Without a cursor: from the end of all transactions. */
static void put_cursor(StoreParams *p, const EventCursor *c)
{
        char job[UUID_TEXT_SIZE];
        StrBuf *a;

        params_u64(p, c ? c->next.xid : UINT64_MAX);
        params_text(p, uuid_format(c ? &c->next.job : &(Uuid){ 0 }, job));
        a = params_array(p);
        for (unsigned i = 0; c && i < c->n_open; i++)
                array_u64(a, c->open[i].xid);
        a = params_array(p);
        for (unsigned i = 0; c && i < c->n_open; i++)
                array_text(a, uuid_format(&c->open[i].job, job));
}

int store_list_events(Store *s, const StoreEventQuery *query, StoreEventsCallback callback,
        void *userdata, StoreRequest **ret_request)
{
        StoreParams p = { 0 };

        put_cursor(&p, query->cursor);
        params_i64(&p, query->run_id);
        params_text(&p, query->everybody && query->cursor ? "t" : "f");
        put_ids(&p, query->jobs, query->cursor ? query->n_jobs : 0);
        put_ids(&p, query->idle, query->cursor ? query->n_idle : 0);
        params_u64(&p, REEVE_EVENT_PAGE_MAX);
        return store_send(s, &sql_list_events, &p,
                STORE_CALL(decode_events, callback, userdata, ret_request));
}
