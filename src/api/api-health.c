/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <systemd/sd-daemon.h>

#include "api-auth.h"
#include "api-private.h"
#include "event-feed.h"
#include "log.h"

#define STALL_USEC (3 * USEC_PER_SEC) /* an answer that takes longer: the database is stuck */

/* Health is the truth: the watchdog is fed only by work that got through.
 *
 * connected      the last answer is not older than a ping's interval and the statement deadline
 * not connected  attempts to connect end, either way, on schedule */

#define TICK_USEC      (250 * USEC_PER_MSEC)
#define PING_USEC      (2 * USEC_PER_SEC)
#define STATEMENT_USEC (15 * USEC_PER_SEC) /* as in loop/pq-loop.c */
#define ATTEMPT_USEC   (8 * USEC_PER_SEC) /* 5 s for the attempt, 2 s pause */

static bool is_healthy(const Api *a, usec_t now)
{
        usec_t answer = store_last_answer_usec(a->store);
        usec_t attempt = store_last_attempt_usec(a->store);

        if (attempt < a->started_usec)
                attempt = a->started_usec;
        if (answer < attempt)
                answer = attempt;
        if (!store_is_connected(a->store))
                return now - attempt <= ATTEMPT_USEC;
        return now - answer <= PING_USEC + STATEMENT_USEC;
}

bool api_is_available(const Api *a, char *detail, size_t size)
{
        if (!store_is_connected(a->store))
                (void) snprintf(detail, size, "The database is away. Try again.");
        else if (store_oldest_age_usec(a->store) > STALL_USEC)
                (void) snprintf(detail, size, "The database does not answer. Try again.");
        else if (a->schema_version < SCHEMA_NEEDED)
                (void) snprintf(detail, size,
                        "The database's schema has version %lld, %d is needed: reeve-migrate "
                        "brings it there.",
                        (long long) a->schema_version, SCHEMA_NEEDED);
        else
                return true;
        return false;
}

void api_update_status(Api *a)
{
        char status[sizeof(a->status)];
        char detail[256];
        HttpLoopStats http = {};
        EnqueuerStats enqueued = {};

        if (!a->server)
                return;
        http_loop_get_stats(http_server_get_loop(a->server), &http);
        enqueuer_get_stats(a->enqueuer, &enqueued);
        if (a->stopping)
                (void) snprintf(status, sizeof(status), "stopping: %u connections are left",
                        http.connections);
        else if (!store_is_connected(a->store))
                (void) snprintf(status, sizeof(status), "degraded: no database (%.200s)",
                        store_last_error(a->store));
        else if (!api_is_available(a, detail, sizeof(detail)))
                (void) snprintf(status, sizeof(status), "degraded: %.250s", detail);
        else
                (void) snprintf(status, sizeof(status),
                        "serving: %u connections, %llu requests, %llu jobs created",
                        http.connections, (unsigned long long) http.requests,
                        (unsigned long long) enqueued.n_created);
        if (streq(status, a->status))
                return;
        memcpy(a->status, status, sizeof(status));
        (void) sd_notifyf(false, "STATUS=%s", status);
}

static void on_pong(int error, int64_t version, void *userdata)
{
        Api *a = userdata;

        if (error < 0 && error != -EIO)
                return;
        if (error < 0)
                version = 0; /* no schema yet */
        if (version < SCHEMA_NEEDED && !a->told_schema) {
                log_notice("The database has schema version %lld, %d is needed: waiting for "
                           "reeve-migrate.",
                        (long long) version, SCHEMA_NEEDED);
                a->told_schema = true;
        }
        a->schema_version = version;
        if (version < SCHEMA_NEEDED || flag_set_is_loaded(a->flags)) /* else once they are read */
                api_accept(a);
        api_update_status(a);
}

void api_ping(Api *a)
{
        usec_t now = now_usec(CLOCK_MONOTONIC);
        bool due = now - a->pinged_usec >= PING_USEC || a->pinged_usec == 0;

        if (!store_is_connected(a->store) || !due || store_n_pending(a->store) > 0)
                return; /* what is pending tells as well */
        if (store_get_schema_version(a->store, on_pong, a, NULL) >= 0)
                a->pinged_usec = now;
}

