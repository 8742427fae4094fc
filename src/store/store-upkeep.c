/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store-upkeep.h"

#include "store-internal.h"
#include "store-sql.h"

typedef struct Promoted {
        int64_t n;
        usec_t next_usec;
} Promoted;

static void decode_promoted(StoreRequest *q, int error, const PGresult *result)
{
        static const StoreColumn columns[] = {
                COLUMN(COLUMN_I64, Promoted, n),
                COLUMN(COLUMN_USEC_NULL, Promoted, next_usec),
        };
        StorePromotedCallback callback = (StorePromotedCallback) q->call.callback;
        _cleanup_(freep) Promoted *row = NULL;
        unsigned n = 0;

        if (error == 0)
                error = store_decode(
                        result, columns, ELEMENTSOF(columns), sizeof(Promoted), (void **) &row, &n);
        if (error == 0 && n != 1)
                error = -EPROTO;
        callback(error, error == 0 ? row->n : 0, error == 0 ? row->next_usec : USEC_INFINITY,
                q->call.userdata);
}

int store_promote_due(Store *s, unsigned n_most, int64_t back_sec, StorePromotedCallback callback,
        void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_u64(&p, n_most);
        params_i64(&p, back_sec);
        return store_send(s, &sql_promote_due, &p,
                STORE_CALL(decode_promoted, callback, userdata, ret_request));
}

int store_wake_buckets(Store *s, unsigned n_most, StorePromotedCallback callback, void *userdata,
        StoreRequest **ret_request)
{
        StoreParams p = {};

        params_u64(&p, n_most);
        return store_send(s, &sql_wake_buckets, &p,
                STORE_CALL(decode_promoted, callback, userdata, ret_request));
}

typedef struct Unblocked {
        int64_t n;
        const char *last;
} Unblocked;

static void decode_unblocked(StoreRequest *q, int error, const PGresult *result)
{
        static const StoreColumn columns[] = {
                COLUMN(COLUMN_I64, Unblocked, n),
                COLUMN(COLUMN_TEXT_NULL, Unblocked, last),
        };
        StoreUnblockedCallback callback = (StoreUnblockedCallback) q->call.callback;
        _cleanup_(freep) Unblocked *row = NULL;
        unsigned n = 0;

        if (error == 0)
                error = store_decode(result, columns, ELEMENTSOF(columns), sizeof(Unblocked),
                        (void **) &row, &n);
        if (error == 0 && n != 1)
                error = -EPROTO;
        callback(error, error == 0 ? row->n : 0, error == 0 ? row->last : NULL, q->call.userdata);
}

int store_unblock_next(Store *s, const char *after, unsigned n_most,
        StoreUnblockedCallback callback, void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_text(&p, after);
        params_u64(&p, n_most);
        return store_send(s, &sql_unblock_next, &p,
                STORE_CALL(decode_unblocked, callback, userdata, ret_request));
}

int store_expire_deadlines(Store *s, usec_t back_usec, unsigned n_most, StoreCountCallback callback,
        void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        strbuf_printf(p.text, "%llu microseconds", (unsigned long long) back_usec);
        p.n = 1;
        params_u64(&p, n_most);
        return store_send(s, &sql_expire_deadlines, &p,
                STORE_CALL(store_decode_count, callback, userdata, ret_request));
}

static const StoreColumn beat_columns[] = {
        COLUMN(COLUMN_I64, StoreBeat, instance),
        COLUMN(COLUMN_I64, StoreBeat, beat),
};
DEFINE_ROWS_DECODER(decode_beats, StoreBeat, StoreBeatsCallback, beat_columns)

int store_list_instances(
        Store *s, StoreBeatsCallback callback, void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        return store_send(s, &sql_list_instances, &p,
                STORE_CALL(decode_beats, callback, userdata, ret_request));
}

int store_void_instance(Store *s, int64_t id, int64_t beat, StoreCountCallback callback,
        void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_i64(&p, id);
        params_i64(&p, beat);
        return store_send(s, &sql_void_instance, &p,
                STORE_CALL(store_decode_n_rows, callback, userdata, ret_request));
}

int store_reopen_instances(
        Store *s, StoreCountCallback callback, void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        return store_send(s, &sql_reopen_instances, &p,
                STORE_CALL(store_decode_n_rows, callback, userdata, ret_request));
}

static const StoreColumn orphan_columns[] = {
        COLUMN(COLUMN_I64, StoreOrphan, run_id),
        COLUMN(COLUMN_TEXT, StoreOrphan, run_key),
        COLUMN(COLUMN_TEXT, StoreOrphan, job),
        COLUMN(COLUMN_I64, StoreOrphan, attempt),
        COLUMN(COLUMN_I64, StoreOrphan, interruptions),
        COLUMN(COLUMN_BOOL, StoreOrphan, started),
        COLUMN(COLUMN_TEXT, StoreOrphan, host),
        COLUMN(COLUMN_TEXT, StoreOrphan, stop_cause),
        COLUMN(COLUMN_I64, StoreOrphan, max_interruptions),
};
DEFINE_ROWS_DECODER(decode_orphans, StoreOrphan, StoreOrphansCallback, orphan_columns)

int store_list_orphans(Store *s, unsigned n_most, StoreOrphansCallback callback, void *userdata,
        StoreRequest **ret_request)
{
        StoreParams p = {};

        params_u64(&p, n_most);
        return store_send(s, &sql_list_orphans, &p,
                STORE_CALL(decode_orphans, callback, userdata, ret_request));
}
