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
        if (spawn->at_once > 0)
                params_u64(&p, spawn->at_once);
        else
                params_text(&p, NULL);
        if (spawn->progress_from >= 0) {
                params_i64(&p, spawn->progress_from);
                params_i64(&p, spawn->progress_to);
        } else {
                params_text(&p, NULL);
                params_text(&p, NULL);
        }
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

static const StoreColumn child_file_columns[] = {
        COLUMN(COLUMN_I64, StoreChildFile, child_no),
        COLUMN(COLUMN_TEXT, StoreChildFile, direction),
        COLUMN(COLUMN_TEXT, StoreChildFile, name),
        COLUMN(COLUMN_TEXT, StoreChildFile, digest),
        COLUMN(COLUMN_I64, StoreChildFile, size),
};
DEFINE_ROWS_DECODER(decode_child_files, StoreChildFile, StoreChildFilesCallback, child_file_columns)

int store_list_child_files(Store *s, const char *parent, const StoreChildFile *after,
        StoreChildFilesCallback callback, void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_text(&p, parent);
        params_i64(&p, after ? after->child_no : -1);
        params_text(&p, after ? after->direction : "");
        params_text(&p, after ? after->name : "");
        params_u64(&p, STORE_CHILDREN_PAGE);
        return store_send(s, &sql_list_child_files, &p,
                STORE_CALL(decode_child_files, callback, userdata, ret_request));
}
