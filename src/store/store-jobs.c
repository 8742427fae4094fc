/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store-jobs.h"

#include "store-internal.h"
#include "store-key.h"
#include "store-sql.h"

static const StoreColumn enqueued_columns[] = {
        COLUMN(COLUMN_I64, StoreEnqueued, n),
        COLUMN(COLUMN_TEXT_NULL, StoreEnqueued, job),
        COLUMN(COLUMN_TEXT, StoreEnqueued, outcome),
        COLUMN(COLUMN_TEXT_NULL, StoreEnqueued, state),
        COLUMN(COLUMN_TEXT_NULL, StoreEnqueued, detail),
};
DEFINE_ROWS_DECODER(decode_enqueued, StoreEnqueued, StoreEnqueuedCallback, enqueued_columns)

static const StoreColumn found_columns[] = {
        COLUMN(COLUMN_TEXT, StoreFound, job),
        COLUMN(COLUMN_TEXT, StoreFound, state),
};
DEFINE_ROWS_DECODER(decode_found, StoreFound, StoreFoundCallback, found_columns)

static const StoreColumn id_columns[] = { { COLUMN_TEXT, 0 } };
typedef const char *const *StoreIds;

static void decode_ids(StoreRequest *q, int error, const PGresult *result)
{
        StoreIdsCallback callback = (StoreIdsCallback) q->call.callback;
        _cleanup_(freep) const char **ids = NULL;
        unsigned n = 0;

        if (error == 0)
                error = store_decode(result, id_columns, 1, sizeof(char *), (void **) &ids, &n);
        callback(error, (StoreIds) ids, error < 0 ? 0 : n, q->call.userdata);
}

static const StoreColumn stats_columns[] = {
        COLUMN(COLUMN_I64, StoreStats, n_ready),
        COLUMN(COLUMN_I64, StoreStats, n_scheduled),
        COLUMN(COLUMN_I64, StoreStats, n_blocked),
        COLUMN(COLUMN_I64, StoreStats, n_waiting),
        COLUMN(COLUMN_I64, StoreStats, n_running),
        COLUMN(COLUMN_I64, StoreStats, n_workers),
        COLUMN(COLUMN_I64, StoreStats, n_slots),
        COLUMN(COLUMN_I64, StoreStats, n_busy),
        COLUMN(COLUMN_I64, StoreStats, schema_version),
};

static void decode_stats(StoreRequest *q, int error, const PGresult *result)
{
        StoreStatsCallback callback = (StoreStatsCallback) q->call.callback;
        _cleanup_(freep) StoreStats *rows = NULL;
        unsigned n = 0;

        if (error == 0)
                error = store_decode(result, stats_columns, ELEMENTSOF(stats_columns),
                        sizeof(StoreStats), (void **) &rows, &n);
        if (error == 0 && n != 1)
                error = -EPROTO;
        callback(error, error == 0 ? rows : NULL, q->call.userdata);
}

int store_enqueue_batch(Store *s, const char *jobs, StoreEnqueuedCallback callback, void *userdata,
        StoreRequest **ret_request)
{
        StoreParams p = {};

        params_text(&p, jobs);
        return store_send(s, &sql_enqueue_batch, &p,
                STORE_CALL(decode_enqueued, callback, userdata, ret_request));
}

static int send_ids(Store *s, const PqStatement *statement, const char *const *ids, unsigned n_ids,
        const StoreCall *call)
{
        StoreParams p = {};
        StrBuf *a = params_array(&p);

        for (unsigned i = 0; i < n_ids; i++)
                array_text(a, ids[i]);
        return store_send(s, statement, &p, call);
}

int store_find_jobs(Store *s, const char *const *ids, unsigned n_ids, StoreFoundCallback callback,
        void *userdata, StoreRequest **ret_request)
{
        return send_ids(s, &sql_find_jobs, ids, n_ids,
                STORE_CALL(decode_found, callback, userdata, ret_request));
}

int store_find_jobs_of(Store *s, const StoreJobsOf *jobs, StoreIdsCallback callback, void *userdata,
        StoreRequest **ret_request)
{
        StoreParams p = {};
        StrBuf *a = params_array(&p);

        for (unsigned i = 0; i < jobs->n_ids; i++)
                array_text(a, jobs->ids[i]);
        params_text(&p, jobs->subject);
        return store_send(
                s, &sql_find_jobs_of, &p, STORE_CALL(decode_ids, callback, userdata, ret_request));
}

int store_find_ended(Store *s, const char *const *ids, unsigned n_ids, StoreIdsCallback callback,
        void *userdata, StoreRequest **ret_request)
{
        return send_ids(s, &sql_find_ended, ids, n_ids,
                STORE_CALL(decode_ids, callback, userdata, ret_request));
}

int store_find_good_keys(Store *s, const int64_t *ids, unsigned n_ids, StoreIdsCallback callback,
        void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};
        StrBuf *a = params_array(&p);

        for (unsigned i = 0; i < n_ids; i++)
                array_i64(a, ids[i]);
        return store_send(s, &sql_find_good_keys, &p,
                STORE_CALL(decode_ids, callback, userdata, ret_request));
}

int store_get_job(Store *s, const char *id, StoreRowCallback callback, void *userdata,
        StoreRequest **ret_request)
{
        StoreParams p = {};

        params_text(&p, id);
        return store_send(
                s, &sql_get_job, &p, STORE_CALL(store_decode_row, callback, userdata, ret_request));
}

int store_get_job_details(Store *s, const char *id, StoreRowCallback callback, void *userdata,
        StoreRequest **ret_request)
{
        StoreParams p = {};

        params_text(&p, id);
        return store_send(s, &sql_get_job_details, &p,
                STORE_CALL(store_decode_row, callback, userdata, ret_request));
}

