/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-id128.h>
#include <unistd.h>

#include "fd-util.h"
#include "log.h"
#include "namesake.h"
#include "worker-private.h"

#define SCHEMA_RETRY_USEC USEC_PER_SEC

static void look_at_schema(Worker *w);

/* ---- configuration
 * -----------------------------------------------------------------------------------------------
 */

static void on_finding(
        void *userdata, ConfLevel level, const char *file, unsigned line, const char *text)
{
        if (level == CONF_ERROR)
                log_error("%s:%u: %s", file, line, text);
        else
                log_warning("%s:%u: %s", file, line, text);
}

/* Until the database has said what all hosts have. */
static int name_limited_kinds(Worker *w)
{
        _cleanup_(freep) StoreClaimRule *rules = new0(StoreClaimRule, w->kinds->n_kinds);
        unsigned n = 0;

        if (!rules)
                return -ENOMEM;
        for (size_t i = 0; i < w->kinds->n_kinds; i++)
                if (w->kinds->kinds[i]->concurrency > 0 || w->kinds->kinds[i]->rate_limit.n > 0)
                        rules[n++].name = w->kinds->kinds[i]->name;
        return claim_rules_set(&w->rules, rules, n);
}

static int name_kinds(Worker *w)
{
        size_t n = 0;

        w->kind_names = (const char **) new0(char *, w->kinds->n_kinds + 1);
        w->means = new0(KindMean, w->kinds->n_kinds);
        if (!w->kind_names || !w->means)
                return -ENOMEM;
        if (worker_start_holds(w) < 0 || name_limited_kinds(w) < 0)
                return -ENOMEM;
        for (size_t i = 0; i < w->kinds->n_kinds; i++)
                if (w->kinds->kinds[i]->type == KIND_EXEC)
                        w->kind_names[n++] = w->kinds->kinds[i]->name;
        return 0;
}

static int read_configuration(Worker *w, const char *name, const char *root)
{
        _cleanup_(freep) char *pool = strdup(name);
        char *colon;
        int r;

        if (!pool)
                return -ENOMEM;
        colon = strchr(pool, ':');
        if (colon)
                *colon = '\0';

        r = settings_load(root, on_finding, NULL, &w->settings);
        if (r < 0 && r != -EINVAL) /* a wrong value was reported, its default stands */
                return log_error_errno(r, "Failed to read reeve.conf: %m");
        r = pool_load(root, pool, on_finding, NULL, &w->pool);
        if (r < 0)
                return log_error_errno(r, "Failed to read the configuration of pool %s: %m", pool);
        r = kinds_load(root, on_finding, NULL, &w->kinds);
        if (r < 0)
                return log_error_errno(r, "Failed to read the kinds: %m");
        return name_kinds(w);
}

static int make_slots(Worker *w)
{
        long n_cpus = sysconf(_SC_NPROCESSORS_ONLN);

        w->n_slots = w->pool->slots > 0 ? w->pool->slots : n_cpus > 0 ? (unsigned) n_cpus : 1;
        w->slots = new0(Slot, w->n_slots);
        if (!w->slots)
                return -ENOMEM;
        for (unsigned i = 0; i < w->n_slots; i++) {
                w->slots[i].worker = w;
                w->slots[i].fd = -EBADF;
                for (unsigned k = 0; k < ELEMENTSOF(w->slots[i].packet.fds); k++)
                        w->slots[i].packet.fds[k] = -EBADF;
        }
        return 0;
}

static int on_schema_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
        Worker *w = userdata;

        if (w->state == WORKER_WAITING && store_is_connected(w->store))
                look_at_schema(w);
        (void) sd_event_source_set_time_relative(s, SCHEMA_RETRY_USEC);
        return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

static void on_schema(int error, int64_t version, void *userdata)
{
        Worker *w = userdata;

        if (w->state != WORKER_WAITING)
                return;
        if (error < 0 || version < REEVE_SCHEMA_VERSION) {
                if (!w->told_schema && (error == 0 || error == -EIO))
                        log_notice("The database has schema version %lld, %d is needed: waiting "
                                   "for reeve-migrate.",
                                (long long) version, REEVE_SCHEMA_VERSION);
                w->told_schema |= error == 0 || error == -EIO;
                return;
        }
        w->schema_version = version;
        worker_register(w);
}

