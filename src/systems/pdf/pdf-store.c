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

int pdf_store_take_document(Store *s, const PdfDocument *document, StoreRowCallback callback,
        void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_text(&p, document->act.id);
        params_text(&p, document->act.tenant);
        params_text(&p, document->act.subject);
        params_text(&p, document->inputs);
        params_text(&p, document->queue);
        params_text(&p, document->act.actor);
        return store_send(s, &sql_pdf_take_document, &p,
                STORE_CALL(store_decode_row, callback, userdata, ret_request));
}

int pdf_store_retry_chunks(Store *s, const PdfRetry *retry, StoreRowCallback callback,
        void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};
        StrBuf *a;

        params_text(&p, retry->act.id);
        if (retry->chunks) {
                a = params_array(&p);
                for (unsigned i = 0; i < retry->n_chunks; i++)
                        array_i64(a, retry->chunks[i]);
        } else
                params_text(&p, NULL);
        params_text(&p, retry->force ? "true" : "false");
        params_text(&p, retry->act.actor);
        params_text(&p, retry->act.new_id);
        return store_send(s, &sql_pdf_retry_chunks, &p,
                STORE_CALL(store_decode_row, callback, userdata, ret_request));
}

int pdf_store_force_finalize(Store *s, const StoreAct *act, StoreRowCallback callback,
        void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_text(&p, act->id);
        params_text(&p, act->actor);
        return store_send(s, &sql_pdf_force_finalize, &p,
                STORE_CALL(store_decode_row, callback, userdata, ret_request));
}

static int send_age(Store *s, const PqStatement *statement, usec_t older_usec, const char *actor,
        const StoreCall *call)
{
        StoreParams p = {};

        params_u64(&p, older_usec);
        params_text(&p, actor);
        return store_send(s, statement, &p, call);
}

int pdf_store_reconcile(Store *s, usec_t older_usec, const char *actor, StoreRowCallback callback,
        void *userdata, StoreRequest **ret_request)
{
        return send_age(s, &sql_pdf_reconcile, older_usec, actor,
                STORE_CALL(store_decode_row, callback, userdata, ret_request));
}

int pdf_store_terminate_stuck(Store *s, usec_t older_usec, const char *actor,
        StoreRowCallback callback, void *userdata, StoreRequest **ret_request)
{
        return send_age(s, &sql_pdf_terminate_stuck, older_usec, actor,
                STORE_CALL(store_decode_row, callback, userdata, ret_request));
}
