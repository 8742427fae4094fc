/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "api-auth.h"
#include "api-jobs.h"
#include "api-private.h"
#include "api-pull.h"

#include <stdio.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>

#include "event-feed.h"
#include "fd-util.h"
#include "log.h"

#define STOP_GRACE_USEC (10 * USEC_PER_SEC)
#define SMALL_BODY_MAX  (64UL * 1024)
#define FORM_EXTRA      (2UL * 1024 * 1024) /* of a form beyond the file: headers and the job */

/* ---- calls ---- */

static Call *call_free(Call *c)
{
        if (!c)
                return NULL;
        store_request_cancel(c->pending);
        if (c->cleanup)
                c->cleanup(c);
        if (c->prev)
                c->prev->next = c->next;
        else
                c->api->calls = c->next;
        if (c->next)
                c->next->prev = c->prev;
        for (unsigned i = 0; i < CALL_FIELDS; i++) {
                free(c->fields[i][0]);
                free(c->fields[i][1]);
        }
        return mfree(c);
}

static void on_cancel(HttpRequest *r, void *userdata)
{
        call_free(userdata);
}

static void count(const Call *c, unsigned status)
{
        RouteCount *k = c->api->counts + (c->route - c->api->routes);

        k->n_all++;
        k->usec += now_usec(CLOCK_MONOTONIC) - c->started_usec;
        for (unsigned i = 0; i < CALL_CODES; i++)
                if (k->codes[i] == status || k->codes[i] == 0) {
                        k->codes[i] = status;
                        k->n[i]++;
                        return;
                }
}

int call_add_field(Call *c, const char *name, const char *value)
{
        for (unsigned i = 0; i < CALL_FIELDS; i++)
                if (!c->fields[i][0]) {
                        int r = free_and_strdup(&c->fields[i][1], value);

                        return r < 0 ? r : free_and_strdup(&c->fields[i][0], name);
                }
        return -ENOBUFS;
}

void call_reply(Call *c, HttpResponse *response, unsigned status)
{
        HttpRequest *r = c->request;

        for (unsigned i = 0; response && i < CALL_FIELDS && c->fields[i][0]; i++)
                if (http_response_add(response, c->fields[i][0], c->fields[i][1]) < 0)
                        response = http_response_free(response);
        count(c, response ? status : 500);
        call_free(c);
        http_request_reply(r, response);
}

void call_open(Call *c, HttpResponse *response, HttpPull pull, void *userdata)
{
        count(c, 200);
        http_request_open(c->request, response, pull, userdata);
}

void call_report(Call *c, const ProblemReport *report)
{
        ProblemReport with_path = *report;

        with_path.instance = http_request_get_path(c->request);
        call_reply(c, http_response_new_problem(&with_path), problem_status(report->problem));
}

void call_problem(Call *c, Problem problem, const char *format, ...)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        va_list ap;

        va_start(ap, format);
        strbuf_vprintf(&b, format, ap);
        va_end(ap);
        call_report(c, &(ProblemReport){ .problem = problem, .detail = strbuf_str(&b) });
}

void call_fault(Call *c, int error)
{
        switch (error) {
        case -ENOTCONN:
                call_problem(c, PROBLEM_UNAVAILABLE, "The database is away. Try again.");
                break;
        case -ETIMEDOUT:
        case -ECONNRESET:
                call_problem(c, PROBLEM_UNAVAILABLE,
                        "The connection to the database was lost before it answered, so it is not "
                        "known whether this was done. Try again.");
                break;
        case -EAGAIN:
        case -ENOBUFS:
                call_problem(c, PROBLEM_UNAVAILABLE, "The database is overloaded. Try again.");
                break;
        case -EALREADY:
                (void) call_add_field(c, "Retry-After", "1");
                call_problem(c, PROBLEM_IN_FLIGHT,
                        "A request with this Idempotency-Key is being answered. Try again.");
                break;
        case -EBUSY:
                call_problem(c, PROBLEM_UNAVAILABLE,
                        "Files are being cleared away there at the moment. Try again.");
                break;
        case -EIO:
        case -EPROTO:
                log_error("%s %s: %s", http_method_to_string(c->route->method), c->route->pattern,
                        store_last_error(c->asked ? c->asked : c->api->store));
                call_problem(c, PROBLEM_INTERNAL, "The log of reeve-api.service says more.");
                break;
        default:
                (void) log_error_errno(error, "%s %s: %m", http_method_to_string(c->route->method),
                        c->route->pattern);
                call_problem(c, problem_from_errno(error), "Failed: %s.", strerror(-error));
        }
}

