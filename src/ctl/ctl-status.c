/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>

#include "ctl-bus.h"
#include "ctl-status.h"

#define BEAT_MAX_USEC (45 * USEC_PER_SEC) /* a lease is 30 s; a worker beats every few */

/* ---- tables ---- */

static void add_heading(TextTable *t, const char *const *heading)
{
        for (unsigned i = 0; i < t->n_columns; i++)
                text_table_add(t, heading[i]);
}

static int print_queues(const Ctl *c, const JsonValue *queues)
{
        static const char *const heading[] = { "QUEUE", "READY", "BLOCKED", "RUNNING", "OLDEST",
                "PAUSED" };
        _cleanup_(text_table_done) TextTable t = { .n_columns = ELEMENTSOF(heading),
                .right = 1U << 1 | 1U << 2 | 1U << 3 };

        add_heading(&t, heading);
        for (const JsonValue *v = json_value_first(queues, NULL); v;
                v = json_value_next(queues, v, NULL)) {
                char ready[32], blocked[32], oldest[TEXT_TIME_MAX];
                const char *reason = member_text(v, "reason");

                (void) snprintf(ready, sizeof(ready), "%" PRIu64 "%s", member_u64(v, "ready"),
                        member_bool(v, "more") ? "+" : "");
                text_table_add(&t, member_text(v, "name"));
                (void) snprintf(blocked, sizeof(blocked), "%" PRIu64 "%s", member_u64(v, "blocked"),
                        member_bool(v, "more_blocked") ? "+" : "");
                text_table_add(&t, ready);
                text_table_add(&t, blocked);
                text_table_add_u64(&t, member_u64(v, "running"));
                text_table_add(&t, text_local_time(oldest, member_text(v, "oldest_at")));
                text_table_add(&t, !member_bool(v, "paused") ? "" : *reason ? reason : "yes");
        }
        return text_table_print(&t, stdout, c->bold);
}

static int print_workers(const Ctl *c, const JsonValue *workers)
{
        static const char *const heading[] = { "WORKER", "STATE", "SLOTS", "BUSY", "JOBS DONE",
                "VERSION", "HEARTBEAT" };
        _cleanup_(text_table_done) TextTable t = { .n_columns = ELEMENTSOF(heading),
                .right = 1U << 2 | 1U << 3 | 1U << 4 };

        add_heading(&t, heading);
        for (const JsonValue *v = json_value_first(workers, NULL); v;
                v = json_value_next(workers, v, NULL)) {
                _cleanup_(strbuf_done) StrBuf name = {};
                char beat[TEXT_TIME_MAX];

                strbuf_printf(&name, "%s/%s", member_text(v, "host"), member_text(v, "name"));
                text_table_add(&t, strbuf_str(&name));
                text_table_add(&t, member_text(v, "state"));
                text_table_add_u64(&t, member_u64(v, "slots"));
                text_table_add_u64(&t, member_u64(v, "busy"));
                text_table_add_u64(&t, member_u64(v, "jobs_done"));
                text_table_add(&t, member_text(v, "version"));
                text_table_add(&t, text_local_time(beat, member_text(v, "heartbeat_at")));
        }
        return text_table_print(&t, stdout, c->bold);
}

/* "2 at once for each /user, 100 in 1min". */
static void describe_key(StrBuf *b, const char *key)
{
        if (!*key)
                return;
        strbuf_puts(b, " for each ");
        text_clean(b, key);
}

static void describe_limits(StrBuf *b, const JsonValue *kind)
{
        char span[TIMESPAN_MAX];

        if (member_u64(kind, "concurrency") > 0) {
                strbuf_printf(b, "%" PRIu64 " at once", member_u64(kind, "concurrency"));
                describe_key(b, member_text(kind, "concurrency_key"));
        }
        if (member_u64(kind, "rate_n") > 0) {
                strbuf_printf(b, "%s%" PRIu64 " in %s", b->len > 0 ? ", " : "",
                        member_u64(kind, "rate_n"),
                        format_timespan(span, member_u64(kind, "rate_usec")));
                describe_key(b, member_text(kind, "rate_key"));
        }
}

