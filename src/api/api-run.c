/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "api-auth.h"
#include "api-create.h"
#include "api-jobs.h"
#include "api-pull.h"
#include "parse-util.h"
#include "random-util.h"
#include "store-pull.h"

/* POST /api/runs/{run_id}/complete, fail, extend and progress: a puller's words on its run. run_id
 * and run_key together say that it is its own. */

#define BODY_MAX        (REEVE_RESULT_MAX + 64UL * 1024)
#define ERROR_CODE_MAX  63U
#define ERROR_TEXT_MAX  511U
#define RETRY_AFTER_MAX 1e9 /* seconds; REEVE_RETRY_HINT_MAX_USEC is believed */

typedef enum Word { WORD_COMPLETE, WORD_FAIL, WORD_EXTEND, WORD_PROGRESS } Word;

typedef struct RunCall {
        Word word;
        JsonDocument *document; /* what the strings are in */
        StoreOwnRun run;
        usec_t lease_usec; /* 0: as its kind says */
        const char *result; /* JSON, result_size bytes; NULL: none */
        size_t result_size;
        const char *code, *message, *log; /* may be NULL */
        bool final;
        usec_t retry_after_usec;
        StoreProgress progress;
        char digest[BLOB_DIGEST_MAX]; /* of a result that is too large for the row */
        char *by;
        const char *state;
        usec_t delay_usec;
} RunCall;

static void free_run_call(Call *c)
{
        RunCall *k = c->data;

        json_document_free(k->document);
        free(k->by);
        free(k);
}

static void not_yours(Call *c)
{
        const RunCall *k = c->data;

        call_problem(c, PROBLEM_CONFLICT,
                "Run %lld is not yours: it has ended, its lease has passed, or run_key is another.",
                (long long) k->run.run_id);
}

/* ---- extend and progress ---- */

static void reply_extended(Call *c, const char *const *row)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        JsonWriter w = json_writer(&b);
        const RunCall *k = c->data;
        char text[RFC3339_MAX];
        uint64_t expires = 0;

        (void) parse_u64(row[STORE_EXTENDED_EXPIRES_USEC], 0, UINT64_MAX, &expires);
        json_open_object(&w, NULL);
        json_put_int(&w, "run_id", k->run.run_id);
        json_put_string(&w, "job_id", row[STORE_EXTENDED_JOB]);
        json_put_string(&w, "lease_expires_at", format_rfc3339(text, expires));
        json_put_bool(&w, "cancel", streq(row[STORE_EXTENDED_CANCEL], "true"));
        if (*row[STORE_EXTENDED_REASON])
                json_put_string(&w, "reason", row[STORE_EXTENDED_REASON]);
        json_close(&w);
        if (!call_failed(c, json_writer_end(&w)))
                call_json_buf(c, 200, &b, NULL);
}

static void on_saved(int error, void *userdata)
{
        /* Progress is told again; the lease was extended all the same. */
}

static void on_extended(int error, const char *const *row, void *userdata)
{
        Call *c = userdata;
        RunCall *k = c->data;

        c->pending = NULL;
        if (call_failed(c, error))
                return;
        if (!row || !caller_sees(&c->caller, row[STORE_EXTENDED_TENANT], NULL)) {
                not_yours(c);
                return;
        }
        if (k->word == WORD_PROGRESS) {
                k->progress.run_id = k->run.run_id;
                k->progress.run_key = k->run.run_key;
                (void) store_save_progress(c->api->store, &k->progress, 1, on_saved, NULL);
        }
        reply_extended(c, row);
}

/* ---- complete and fail ---- */

static void on_run_ended(int error, const int64_t *run_ids, unsigned n, void *userdata)
{
        Call *c = userdata;

        c->pending = NULL;
        if (call_failed(c, error))
                return;
        if (n == 0)
                not_yours(c);
        else
                call_show_job(c, 200);
}