Store *call_reader(Call *c)
{
        c->asked = store_is_connected(c->api->reads) ? c->api->reads : c->api->store;
        return c->asked;
}

void call_json_buf(Call *c, unsigned status, StrBuf *json, const char *location)
{
        _cleanup_(http_response_freep) HttpResponse *response = http_response_new(status);

        if (!response || http_response_take_body(response, "application/json", json) < 0 ||
                http_response_add(response, "Cache-Control", "no-store") < 0 ||
                (location && http_response_add(response, "Location", location) < 0))
                response = http_response_free(response);
        call_reply(c, TAKE_PTR(response), status);
}

void call_json(Call *c, unsigned status, const char *json)
{
        _cleanup_(strbuf_done) StrBuf b = {};

        strbuf_puts(&b, json);
        call_json_buf(c, status, &b, NULL);
}

void call_list(Call *c, int error, const char *const *row, const char *name)
{
        _cleanup_(strbuf_done) StrBuf b = {};

        c->pending = NULL;
        if (call_failed(c, error < 0 ? error : row && row[0] ? 0 : -EPROTO))
                return;
        strbuf_printf(&b, "{\"%s\":%s}", name, row[0]);
        call_json_buf(c, 200, &b, NULL);
}

bool caller_sees(const Caller *k, const char *tenant, const char *subject)
{
        return (k->tenant[0] == '\0' || streq_ptr(k->tenant, tenant)) &&
                (k->subject[0] == '\0' || streq_ptr(k->subject, subject));
}

bool caller_may(const Caller *k, ApiRight right)
{
        return (k->rights & (1U << right)) != 0;
}

/* ---- bodies in memory ---- */

typedef struct Collector {
        Call *call;
        StrBuf body;
        uint64_t max;
        HttpBodyDone done;
        void (*cleanup)(Call *c); /* of the call's data below this */
        void *data;
} Collector;

static void pop_collector(Call *c)
{
        Collector *k = c->data;

        c->data = k->data;
        c->cleanup = k->cleanup;
        strbuf_done(&k->body);
        free(k);
}

static void free_collector(Call *c)
{
        pop_collector(c);
        if (c->cleanup)
                c->cleanup(c);
}

static void too_large(Call *c, uint64_t max)
{
        call_problem(c, PROBLEM_BODY_TOO_LARGE, "The body may have at most %llu bytes here.",
                (unsigned long long) max);
}

static int collect_write(HttpRequest *r, const void *data, size_t size, void *userdata)
{
        Call *c = userdata;
        Collector *k = c->data;

        if (k->body.len + size > k->max) {
                too_large(c, k->max);
                return 0;
        }
        strbuf_append(&k->body, data, size);
        return strbuf_error(&k->body);
}

static void collect_done(HttpRequest *r, void *userdata)
{
        Call *c = userdata;
        Collector *k = c->data;
        _cleanup_(strbuf_done) StrBuf body = STEAL(k->body);
        HttpBodyDone done = k->done;

        pop_collector(c);
        if (call_lost_key(c))
                return;
        done(r, strbuf_str(&body), body.len, c);
}

void call_collect(Call *c, uint64_t max, HttpBodyDone done)
{
        static const HttpSink sink = { collect_write, collect_done };
        uint64_t length = http_request_get_length(c->request);
        Collector *k;

        if (length != GUARD_NO_LENGTH && length > max) {
                too_large(c, max);
                return;
        }
        k = new0(Collector, 1);
        if (!k) {
                call_fault(c, -ENOMEM);
                return;
        }
        *k = (Collector){
                .call = c, .max = max, .done = done, .cleanup = c->cleanup, .data = c->data
        };
        c->data = k;
        c->cleanup = free_collector;
        http_request_stream(c->request, &sink, c);
}

