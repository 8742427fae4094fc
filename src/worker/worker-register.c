/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <unistd.h>

#include "json-writer.h"
#include "log.h"
#include "namesake.h"
#include "worker-private.h"

/* An instance's row, and what kinds there are. Two of one name must not take each other for a
 * predecessor: who comes second waits until the other one is gone for sure. */

static void put_words(JsonWriter *j, const char *name, char **words)
{
        if (!words)
                return;
        json_open_array(j, name);
        for (; *words; words++)
                json_put_string(j, NULL, *words);
        json_close(j);
}

static void put_limits(JsonWriter *j, const Kind *k)
{
        if (k->concurrency > 0)
                json_put_uint(j, "concurrency", k->concurrency);
        put_words(j, "concurrency_key", k->concurrency_key);
        if (k->rate_limit.n > 0) {
                json_put_uint(j, "rate_n", k->rate_limit.n);
                json_put_uint(j, "rate_usec", k->rate_limit.interval_usec);
                json_put_uint(j, "rate_burst", k->rate_burst);
                put_words(j, "rate_key", k->rate_key);
        }
        if (k->deadline_usec != USEC_INFINITY)
                json_put_uint(j, "deadline_usec", k->deadline_usec);
        if (k->unique_usec > 0)
                json_put_uint(j, "unique_usec", k->unique_usec);
}

static void put_kind(JsonWriter *j, const Kind *k)
{
        json_open_object(j, NULL);
        json_put_string(j, "name", k->name);
        json_put_string(j, "description", k->description);
        json_put_string(j, "queue", k->queue);
        json_put_uint(j, "priority", k->priority);
        json_put_uint(j, "max_attempts", k->max_attempts);
        json_put_uint(j, "max_interruptions", k->max_interruptions);
        /* "No limit" is the largest number that the column holds. */
        json_put_int(j, "timeout_usec",
                k->timeout_usec > INT64_MAX ? INT64_MAX : (int64_t) k->timeout_usec);
        json_put_int(j, "stop_usec", k->stop_usec > INT64_MAX ? INT64_MAX : (int64_t) k->stop_usec);
        if (k->keep_result_usec != USEC_INFINITY)
                json_put_uint(j, "keep_usec", k->keep_result_usec);
        json_put_uint(j, "retry_usec", k->retry.first_usec);
        json_put_uint(j, "retry_max_usec", k->retry.max_usec);
        if (k->type == KIND_PULL)
                json_put_uint(j, "lease_usec", k->pull.lease_usec);
        put_limits(j, k);
        json_put_string(j, "hash", k->hash);
        json_close(j);
}

static void on_published(int error, const char *const *names, unsigned n, void *userdata)
{
        Worker *w = userdata;

        if (error < 0)
                log_warning("Failed to publish kinds: %s", store_last_error(w->store));
        else if (n > 0)
                log_info("Published %u new or changed kinds.", n);
}

static void publish_kinds(Worker *w)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        JsonWriter j = json_writer(&b);
        int r;

        json_open_array(&j, NULL);
        for (size_t i = 0; i < w->kinds->n_kinds; i++)
                put_kind(&j, w->kinds->kinds[i]);
        json_close(&j);
        r = json_writer_end(&j);
        if (r >= 0)
                r = store_publish_kinds(w->store, strbuf_str(&b), on_published, w, NULL);
        if (r < 0 && r != -ENOTCONN)
                log_warning_errno(r, "Failed to publish kinds: %m");
}

/* ---- those of our name
 * ---------------------------------------------------------------------------------------------
 */

static const StandStill *find_still(const Worker *w, int64_t instance)
{
        for (unsigned i = 0; i < w->namesakes.n; i++)
                if (w->namesakes.entries[i].instance == instance)
                        return w->namesakes.entries + i;
        return NULL;
}

/* The database's clock counts only where it was most likely a crash of this machine, and as long as
 * the database was not away: then all heartbeats are old, and those who live have had no time yet
 * to send another. */
static bool is_gone(const Worker *w, const StoreNamesake *n, NamesakePlace place)
{
        usec_t patience =
                namesake_patience(place, w->settings.lease_usec, w->settings.heartbeat_usec);
        const StandStill *still = find_still(w, n->instance);

        return (still && still->stood_usec >= patience) ||
                (place == NAMESAKE_NEAR && w->lost_usec == 0 && n->age_usec >= (int64_t) patience);
}

/* What is wrong, and what to do. */
static void explain(Worker *w, const StoreNamesake *n, NamesakePlace place)
{
        size_t size = sizeof(w->waits_for);

        if (place == NAMESAKE_HERE)
                snprintf(w->waits_for, size,
                        "worker %.32s runs on this host already, as process %lld: end one of the "
                        "two, or start this one as %.32s:N with another N",
                        w->name, (long long) n->pid, w->name);
        else
                snprintf(w->waits_for, size,
                        "a worker %.32s of another host called %.64s lives (process %lld there): "
                        "give one of the two hosts another name (hostnamectl hostname)",
                        w->name, w->host, (long long) n->pid);
}

