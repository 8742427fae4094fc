/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store-run.h"

#include "store-internal.h"
#include "store-sql.h"

static const StoreColumn lane_columns[] = {
        COLUMN(COLUMN_I64, StoreLane, lane),
        COLUMN(COLUMN_TEXT, StoreLane, queue),
        COLUMN(COLUMN_TEXT, StoreLane, kind),
        COLUMN(COLUMN_TEXT, StoreLane, tenant),
        COLUMN(COLUMN_I64, StoreLane, priority),
};
DEFINE_ROWS_DECODER(decode_lanes, StoreLane, StoreLanesCallback, lane_columns)

int store_find_lanes(Store *s, const int64_t *known, unsigned n_known, StoreLanesCallback callback,
        void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};
        StrBuf *a = params_array(&p);

        for (unsigned i = 0; i < n_known; i++)
                array_i64(a, known[i]);
        params_i64(&p, STORE_LANES_MAX);
        return store_send(
                s, &sql_find_lanes, &p, STORE_CALL(decode_lanes, callback, userdata, ret_request));
}

static const StoreColumn claimed_columns[] = {
        COLUMN(COLUMN_I64, StoreClaimedJob, run_id),
        COLUMN(COLUMN_TEXT, StoreClaimedJob, run_key),
        COLUMN(COLUMN_I64, StoreClaimedJob, lane),
        COLUMN(COLUMN_I64, StoreClaimedJob, seq),
        COLUMN(COLUMN_TEXT, StoreClaimedJob, id),
        COLUMN(COLUMN_TEXT, StoreClaimedJob, kind),
        COLUMN(COLUMN_TEXT, StoreClaimedJob, queue),
        COLUMN(COLUMN_I64, StoreClaimedJob, priority),
        COLUMN(COLUMN_TEXT, StoreClaimedJob, tenant),
        COLUMN(COLUMN_TEXT_NULL, StoreClaimedJob, subject),
        COLUMN(COLUMN_I64, StoreClaimedJob, attempt),
        COLUMN(COLUMN_I64, StoreClaimedJob, interruptions),
        COLUMN(COLUMN_I64, StoreClaimedJob, flags),
        COLUMN(COLUMN_I64, StoreClaimedJob, max_attempts),
        COLUMN(COLUMN_I64, StoreClaimedJob, max_interruptions),
        COLUMN(COLUMN_I64, StoreClaimedJob, timeout_usec),
        COLUMN(COLUMN_TEXT_NULL, StoreClaimedJob, payload),
        COLUMN(COLUMN_TEXT_NULL, StoreClaimedJob, payload_blob),
        COLUMN(COLUMN_TEXT_NULL, StoreClaimedJob, inputs),
        COLUMN(COLUMN_BOOL, StoreClaimedJob, late),
        COLUMN(COLUMN_BOOL, StoreClaimedJob, known),
};
DEFINE_ROWS_DECODER(decode_claimed, StoreClaimedJob, StoreClaimCallback, claimed_columns)

int store_claim_jobs(Store *s, int64_t instance, const StoreClaim *claim,
        StoreClaimCallback callback, void *userdata, StoreRequest **ret_request)
{
        StrBuf *lanes, *cursors, *priorities, *names;
        StoreParams p = {};

        lanes = params_array(&p);
        cursors = params_array(&p);
        priorities = params_array(&p);
        for (unsigned i = 0; i < claim->n_cursors; i++) {
                array_i64(lanes, claim->cursors[i].lane);
                array_i64(cursors, claim->cursors[i].cursor);
                array_i64(priorities, claim->cursors[i].priority);
        }
        params_u64(&p, claim->n_jobs);
        params_i64(&p, instance);
        names = params_array(&p);
        for (const char *const *k = claim->kinds; *k; k++)
                array_text(names, *k);
        if (claim->lease_usec > 0)
                params_u64(&p, claim->lease_usec);
        else
                params_text(&p, NULL);
        params_text(&p, claim->puller);
        return store_send(s,
                claim->n_cursors > 0 && claim->cursors[0].limited ? &sql_claim_limited_jobs
                                                                  : &sql_claim_jobs,
                &p, STORE_CALL(decode_claimed, callback, userdata, ret_request));
}

