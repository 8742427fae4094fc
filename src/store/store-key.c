/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store-key.h"

#include "store-internal.h"
#include "store-sql.h"

static const StoreColumn rate_columns[] = {
        COLUMN(COLUMN_I64, StoreRate, n),
        COLUMN(COLUMN_I64, StoreRate, left_usec),
};

static void decode_rate(StoreRequest *q, int error, const PGresult *result)
{
        StoreRateCallback callback = (StoreRateCallback) q->call.callback;
        _cleanup_(freep) StoreRate *rows = NULL;
        unsigned n = 0;

        if (error == 0)
                error = store_decode(result, rate_columns, ELEMENTSOF(rate_columns),
                        sizeof(StoreRate), (void **) &rows, &n);
        if (error == 0 && n != 1)
                error = -EPROTO;
        callback(error, error == 0 ? rows : NULL, q->call.userdata);
}

int store_get_api_key(Store *s, const char *hash, StoreRowCallback callback, void *userdata,
        StoreRequest **ret_request)
{
        StoreParams p = {};

        params_text(&p, hash);
        return store_send(s, &sql_get_api_key, &p,
                STORE_CALL(store_decode_row, callback, userdata, ret_request));
}

int store_add_api_key(Store *s, const StoreApiKey *key, StoreRowCallback callback, void *userdata,
        StoreRequest **ret_request)
{
        StoreParams p = {};

        params_text(&p, key->name);
        params_text(&p, key->hash);
        params_text(&p, key->role);
        params_text(&p, key->tenant);
        params_text(&p, key->subject);
        params_text(&p, key->acts ? "t" : "f");
        params_text(&p, key->expires);
        params_text(&p, key->actor);
        return store_send(s, &sql_add_api_key, &p,
                STORE_CALL(store_decode_row, callback, userdata, ret_request));
}

int store_list_api_keys(
        Store *s, StoreRowCallback callback, void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        return store_send(s, &sql_list_api_keys, &p,
                STORE_CALL(store_decode_row, callback, userdata, ret_request));
}

int store_revoke_api_key(Store *s, int64_t id, const char *actor, StoreRowCallback callback,
        void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_i64(&p, id);
        params_text(&p, actor);
        return store_send(s, &sql_revoke_api_key, &p,
                STORE_CALL(store_decode_row, callback, userdata, ret_request));
}

int store_take_rate(Store *s, const StoreRateLimit *limit, StoreRateCallback callback,
        void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_i64(&p, limit->key);
        params_text(&p, limit->route);
        params_u64(&p, limit->n_most);
        params_u64(&p, limit->per_usec);
        return store_send(
                s, &sql_take_rate, &p, STORE_CALL(decode_rate, callback, userdata, ret_request));
}