static void look_at_schema(Worker *w)
{
        (void) store_get_schema_version(w->store, on_schema, w, NULL);
}

/* ---- the database comes and goes
 * --------------------------------------------------------------------------------- */

static void on_given_back(int error, const int64_t *run_ids, unsigned n, void *userdata)
{
        /* Should it fail, the next reconnection looks again. */
}

static void on_own_runs(int error, const StoreOwnRun *runs, unsigned n, void *userdata)
{
        Worker *w = userdata;
        StoreEndedRun *lost;
        StoreEndedRuns ended = { .host = w->host, .actor = w->name };

        if (error < 0 || n == 0)
                return;
        lost = new0(StoreEndedRun, n);
        if (!lost)
                return;
        for (unsigned i = 0; i < n; i++) {
                bool known = false;

                for (const Run *r = w->runs; r; r = r->next)
                        known = known || r->run_id == runs[i].run_id;
                if (!known)
                        lost[ended.n_runs++] = (StoreEndedRun){ .run_id = runs[i].run_id,
                                .run_key = runs[i].run_key,
                                .state = "ready",
                                .cause = "claim-lost",
                                .exit_status = -1,
                                .counts = STORE_COUNTS_NEITHER };
        }
        ended.runs = lost;
        if (ended.n_runs > 0) {
                log_notice("Giving back %u jobs whose claim was never answered.", ended.n_runs);
                (void) store_end_runs(w->store, &ended, on_given_back, w, NULL);
        }
        free(lost);
}

void worker_check_own_runs(Worker *w)
{
        (void) store_list_own_runs(w->store, w->instance, on_own_runs, w, NULL);
}

static void on_store_state(bool connected, const char *text, void *userdata)
{
        Worker *w = userdata;

        if (connected != w->connected) {
                if (connected)
                        log_info("Connected to the database.");
                else
                        log_warning("The database is away: %s", text);
        } else if (!connected && !w->told_away)
                log_warning("No database yet: %s", text);
        if (w->connected && !connected) {
                w->lost_usec = now_usec(CLOCK_MONOTONIC);
                stand_stills_forget(&w->still);
                stand_stills_forget(&w->namesakes);
                w->saw_namesake = 0;
        }
        w->told_away = !connected;
        w->connected = connected;
        if (connected && w->instance == 0 && w->state == WORKER_WAITING)
                look_at_schema(w);
        else if (connected && w->instance > 0) {
                worker_check_own_runs(w);
                worker_send_ends(w);
                worker_hint(w);
        }
        worker_update_status(w);
}

static void on_store_hint(void *userdata)
{
        Worker *w = userdata;

        worker_look_at_orders(w); /* first: a queue may have been paused */
        worker_hint(w);
}

void worker_disowned(Worker *w)
{
        log_error("This instance was declared dead; its %u runs are somebody else's now and are "
                  "ended here.",
                w->n_runs);
        worker_stop_upkeep(w);
        for (unsigned i = 0; i < w->n_slots; i++)
                slot_close(w->slots + i);
        for (Run *r = w->runs, *next; r; r = next) {
                next = r->next;
                if (r->state == RUN_SENT)
                        continue; /* its answer will come and free it */
                r->slot = NULL;
                run_free(r);
        }
        w->instance = 0;
        if (w->state == WORKER_WORKING)
                w->state =
                        WORKER_WAITING; /* registers again with the next tick of the schema timer */
        worker_check_drained(w);
}

/* ---- the end
 * -----------------------------------------------------------------------------------------------------
 */

static void check_recycle(Worker *w);

static void on_stopped(int error, int64_t n, void *userdata)
{
        Worker *w = userdata;

        (void) sd_event_exit(w->event, 0);
}

void worker_check_drained(Worker *w)
{
        check_recycle(w);
        if (w->state != WORKER_DRAINING || w->n_runs > 0 || w->claiming)
                return;
        w->state = WORKER_STOPPING;
        log_info("No run is left; stopping.");
        worker_stop_upkeep(w);
        if (w->instance == 0 ||
                store_stop_instance(w->store, w->instance, "stopped", on_stopped, w, NULL) < 0)
                (void) sd_event_exit(w->event, 0);
}

