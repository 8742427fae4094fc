/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <systemd/sd-daemon.h>

#include "log.h"
#include "worker-private.h"

/* Health is the truth: the watchdog is fed only by work that got through, never by the loop's
 * turning alone.
 *
 * connected      the last heartbeat's answer is not older than two heartbeats and the statement
 * deadline, and, while slots are free, neither is the last answer to a claim not connected attempts
 * to connect end, either way, on schedule */

#define TICK_USEC         (250 * USEC_PER_MSEC)
#define STATEMENT_USEC    (15 * USEC_PER_SEC) /* as in loop/pq-loop.c */
#define ATTEMPT_USEC      (8 * USEC_PER_SEC) /* 5 s for the attempt, 2 s pause */
#define SLOW_USEC         (3 * USEC_PER_SEC) /* an answer that takes longer is worth a word */
#define ORDERS_USEC       USEC_PER_SEC /* a cancel must take effect within StopSec= + 1 s */
#define MARK_STARTED_USEC (50 * USEC_PER_MSEC)
#define MARK_MAX          64U

static bool is_recent(usec_t at, usec_t now, usec_t limit)
{
        return now - at <= limit;
}

static bool claims_go_on(const Worker *w, usec_t now)
{
        bool expected = w->state == WORKER_WORKING &&
                worker_n_busy(w) + worker_n_waiting(w) < w->n_slots && w->n_ended <= 2 * w->n_slots;

        return !expected || is_recent(w->last_claim_usec, now, STATEMENT_USEC);
}

static bool is_healthy(const Worker *w, usec_t now)
{
        usec_t attempt = store_last_attempt_usec(w->store);

        if (!store_is_connected(w->store))
                return is_recent(
                        attempt > w->started_usec ? attempt : w->started_usec, now, ATTEMPT_USEC);
        if (w->instance ==
                0) /* no schema yet, or registering: the statements themselves have deadlines */
                return store_oldest_age_usec(w->store) <= STATEMENT_USEC;
        return is_recent(w->last_beat_usec, now, 2 * w->settings.heartbeat_usec + STATEMENT_USEC) &&
                claims_go_on(w, now);
}

static void describe(const Worker *w, char *buf, size_t size)
{
        static const char *const states[] = {
                [WORKER_WAITING] = "waiting for the schema",
                [WORKER_REGISTERING] = "registering",
                [WORKER_WORKING] = "working",
                [WORKER_DRAINING] = "draining",
                [WORKER_STOPPING] = "stopping",
        };
        unsigned n_busy = worker_n_busy(w);
        char span[TIMESPAN_MAX];
        usec_t age = store_oldest_age_usec(w->store);

        if (!store_is_connected(w->store))
                snprintf(buf, size, "degraded: no database (%.120s); %u runs go on",
                        store_last_error(w->store), n_busy);
        else if (age > SLOW_USEC)
                snprintf(buf, size, "degraded: the database has not answered for %s; %u runs go on",
                        format_timespan(span, age / USEC_PER_SEC * USEC_PER_SEC), n_busy);
        else if (w->saw_namesake > 0 && w->instance == 0)
                snprintf(buf, size, "waiting: %s", w->waits_for);
        else {
                char faults[128];

                worker_describe_faults(w, faults, sizeof(faults));
                snprintf(buf, size, "%s: %u of %u slots busy, %llu done, %llu failed%s",
                        states[w->state], n_busy, w->n_slots, (unsigned long long) w->n_done,
                        (unsigned long long) w->n_failed, faults);
        }
}

void worker_update_status(Worker *w)
{
        char status[sizeof(w->status)];

        describe(w, status, sizeof(status));
        if (streq(status, w->status))
                return;
        memcpy(w->status, status, sizeof(status));
        (void) sd_notifyf(false, "STATUS=%s", status);
}

/* ---- what is told to the database now and then
 * -------------------------------------------------------------------- */

static void save_progress(Worker *w)
{
        StoreProgress progress[MARK_MAX];
        unsigned n = 0;

        for (Run *r = w->runs; r && n < MARK_MAX; r = r->next)
                if (r->state == RUN_RUNNING && (r->progress >= 0 || r->status))
                        progress[n++] =
                                (StoreProgress){ r->run_id, r->run_key, r->progress, r->status };
        if (n == 0 || store_save_progress(w->store, progress, n, worker_on_done, w) < 0)
                return;
        for (Run *r = w->runs; r; r = r->next)
                for (unsigned i = 0; i < n; i++)
                        if (r->run_id == progress[i].run_id) {
                                r->progress = -1;
                                r->status = mfree(r->status);
                        }
}

/* Only of runs that last: most are over before anybody could need to know that they had begun. */
static void mark_started(Worker *w, usec_t now)
{
        int64_t ids[MARK_MAX];
        unsigned n = 0;

        for (Run *r = w->runs; r && n < MARK_MAX; r = r->next)
                if (r->state == RUN_RUNNING && r->started && !r->marked &&
                        now >= r->started_usec + MARK_STARTED_USEC) {
                        ids[n++] = r->run_id;
                        r->marked = true;
                }
        if (n > 0)
                (void) store_mark_started(w->store, w->instance, ids, n, worker_on_done, w);
}

static int on_tick(sd_event_source *s, uint64_t usec, void *userdata)
{
        Worker *w = userdata;
        usec_t now = now_usec(CLOCK_MONOTONIC);
        int r;

        worker_update_status(w);
        worker_check_slots(w);
        if (store_is_connected(w->store) && w->instance > 0) {
                mark_started(w, now);
                worker_tell_faults(w);
                save_progress(w);
                if (w->retry_ends)
                        worker_send_ends(w);
                if (w->n_runs > 0 && now >= w->orders_usec + ORDERS_USEC)
                        worker_look_at_orders(w);
        }
        worker_start_queued(w);
        worker_keep_again(w);
        if (w->watchdog_usec > 0 && is_healthy(w, now))
                (void) sd_notify(false, "WATCHDOG=1");

        r = sd_event_source_set_time_relative(s, TICK_USEC);
        return r < 0 ? r : sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

int worker_start_health(Worker *w)
{
        int r;

        r = sd_watchdog_enabled(false, &w->watchdog_usec);
        if (r < 0)
                return r;
        r = sd_event_add_time_relative(
                w->event, &w->tick_timer, CLOCK_MONOTONIC, TICK_USEC, USEC_PER_MSEC, on_tick, w);
        if (r < 0)
                return r;
        return sd_event_source_set_description(w->tick_timer, "tick");
}