static void end_run(Call *c)
{
        const RunCall *k = c->data;
        _cleanup_(freep) char *result = NULL;
        StoreEndedRun run = { .run_id = k->run.run_id,
                .run_key = k->run.run_key,
                .state = k->state,
                .cause = "exit",
                .exit_status = -1,
                .error_code = k->code,
                .error_message = k->message,
                .result_blob = k->digest[0] ? k->digest : NULL,
                .delay_usec = k->delay_usec,
                .log = k->log,
                .counts = STORE_COUNTS_ATTEMPT };
        const StoreEndedRuns ended = { &run, 1, k->by, c->caller.actor };

        if (k->result && !k->digest[0]) {
                result = strndup(k->result, k->result_size);
                if (call_failed(c, result ? 0 : -ENOMEM))
                        return;
                run.result = result;
        }
        (void) call_failed(c, store_end_runs(c->api->store, &ended, on_run_ended, c, &c->pending));
}

static void on_file_named(int error, void *userdata)
{
        Call *c = userdata;

        c->pending = NULL;
        if (!call_failed(c, error))
                end_run(c);
}

static void decide(RunCall *k, const char *const *row)
{
        RetryPolicy policy = {};
        int64_t attempt = 0, most = 0;

        (void) parse_i64(row[STORE_PULLED_ATTEMPT], &attempt);
        (void) parse_i64(row[STORE_PULLED_MAX_ATTEMPTS], &most);
        (void) parse_u64(row[STORE_PULLED_RETRY_USEC], 0, UINT64_MAX, &policy.first_usec);
        (void) parse_u64(row[STORE_PULLED_RETRY_MAX_USEC], 0, UINT64_MAX, &policy.max_usec);
        if (k->word == WORD_COMPLETE)
                k->state = "succeeded";
        else if (!k->final &&
                retry_next(&policy, attempt, most, k->retry_after_usec, random_spread(),
                        &k->delay_usec))
                k->state = "scheduled";
        else
                k->state = "failed";
}

static void on_pulled_run(int error, const char *const *row, void *userdata)
{
        Call *c = userdata;
        RunCall *k = c->data;
        int r;

        c->pending = NULL;
        if (call_failed(c, error))
                return;
        if (!row || !caller_sees(&c->caller, row[STORE_PULLED_TENANT], NULL)) {
                not_yours(c);
                return;
        }
        (void) snprintf(c->id, sizeof(c->id), "%s", row[STORE_PULLED_JOB]);
        (void) snprintf(c->caller.tenant, sizeof(c->caller.tenant), "%s", row[STORE_PULLED_TENANT]);
        k->by = strdup(row[STORE_PULLED_BY]);
        if (call_failed(c, k->by ? 0 : -ENOMEM))
                return;
        decide(k, row);
        if (!k->result || k->result_size <= REEVE_PAYLOAD_INLINE_MAX) {
                end_run(c);
                return;
        }
        /* At most 1 MiB: one step. */
        r = call_keep_text(c, c->caller.tenant, k->result, k->result_size, k->digest);
        if (r >= 0) {
                const StoreFile file = { "result", "", k->digest, k->result_size };
                const StoreFiles added = { k->run, &file, 1 };

                r = store_add_files(c->api->store, &added, on_file_named, c, &c->pending);
        }
        (void) call_failed(c, r);
}

/* ---- the request ---- */

static const char *read_complete(const JsonValue *v, RunCall *k)
{
        const JsonValue *result = json_value_member(v, "result");

        if (!result || json_value_is(result, JSON_NULL))
                return NULL;
        if (json_value_member(result, "$reeve"))
                return "result: $reeve is for handlers that run in units";
        k->result = json_value_text(result, &k->result_size);
        return k->result_size > REEVE_RESULT_MAX ? "result: it has more than 1 MiB" : NULL;
}

static const char *read_fail(const JsonValue *v, RunCall *k)
{
        bool retry = true;
        double after = 0;

        if (json_get_string(v, "code", &k->code, NULL) < 0 ||
                (k->code && (!*k->code || strlen(k->code) > ERROR_CODE_MAX)))
                return "code: expected a string of 1 to 63 bytes";
        if (json_get_string(v, "message", &k->message, NULL) < 0 ||
                (k->message && strlen(k->message) > ERROR_TEXT_MAX))
                return "message: expected a string of at most 511 bytes";
        if (json_get_string(v, "log", &k->log, NULL) < 0 ||
                (k->log && strlen(k->log) > REEVE_LOG_TAIL_MAX))
                return "log: expected a string of at most 16 KiB";
        if (json_get_bool(v, "retry", &retry, NULL) < 0)
                return "retry: expected true or false";
        if (json_get_double(v, "retry_after", &after, NULL) < 0 || after < 0 ||
                after > RETRY_AFTER_MAX)
                return "retry_after: expected a number of seconds";
        if (!k->code)
                k->code = "HANDLER_ERROR";
        if (!k->message)
                k->message = "";
        k->final = !retry;
        k->retry_after_usec = (usec_t) (after * (double) USEC_PER_SEC);
        return NULL;
}