/* Once a minute at most: clients decide how often it happens. */
static void tell_of_connections(Api *a, usec_t now)
{
        HttpLoopStats http;
        unsigned n_errors, n_refused;

        if (!a->server || (a->told_usec > 0 && now - a->told_usec < USEC_PER_MIN))
                return;
        http_loop_get_stats(http_server_get_loop(a->server), &http);
        n_errors = (unsigned) http.accept_errors - a->n_told_errors;
        n_refused = (unsigned) http.refused - a->n_told_refused;
        if (n_errors > 0)
                log_warning("No file descriptor or memory for new connections, which wait (%u "
                            "attempts): see LimitNOFILE= of the unit.",
                        n_errors);
        if (n_refused > 0)
                log_notice("%u connections were refused: their clients had as many as "
                           "ConnectionsPerClient= allows, and none was idle.",
                        n_refused);
        if (n_errors + n_refused == 0)
                return;
        a->n_told_errors += n_errors;
        a->n_told_refused += n_refused;
        a->told_usec = now;
}

/* The first request came with the start, and should not be told that the database is away while it
 * is being connected to; but it gets its answer, whatever that is, after this. */
#define ACCEPT_USEC USEC_PER_SEC

static int on_tick(sd_event_source *s, uint64_t usec, void *userdata)
{
        Api *a = userdata;
        usec_t now = now_usec(CLOCK_MONOTONIC);
        int r;

        api_ping(a);
        if (now >= a->started_usec + ACCEPT_USEC)
                api_accept(a);
        tell_of_connections(a, now);
        api_update_status(a);
        keys_watch(a, now);
        if (a->watchdog_usec > 0 && is_healthy(a, now))
                (void) sd_notify(false, "WATCHDOG=1");
        r = sd_event_source_set_time_relative(
                s, a->schema_version == 0 ? TICK_USEC / 5 : TICK_USEC);
        return r < 0 ? r : sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

int api_start_health(Api *a)
{
        int r;

        r = sd_watchdog_enabled(false, &a->watchdog_usec);
        if (r >= 0)
                r = sd_event_add_time_relative(a->event, &a->tick, CLOCK_MONOTONIC, TICK_USEC / 5,
                        USEC_PER_MSEC, on_tick, a);
        if (r < 0)
                return log_error_errno(r, "Failed to start the watch over health: %m");
        return sd_event_source_set_description(a->tick, "tick");
}

/* ---- GET /health ---- */

void handle_health(HttpRequest *r, void *userdata)
{
        Call *c = userdata;
        Api *a = c->api;
        char detail[256] = "";
        bool well = api_is_available(a, detail, sizeof(detail)) && !a->stopping;
        _cleanup_(strbuf_done) StrBuf b = {};
        _cleanup_(http_response_freep) HttpResponse *response = NULL;
        JsonWriter w = json_writer(&b);

        json_open_object(&w, NULL);
        json_put_string(&w, "status", well ? "ok" : a->stopping ? "stopping" : "degraded");
        if (!well)
                json_put_string(&w, "detail",
                        a->stopping ? "The service is being stopped or restarted." : detail);
        json_put_string(&w, "version", REEVE_VERSION);
        json_open_object(&w, "checks");
        json_put_string(&w, "database",
                !store_is_connected(a->store)                          ? "away"
                        : store_oldest_age_usec(a->store) > STALL_USEC ? "stuck"
                                                                       : "ok");
        json_put_string(
                &w, "schema", a->schema_version >= SCHEMA_NEEDED ? "ok" : "too old or not known");
        json_put_string(&w, "flags",
                !flag_set_is_loaded(a->flags)         ? "not read"
                        : flag_set_is_stale(a->flags) ? "stale"
                                                      : "ok");
        json_put_string(&w, "blobs",
                a->blobs && blob_store_check_writable(a->blobs) >= 0 ? "ok" : "not writable");
        json_close(&w);
        json_close(&w);
        response = http_response_new(well ? 200 : 503);
        if (json_writer_end(&w) < 0 || !response ||
                http_response_take_body(response, "application/json", &b) < 0 ||
                http_response_add(response, "Cache-Control", "no-store") < 0 ||
                (!well && http_response_add(response, "Retry-After", "2") < 0))
                response = http_response_free(response);
        call_reply(c, TAKE_PTR(response), well ? 200 : 503);
}

/* ---- GET /api/stats, GET /metrics ---- */

static void on_stats(int error, const StoreStats *s, void *userdata)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        JsonWriter w = json_writer(&b);
        Call *c = userdata;

        c->pending = NULL;
        if (call_failed(c, error))
                return;
        json_open_object(&w, NULL);
        json_open_object(&w, "jobs");
        json_put_int(&w, "ready", s->n_ready);
        json_put_int(&w, "scheduled", s->n_scheduled);
        json_put_int(&w, "blocked", s->n_blocked);
        json_put_int(&w, "waiting", s->n_waiting);
        json_put_int(&w, "running", s->n_running);
        json_close(&w);
        json_put_int(&w, "counted_to", 10000);
        json_open_object(&w, "workers");
        json_put_int(&w, "living", s->n_workers);
        json_put_int(&w, "slots", s->n_slots);
        json_put_int(&w, "busy", s->n_busy);
        json_close(&w);
        json_put_int(&w, "schema_version", s->schema_version);
        json_close(&w);
        if (call_failed(c, json_writer_end(&w)))
                return;
        call_json_buf(c, 200, &b, NULL);
}