static int print_kinds(const Ctl *c, const JsonValue *kinds)
{
        static const char *const heading[] = { "KIND", "QUEUE", "PRIORITY", "ATTEMPTS", "TIMEOUT",
                "WORKERS", "LIMITS", "DESCRIPTION" };
        _cleanup_(text_table_done) TextTable t = { .n_columns = ELEMENTSOF(heading),
                .right = 1U << 2 | 1U << 3 | 1U << 5 };

        add_heading(&t, heading);
        for (const JsonValue *v = json_value_first(kinds, NULL); v;
                v = json_value_next(kinds, v, NULL)) {
                _cleanup_(strbuf_done) StrBuf limits = {};
                char span[TIMESPAN_MAX];
                usec_t timeout = member_u64(v, "timeout_usec");

                text_table_add(&t, member_text(v, "name"));
                text_table_add(&t, member_text(v, "queue"));
                text_table_add_u64(&t, member_u64(v, "priority"));
                text_table_add_u64(&t, member_u64(v, "max_attempts"));
                text_table_add(&t, timeout ? format_timespan(span, timeout) : "");
                if (json_value_member(v, "lease_usec"))
                        text_table_add(&t, "pulled");
                else
                        text_table_add_u64(&t, member_u64(v, "workers"));
                describe_limits(&limits, v);
                text_table_add(&t, strbuf_str(&limits));
                text_table_add(&t, member_text(v, "description"));
        }
        return text_table_print(&t, stdout, c->bold);
}

typedef int (*ListPrinter)(const Ctl *c, const JsonValue *list);

static int print_list(Ctl *c, const char *target, const char *name, ListPrinter print)
{
        _cleanup_(answer_done) Answer a = {};
        const JsonValue *list;
        int r = ctl_get(c, target, &a);

        if (r != EXIT_STATUS_OK)
                return r;
        list = ctl_list(&a, name);
        if (!list)
                return EXIT_STATUS_FAILED;
        if (c->json)
                ctl_print_lines(list);
        else if (print(c, list) < 0)
                return ctl_oom();
        return EXIT_STATUS_OK;
}

int verb_queues(Ctl *c)
{
        static const CtlCommand commands[] = {
                { "pause", 1, 1, UINT64_C(1) << OPTION_REASON, pause_queue },
                { "resume", 1, 1, 0, resume_queue },
                {},
        };

        if (c->n_args > 0)
                return ctl_run_command(c, commands);
        if (c->values[OPTION_REASON])
                return ctl_error(EXIT_STATUS_USAGE, "--reason goes with \"queues pause\" only.");
        return print_list(c, "/api/queues", "queues", print_queues);
}

int verb_workers(Ctl *c)
{
        return print_list(c, "/api/workers", "workers", print_workers);
}

static int retire_kind(Ctl *c, const char *name)
{
        _cleanup_(strbuf_done) StrBuf target = {};
        _cleanup_(answer_done) Answer a = {};

        strbuf_puts(&target, "/api/kinds/");
        http_quote(&target, name);
        if (c->values[OPTION_REASON]) {
                strbuf_puts(&target, "?reason=");
                http_quote(&target, c->values[OPTION_REASON]);
        }
        if (strbuf_error(&target) < 0)
                return ctl_oom();
        return ctl_ask(c, &(HttpAsk){ .method = "DELETE", .target = strbuf_str(&target) }, &a);
}

int verb_kinds(Ctl *c)
{
        bool retire = c->n_args == 2 && streq(c->args[0], "retire");

        if (c->values[OPTION_REASON] && !retire)
                return ctl_error(EXIT_STATUS_USAGE, "--reason goes with \"kinds retire\" only.");
        if (retire)
                return retire_kind(c, c->args[1]);
        if (c->n_args == 0)
                return print_list(c, "/api/kinds", "kinds", print_kinds);
        if (!streq(c->args[0], "check"))
                return ctl_error(EXIT_STATUS_USAGE,
                        "kinds %s: expected check or retire NAME. Try \"reevectl help kinds\".",
                        c->args[0]);
        return check_kinds(c->args + 1, c->n_args - 1);
}