/* ---- who asks, and for what ---- */

static bool take_id(Call *c)
{
        const char *text = http_request_get_param(c->request, "id");
        Uuid id;

        if (!text)
                return true;
        if (uuid_parse(text, &id) < 0)
                return false;
        (void) uuid_format(&id, c->id);
        return true;
}

static bool needs_database(unsigned auth)
{
        return auth != API_PUBLIC && auth != API_METRICS && auth != API_EVALUATE;
}

static void handle(Call *c)
{
        c->route->handler(c->request, c);
}

static void forbid(Call *c)
{
        bool fleet = c->route->auth == API_FLEET; /* see serve() */
        char roles[ROLES_MAX];

        roles_with(fleet ? API_READ : (ApiRight) c->route->auth, roles, sizeof(roles));
        call_problem(c, PROBLEM_FORBIDDEN, "%s may not do this: it takes the role %s%s.",
                c->caller.actor, roles, fleet ? ", for all tenants" : "");
}

static void serve(Call *c)
{
        char detail[256];

        if (c->route->auth == API_FLEET && caller_may(&c->caller, API_READ) &&
                c->caller.tenant[0] == '\0')
                c->caller.rights |= 1U << API_FLEET;
        if (c->route->auth != API_PUBLIC && !caller_may(&c->caller, (ApiRight) c->route->auth))
                forbid(c);
        else if (!take_id(c))
                call_problem(c, PROBLEM_NOT_FOUND, "A job's id is a UUID.");
        else if (needs_database(c->route->auth) &&
                !api_is_available(c->api, detail, sizeof(detail)))
                call_problem(c, PROBLEM_UNAVAILABLE, "%s", detail);
        else
                rate_check(c, handle);
}

static void on_request(HttpRequest *r, const HttpRoute *route, void *userdata)
{
        Api *a = userdata;
        Call *c = new0(Call, 1);
        int k;

        if (!c) {
                http_request_reply(r, NULL);
                return;
        }
        *c = (Call){ .api = a, .request = r, .route = route, .next = a->calls };
        c->started_usec = now_usec(CLOCK_MONOTONIC);
        if (c->next)
                c->next->prev = c;
        a->calls = c;
        http_request_on_cancel(r, on_cancel, c);

        if (route->auth == API_PUBLIC) {
                serve(c);
        } else if (a->is_unix[http_request_get_listener(r)]) {
                k = peer_identify(a, r, &c->caller);
                if (!call_failed(c, k))
                        serve(c);
        } else {
                bearer_identify(c, serve);
        }
}

/* ---- the database comes and goes ---- */

static void on_store_state(bool connected, const char *text, void *userdata)
{
        Api *a = userdata;

        if (connected && !a->connected)
                log_info("Connected to the database.");
        else if (!connected && (a->connected || !a->told_away))
                log_warning("The database is away: %s", text);
        a->told_away = !connected;
        a->connected = connected;
        a->pinged_usec = 0;
        if (!connected) {
                a->schema_version = 0;
                api_accept(a);
        } else {
                api_ping(a);
                flag_set_hint(a->flags);
        }
        enqueuer_kick(a->enqueuer);
        api_update_status(a);
}

/* ---- life ---- */

static void on_finding(
        void *userdata, ConfLevel level, const char *file, unsigned line, const char *text)
{
        log_full(level == CONF_ERROR ? LOG_ERR : LOG_WARNING, 0, "%s:%u: %s", file, line, text);
}

static int open_blobs(Api *a, const char *location)
{
        int r = blob_store_open(location, &a->blobs);

        if (r >= 0)
                r = blob_store_check_writable(a->blobs);
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                (void) log_warning_errno(
                        r, "Uploads will fail, %s cannot be written: %m", location);
        return 0;
}

static uint64_t body_max(const Api *a, uint64_t max)
{
        switch (max) {
        case API_BODY_NONE:
                return 0;
        case API_BODY_SMALL:
                return SMALL_BODY_MAX;
        default:
                if (max == API_BODY_UPLOAD || max > a->settings.upload_max)
                        max = a->settings.upload_max;
                return max + FORM_EXTRA;
        }
}