void handle_stats(HttpRequest *r, void *userdata)
{
        Call *c = userdata;

        (void) call_failed(c, store_get_stats(c->api->store, on_stats, c, &c->pending));
}

static void put_metric(StrBuf *b, const char *name, const char *type, const char *help)
{
        strbuf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_routes(StrBuf *b, const Api *a)
{
        put_metric(b, "reeve_http_requests_total", "counter",
                "Requests answered, by route and status.");
        for (unsigned i = 0; i < a->n_routes; i++)
                for (unsigned k = 0; k < CALL_CODES && a->counts[i].codes[k] > 0; k++)
                        strbuf_printf(b,
                                "reeve_http_requests_total{route=\"%s %s\",code=\"%u\"} %llu\n",
                                http_method_to_string(a->routes[i].method), a->routes[i].pattern,
                                a->counts[i].codes[k], (unsigned long long) a->counts[i].n[k]);
        put_metric(b, "reeve_http_request_duration_seconds", "summary",
                "Time from the end of a request's head to its answer.");
        for (unsigned i = 0; i < a->n_routes; i++)
                if (a->counts[i].n_all > 0) {
                        const char *method = http_method_to_string(a->routes[i].method);

                        strbuf_printf(b,
                                "reeve_http_request_duration_seconds_sum{route=\"%s %s\"} %.6f\n"
                                "reeve_http_request_duration_seconds_count{route=\"%s %s\"} %llu\n",
                                method, a->routes[i].pattern, (double) a->counts[i].usec / 1e6,
                                method, a->routes[i].pattern,
                                (unsigned long long) a->counts[i].n_all);
                }
}

static void put_streams(StrBuf *b, const Api *a)
{
        FeedStats f;

        feed_get_stats(a->feed, &f);
        put_metric(b, "reeve_api_event_streams", "gauge", "Streams of events that are open.");
        strbuf_printf(b, "reeve_api_event_streams %u\n", f.streams);
        put_metric(b, "reeve_api_event_streams_slow_total", "counter",
                "Streams that were ended because their clients did not read.");
        strbuf_printf(
                b, "reeve_api_event_streams_slow_total %llu\n", (unsigned long long) f.n_slow);
        put_metric(b, "reeve_api_event_buffer_bytes", "gauge", "Events kept for slow clients.");
        strbuf_printf(b, "reeve_api_event_buffer_bytes %zu\n", f.bytes);
}

static void put_database(StrBuf *b, const StoreStats *s)
{
        put_metric(b, "reeve_jobs", "gauge", "Jobs by live state, counted to 10000 at most.");
        strbuf_printf(b,
                "reeve_jobs{state=\"ready\"} %lld\nreeve_jobs{state=\"scheduled\"} %lld\n"
                "reeve_jobs{state=\"blocked\"} %lld\nreeve_jobs{state=\"waiting\"} %lld\n"
                "reeve_jobs{state=\"running\"} %lld\n",
                (long long) s->n_ready, (long long) s->n_scheduled, (long long) s->n_blocked,
                (long long) s->n_waiting, (long long) s->n_running);
        put_metric(b, "reeve_workers", "gauge", "Living worker instances.");
        strbuf_printf(b, "reeve_workers %lld\n", (long long) s->n_workers);
        put_metric(b, "reeve_worker_slots", "gauge", "Slots of living workers.");
        strbuf_printf(b,
                "reeve_worker_slots{state=\"busy\"} %lld\nreeve_worker_slots{state=\"free\"} "
                "%lld\n",
                (long long) s->n_busy, (long long) (s->n_slots - s->n_busy));
        put_metric(b, "reeve_schema_version", "gauge", "Version of the database's schema.");
        strbuf_printf(b, "reeve_schema_version %lld\n", (long long) s->schema_version);
}

/* Lines of one metric stand together: once over the queues for each. */
static void put_queues(StrBuf *b, const char *queues)
{
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        static const char *const states[] = { "ready", "running" };
        JsonError e;

        if (json_parse(queues, strlen(queues), REEVE_JSON_DEPTH_MAX, &d, &e) < 0)
                return; /* it is the database's own jsonb */
        put_metric(b, "reeve_queue_depth", "gauge",
                "Jobs of a queue, of those ready at most 1000 of each lane.");
        for (const JsonValue *q = json_value_first(json_document_root(d), NULL); q;
                q = json_value_next(json_document_root(d), q, NULL)) {
                const char *name = "";

                (void) json_get_string(q, "name", &name, &e);
                for (unsigned i = 0; i < ELEMENTSOF(states); i++) {
                        uint64_t n = 0;

                        (void) json_get_uint64(q, states[i], 0, UINT64_MAX, &n, &e);
                        strbuf_printf(b, "reeve_queue_depth{queue=\"%s\",state=\"%s\"} %llu\n",
                                name, states[i], (unsigned long long) n);
                }
        }
}

/* database: what it told, empty if it could not be asked. */
static void reply_metrics(Call *c, const StrBuf *database)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        _cleanup_(http_response_freep) HttpResponse *response = http_response_new(200);
        Api *a = c->api;
        HttpLoopStats http;
        EnqueuerStats e;

        http_loop_get_stats(http_server_get_loop(a->server), &http);
        enqueuer_get_stats(a->enqueuer, &e);
        put_metric(&b, "reeve_build_info", "gauge", "The program.");
        strbuf_printf(
                &b, "reeve_build_info{program=\"reeve-api\",version=\"%s\"} 1\n", REEVE_VERSION);
        put_metric(&b, "reeve_up", "gauge", "Whether the database can be asked.");
        strbuf_printf(&b, "reeve_up %d\n", database->len > 0);
        put_metric(&b, "reeve_http_connections", "gauge", "Open connections.");
        strbuf_printf(&b, "reeve_http_connections %u\n", http.connections);
        put_metric(&b, "reeve_http_refused_total", "counter",
                "Connections of clients who had ConnectionsPerClient= already.");
        strbuf_printf(&b, "reeve_http_refused_total %llu\n", (unsigned long long) http.refused);
        put_metric(&b, "reeve_http_displaced_total", "counter", "Idle ones closed for another.");
        strbuf_printf(&b, "reeve_http_displaced_total %llu\n", (unsigned long long) http.displaced);
        put_metric(&b, "reeve_http_accept_errors_total", "counter",
                "No file descriptor or memory for a connection, which waits.");
        strbuf_printf(&b, "reeve_http_accept_errors_total %llu\n",
                (unsigned long long) http.accept_errors);
        put_metric(&b, "reeve_jobs_enqueued_total", "counter", "Jobs created by this process.");
        strbuf_printf(&b, "reeve_jobs_enqueued_total %llu\n", (unsigned long long) e.n_created);
        put_metric(&b, "reeve_enqueue_statements_total", "counter",
                "Statements they took: the quotient is the size of a group commit.");
        strbuf_printf(
                &b, "reeve_enqueue_statements_total %llu\n", (unsigned long long) e.n_statements);
        if (flag_set_is_loaded(a->flags)) {
                put_metric(&b, "reeve_flags_age_seconds", "gauge", "Since the flags were read.");
                strbuf_printf(&b, "reeve_flags_age_seconds %.3f\n",
                        (double) flag_set_age_usec(a->flags) / 1e6);
        }
        put_streams(&b, a);
        put_routes(&b, a);
        strbuf_append(&b, database->data, database->len);
        if (!response || http_response_take_body(response, "text/plain; version=0.0.4", &b) < 0)
                response = http_response_free(response);
        call_reply(c, TAKE_PTR(response), 200);
}