/* ---- status: what is wrong, and what helps ---- */

void judge_health(Faults *f, const JsonValue *health)
{
        const JsonValue *checks = json_value_member(health, "checks");
        const char *detail = member_text(health, "detail");
        const char *database = checks ? member_text(checks, "database") : "";
        bool is_told = strstr(detail, "database"); /* the detail may be of something else */

        if (checks && *database && !streq(database, "ok"))
                faults_add(f, FAULT_ERROR, "DATABASE_AWAY",
                        "systemctl status reeve-postgres.service, or look at the server that "
                        "Database= in /etc/reeve/reeve.conf names",
                        "%s%s%s", is_told ? "" : "The database is ", is_told ? detail : database,
                        is_told ? "" : ".");
        else if (checks && !streq(member_text(checks, "schema"), "ok"))
                faults_add(f, FAULT_ERROR, "SCHEMA_OLD",
                        "reevectl migrate status; systemctl start reeve-migrate.service",
                        "The schema is %s. %s", member_text(checks, "schema"), detail);
        else if (!streq(member_text(health, "status"), "ok"))
                faults_add(f, FAULT_ERROR, "API_DEGRADED", "journalctl -u reeve-api",
                        "The API is %s. %s", member_text(health, "status"), detail);
        if (checks && *member_text(checks, "blobs") && !streq(member_text(checks, "blobs"), "ok"))
                faults_add(f, FAULT_ERROR, "BLOBS_NOT_WRITABLE",
                        "df /var/lib/reeve/blobs; ls -ld /var/lib/reeve/blobs",
                        "Files cannot be kept: the blob store is %s.",
                        member_text(checks, "blobs"));
}

bool worker_serves(const JsonValue *worker, const char *queue)
{
        const JsonValue *queues = json_value_member(worker, "queues");
        bool serves = false;

        for (const JsonValue *v = queues ? json_value_first(queues, NULL) : NULL; v;
                v = json_value_next(queues, v, NULL)) {
                const char *name = "";

                (void) json_value_string(v, &name);
                if (name[0] == '!' && streq(name + 1, queue))
                        return false;
                serves = serves || streq(name, "*") || streq(name, queue);
        }
        return serves;
}

static void add_paused(Faults *f, const char *queue, const char *reason)
{
        char remedy[256];

        (void) snprintf(remedy, sizeof(remedy), "reevectl queues resume %s", queue);
        faults_add(f, FAULT_WARNING, "QUEUE_PAUSED", remedy, "Queue %s is paused%s%s.", queue,
                *reason ? ": " : "", reason);
}

static void judge_queues(Faults *f, const JsonValue *queues, const JsonValue *workers)
{
        for (const JsonValue *v = json_value_first(queues, NULL); v;
                v = json_value_next(queues, v, NULL)) {
                const char *name = member_text(v, "name"), *reason = member_text(v, "reason");
                bool served = false;

                for (const JsonValue *k = json_value_first(workers, NULL); k;
                        k = json_value_next(workers, k, NULL))
                        served = served || worker_serves(k, name);
                if (member_bool(v, "paused"))
                        add_paused(f, name, reason);
                else if (!served && member_u64(v, "ready") > 0)
                        faults_add(f, FAULT_ERROR, "QUEUE_UNSERVED",
                                "systemctl start reeve-worker@POOL.service with a pool whose "
                                "Queues= has it (reeve.conf(5))",
                                "Queue %s has %" PRIu64 " jobs and no living worker serves it.",
                                name, member_u64(v, "ready"));
        }
}

