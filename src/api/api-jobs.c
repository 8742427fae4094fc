/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "api-auth.h"
#include "api-jobs.h"
#include "http-field.h"
#include "job.h"
#include "parse-util.h"
#include "sha256.h"

#define HISTORY_MAX 1000U

void call_no_job(Call *c)
{
        call_problem(c, PROBLEM_NOT_FOUND, "There is no job %s.", c->id);
}

/* ---- GET /api/jobs/{id} ---- */

void call_tagged(Call *c, const TaggedText *t)
{
        _cleanup_(http_response_freep) HttpResponse *response = NULL;
        const char *field = http_request_get_header(c->request, "If-None-Match");
        char hash[SHA256_HEX_MAX], etag[40];
        unsigned status = t->status;

        if (call_failed(c, sha256_hex(t->text, t->size, hash)))
                return;
        (void) snprintf(etag, sizeof(etag), "\"%.32s\"", hash);
        if (!t->location && http_etag_matches(field, etag))
                status = 304;
        response = http_response_new(status);
        if (!response || http_response_add(response, "ETag", etag) < 0 ||
                http_response_add(
                        response, "Cache-Control", t->cache ? t->cache : "private, no-cache") < 0 ||
                (status != 304 &&
                        http_response_set_body(response, "application/json", t->text, t->size) <
                                0) ||
                (t->location && http_response_add(response, "Location", t->location) < 0))
                response = http_response_free(response);
        call_reply(c, TAKE_PTR(response), status);
}

static void reply_job(Call *c, unsigned status, const char *body)
{
        TaggedText t = { .status = status, .text = body, .size = strlen(body) };
        char location[64];

        (void) snprintf(location, sizeof(location), "/api/jobs/%s", c->id);
        if (http_request_get_method(c->request) == HTTP_POST)
                t.location = location;
        call_tagged(c, &t);
}

bool call_sees_job(Call *c, int error, const char *const *row)
{
        c->pending = NULL;
        if (call_failed(c, error))
                return false;
        if (!row || !caller_sees(&c->caller, row[STORE_JOB_TENANT], row[STORE_JOB_SUBJECT])) {
                call_no_job(c);
                return false;
        }
        return true;
}

static void on_job(int error, const char *const *row, void *userdata)
{
        Call *c = userdata;

        if (call_sees_job(c, error, row))
                reply_job(c, 200, row[STORE_JOB_BODY]);
}

static void on_created_job(int error, const char *const *row, void *userdata)
{
        Call *c = userdata;

        if (call_sees_job(c, error, row))
                reply_job(c, 202, row[STORE_JOB_BODY]);
}

void call_show_job(Call *c, unsigned status)
{
        (void) call_failed(c,
                store_get_job(c->api->store, c->id, status == 202 ? on_created_job : on_job, c,
                        &c->pending));
}

static bool wants_details(const Call *c)
{
        return streq_ptr(http_request_get_query(c->request, "details"), "true");
}

/* Counts its children, which may be many: where the lists are asked for. */
static void show_job_as_asked(Call *c)
{
        (void) call_failed(c,
                wants_details(c)
                        ? store_get_job_details(call_reader(c), c->id, on_job, c, &c->pending)
                        : store_get_job(c->api->store, c->id, on_job, c, &c->pending));
}

static void on_waited_job(int error, const char *const *row, void *userdata)
{
        Call *c = userdata;
        usec_t usec = 0;

        if (!call_sees_job(c, error, row))
                return;
        (void) parse_timespan(http_request_get_query(c->request, "wait"), &usec);
        if (usec > WAIT_MAX_USEC)
                usec = WAIT_MAX_USEC;
        if (usec != 0 && !c->api->stopping &&
                !job_state_is_terminal(job_state_from_string(row[STORE_JOB_STATE])))
                (void) call_failed(c, waiters_add(c->api->waiters, c, usec, show_job_as_asked));
        else if (wants_details(c))
                show_job_as_asked(c);
        else
                reply_job(c, 200, row[STORE_JOB_BODY]);
}

void handle_get_job(HttpRequest *r, void *userdata)
{
        Call *c = userdata;
        const char *wait = http_request_get_query(r, "wait");
        const char *details = http_request_get_query(r, "details");
        usec_t usec;

        if (details && !streq(details, "true") && !streq(details, "false")) {
                call_problem(c, PROBLEM_BAD_QUERY, "details: expected true or false.");
                return;
        }
        if (!wait) {
                show_job_as_asked(c);
                return;
        }
        if (parse_timespan(wait, &usec) < 0)
                call_problem(c, PROBLEM_BAD_QUERY, "wait: expected a time span such as 30s.");
        else
                (void) call_failed(
                        c, store_get_job(c->api->store, c->id, on_waited_job, c, &c->pending));
}