static void metrics_free(Call *c)
{
        StrBuf *b = c->data;

        strbuf_done(b);
        free(b);
}

static void on_metrics_queues(int error, const char *const *row, void *userdata)
{
        Call *c = userdata;
        StrBuf *b = c->data;

        c->pending = NULL;
        if (error >= 0 && row && row[0])
                put_queues(b, row[0]);
        reply_metrics(c, b);
}

static void on_metrics_stats(int error, const StoreStats *s, void *userdata)
{
        Call *c = userdata;
        StrBuf *b = c->data;

        c->pending = NULL;
        if (error >= 0)
                put_database(b, s);
        if (error < 0 || store_list_queues(c->api->store, on_metrics_queues, c, &c->pending) < 0)
                reply_metrics(c, b);
}

void handle_metrics(HttpRequest *r, void *userdata)
{
        Call *c = userdata;
        StrBuf *b = new0(StrBuf, 1);
        char detail[256];

        if (!b) {
                call_fault(c, -ENOMEM);
                return;
        }
        c->data = b;
        c->cleanup = metrics_free;
        /* Without the database what this process knows is still told. */
        if (!api_is_available(c->api, detail, sizeof(detail)) ||
                store_get_stats(c->api->store, on_metrics_stats, c, &c->pending) < 0)
                reply_metrics(c, b);
}