static int add_routes(Api *a, const HttpRoute *table)
{
        unsigned n = 0;
        HttpRoute *more;

        while (table[n].pattern)
                n++;
        more = reallocarray(a->routes, a->n_routes + n + 1, sizeof(HttpRoute));
        if (!more)
                return -ENOMEM;
        a->routes = more;
        memcpy(more + a->n_routes, table, (n + 1) * sizeof(HttpRoute));
        for (unsigned i = 0; i < n; i++)
                more[a->n_routes + i].body_max = body_max(a, table[i].body_max);
        a->n_routes += n;
        return 0;
}

/* The core's, then those of the systems. */
static int take_routes(Api *a)
{
        int r = add_routes(a, api_routes());

        for (const ApiSystem *const *s = api_systems; *s && r >= 0; s++)
                r = add_routes(a, (*s)->routes);
        if (r < 0)
                return r;
        a->counts = new0(RouteCount, a->n_routes);
        if (!a->counts)
                return -ENOMEM;
        r = rates_new(a, &a->rates);
        if (r >= 0)
                r = router_new(&a->router);
        return r < 0 ? r : router_add(a->router, a->routes);
}

static int take_sockets(Api *a)
{
        int n = sd_listen_fds(true);

        if (n <= 0) {
                log_error("No sockets were handed over. reeve-api is started by reeve-api.socket.");
                return n < 0 ? n : -ENOTCONN;
        }
        a->fds = new0(int, (unsigned) n);
        a->is_unix = new0(bool, (unsigned) n);
        if (!a->fds || !a->is_unix)
                return -ENOMEM;
        for (int i = 0; i < n; i++) {
                int fd = SD_LISTEN_FDS_START + i;

                if (sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) <= 0) {
                        log_error("Descriptor %d is no listening stream socket.", fd);
                        return -EINVAL;
                }
                /* What it is, not what it is called, decides how callers are identified. */
                a->is_unix[a->n_fds] = sd_is_socket(fd, AF_UNIX, SOCK_STREAM, 1) > 0;
                a->fds[a->n_fds++] = fd;
        }
        return 0;
}

void api_accept(Api *a)
{
        int r = 0;

        if (a->accepting)
                return;
        a->accepting = true;
        for (unsigned i = 0; i < a->n_fds && r >= 0; i++)
                r = http_loop_listen(http_server_get_loop(a->server), a->fds[i]);
        if (r < 0)
                (void) sd_event_exit(
                        a->event, log_error_errno(r, "Failed to accept connections: %m"));
}

static int start_server(Api *a)
{
        const Settings *s = &a->settings;
        const HttpLimits limits = {
                .connections = s->connections,
                .per_client = s->client_connections,
                .head = s->head_max,
                .head_usec = s->head_usec,
                .body_usec = s->body_usec,
                .wait_usec = http_limits_default.wait_usec + s->sync_timeout_usec,
                .send_usec = s->send_usec,
                .idle_usec = s->idle_usec,
                .min_rate = http_limits_default.min_rate,
        };
        const HttpServerConfig config = {
                .priority = SD_EVENT_PRIORITY_NORMAL,
                .limits = &limits,
                .router = a->router,
                .dispatch = on_request,
                .userdata = a,
                .nowhere = "There is nothing at this path; GET /openapi.json lists all there is.",
        };
        int r = http_server_new(a->event, &config, &a->server);

        return r < 0 ? log_error_errno(r, "Failed to start the HTTP server: %m") : take_sockets(a);
}

static void on_store_hint(void *userdata)
{
        Api *a = userdata;

        flag_set_hint(a->flags);
}

static void on_flags_read(void *userdata)
{
        Api *a = userdata;

        if (a->schema_version >= SCHEMA_NEEDED)
                api_accept(a);
}