static void stop_runs(Worker *w)
{
        for (Run *r = w->runs, *next; r; r = next) {
                next = r->next;
                if (r->state < RUN_RUNNING)
                        run_stopped_early(r, RUN_DRAINED);
                else if (r->state == RUN_RUNNING && r->slot)
                        slot_stop_run(r->slot, RUN_DRAINED);
                else
                        (void) run_leave_room(r, RUN_DRAINED);
        }
}

static int on_drain_tick(sd_event_source *s, uint64_t usec, void *userdata)
{
        Worker *w = userdata;
        usec_t now = now_usec(CLOCK_MONOTONIC);

        if (now >= w->drain_until_usec)
                stop_runs(w);
        worker_check_drained(w);
        /* Without a database the ends cannot be told; the leases then run out, or our successor
         * frees them. */
        if (now >= w->drain_until_usec + w->drain_grace_usec) {
                log_warning(
                        "Leaving with %u runs whose ends the database has not taken.", w->n_runs);
                return sd_event_exit(w->event, 0);
        }
        (void) sd_notify(false, "EXTEND_TIMEOUT_USEC=30000000");
        (void) sd_event_source_set_time_relative(s, USEC_PER_SEC);
        return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

/* Long enough for every run that was told to stop: the longest StopSec= of the kinds, and what the
 * launcher needs. */
static usec_t longest_stop(const Worker *w)
{
        usec_t longest = 0;

        for (size_t i = 0; i < w->kinds->n_kinds; i++)
                if (w->kinds->kinds[i]->stop_usec > longest)
                        longest = w->kinds->kinds[i]->stop_usec;
        return (longest > USEC_PER_HOUR ? USEC_PER_HOUR : longest) + 20 * USEC_PER_SEC;
}

static void start_drain(Worker *w)
{
        int r;

        worker_update_status(w);
        if (w->drain_timer) /* it was recycling */
                return;
        r = sd_event_add_time_relative(
                w->event, &w->drain_timer, CLOCK_MONOTONIC, 0, USEC_PER_MSEC, on_drain_tick, w);
        if (r < 0)
                (void) sd_event_exit(w->event, r);
}

void worker_stop(Worker *w)
{
        usec_t now = now_usec(CLOCK_MONOTONIC);

        if (w->state == WORKER_STOPPING)
                return;
        if (w->state == WORKER_DRAINING && !w->recycling) {
                log_notice("Told to stop again: ending %u runs.", w->n_runs);
                w->drain_until_usec = now;
                stop_runs(w);
                return;
        }

        log_info("Stopping: %u runs may end within the drain limit.", w->n_runs);
        (void) sd_notify(false, "STOPPING=1");
        w->state = WORKER_DRAINING;
        w->recycling = false;
        w->drain_until_usec = w->pool->drain_usec > USEC_INFINITY - now ? USEC_INFINITY / 2
                                                                        : now + w->pool->drain_usec;
        w->drain_grace_usec = longest_stop(w);
        for (Run *run = w->runs, *next; run; run = next) {
                next = run->next;
                if (run->state < RUN_RUNNING)
                        run_stopped_early(run, RUN_DRAINED);
        }
        start_drain(w);
}

/* Enough done: it claims no more, and ends with its last run; systemd starts a fresh process. No
 * STOPPING=1: systemd would count the time, and this one has all the time in the world. */
static void check_recycle(Worker *w)
{
        if (w->pool->recycle_jobs == 0 || w->n_done < w->pool->recycle_jobs ||
                w->state != WORKER_WORKING)
                return;
        log_info("%llu jobs are done (RecycleJobs=%u): making room for a fresh worker.",
                (unsigned long long) w->n_done, w->pool->recycle_jobs);
        w->state = WORKER_DRAINING;
        w->recycling = true;
        w->drain_until_usec = USEC_INFINITY / 2;
        start_drain(w);
}

/* ---- life
 * --------------------------------------------------------------------------------------------------------
 */

static int connect_store(Worker *w)
{
        char application[96];
        const StoreConfig config = {
                .conninfo = w->settings.database,
                .role = "reeve_worker",
                .application_name = application,
                .prepared = settings_prepared(&w->settings),
                .listen = settings_prepared(&w->settings), /* a direct connection */
                .on_state = on_store_state,
                .on_hint = on_store_hint,
                .userdata = w,
        };

        snprintf(application, sizeof(application), "reeve-worker@%.64s", w->name);
        return store_new(w->event, &config, &w->store);
}

static int identify(Worker *w, const char *name)
{
        char host[256], boot[SD_ID128_STRING_MAX];
        sd_id128_t id;

        if (gethostname(host, sizeof(host)) < 0)
                return -errno;
        host[sizeof(host) - 1] = '\0';
        /* Only for whoever reads the table: a sandbox may hide it (ProcSubset=pid does). */
        if (sd_id128_get_boot(&id) < 0)
                id = SD_ID128_NULL;
        w->host = strdup(host);
        w->name = strdup(name);
        w->boot_id = strdup(sd_id128_to_string(id, boot));
        if (!w->host || !w->name || !w->boot_id)
                return -ENOMEM;
        return namesake_identify(&w->process, &w->machine);
}

int worker_new(sd_event *event, const WorkerOptions *options, Worker **ret)
{
        _cleanup_(worker_freep) Worker *w = NULL;
        int r;

        w = new0(Worker, 1);
        if (!w)
                return log_oom();
        w->event = sd_event_ref(event);
        w->run_directory = options->run_directory;
        w->launcher = options->launcher;
        w->poll_usec = 20 * USEC_PER_MSEC;
        w->started_usec = now_usec(CLOCK_MONOTONIC);

        r = identify(w, options->name);
        if (r < 0)
                return log_error_errno(r, "Failed to learn who we are: %m");
        r = read_configuration(w, options->name, options->root);
        if (r < 0)
                return r;
        r = make_slots(w);
        if (r < 0)
                return log_oom();
        r = w->launcher ? spawn_prepare(w) : 0;
        if (r < 0)
                return log_error_errno(r, "Failed to prepare for children: %m");
        r = blob_store_open(options->blobs, &w->blobs);
        if (r < 0)
                return log_error_errno(r, "Failed to open the blob store %s: %m", options->blobs);
        r = worker_start_ends(w);
        if (r >= 0)
                r = worker_start_health(w);
        if (r >= 0)
                r = connect_store(w);
        if (r >= 0)
                r = sd_event_add_time_relative(event, &w->schema_timer, CLOCK_MONOTONIC,
                        SCHEMA_RETRY_USEC, 0, on_schema_timer, w);
        if (r < 0)
                return log_error_errno(r, "Failed to start: %m");

        *ret = TAKE_PTR(w);
        return 0;
}

Worker *worker_free(Worker *w)
{
        if (!w)
                return NULL;

        w->store = store_free(w->store);
        for (Run *r = w->runs, *next; r; r = next) {
                next = r->next;
                r->request = NULL; /* gone with the store */
                run_free(r);
        }
        for (unsigned i = 0; i < w->n_slots && w->slots; i++)
                slot_close(w->slots + i);
        free(w->slots);
        worker_stop_upkeep(w);
        sd_event_source_disable_unref(w->poll_timer);
        sd_event_source_disable_unref(w->end_defer);
        sd_event_source_disable_unref(w->keep_defer);
        sd_event_source_disable_unref(w->tick_timer);
        sd_event_source_disable_unref(w->drain_timer);
        sd_event_source_disable_unref(w->schema_timer);
        sd_bus_flush_close_unref(w->bus);
        free(w->claim);
        free(w->batch);
        lane_table_done(&w->lanes);
        stand_stills_done(&w->still);
        stand_stills_done(&w->namesakes);
        claim_rules_done(&w->rules);
        free(w->unblock_after);
        free((void *) w->kind_names);
        free(w->means);
        free(w->holds);
        free((void *) w->held);
        kind_set_free(w->kinds);
        pool_free(w->pool);
        settings_done(&w->settings);
        blob_store_free(w->blobs);
        free(w->host);
        free(w->name);
        free(w->boot_id);
        free(w->process);
        free(w->machine);
        sd_event_unref(w->event);
        return mfree(w);
}
