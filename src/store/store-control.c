/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store-control.h"

#include "reeve-limits.h"
#include "store-internal.h"
#include "store-sql.h"

static const StoreColumn flag_columns[] = {
        COLUMN(COLUMN_TEXT, StoreFlag, key),
        COLUMN(COLUMN_TEXT_NULL, StoreFlag, description),
        COLUMN(COLUMN_BOOL, StoreFlag, enabled),
        COLUMN(COLUMN_I64, StoreFlag, percent),
        COLUMN(COLUMN_TEXT, StoreFlag, bucketing),
        COLUMN(COLUMN_TEXT_NULL, StoreFlag, seed),
        COLUMN(COLUMN_TEXT, StoreFlag, allow),
        COLUMN(COLUMN_TEXT, StoreFlag, rules),
        COLUMN(COLUMN_TEXT, StoreFlag, value_on),
        COLUMN(COLUMN_TEXT, StoreFlag, value_off),
        COLUMN(COLUMN_TEXT, StoreFlag, on_stale),
        COLUMN(COLUMN_I64, StoreFlag, version),
        COLUMN(COLUMN_TEXT, StoreFlag, updated_by),
        COLUMN(COLUMN_USEC_NULL, StoreFlag, updated_usec),
        COLUMN(COLUMN_USEC_NULL, StoreFlag, archived_usec),
        COLUMN(COLUMN_TEXT, StoreFlag, queues),
};
DEFINE_ROWS_DECODER(decode_flags, StoreFlag, StoreFlagsCallback, flag_columns)

int store_list_flags(Store *s, const char *key, StoreFlagsCallback callback, void *userdata,
        StoreRequest **ret_request)
{
        StoreParams p = {};

        params_text(&p, key);
        return store_send(
                s, &sql_list_flags, &p, STORE_CALL(decode_flags, callback, userdata, ret_request));
}

static const char *or_default(const char *text, const char *otherwise)
{
        return text && *text ? text : otherwise;
}

static void params_subjects(StoreParams *p, const char *const *subjects)
{
        StrBuf *a = params_array(p);

        for (; subjects && *subjects; subjects++)
                array_text(a, *subjects);
}

int store_create_flag(Store *s, const StoreNewFlag *flag, StoreCountCallback callback,
        void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_text(&p, flag->key);
        params_text(&p, or_default(flag->description, NULL));
        params_text(&p, flag->enabled ? "t" : "f");
        params_i64(&p, flag->percent);
        params_text(&p, or_default(flag->bucketing, "murmur3"));
        params_text(&p, or_default(flag->seed, NULL));
        params_subjects(&p, flag->allow);
        params_text(&p, or_default(flag->rules, "[]"));
        params_text(&p, or_default(flag->value_on, "true"));
        params_text(&p, or_default(flag->value_off, "false"));
        params_text(&p, or_default(flag->on_stale, "off"));
        params_text(&p, flag->actor);
        params_u64(&p, REEVE_FLAGS_MAX);
        params_text(&p, or_default(flag->reason, NULL));
        return store_send(s, &sql_create_flag, &p,
                STORE_CALL(store_decode_count, callback, userdata, ret_request));
}

/* Sends a change whose value, if it has one, is the second parameter already in p. */
static int send_change(Store *s, const PqStatement *statement, StoreParams *p,
        const StoreChange *change, const StoreCall *call)
{
        params_text(p, change->actor);
        params_text(p, or_default(change->reason, NULL));
        return store_send(s, statement, p, call);
}

int store_set_flag_enabled(Store *s, const StoreChange *change, bool enabled,
        StoreCountCallback callback, void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_text(&p, change->name);
        params_text(&p, enabled ? "t" : "f");
        return send_change(s, &sql_set_flag_enabled, &p, change,
                STORE_CALL(store_decode_count, callback, userdata, ret_request));
}

int store_set_flag_percent(Store *s, const StoreChange *change, unsigned percent,
        StoreCountCallback callback, void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_text(&p, change->name);
        params_u64(&p, percent);
        return send_change(s, &sql_set_flag_percent, &p, change,
                STORE_CALL(store_decode_count, callback, userdata, ret_request));
}

int store_set_flag_rules(Store *s, const StoreChange *change, const char *rules,
        StoreCountCallback callback, void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_text(&p, change->name);
        params_text(&p, rules);
        return send_change(s, &sql_set_flag_rules, &p, change,
                STORE_CALL(store_decode_count, callback, userdata, ret_request));
}

int store_set_flag_allow(Store *s, const StoreChange *change, const char *const *allow,
        StoreCountCallback callback, void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_text(&p, change->name);
        params_subjects(&p, allow);
        return send_change(s, &sql_set_flag_allow, &p, change,
                STORE_CALL(store_decode_count, callback, userdata, ret_request));
}

int store_set_flag_queues(Store *s, const StoreChange *change, const char *const *queues,
        StoreCountCallback callback, void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_text(&p, change->name);
        params_subjects(&p, queues);
        return send_change(s, &sql_set_flag_queues, &p, change,
                STORE_CALL(store_decode_count, callback, userdata, ret_request));
}

int store_archive_flag(Store *s, const StoreChange *change, StoreCountCallback callback,
        void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_text(&p, change->name);
        return send_change(s, &sql_archive_flag, &p, change,
                STORE_CALL(store_decode_count, callback, userdata, ret_request));
}

int store_list_flag_history(Store *s, const char *key, unsigned n_most, StoreRowCallback callback,
        void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_text(&p, key);
        params_u64(&p, n_most);
        return store_send(s, &sql_list_flag_history, &p,
                STORE_CALL(store_decode_row, callback, userdata, ret_request));
}

int store_set_queue_paused(Store *s, const StoreChange *change, bool paused,
        StoreCountCallback callback, void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_text(&p, change->name);
        params_text(&p, paused ? "t" : "f");
        return send_change(s, &sql_set_queue_paused, &p, change,
                STORE_CALL(store_decode_count, callback, userdata, ret_request));
}

/* ---- operations ---- */

/* NULL: as null, the flag's own. */
static void params_queues(StoreParams *p, const char *const *queues)
{
        if (queues)
                params_subjects(p, queues);
        else
                params_text(p, NULL);
}

int store_start_rollback(Store *s, const StoreRollback *rollback, StoreCountCallback callback,
        void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_text(&p, rollback->change.name);
        params_queues(&p, rollback->queues);
        params_text(&p, rollback->change.actor);
        params_text(&p, or_default(rollback->change.reason, NULL));
        params_u64(&p, rollback->timeout_usec);
        return store_send(s, &sql_start_rollback, &p,
                STORE_CALL(store_decode_count, callback, userdata, ret_request));
}

int store_plan_rollback(Store *s, const char *flag, const char *const *queues,
        StoreRowCallback callback, void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_text(&p, flag);
        params_queues(&p, queues);
        return store_send(s, &sql_plan_rollback, &p,
                STORE_CALL(store_decode_row, callback, userdata, ret_request));
}

int store_advance_operations(
        Store *s, StoreCountCallback callback, void *userdata, StoreRequest **ret_request)
{
        return store_send(s, &sql_advance_operations, &(StoreParams){},
                STORE_CALL(store_decode_count, callback, userdata, ret_request));
}

int store_list_operations(
        Store *s, StoreRowCallback callback, void *userdata, StoreRequest **ret_request)
{
        return store_send(s, &sql_list_operations, &(StoreParams){},
                STORE_CALL(store_decode_row, callback, userdata, ret_request));
}
