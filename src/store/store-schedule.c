/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store-schedule.h"

#include "store-internal.h"
#include "store-sql.h"

int store_enqueue_scheduled(Store *s, const StoreInstant *instant, StoreRowCallback callback,
        void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_text(&p, instant->kind);
        params_text(&p, instant->instant);
        params_text(&p, instant->host);
        params_text(&p, instant->missed ? "true" : "false");
        return store_send(s, &sql_enqueue_scheduled, &p,
                STORE_CALL(store_decode_row, callback, userdata, ret_request));
}
