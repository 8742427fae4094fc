/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pdf-store.h"

#include "pdf-sql.h"
#include "store-internal.h"

static int send_id(Store *s, const PqStatement *statement, const char *id, const StoreCall *call)
{
        StoreParams p = {};

        params_text(&p, id);
        return store_send(s, statement, &p, call);
}

int pdf_store_get_job(Store *s, const char *id, StoreRowCallback callback, void *userdata,
        StoreRequest **ret_request)
{
        return send_id(s, &sql_pdf_get_job, id,
                STORE_CALL(store_decode_row, callback, userdata, ret_request));
}

int pdf_store_list_chunks(Store *s, const char *id, StoreRowCallback callback, void *userdata,
        StoreRequest **ret_request)
{
        return send_id(s, &sql_pdf_list_chunks, id,
                STORE_CALL(store_decode_row, callback, userdata, ret_request));
}

int pdf_store_take_document(Store *s, const StoreAct *act, const char *inputs, const char *queue,
        StoreRowCallback callback, void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_text(&p, act->id);
        params_text(&p, act->tenant);
        params_text(&p, act->subject);
        params_text(&p, inputs);
        params_text(&p, queue);
        params_text(&p, act->actor);
        return store_send(s, &sql_pdf_take_document, &p,
                STORE_CALL(store_decode_row, callback, userdata, ret_request));
}