static void put_act(StoreParams *p, const StoreAct *act)
{
        params_text(p, act->id);
        params_text(p, act->tenant);
        params_text(p, act->subject);
        params_text(p, act->actor);
        params_text(p, act->reason);
}

int store_cancel_job(Store *s, const StoreAct *act, StoreRowCallback callback, void *userdata,
        StoreRequest **ret_request)
{
        StoreParams p = {};

        put_act(&p, act);
        return store_send(s, &sql_cancel_job, &p,
                STORE_CALL(store_decode_row, callback, userdata, ret_request));
}

int store_retry_job(Store *s, const StoreAct *act, StoreRowCallback callback, void *userdata,
        StoreRequest **ret_request)
{
        StoreParams p = {};

        put_act(&p, act);
        params_text(&p, act->new_id);
        return store_send(s, &sql_retry_job, &p,
                STORE_CALL(store_decode_row, callback, userdata, ret_request));
}

int store_list_history(Store *s, const char *id, unsigned n_most, StoreRowCallback callback,
        void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_text(&p, id);
        params_u64(&p, n_most);
        return store_send(s, &sql_list_history, &p,
                STORE_CALL(store_decode_row, callback, userdata, ret_request));
}

int store_list_files(Store *s, const char *id, unsigned n_most, StoreRowCallback callback,
        void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_text(&p, id);
        params_u64(&p, n_most);
        return store_send(s, &sql_list_files, &p,
                STORE_CALL(store_decode_row, callback, userdata, ret_request));
}

int store_list_workers(
        Store *s, StoreRowCallback callback, void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        return store_send(s, &sql_list_workers, &p,
                STORE_CALL(store_decode_row, callback, userdata, ret_request));
}

int store_retire_kind(Store *s, const StoreAct *act, StoreRowCallback callback, void *userdata,
        StoreRequest **ret_request)
{
        StoreParams p = {};

        params_text(&p, act->id);
        params_text(&p, act->actor);
        params_text(&p, act->reason);
        return store_send(s, &sql_retire_kind, &p,
                STORE_CALL(store_decode_row, callback, userdata, ret_request));
}

int store_list_kinds(
        Store *s, StoreRowCallback callback, void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        return store_send(s, &sql_list_kinds, &p,
                STORE_CALL(store_decode_row, callback, userdata, ret_request));
}

int store_list_queues(
        Store *s, StoreRowCallback callback, void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        return store_send(s, &sql_list_queues, &p,
                STORE_CALL(store_decode_row, callback, userdata, ret_request));
}

int store_get_file(Store *s, const char *id, const char *name, StoreRowCallback callback,
        void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        params_text(&p, id);
        params_text(&p, name);
        return store_send(s, &sql_get_file, &p,
                STORE_CALL(store_decode_row, callback, userdata, ret_request));
}

/* The filter that drives: a state's own table is the narrowest of all, the primary key the widest.
 */
static const PqStatement *choose_list(const StoreJobFilter *f)
{
        static const struct {
                const char *state;
                const PqStatement *statement;
        } states[] = {
                { "ready", &sql_list_jobs_ready },
                { "scheduled", &sql_list_jobs_scheduled },
                { "waiting", &sql_list_jobs_waiting },
                { "blocked", &sql_list_jobs_blocked },
                { "running", &sql_list_jobs_lease },
        };

        if (f->parent)
                return &sql_list_jobs_of_parent;
        if (f->state) {
                for (unsigned i = 0; i < ELEMENTSOF(states); i++)
                        if (streq(f->state, states[i].state))
                                return states[i].statement;
                return &sql_list_jobs_ended;
        }
        if (f->kind)
                return &sql_list_jobs_of_kind;
        if (f->queue)
                return &sql_list_jobs_of_queue;
        return f->tenant ? &sql_list_jobs_of_tenant : &sql_list_jobs;
}

int store_list_jobs(Store *s, const StoreJobFilter *f, StoreRowCallback callback, void *userdata,
        StoreRequest **ret_request)
{
        StoreParams p = {};

        params_text(&p, f->below);
        params_text(&p, f->from);
        params_text(&p, f->tenant);
        params_text(&p, f->kind);
        params_text(&p, f->queue);
        params_text(&p, f->state);
        params_text(&p, f->subject);
        params_u64(&p, f->n_most);
        if (f->parent)
                params_text(&p, f->parent);
        return store_send(s, choose_list(f), &p,
                STORE_CALL(store_decode_row, callback, userdata, ret_request));
}

int store_note_blobs(Store *s, const StoreBlobNote *blobs, unsigned n_blobs,
        StoreDoneCallback callback, void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};
        StrBuf *tenants = params_array(&p);
        StrBuf *digests = params_array(&p);
        StrBuf *sizes = params_array(&p);

        for (unsigned i = 0; i < n_blobs; i++) {
                array_text(tenants, blobs[i].tenant);
                array_text(digests, blobs[i].digest);
                array_u64(sizes, blobs[i].size);
        }
        return store_send(s, &sql_note_blobs, &p,
                STORE_CALL(store_decode_done, callback, userdata, ret_request));
}

int store_get_stats(
        Store *s, StoreStatsCallback callback, void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        return store_send(
                s, &sql_get_stats, &p, STORE_CALL(decode_stats, callback, userdata, ret_request));
}

int store_hint(Store *s, StoreDoneCallback callback, void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        return store_send(
                s, &sql_hint, &p, STORE_CALL(store_decode_done, callback, userdata, ret_request));
}