static const char *read_extend(const JsonValue *v, RunCall *k)
{
        uint64_t percent = 0;
        int r;

        if (pull_read_lease(v, &k->lease_usec) < 0)
                return PULL_BAD_LEASE;
        if (k->word == WORD_EXTEND)
                return NULL;
        r = json_get_uint64(v, "progress", 0, 100, &percent, NULL);
        if (r < 0)
                return "progress: expected a whole number from 0 to 100";
        k->progress.percent = r == JSON_FOUND ? (int) percent : -1;
        if (json_get_string(v, "status", &k->progress.status, NULL) < 0 ||
                (k->progress.status && strlen(k->progress.status) > REEVE_STATUS_TEXT_MAX))
                return "status: expected a string of at most 200 bytes";
        return NULL;
}

static const char *read_body(const JsonValue *v, RunCall *k)
{
        Uuid key;

        if (json_get_string(v, "run_key", &k->run.run_key, NULL) != JSON_FOUND ||
                uuid_parse(k->run.run_key, &key) < 0)
                return "run_key: expected the one that came with the run";
        switch (k->word) {
        case WORD_COMPLETE:
                return read_complete(v, k);
        case WORD_FAIL:
                return read_fail(v, k);
        default:
                return read_extend(v, k);
        }
}

static void run_collected(HttpRequest *r, const char *data, size_t size, void *userdata)
{
        static const char *const known[][8] = {
                [WORD_COMPLETE] = { "run_key", "result", NULL },
                [WORD_FAIL] = { "run_key", "code", "message", "log", "retry", "retry_after", NULL },
                [WORD_EXTEND] = { "run_key", "lease", NULL },
                [WORD_PROGRESS] = { "run_key", "progress", "status", "lease", NULL },
        };
        Call *c = userdata;
        RunCall *k = c->data;
        const JsonValue *v;
        const char *wrong;
        JsonError e;

        if (!call_parse_json(c, data, size, REEVE_RESULT_DEPTH_MAX, 0, &k->document))
                return;
        v = json_document_root(k->document);
        if (!call_has_field(c, json_value_check_fields(v, known[k->word], &e), &e))
                return;
        wrong = read_body(v, k);
        if (wrong)
                call_problem(c, PROBLEM_INVALID, "%s.", wrong);
        else if (k->word == WORD_COMPLETE || k->word == WORD_FAIL)
                (void) call_failed(c,
                        store_get_pulled_run(
                                c->api->store, &k->run, on_pulled_run, c, &c->pending));
        else
                (void) call_failed(c,
                        store_extend_run(c->api->store, &k->run, k->lease_usec, on_extended, c,
                                &c->pending));
}

static void handle(HttpRequest *r, Call *c, Word word)
{
        const char *id = http_request_get_param(r, "run_id");
        int64_t run_id;
        RunCall *k;

        if (parse_i64(id, &run_id) < 0 || run_id <= 0) {
                call_problem(c, PROBLEM_NOT_FOUND, "A run's id is a number.");
                return;
        }
        k = new0(RunCall, 1);
        if (call_failed(c, k ? 0 : -ENOMEM))
                return;
        *k = (RunCall){ .word = word, .run = { .run_id = run_id } };
        c->data = k;
        c->cleanup = free_run_call;
        call_collect(c, word == WORD_COMPLETE ? BODY_MAX : 64UL * 1024, run_collected);
}

void handle_run_complete(HttpRequest *r, void *userdata)
{
        handle(r, userdata, WORD_COMPLETE);
}

void handle_run_fail(HttpRequest *r, void *userdata)
{
        handle(r, userdata, WORD_FAIL);
}

void handle_run_extend(HttpRequest *r, void *userdata)
{
        handle(r, userdata, WORD_EXTEND);
}

void handle_run_progress(HttpRequest *r, void *userdata)
{
        handle(r, userdata, WORD_PROGRESS);
}