/* ---- cancel and retry ---- */

typedef void (*ActStart)(Call *c, const char *reason);

bool call_parse_json(Call *c, const char *data, size_t size, unsigned max_depth, unsigned line,
        JsonDocument **ret)
{
        JsonError e;
        int r = json_parse(data, size, max_depth, ret, &e);

        if (r == -EBADMSG)
                call_problem(c, PROBLEM_BAD_JSON, "Line %u, column %u: %s.", e.line + line,
                        e.column, e.text);
        else if (r < 0)
                call_fault(c, r);
        return r >= 0;
}

bool call_read_json(
        Call *c, const char *data, size_t size, const char *const *known, JsonDocument **ret)
{
        JsonError e;

        if (size == 0 && (c->route->body & HTTP_BODY_OPTIONAL))
                return true;
        return call_parse_json(c, data, size, REEVE_JSON_DEPTH_MAX, 0, ret) &&
                call_has_field(c, json_value_check_fields(json_document_root(*ret), known, &e), &e);
}

bool call_has_field(Call *c, int r, const JsonError *e)
{
        if (r == -EINVAL || r == -ERANGE) {
                call_problem(c, PROBLEM_INVALID, "%s.", e->text);
                return false;
        }
        return !call_failed(c, r < 0 ? r : 0);
}

/* Reads {"reason": "..."}, if there is a body. */
static bool read_reason(
        Call *c, const char *data, size_t size, JsonDocument **ret, const char **ret_reason)
{
        static const char *const known[] = { "reason", NULL };
        const char *reason = NULL;
        JsonError e;

        if (!call_read_json(c, data, size, known, ret))
                return false;
        if (!*ret) {
                *ret_reason = http_request_get_query(c->request, "reason");
                return true;
        }
        if (!call_has_field(
                    c, json_get_string(json_document_root(*ret), "reason", &reason, &e), &e))
                return false;
        if (reason && strlen(reason) > REEVE_REASON_MAX) {
                call_problem(c, PROBLEM_INVALID, "reason: at most %u bytes.", REEVE_REASON_MAX);
                return false;
        }
        *ret_reason = reason;
        return true;
}

StoreAct call_act(const Call *c, const char *reason)
{
        return (StoreAct){ .id = c->id,
                .tenant = c->caller.tenant[0] ? c->caller.tenant : NULL,
                .subject = c->caller.subject[0] ? c->caller.subject : NULL,
                .actor = c->caller.actor,
                .reason = reason };
}

static void on_cancelled(int error, const char *const *row, void *userdata)
{
        Call *c = userdata;
        _cleanup_(strbuf_done) StrBuf b = {};
        JsonWriter w = json_writer(&b);

        c->pending = NULL;
        if (call_failed(c, error < 0 ? error : row && row[0] ? 0 : -EPROTO))
                return;
        if (streq(row[0], "not-found")) {
                call_no_job(c);
                return;
        }
        if (streq(row[0], "finished")) {
                call_problem(c, PROBLEM_CONFLICT, "Job %s has ended.", c->id);
                return;
        }
        json_open_object(&w, NULL);
        json_put_string(&w, "id", c->id);
        json_put_string(&w, "outcome", row[0]);
        json_close(&w);
        if (!call_failed(c, json_writer_end(&w)))
                call_json_buf(c, streq(row[0], "cancelled") ? 200 : 202, &b, NULL);
}

static void cancel_collected(HttpRequest *r, const char *data, size_t size, void *userdata)
{
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        Call *c = userdata;
        const char *reason = NULL;
        StoreAct act;

        if (!read_reason(c, data, size, &d, &reason))
                return;
        act = call_act(c, reason);
        (void) call_failed(c, store_cancel_job(c->api->store, &act, on_cancelled, c, &c->pending));
}

void handle_cancel(HttpRequest *r, void *userdata)
{
        call_collect(userdata, 4096, cancel_collected);
}

static void on_retried(int error, const char *const *row, void *userdata)
{
        Call *c = userdata;
        const char *outcome;

        c->pending = NULL;
        if (call_failed(c, error < 0 ? error : row && row[0] ? 0 : -EPROTO))
                return;
        outcome = row[STORE_RETRY_OUTCOME];
        if (streq(outcome, "not-found")) {
                call_no_job(c);
        } else if (streq(outcome, "live")) {
                call_problem(c, PROBLEM_CONFLICT, "Job %s has not ended.", c->id);
        } else if (streq(outcome, "refused") || !row[STORE_RETRY_JOB]) {
                call_problem(c, PROBLEM_CONFLICT, "It cannot be done again: %s.",
                        row[STORE_RETRY_DETAIL] ? row[STORE_RETRY_DETAIL] : "refused");
        } else {
                (void) snprintf(c->id, sizeof(c->id), "%s", row[STORE_RETRY_JOB]);
                if (streq(outcome, "created"))
                        call_show_job(c, 202);
                else
                        call_show_existing(c);
        }
}

