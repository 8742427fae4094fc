/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "log.h"
#include "worker-private.h"

/* Any worker does these for the fleet; doing them twice is harmless, because every statement is
 * guarded. */
#define DUE_BATCH    1000U
#define DUE_MAX_USEC USEC_PER_SEC
#define DUE_ALL_USEC                                                                               \
        (10 * USEC_PER_SEC) /* how often due jobs are looked for from the beginning of time */
#define DUE_BACK_SEC        60
#define UNBLOCK_USEC        USEC_PER_SEC
#define UNBLOCK_SOON_USEC   (100 * USEC_PER_MSEC) /* some were unblocked: there may be more */
#define UNBLOCK_TOKENS      500U
#define WAKE_MIN_USEC       (2 * USEC_PER_MSEC)
#define WAKE_MAX_USEC       (250 * USEC_PER_MSEC)
#define WAKE_BATCH          100U
#define NOTE_USEC           (30 * USEC_PER_SEC)
#define REAP_USEC           (5 * USEC_PER_SEC)
#define DEADLINES_BACK_USEC (10 * USEC_PER_MIN)
#define DEADLINES_ALL_USEC  USEC_PER_DAY
#define REAPS_PER_HOUR      720U /* of REAP_USEC */
#define OWN_RUNS_USEC       (5 * USEC_PER_MIN)
#define OWN_RUNS_REAPS      120U /* without a loss: every 10 minutes */