static void judge_workers(Faults *f, const JsonValue *workers, bool local)
{
        if (json_value_count(workers) == 0)
                faults_add(f, FAULT_ERROR, "NO_WORKER",
                        "systemctl start reeve-worker@default.service; journalctl -u "
                        "'reeve-worker@*'",
                        "No worker lives: nothing is run.");
        for (const JsonValue *v = json_value_first(workers, NULL); v;
                v = json_value_next(workers, v, NULL)) {
                usec_t now = now_usec(CLOCK_REALTIME), beat;
                char span[TIMESPAN_MAX], at[TEXT_TIME_MAX];

                /* Another host's clock proves nothing. */
                if (!local || parse_rfc3339(member_text(v, "heartbeat_at"), &beat) < 0 ||
                        now < beat || now - beat < BEAT_MAX_USEC)
                        continue;
                faults_add(f, FAULT_ERROR, "WORKER_SILENT",
                        "look at that host: systemctl status 'reeve-worker@*'",
                        "Worker %s/%s was last heard of %s ago (%s).", member_text(v, "host"),
                        member_text(v, "name"),
                        format_timespan(span, (now - beat) / USEC_PER_SEC * USEC_PER_SEC),
                        text_local_time(at, member_text(v, "heartbeat_at")));
        }
}

static void judge_kinds(Faults *f, const JsonValue *kinds, const JsonValue *workers)
{
        if (json_value_count(workers) == 0)
                return; /* said already */
        for (const JsonValue *v = json_value_first(kinds, NULL); v;
                v = json_value_next(kinds, v, NULL))
                if (json_value_member(v, "workers") && member_u64(v, "workers") == 0 &&
                        !json_value_member(v, "lease_usec")) /* programs elsewhere take its jobs */
                        faults_add(f, FAULT_WARNING, "KIND_UNSERVED",
                                "reevectl kinds check; systemctl daemon-reload; or, if it is to "
                                "go, "
                                "reevectl kinds retire NAME",
                                "Kind %s is published and no living worker has it.",
                                member_text(v, "name"));
}

void overview_done(Overview *o)
{
        answer_done(&o->health);
        answer_done(&o->stats);
        answer_done(&o->workers);
        answer_done(&o->queues);
        answer_done(&o->kinds);
        faults_done(&o->faults);
}

/* Health answers 503 with a body when something is wrong. */
static int ask_health(Ctl *c, Answer *ret)
{
        const HttpAsk ask = { .method = "GET", .target = "/api/health" };
        int error;

        ctl_try(c, &ask, ret, &error);
        if (error < 0)
                return ctl_tell_fault(c, error);
        if ((ret->reply.status != 200 && ret->reply.status != 503) || !ret->root ||
                !*member_text(ret->root, "version"))
                return ctl_tell_problem(ret);
        return EXIT_STATUS_OK;
}

int overview_ask(Ctl *c, Overview *o)
{
        _cleanup_(kind_set_freep) KindSet *here = NULL;
        int r = ctl_get(c, "/api/stats", &o->stats);

        if (r == EXIT_STATUS_OK)
                r = ctl_get(c, "/api/workers", &o->workers);
        if (r == EXIT_STATUS_OK)
                r = ctl_get(c, "/api/queues", &o->queues);
        if (r == EXIT_STATUS_OK)
                r = ctl_get(c, "/api/kinds", &o->kinds);
        if (r != EXIT_STATUS_OK)
                return r;
        o->worker_list = ctl_list(&o->workers, "workers");
        o->queue_list = ctl_list(&o->queues, "queues");
        o->kind_list = ctl_list(&o->kinds, "kinds");
        if (!o->worker_list || !o->queue_list || !o->kind_list)
                return EXIT_STATUS_FAILED;
        judge_workers(&o->faults, o->worker_list, c->client.socket_path);
        judge_queues(&o->faults, o->queue_list, o->worker_list);
        judge_kinds(&o->faults, o->kind_list, o->worker_list);
        if (c->client.socket_path)
                here = judge_host(&o->faults, o->worker_list, o->kind_list);
        judge_worker_faults(&o->faults, o->worker_list, here);
        return EXIT_STATUS_OK;
}