static void retry_collected(HttpRequest *r, const char *data, size_t size, void *userdata)
{
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        Call *c = userdata;
        const char *reason = NULL;
        char id[UUID_TEXT_SIZE];
        StoreAct act;
        Uuid uuid;

        if (!read_reason(c, data, size, &d, &reason) ||
                call_failed(c, uuid_new_v7(now_usec(CLOCK_REALTIME), &uuid)))
                return;
        act = call_act(c, reason);
        act.new_id = uuid_format(&uuid, id);
        (void) call_failed(c, store_retry_job(c->api->store, &act, on_retried, c, &c->pending));
}

void handle_retry(HttpRequest *r, void *userdata)
{
        call_collect(userdata, 4096, retry_collected);
}

/* ---- lists of a job, and of the fleet ---- */

static void on_history(int error, const char *const *row, void *userdata)
{
        call_list(userdata, error, row, "history");
}

static void on_history_job(int error, const char *const *row, void *userdata)
{
        Call *c = userdata;

        if (call_sees_job(c, error, row))
                (void) call_failed(c,
                        store_list_history(
                                call_reader(c), c->id, HISTORY_MAX, on_history, c, &c->pending));
}

void handle_history(HttpRequest *r, void *userdata)
{
        Call *c = userdata;

        (void) call_failed(c, store_get_job(c->api->store, c->id, on_history_job, c, &c->pending));
}

static void on_queues(int error, const char *const *row, void *userdata)
{
        call_list(userdata, error, row, "queues");
}

void handle_queues(HttpRequest *r, void *userdata)
{
        Call *c = userdata;

        (void) call_failed(c, store_list_queues(call_reader(c), on_queues, c, &c->pending));
}

static void on_workers(int error, const char *const *row, void *userdata)
{
        call_list(userdata, error, row, "workers");
}

void handle_workers(HttpRequest *r, void *userdata)
{
        Call *c = userdata;

        (void) call_failed(c, store_list_workers(call_reader(c), on_workers, c, &c->pending));
}

static void on_kinds(int error, const char *const *row, void *userdata)
{
        call_list(userdata, error, row, "kinds");
}

void handle_kinds(HttpRequest *r, void *userdata)
{
        Call *c = userdata;

        (void) call_failed(c, store_list_kinds(call_reader(c), on_kinds, c, &c->pending));
}

static void on_retired(int error, const char *const *row, void *userdata)
{
        Call *c = userdata;
        const char *name = http_request_get_param(c->request, "kind");
        const char *outcome, *detail;

        c->pending = NULL;
        if (call_failed(c, error < 0 ? error : row && row[STORE_RETIRE_OUTCOME] ? 0 : -EPROTO))
                return;
        outcome = row[STORE_RETIRE_OUTCOME];
        detail = row[STORE_RETIRE_DETAIL] ? row[STORE_RETIRE_DETAIL] : "";
        if (streq(outcome, "not-found"))
                call_problem(c, PROBLEM_NOT_FOUND, "There is no kind %s.", name);
        else if (streq(outcome, "served"))
                call_problem(c, PROBLEM_CONFLICT,
                        "Worker %s has kind %s: remove its file there and restart the workers.",
                        detail, name);
        else if (streq(outcome, "in-use"))
                call_problem(c, PROBLEM_CONFLICT,
                        "%s jobs of kind %s have not ended: GET /api/jobs?kind=%s.", detail, name,
                        name);
        else
                call_reply(c, http_response_new(204), 204);
}

/* Looks at all that has not ended, which may be much: where the lists are asked for. */
void handle_retire_kind(HttpRequest *r, void *userdata)
{
        Call *c = userdata;
        const char *name = http_request_get_param(r, "kind");
        const char *reason = http_request_get_query(r, "reason");
        const StoreAct act = { .id = name, .actor = c->caller.actor, .reason = reason };

        if (!name_is_valid(name))
                call_problem(c, PROBLEM_NOT_FOUND, "There is no such kind.");
        else if (reason && strlen(reason) > REEVE_REASON_MAX)
                call_problem(c, PROBLEM_BAD_QUERY, "reason: at most %u bytes.", REEVE_REASON_MAX);
        else
                (void) call_failed(
                        c, store_retire_kind(call_reader(c), &act, on_retired, c, &c->pending));
}
