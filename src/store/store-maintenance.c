/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store-maintenance.h"

#include "store-internal.h"
#include "store-sql.h"

static void params_span(StoreParams *p, usec_t usec)
{
        char text[48];

        (void) snprintf(text, sizeof(text), "%llu microseconds", (unsigned long long) usec);
        params_text(p, text);
}

static int send_count(Store *s, const PqStatement *statement, StoreParams *p,
        StoreCountCallback callback, void *userdata, StoreRequest **ret_request)
{
        return store_send(
                s, statement, p, STORE_CALL(store_decode_count, callback, userdata, ret_request));
}

typedef struct Expired {
        int64_t n_seen, n_expired;
} Expired;

static void decode_expired(StoreRequest *q, int error, const PGresult *result)
{
        static const StoreColumn columns[] = {
                COLUMN(COLUMN_I64, Expired, n_seen),
                COLUMN(COLUMN_I64, Expired, n_expired),
        };
        StoreExpiredCallback callback = (StoreExpiredCallback) q->call.callback;
        _cleanup_(freep) Expired *row = NULL;
        unsigned n = 0;

        if (error == 0)
                error = store_decode(
                        result, columns, ELEMENTSOF(columns), sizeof(Expired), (void **) &row, &n);
        if (error == 0 && n != 1)
                error = -EPROTO;
        callback(error, error == 0 ? row->n_seen : 0, error == 0 ? row->n_expired : 0,
                q->call.userdata);
}

int store_expire_results(Store *s, unsigned n_most, StoreExpiredCallback callback, void *userdata,
        StoreRequest **ret_request)
{
        StoreParams p = {};

        params_u64(&p, n_most);
        return store_send(s, &sql_expire_results, &p,
                STORE_CALL(decode_expired, callback, userdata, ret_request));
}

int store_delete_expired_keys(Store *s, unsigned n_most, StoreCountCallback callback,
        void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_u64(&p, n_most);
        return send_count(s, &sql_delete_expired_keys, &p, callback, userdata, ret_request);
}

int store_forget_buckets(Store *s, unsigned n_most, StoreCountCallback callback, void *userdata,
        StoreRequest **ret_request)
{
        StoreParams p = {};

        params_u64(&p, n_most);
        return send_count(s, &sql_forget_buckets, &p, callback, userdata, ret_request);
}

int store_delete_old_instances(Store *s, usec_t age_usec, StoreCountCallback callback,
        void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_span(&p, age_usec);
        return send_count(s, &sql_delete_old_instances, &p, callback, userdata, ret_request);
}

int store_forget_week(Store *s, usec_t keep_usec, unsigned n_most, StoreCountCallback callback,
        void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_span(&p, keep_usec);
        params_u64(&p, n_most);
        return send_count(s, &sql_forget_week, &p, callback, userdata, ret_request);
}

int store_drop_week(Store *s, usec_t keep_usec, StoreCountCallback callback, void *userdata,
        StoreRequest **ret_request)
{
        StoreParams p = {};

        params_span(&p, keep_usec);
        return store_send(s, &sql_drop_week, &p,
                STORE_CALL(store_decode_n_rows, callback, userdata, ret_request));
}

int store_mark_orphans(
        Store *s, StoreCountCallback callback, void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        return send_count(s, &sql_mark_orphans, &p, callback, userdata, ret_request);
}

static const StoreColumn blob_columns[] = {
        COLUMN(COLUMN_TEXT, StoreBlobName, tenant),
        COLUMN(COLUMN_TEXT, StoreBlobName, digest),
};
DEFINE_ROWS_DECODER(decode_blobs, StoreBlobName, StoreBlobNamesCallback, blob_columns)

int store_forget_orphans(Store *s, usec_t grace_usec, unsigned n_most,
        StoreBlobNamesCallback callback, void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_span(&p, grace_usec);
        params_u64(&p, n_most);
        return store_send(s, &sql_forget_orphans, &p,
                STORE_CALL(decode_blobs, callback, userdata, ret_request));
}

int store_find_unknown_blobs(Store *s, const StoreBlobName *names, unsigned n_names,
        StoreBlobNamesCallback callback, void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};
        StrBuf *a;

        a = params_array(&p);
        for (unsigned i = 0; i < n_names; i++)
                array_text(a, names[i].tenant);
        a = params_array(&p);
        for (unsigned i = 0; i < n_names; i++)
                array_text(a, names[i].digest);
        return store_send(s, &sql_find_unknown_blobs, &p,
                STORE_CALL(decode_blobs, callback, userdata, ret_request));
}
