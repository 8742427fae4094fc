/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store-key.h"

#include "store-internal.h"
#include "store-sql.h"

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