static int arm(sd_event_source *s, usec_t in_usec)
{
        int r = sd_event_source_set_time_relative(s, in_usec);

        return r < 0 ? r : sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

/* ---- heartbeat
 * ---------------------------------------------------------------------------------------------------
 */

/* A statement of the upkeep that the server refuses is a fault of ours or of the schema: it must be
 * seen, but not every second. Everything else shows in STATUS= and comes right by itself. */
void worker_note_error(Worker *w, int error)
{
        usec_t now = now_usec(CLOCK_MONOTONIC);

        if (error == -EIO && w->instance > 0 && store_lacks_schema(w->store)) {
                log_error("The schema is gone: %s", store_last_error(w->store));
                worker_disowned(w);
                return;
        }
        if ((error != -EIO && error != -EPROTO) ||
                (w->noted_usec > 0 && now < w->noted_usec + NOTE_USEC))
                return;
        w->noted_usec = now;
        log_error("A statement failed: %s", store_last_error(w->store));
}

void worker_on_done(int error, void *userdata)
{
        worker_note_error(userdata, error);
}

void worker_on_count(int error, int64_t n, void *userdata)
{
        worker_note_error(userdata, error);
}

static void on_beat_answer(int error, int64_t n, void *userdata)
{
        Worker *w = userdata;

        if (error < 0) {
                worker_note_error(w, error);
                return;
        }
        if (n == 0) {
                worker_disowned(w);
                return;
        }
        w->last_beat_usec = now_usec(CLOCK_MONOTONIC);
}

static Run *find_run(Worker *w, int64_t run_id)
{
        for (Run *r = w->runs; r; r = r->next)
                if (r->run_id == run_id)
                        return r;
        return NULL;
}

static void on_cancels(int error, const int64_t *run_ids, unsigned n, void *userdata)
{
        Worker *w = userdata;

        worker_note_error(w, error);
        for (unsigned i = 0; error == 0 && i < n; i++) {
                Run *r = find_run(w, run_ids[i]);

                if (!r || run_leave_room(r, RUN_CANCELLED) || r->stopping ||
                        r->state >= RUN_KEEPING)
                        continue;
                log_info("Cancelling run %lld of job %s.", (long long) r->run_id, r->job);
                if (r->slot)
                        slot_stop_run(r->slot, RUN_CANCELLED);
                else
                        run_stopped_early(r, RUN_CANCELLED);
        }
}

static void on_rules(int error, const StoreClaimRule *rules, unsigned n, void *userdata)
{
        Worker *w = userdata;

        worker_note_error(w, error);
        if (error == 0 && claim_rules_set(&w->rules, rules, n) < 0)
                log_oom();
}

/* The word to end a run must come quickly: at each hint, and every second while there are runs. */
void worker_look_at_orders(Worker *w)
{
        if (w->instance == 0)
                return;
        w->orders_usec = now_usec(CLOCK_MONOTONIC);
        (void) store_list_cancels(w->store, w->instance, on_cancels, w, NULL);
        (void) store_list_claim_rules(w->store, on_rules, w, NULL);
}

static int on_beat(sd_event_source *s, uint64_t usec, void *userdata)
{
        Worker *w = userdata;
        unsigned n_busy = worker_n_busy(w);
        const StoreHeartbeat beat = { w->instance,
                w->state != WORKER_WORKING ? "draining"
                        : n_busy > 0       ? "busy"
                                           : "idle",
                n_busy, w->n_done };

        if (w->instance > 0) {
                (void) store_beat_instance(w->store, &beat, on_beat_answer, w, NULL);
                worker_look_at_orders(w);
        }
        return arm(s, w->settings.heartbeat_usec);
}

/* ---- due jobs and deadlines
 * -------------------------------------------------------------------------------------- */

static void on_promoted(int error, int64_t n, usec_t next_usec, void *userdata)
{
        Worker *w = userdata;

        worker_note_error(w, error);
        if (error < 0 || !w->due_timer)
                return;
        if (n > 0)
                worker_hint(w);
        if (n == DUE_BATCH)
                next_usec = 0;
        (void) arm(w->due_timer, next_usec < DUE_MAX_USEC ? next_usec : DUE_MAX_USEC);
}

static int on_due(sd_event_source *s, uint64_t usec, void *userdata)
{
        Worker *w = userdata;
        usec_t now = now_usec(CLOCK_MONOTONIC);
        bool all = now >= w->promoted_all_usec + DUE_ALL_USEC;

        if (w->instance == 0 || w->state != WORKER_WORKING)
                return arm(s, DUE_MAX_USEC);
        if (all)
                w->promoted_all_usec = now;
        (void) store_promote_due(
                w->store, DUE_BATCH, all ? -1 : DUE_BACK_SEC, on_promoted, w, NULL);
        /* Should no answer come: again, later. */
        return arm(s, 2 * DUE_MAX_USEC);
}

/* ---- lines before limits
 * ----------------------------------------------------------------------------------------
 */

static void on_unblocked(int error, int64_t n, const char *last, void *userdata)
{
        Worker *w = userdata;

        worker_note_error(w, error);
        if (error < 0 || !w->unblock_timer)
                return;
        free(w->unblock_after);
        w->unblock_after = last ? strdup(last) : NULL;
        if (n > 0)
                worker_hint(w);
        (void) arm(w->unblock_timer, n > 0 ? UNBLOCK_SOON_USEC : UNBLOCK_USEC);
}

/* An end of a run lets the next ones go on by itself. This is for what that did not see: a limit
 * that was changed, a job that ended before it ran, two who looked at the same moment. */
static int on_unblock(sd_event_source *s, uint64_t usec, void *userdata)
{
        Worker *w = userdata;

        if (w->instance > 0 && w->state == WORKER_WORKING)
                (void) store_unblock_next(w->store, w->unblock_after ? w->unblock_after : "",
                        UNBLOCK_TOKENS, on_unblocked, w, NULL);
        /* Should no answer come: again, later. */
        return arm(s, 2 * UNBLOCK_USEC);
}

static void on_woken(int error, int64_t n, usec_t next_usec, void *userdata)
{
        Worker *w = userdata;
        usec_t most = w->rules.limited && w->rules.limited[0] ? WAKE_MAX_USEC : UNBLOCK_USEC;

        worker_note_error(w, error);
        if (error < 0 || !w->wake_timer)
                return;
        if (n > 0)
                worker_hint(w);
        if (next_usec < WAKE_MIN_USEC)
                next_usec = WAKE_MIN_USEC;
        (void) arm(w->wake_timer, next_usec < most ? next_usec : most);
}

/* Jobs that wait for the time of a rate. Others may block some meanwhile, so it is not only asked
 * when the next one's time has come; but seldom where no kind of the fleet has a limit. */
static int on_wake(sd_event_source *s, uint64_t usec, void *userdata)
{
        Worker *w = userdata;

        if (w->instance > 0 && w->state == WORKER_WORKING)
                (void) store_wake_buckets(w->store, WAKE_BATCH, on_woken, w, NULL);
        return arm(s, UNBLOCK_USEC);
}

/* ---- the dead
 * ----------------------------------------------------------------------------------------------------
 */

static void on_voided(int error, int64_t n, void *userdata)
{
        Worker *w = userdata;

        worker_note_error(w, error);
        if (error == 0 && n > 0)
                (void) reaper_start(&w->reaper);
}

/* A counter that stands still for a lease on our own clock: a stepped clock kills nobody. */
static void on_instances(int error, const StoreBeat *beats, unsigned n, void *userdata)
{
        Worker *w = userdata;

        worker_note_error(w, error);
        if (error < 0 || stand_stills_look(&w->still, beats, n, now_usec(CLOCK_MONOTONIC)) < 0)
                return;
        for (unsigned i = 0; i < w->still.n; i++) {
                const StandStill *still = w->still.entries + i;

                if (still->stood_usec < w->settings.lease_usec || still->instance == w->instance)
                        continue;
                log_warning("Worker instance %lld has not moved for its lease; its jobs are taken "
                            "back.",
                        (long long) still->instance);
                (void) store_void_instance(
                        w->store, still->instance, still->beat, on_voided, w, NULL);
        }
}

/* A claim of a connection that was lost may be committed late (its backend stood still): nobody
 * would run it while this instance lives. So its leases are looked through again for a while after
 * a loss. */
static bool own_runs_are_due(const Worker *w)
{
        usec_t since = now_usec(CLOCK_MONOTONIC) - w->lost_usec;

        return (w->lost_usec > 0 && since < OWN_RUNS_USEC) || w->n_reaps % OWN_RUNS_REAPS == 0;
}

static void on_reopened(int error, int64_t n, void *userdata)
{
        worker_note_error(userdata, error);
        if (error == 0 && n > 0)
                log_notice("%lld stopped workers have runs again: claims that were committed late.",
                        (long long) n);
}

static int on_reap(sd_event_source *s, uint64_t usec, void *userdata)
{
        Worker *w = userdata;
        bool all = w->n_reaps % REAPS_PER_HOUR == 0;

        if (w->instance > 0) {
                (void) store_list_instances(w->store, on_instances, w, NULL);
                if (w->n_reaps % OWN_RUNS_REAPS == 0)
                        (void) store_reopen_instances(w->store, on_reopened, w, NULL);
                (void) reaper_start(&w->reaper);
                (void) store_expire_deadlines(w->store,
                        all ? DEADLINES_ALL_USEC : DEADLINES_BACK_USEC, DUE_BATCH, NULL, NULL,
                        NULL);
                if (own_runs_are_due(w))
                        worker_check_own_runs(w);
                if (all)
                        (void) store_ensure_partitions(w->store, worker_on_count, w, NULL);
                w->n_reaps++;
        }
        return arm(s, REAP_USEC);
}

static void on_reaped(int error, unsigned n_ended, void *userdata)
{
        Worker *w = userdata;

        if (error < 0 && error != -ENOTCONN && error != -ECONNRESET)
                log_warning("Failed to end the runs of stopped workers: %s",
                        store_last_error(w->store));
        if (n_ended > 0) {
                log_notice("Ended %u runs that stopped workers had left.", n_ended);
                worker_hint(w);
        }
        w->reaper.n_ended = 0;
}

/* ---- life
 * --------------------------------------------------------------------------------------------------------
 */

/* A worker that has just come claims first: its first claim would wait behind the statements of a
 * round of upkeep, which take longer than all before them. */
#define UPKEEP_AFTER_USEC (100 * USEC_PER_MSEC)

static int add_timer(Worker *w, sd_event_source **ret, usec_t in_usec,
        sd_event_time_handler_t handler, const char *name)
{
        int r;

        if (*ret)
                return arm(*ret, in_usec);
        r = sd_event_add_time_relative(
                w->event, ret, CLOCK_MONOTONIC, in_usec, USEC_PER_MSEC, handler, w);
        if (r < 0)
                return r;
        return sd_event_source_set_description(*ret, name);
}

int worker_start_upkeep(Worker *w)
{
        int r;

        w->reaper.store = w->store;
        w->reaper.actor = w->name;
        w->reaper.on_done = on_reaped;
        w->reaper.userdata = w;
        r = add_timer(w, &w->beat_timer, 0, on_beat, "heartbeat");
        if (r >= 0)
                r = add_timer(w, &w->due_timer, UPKEEP_AFTER_USEC, on_due, "due");
        if (r >= 0)
                r = add_timer(w, &w->unblock_timer, UNBLOCK_USEC, on_unblock, "unblock");
        if (r >= 0)
                r = add_timer(w, &w->wake_timer, UPKEEP_AFTER_USEC, on_wake, "wake");
        if (r >= 0)
                r = add_timer(w, &w->reap_timer, UPKEEP_AFTER_USEC, on_reap, "reap");
        return r;
}

void worker_stop_upkeep(Worker *w)
{
        w->beat_timer = sd_event_source_disable_unref(w->beat_timer);
        w->due_timer = sd_event_source_disable_unref(w->due_timer);
        w->wake_timer = sd_event_source_disable_unref(w->wake_timer);
        w->unblock_timer = sd_event_source_disable_unref(w->unblock_timer);
        w->reap_timer = sd_event_source_disable_unref(w->reap_timer);
}
