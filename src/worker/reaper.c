/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "reaper.h"

#include <stdio.h>

#include "verdict.h"

#define REAP_BATCH 200U

static void finish(Reaper *r, int error)
{
        r->busy = false;
        if (r->on_done)
                r->on_done(error, r->n_ended, r->userdata);
}

static void on_ended(int error, const int64_t *run_ids, unsigned n_run_ids, void *userdata)
{
        Reaper *r = userdata;
        int e;

        r->n_ended += n_run_ids;
        if (error < 0) {
                finish(r, error);
                return;
        }
        /* Again until nothing is left: batches are by host. */
        r->busy = false;
        e = reaper_start(r);
        if (e < 0)
                finish(r, e);
}

static StoreEndedRun end_of_orphan(const Reaper *r, const StoreOrphan *o, Verdict *v)
{
        if (o->started)
                verdict_of_interruption(o->stop_cause, o->interruptions, o->max_interruptions, v);
        else
                *v = (Verdict){
                        .state = "ready", .cause = o->stop_cause, .counts = STORE_COUNTS_NEITHER
                };
        if (!v->error_code[0] && r->detail && !streq(o->stop_cause, "lease-expired"))
                snprintf(v->error_message, sizeof(v->error_message), "%s", r->detail);
        return (StoreEndedRun){ .run_id = o->run_id,
                .run_key = o->run_key,
                .state = v->state,
                .cause = v->cause,
                .exit_status = -1,
                .error_code = v->error_code[0] ? v->error_code : NULL,
                .error_message = v->error_message[0] ? v->error_message : NULL,
                .counts = v->counts };
}

static void on_orphans(int error, const StoreOrphan *orphans, unsigned n_orphans, void *userdata)
{
        _cleanup_(freep) StoreEndedRun *runs = NULL;
        _cleanup_(freep) Verdict *verdicts = NULL;
        StoreEndedRuns ended = {};
        Reaper *r = userdata;
        int e;

        if (error < 0 || n_orphans == 0) {
                finish(r, error);
                return;
        }

        runs = new0(StoreEndedRun, n_orphans);
        verdicts = new0(Verdict, n_orphans);
        if (!runs || !verdicts) {
                finish(r, -ENOMEM);
                return;
        }
        ended = (StoreEndedRuns){ .runs = runs, .host = orphans[0].host, .actor = r->actor };
        for (unsigned i = 0; i < n_orphans; i++)
                if (streq(orphans[i].host, ended.host)) {
                        runs[ended.n_runs] = end_of_orphan(r, orphans + i, verdicts + ended.n_runs);
                        ended.n_runs++;
                }
        e = store_end_runs(r->store, &ended, on_ended, r, NULL);
        if (e < 0)
                finish(r, e);
}

int reaper_start(Reaper *r)
{
        int e;

        if (r->busy)
                return 0;
        e = store_list_orphans(r->store, REAP_BATCH, on_orphans, r, NULL);
        if (e < 0)
                return e;
        r->busy = true;
        return 0;
}
