/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store-instance.h"

#include "store-internal.h"
#include "store-sql.h"

typedef struct Registered {
        int64_t id;
        int64_t n_predecessors;
} Registered;

static void decode_registered(StoreRequest *q, int error, const PGresult *result)
{
        static const StoreColumn columns[] = {
                COLUMN(COLUMN_I64, Registered, id),
                COLUMN(COLUMN_I64, Registered, n_predecessors),
        };
        StoreRegisteredCallback callback = (StoreRegisteredCallback) q->call.callback;
        _cleanup_(freep) Registered *row = NULL;
        unsigned n = 0;

        if (error == 0)
                error = store_decode(result, columns, ELEMENTSOF(columns), sizeof(Registered),
                        (void **) &row, &n);
        if (error == 0 && n != 1)
                error = -EPROTO;
        callback(error, error == 0 ? row->id : 0, error == 0 ? row->n_predecessors : 0,
                q->call.userdata);
}

static void params_names(StoreParams *p, const char *const *names)
{
        StrBuf *a = params_array(p);

        for (; names && *names; names++)
                array_text(a, *names);
}

int store_register_instance(Store *s, const StoreInstance *instance,
        StoreRegisteredCallback callback, void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_text(&p, instance->host);
        params_text(&p, instance->name);
        params_text(&p, instance->boot_id);
        params_i64(&p, instance->pid);
        params_text(&p, instance->version);
        params_i64(&p, instance->schema_version);
        params_names(&p, instance->kinds);
        params_names(&p, instance->queues);
        params_u64(&p, instance->n_slots);
        return store_send(s, &sql_register_instance, &p,
                STORE_CALL(decode_registered, callback, userdata, ret_request));
}

int store_stop_instance(Store *s, const StoreStop *stop, StoreCountCallback callback,
        void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        if (stop->id > 0)
                params_i64(&p, stop->id);
        else
                params_text(&p, NULL);
        params_text(&p, stop->host);
        params_text(&p, stop->name);
        params_text(&p, stop->cause);
        return store_send(s, &sql_stop_instance, &p,
                STORE_CALL(store_decode_n_rows, callback, userdata, ret_request));
}

int store_beat_instance(Store *s, const StoreHeartbeat *beat, StoreCountCallback callback,
        void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_i64(&p, beat->instance);
        params_text(&p, beat->state);
        params_u64(&p, beat->n_busy);
        params_u64(&p, beat->n_jobs_done);
        return store_send(s, &sql_beat_instance, &p,
                STORE_CALL(store_decode_count, callback, userdata, ret_request));
}

int store_set_faults(
        Store *s, int64_t instance, const char *faults, StoreDoneCallback callback, void *userdata)
{
        StoreParams p = {};

        params_i64(&p, instance);
        params_text(&p, faults);
        return store_send(
                s, &sql_set_faults, &p, STORE_CALL(store_decode_done, callback, userdata, NULL));
}

int store_list_cancels(Store *s, int64_t instance, StoreRunsCallback callback, void *userdata,
        StoreRequest **ret_request)
{
        StoreParams p = {};

        params_i64(&p, instance);
        return store_send(s, &sql_list_cancels, &p,
                STORE_CALL(store_decode_run_ids, callback, userdata, ret_request));
}

static const StoreColumn name_columns[] = { { COLUMN_TEXT, 0 } };
typedef const char *Name;
DEFINE_ROWS_DECODER(decode_names, Name, StoreNamesCallback, name_columns)

static const StoreColumn rule_columns[] = {
        COLUMN(COLUMN_TEXT, StoreClaimRule, name),
        COLUMN(COLUMN_BOOL, StoreClaimRule, paused),
};
DEFINE_ROWS_DECODER(decode_rules, StoreClaimRule, StoreClaimRulesCallback, rule_columns)

int store_list_claim_rules(
        Store *s, StoreClaimRulesCallback callback, void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        return store_send(s, &sql_list_claim_rules, &p,
                STORE_CALL(decode_rules, callback, userdata, ret_request));
}

int store_publish_kinds(Store *s, const char *kinds, StoreNamesCallback callback, void *userdata,
        StoreRequest **ret_request)
{
        StoreParams p = {};

        params_text(&p, kinds);
        return store_send(s, &sql_publish_kinds, &p,
                STORE_CALL(decode_names, callback, userdata, ret_request));
}

static const StoreColumn own_run_columns[] = {
        COLUMN(COLUMN_I64, StoreOwnRun, run_id),
        COLUMN(COLUMN_TEXT, StoreOwnRun, run_key),
};
DEFINE_ROWS_DECODER(decode_own_runs, StoreOwnRun, StoreOwnRunsCallback, own_run_columns)

int store_list_own_runs(Store *s, int64_t instance, StoreOwnRunsCallback callback, void *userdata,
        StoreRequest **ret_request)
{
        StoreParams p = {};

        params_i64(&p, instance);
        return store_send(s, &sql_list_own_runs, &p,
                STORE_CALL(decode_own_runs, callback, userdata, ret_request));
}
