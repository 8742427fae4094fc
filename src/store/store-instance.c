/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store-instance.h"

#include "store-internal.h"
#include "store-sql.h"

static const StoreColumn namesake_columns[] = {
        COLUMN(COLUMN_I64, StoreNamesake, instance),
        COLUMN(COLUMN_BOOL, StoreNamesake, made),
        COLUMN(COLUMN_I64, StoreNamesake, beat),
        COLUMN(COLUMN_I64, StoreNamesake, age_usec),
        COLUMN(COLUMN_I64, StoreNamesake, pid),
        COLUMN(COLUMN_TEXT_NULL, StoreNamesake, process),
        COLUMN(COLUMN_TEXT_NULL, StoreNamesake, machine),
};
DEFINE_ROWS_DECODER(decode_namesakes, StoreNamesake, StoreNamesakesCallback, namesake_columns)

static void params_names(StoreParams *p, const char *const *names)
{
        StrBuf *a = params_array(p);

        for (; names && *names; names++)
                array_text(a, *names);
}

int store_register_instance(Store *s, const StoreInstance *instance,
        StoreNamesakesCallback callback, void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};
        StrBuf *a;

        params_text(&p, instance->host);
        params_text(&p, instance->name);
        params_text(&p, instance->boot_id);
        params_i64(&p, instance->pid);
        params_text(&p, instance->version);
        params_i64(&p, instance->schema_version);
        params_names(&p, instance->kinds);
        params_names(&p, instance->queues);
        params_u64(&p, instance->n_slots);
        params_text(&p, instance->process);
        params_text(&p, instance->machine);
        a = params_array(&p);
        for (unsigned i = 0; i < instance->n_gone; i++)
                array_i64(a, instance->gone[i].instance);
        a = params_array(&p);
        for (unsigned i = 0; i < instance->n_gone; i++)
                array_i64(a, instance->gone[i].beat);
        return store_send(s, &sql_register_instance, &p,
                STORE_CALL(decode_namesakes, callback, userdata, ret_request));
}

int store_list_namesakes(Store *s, const char *host, const char *name,
        StoreNamesakesCallback callback, void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_text(&p, host);
        params_text(&p, name);
        return store_send(s, &sql_list_namesakes, &p,
                STORE_CALL(decode_namesakes, callback, userdata, ret_request));
}

int store_stop_instance(Store *s, int64_t instance, const char *cause, StoreCountCallback callback,
        void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_i64(&p, instance);
        params_text(&p, cause);
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