static void put_value(JsonWriter *w, const char *name, const JsonValue *v)
{
        size_t n;
        const char *text;

        if (!v)
                return;
        text = json_value_text(v, &n);
        json_put_raw(w, name, text, n);
}

static int print_overview_json(const Overview *o)
{
        _cleanup_(strbuf_done) StrBuf b = {}, faults = {};
        JsonWriter w = json_writer(&b);

        strbuf_printf(&faults, "[%s]", strbuf_str(&o->faults.json));
        json_open_object(&w, NULL);
        put_value(&w, "health", o->health.root);
        put_value(&w, "stats", o->stats.root);
        put_value(&w, "workers", o->worker_list);
        put_value(&w, "queues", o->queue_list);
        put_value(&w, "kinds", o->kind_list);
        json_put_raw(&w, "faults", strbuf_str(&faults), faults.len);
        json_close(&w);
        if (json_writer_end(&w) < 0)
                return ctl_oom();
        puts(strbuf_str(&b));
        return EXIT_STATUS_OK;
}

static void print_head(const Ctl *c, const Overview *o)
{
        const JsonValue *checks = json_value_member(o->health.root, "checks");
        const JsonValue *jobs = o->stats.root ? json_value_member(o->stats.root, "jobs") : NULL;
        _cleanup_(strbuf_done) StrBuf version = {};

        text_clean(&version, member_text(o->health.root, "version"));
        printf("   Reeve: %s, reevectl %s\n", strbuf_str(&version), REEVE_VERSION);
        if (c->client.socket_path)
                printf("     API: %s\n", c->client.socket_path);
        else
                printf("     API: %s port %s\n", c->client.host, c->client.port);
        if (checks) {
                strbuf_clear(&version);
                text_clean(&version, member_text(checks, "database"));
                printf("Database: %s", strbuf_str(&version));
                if (o->stats.root)
                        printf(", schema %" PRIu64, member_u64(o->stats.root, "schema_version"));
                putchar('\n');
        }
        if (jobs)
                printf("    Jobs: %" PRIu64 " ready, %" PRIu64 " running, %" PRIu64
                       " scheduled, %" PRIu64 " waiting, %" PRIu64 " blocked\n",
                        member_u64(jobs, "ready"), member_u64(jobs, "running"),
                        member_u64(jobs, "scheduled"), member_u64(jobs, "waiting"),
                        member_u64(jobs, "blocked"));
}

static int print_overview(const Ctl *c, const Overview *o)
{
        print_head(c, o);
        if (o->worker_list && json_value_count(o->worker_list) > 0) {
                putchar('\n');
                if (print_workers(c, o->worker_list) < 0)
                        return ctl_oom();
        }
        if (o->queue_list && json_value_count(o->queue_list) > 0) {
                putchar('\n');
                if (print_queues(c, o->queue_list) < 0)
                        return ctl_oom();
        }
        if (o->faults.n == 0)
                puts("\nNothing is wrong.");
        else
                printf("\nWrong:\n%s%s", strbuf_str(&o->faults.texts[FAULT_ERROR]),
                        strbuf_str(&o->faults.texts[FAULT_WARNING]));
        return EXIT_STATUS_OK;
}

int verb_status(Ctl *c)
{
        _cleanup_(overview_done) Overview o = {};
        int r = ask_health(c, &o.health);

        if (r != EXIT_STATUS_OK)
                return r;
        judge_health(&o.faults, o.health.root);
        if (o.health.reply.status == 200)
                r = overview_ask(c, &o);
        if (r != EXIT_STATUS_OK)
                return r;
        if (faults_error(&o.faults) < 0)
                return ctl_oom();
        r = c->json ? print_overview_json(&o) : print_overview(c, &o);
        if (r != EXIT_STATUS_OK)
                return r;
        return o.faults.n > 0 ? EXIT_STATUS_FAILED : EXIT_STATUS_OK;
}