/* We are not registered: another one has the name. */
static void await(Worker *w, const StoreNamesake *n, NamesakePlace place)
{
        const StandStill *still = find_still(w, n->instance);
        bool moved = w->saw_namesake == n->instance && still && still->stood_usec == 0;
        char span[TIMESPAN_MAX];

        if (w->saw_namesake != n->instance) {
                w->saw_namesake = n->instance;
                w->told_namesake = false;
                snprintf(w->waits_for, sizeof(w->waits_for),
                        "instance %lld of this name has said no good-bye, and counts as gone when "
                        "its heartbeat has stood still for %s",
                        (long long) n->instance,
                        format_timespan(span,
                                namesake_patience(place, w->settings.lease_usec,
                                        w->settings.heartbeat_usec)));
                if (place != NAMESAKE_HERE)
                        log_notice("Not serving yet: %s.", w->waits_for);
        }
        if (!w->told_namesake && (place == NAMESAKE_HERE || moved)) {
                explain(w, n, place);
                log_error("Not serving: %s. Waiting for the end of that one, instance %lld.",
                        w->waits_for, (long long) n->instance);
                w->told_namesake = true;
        }
        worker_update_status(w);
}

static void register_instance(Worker *w, const StoreNamesake *gone, unsigned n_gone);

/* Stops those that are gone and tries again at once, or waits for the schema timer. */
static void look_at_namesakes(Worker *w, const StoreNamesake *rows, unsigned n)
{
        _cleanup_(freep) StoreNamesake *gone = new0(StoreNamesake, n);
        _cleanup_(freep) StoreBeat *beats = new0(StoreBeat, n);
        unsigned n_gone = 0;

        if (!gone || !beats)
                return;
        for (unsigned i = 0; i < n; i++)
                beats[i] = (StoreBeat){ rows[i].instance, rows[i].beat };
        if (stand_stills_look(&w->namesakes, beats, n, now_usec(CLOCK_MONOTONIC)) < 0)
                return;
        for (unsigned i = 0; i < n; i++) {
                NamesakePlace place =
                        namesake_find(rows[i].process, rows[i].machine, w->process, w->machine);

                if (!is_gone(w, rows + i, place)) {
                        await(w, rows + i, place);
                        return;
                }
                gone[n_gone++] = rows[i];
        }
        register_instance(w, gone, n_gone);
}

/* ---- registration
 * ------------------------------------------------------------------------------------------------
 */

static void on_registered(int error, const StoreNamesake *rows, unsigned n, void *userdata)
{
        Worker *w = userdata;
        usec_t now = now_usec(CLOCK_MONOTONIC);
        int r;

        if (w->state != WORKER_REGISTERING)
                return;
        w->state = WORKER_WAITING;
        if (error < 0) {
                if (error == -EIO)
                        log_error("Failed to register: %s", store_last_error(w->store));
                return; /* the schema timer tries again */
        }
        if (n == 0 || !rows[0].made) {
                look_at_namesakes(w, rows, n);
                return;
        }

        w->instance = rows[0].instance;
        w->state = WORKER_WORKING;
        w->last_beat_usec = w->last_claim_usec = now;
        w->faults_told = false;
        stand_stills_forget(&w->namesakes);
        w->saw_namesake = 0;
        w->waits_for[0] = '\0';
        log_info("Worker %s is instance %lld with %u slots%s.", w->name, (long long) w->instance,
                w->n_slots, w->n_taken_over > 0 ? "; its predecessor had not said good-bye" : "");
        publish_kinds(w);
        r = worker_start_upkeep(w);
        if (r < 0)
                (void) sd_event_exit(w->event, log_error_errno(r, "Failed to start upkeep: %m"));
        worker_claim(w);
}

static void register_instance(Worker *w, const StoreNamesake *gone, unsigned n_gone)
{
        const StoreInstance instance = {
                .host = w->host,
                .name = w->name,
                .boot_id = w->boot_id,
                .pid = getpid(),
                .process = w->process,
                .machine = w->machine,
                .version = REEVE_VERSION,
                .schema_version = REEVE_SCHEMA_VERSION,
                .kinds = w->kind_names,
                .queues = (const char *const *) w->pool->queues,
                .n_slots = w->n_slots,
                .gone = gone,
                .n_gone = n_gone,
        };

        w->n_taken_over = n_gone;
        if (store_register_instance(w->store, &instance, on_registered, w, NULL) >= 0)
                w->state = WORKER_REGISTERING;
}

void worker_register(Worker *w)
{
        register_instance(w, NULL, 0);
}