static int start_flags(Api *a)
{
        const FlagSetConfig config = {
                .store = a->store,
                .stale_usec = a->settings.stale_usec,
                .on_read = on_flags_read,
                .userdata = a,
        };
        int r = flag_set_new(a->event, &config, &a->flags);

        return r < 0 ? log_error_errno(r, "Failed to prepare for flags: %m") : 0;
}

static int start_store(Api *a)
{
        const StoreConfig config = {
                .conninfo = a->settings.database,
                .role = "reeve_api",
                .application_name = "reeve-api",
                .prepared = settings_prepared(&a->settings),
                .listen = settings_prepared(&a->settings), /* a direct connection */
                .channel = STORE_FLAG_CHANNEL,
                .on_state = on_store_state,
                .on_hint = on_store_hint,
                .userdata = a,
        };
        const StoreConfig reads = {
                .conninfo = config.conninfo,
                .role = config.role,
                .application_name = "reeve-api reads",
                .prepared = config.prepared,
        };
        int r = store_new(a->event, &config, &a->store);

        if (r >= 0)
                r = store_new(a->event, &reads, &a->reads);
        return r < 0 ? log_error_errno(r, "Failed to prepare the connection to the database: %m")
                     : 0;
}

int api_new(sd_event *event, const ApiOptions *options, Api **ret)
{
        _cleanup_(api_freep) Api *a = new0(Api, 1);
        int r;

        if (!a)
                return log_oom();
        a->event = sd_event_ref(event);
        a->started_usec = now_usec(CLOCK_MONOTONIC);
        r = settings_load(options->root, on_finding, NULL, &a->settings);
        if (r < 0 && r != -EINVAL) /* a wrong value was reported, its default stands */
                return log_error_errno(r, "Failed to read reeve.conf: %m");
        r = open_blobs(a, options->blobs);
        if (r >= 0)
                r = take_routes(a);
        if (r < 0)
                return log_error_errno(r, "Failed to set up: %m");
        r = start_store(a);
        if (r >= 0)
                r = start_flags(a);
        if (r >= 0)
                r = enqueuer_new(event, a->store, &a->enqueuer);
        if (r >= 0)
                r = waiters_new(a, &a->waiters);
        if (r >= 0)
                r = feed_new(a, &a->feed);
        if (r >= 0)
                r = pullers_new(a, &a->pullers);
        if (r >= 0)
                r = keyring_new(&a->keyring);
        if (r >= 0)
                r = start_server(a);
        if (r >= 0)
                r = api_start_health(a);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(a);
        return 0;
}

Api *api_free(Api *a)
{
        if (!a)
                return NULL;
        http_server_free(a->server); /* cancels the calls */
        while (a->calls)
                call_free(a->calls);
        waiters_free(a->waiters);
        feed_free(a->feed);
        pullers_free(a->pullers);
        keyring_free(a->keyring);
        enqueuer_free(a->enqueuer);
        flag_set_free(a->flags);
        store_free(a->reads);
        store_free(a->store);
        router_free(a->router);
        blob_store_free(a->blobs);
        sd_event_source_disable_unref(a->tick);
        settings_done(&a->settings);
        strbuf_done(&a->openapi);
        for (unsigned i = 0; i < a->n_fds; i++)
                safe_close(a->fds[i]);
        free(a->fds);
        free(a->is_unix);
        free(a->routes);
        free(a->counts);
        free(a->rates);
        sd_event_unref(a->event);
        return mfree(a);
}

static void on_stopped(void *userdata)
{
        Api *a = userdata;

        log_info("No request is left; stopping.");
        (void) sd_event_exit(a->event, 0);
}

void api_stop(Api *a)
{
        int r;

        if (a->stopping) {
                log_notice("Told to stop again: leaving at once.");
                (void) sd_event_exit(a->event, 0);
                return;
        }
        a->stopping = true;
        (void) sd_notify(false, "STOPPING=1");
        api_update_status(a);
        waiters_flush(a->waiters);
        feed_stop(a->feed);
        pullers_flush(a->pullers);
        r = http_loop_stop(http_server_get_loop(a->server), STOP_GRACE_USEC, on_stopped, a);
        if (r < 0)
                (void) sd_event_exit(a->event, log_error_errno(r, "Failed to stop: %m"));
}
