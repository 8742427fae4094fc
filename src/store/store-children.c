/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store-children.h"

#include "store-internal.h"
#include "store-sql.h"

int store_spawn_children(Store *s, const StoreSpawn *spawn, StoreCountCallback callback,
        void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_i64(&p, spawn->run_id);
        params_text(&p, spawn->run_key);
        params_text(&p, spawn->children);
        params_text(&p, spawn->actor);
        return store_send(s, &sql_spawn_children, &p,
                STORE_CALL(store_decode_count, callback, userdata, ret_request));
}

static const StoreColumn child_columns[] = {
        COLUMN(COLUMN_I64, StoreChild, child_no),
        COLUMN(COLUMN_TEXT, StoreChild, id),
        COLUMN(COLUMN_TEXT, StoreChild, kind),
        COLUMN(COLUMN_TEXT, StoreChild, state),
        COLUMN(COLUMN_TEXT, StoreChild, cause),
        COLUMN(COLUMN_TEXT_NULL, StoreChild, result),
        COLUMN(COLUMN_TEXT_NULL, StoreChild, result_blob),
        COLUMN(COLUMN_TEXT_NULL, StoreChild, error_code),
        COLUMN(COLUMN_TEXT_NULL, StoreChild, error_message),
};
DEFINE_ROWS_DECODER(decode_children, StoreChild, StoreChildrenCallback, child_columns)

int store_list_children(Store *s, const char *parent, int64_t after, StoreChildrenCallback callback,
        void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_text(&p, parent);
        params_i64(&p, after);
        params_u64(&p, STORE_CHILDREN_PAGE);
        return store_send(s, &sql_list_children, &p,
                STORE_CALL(decode_children, callback, userdata, ret_request));
}
