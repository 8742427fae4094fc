/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store-pull.h"

#include "store-internal.h"
#include "store-sql.h"

int store_extend_run(Store *s, const StoreOwnRun *run, usec_t usec, StoreRowCallback callback,
        void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_i64(&p, run->run_id);
        params_text(&p, run->run_key);
        if (usec > 0)
                params_u64(&p, usec);
        else
                params_text(&p, NULL);
        return store_send(s, &sql_extend_run, &p,
                STORE_CALL(store_decode_row, callback, userdata, ret_request));
}

int store_get_pulled_run(Store *s, const StoreOwnRun *run, StoreRowCallback callback,
        void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_i64(&p, run->run_id);
        params_text(&p, run->run_key);
        return store_send(s, &sql_get_pulled_run, &p,
                STORE_CALL(store_decode_row, callback, userdata, ret_request));
}

static const StoreColumn pulled_kind_columns[] = {
        COLUMN(COLUMN_TEXT, StorePulledKind, name),
        COLUMN(COLUMN_I64, StorePulledKind, lease_usec),
};
DEFINE_ROWS_DECODER(
        decode_pulled_kinds, StorePulledKind, StorePulledKindsCallback, pulled_kind_columns)

int store_list_pulled_kinds(
        Store *s, StorePulledKindsCallback callback, void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        return store_send(s, &sql_list_pulled_kinds, &p,
                STORE_CALL(decode_pulled_kinds, callback, userdata, ret_request));
}