static void array_positive(StrBuf *a, int v, int least)
{
        if (v < least)
                array_text(a, NULL);
        else
                array_i64(a, v);
}

/* One column of end-runs.sql after the other, in the order of its parameters. */
static void add_ended_runs(StoreParams *p, const StoreEndedRun *runs, unsigned n)
{
        StrBuf *a[16];

        for (unsigned i = 0; i < ELEMENTSOF(a); i++)
                a[i] = params_array(p);
        for (const StoreEndedRun *e = runs; e < runs + n; e++) {
                array_i64(a[0], e->run_id);
                array_text(a[1], e->run_key);
                array_text(a[2], e->state);
                array_text(a[3], e->cause);
                array_positive(a[4], e->exit_status, 0);
                array_positive(a[5], e->exit_signal, 1);
                array_text(a[6], e->error_code);
                array_text(a[7], e->error_message);
                array_text(a[8], e->result);
                array_text(a[9], e->result_blob);
                array_u64(a[10], e->delay_usec);
                array_u64(a[11], e->cpu_usec);
                array_u64(a[12], e->max_rss);
                array_text(a[13], e->unit);
                array_text(a[14], e->log);
                if (e->counts == STORE_COUNTS_NEITHER)
                        array_text(a[15], NULL);
                else
                        array_bool(a[15], e->counts == STORE_COUNTS_INTERRUPTION);
        }
}

int store_end_runs(Store *s, const StoreEndedRuns *ended, StoreRunsCallback callback,
        void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        add_ended_runs(&p, ended->runs, ended->n_runs);
        params_text(&p, ended->host);
        params_text(&p, ended->actor);
        return store_send(s, &sql_end_runs, &p,
                STORE_CALL(store_decode_run_ids, callback, userdata, ret_request));
}

int store_mark_started(Store *s, int64_t instance, const int64_t *run_ids, unsigned n_run_ids,
        StoreDoneCallback callback, void *userdata)
{
        StoreParams p = {};
        StrBuf *a = params_array(&p);

        for (unsigned i = 0; i < n_run_ids; i++)
                array_i64(a, run_ids[i]);
        params_i64(&p, instance);
        return store_send(
                s, &sql_mark_started, &p, STORE_CALL(store_decode_done, callback, userdata, NULL));
}

int store_save_progress(Store *s, const StoreProgress *progress, unsigned n_progress,
        StoreDoneCallback callback, void *userdata)
{
        StrBuf *ids, *keys, *percents, *texts;
        StoreParams p = {};

        ids = params_array(&p);
        keys = params_array(&p);
        percents = params_array(&p);
        texts = params_array(&p);
        for (unsigned i = 0; i < n_progress; i++) {
                array_i64(ids, progress[i].run_id);
                array_text(keys, progress[i].run_key);
                array_positive(percents, progress[i].percent, 0);
                array_text(texts, progress[i].status);
        }
        return store_send(
                s, &sql_save_progress, &p, STORE_CALL(store_decode_done, callback, userdata, NULL));
}

int store_add_files(Store *s, const StoreFiles *added, StoreDoneCallback callback, void *userdata,
        StoreRequest **ret_request)
{
        StrBuf *directions, *names, *digests, *sizes;
        StoreParams p = {};

        params_i64(&p, added->run.run_id);
        params_text(&p, added->run.run_key);
        directions = params_array(&p);
        names = params_array(&p);
        digests = params_array(&p);
        sizes = params_array(&p);
        for (unsigned i = 0; i < added->n_files; i++) {
                array_text(directions, added->files[i].direction);
                array_text(names, added->files[i].name);
                array_text(digests, added->files[i].digest);
                array_u64(sizes, added->files[i].size);
        }
        return store_send(s, &sql_add_files, &p,
                STORE_CALL(store_decode_done, callback, userdata, ret_request));
}
