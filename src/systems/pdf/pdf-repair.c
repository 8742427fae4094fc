/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "pdf-form.h"
#include "pdf-plan.h"
#include "pdf-store.h"

/* What mends documents whose chunks have failed or hang. */

#define STUCK_USEC (720 * USEC_PER_SEC) /* a run of a chunk that takes longer hangs (004) */
#define HOURS_MAX  24
#define HOURS      3 /* where max_age_hours is not given */
#define BODY_MAX   4096

/* ---- chunks/retry ---- */

typedef struct Retry {
        int64_t chunks[PDF_CHUNKS_MAX];
        unsigned n_chunks;
        bool has_chunks, force;
} Retry;

static void free_retry(Call *c)
{
        free(c->data);
}

static void reply_retried(Call *c, const char *const *row, unsigned n)
{
        bool is_new = streq(row[PDF_RETRY_OUTCOME], "created");
        _cleanup_(strbuf_done) StrBuf b = {};
        JsonWriter w = json_writer(&b);
        char location[64], message[48];

        (void) snprintf(message, sizeof(message),
                n == 0 ? "No chunks eligible for retry" : "Retrying %u chunks", n);
        json_open_object(&w, NULL);
        json_put_string(&w, "message", message);
        json_put_string(&w, "job_id", row[PDF_RETRY_JOB]);
        json_put_uint(&w, "retried_count", n);
        if (n > 0)
                json_put_raw(&w, "chunk_ids", row[PDF_RETRY_CHUNKS], strlen(row[PDF_RETRY_CHUNKS]));
        json_close(&w);
        (void) snprintf(location, sizeof(location), "/api/v1/jobs/%s", row[PDF_RETRY_JOB]);
        if (!call_failed(c, json_writer_end(&w)))
                call_json_buf(c, is_new ? 202 : 200, &b, is_new ? location : NULL);
}

static unsigned count_items(const char *array)
{
        unsigned n = 1;

        for (const char *p = array; (p = strchr(p, ',')); p++)
                n++;
        return n;
}

static void on_retried(int error, const char *const *row, void *userdata)
{
        static const struct {
                const char *outcome, *text;
                Problem problem;
        } refusals[] = {
                { "unknown-chunk", "chunk_ids: the job has no chunk of such a number.",
                        PROBLEM_INVALID },
                { "no-chunks", "The job has no chunks.", PROBLEM_CONFLICT },
                { "busy", "The job is being split or put together. Try again.", PROBLEM_CONFLICT },
                { "expired", "The job's files have expired.", PROBLEM_GONE },
        };
        Call *c = userdata;
        const char *outcome;

        c->pending = NULL;
        if (call_failed(c, error < 0 ? error : row && row[PDF_RETRY_OUTCOME] ? 0 : -EPROTO))
                return;
        outcome = row[PDF_RETRY_OUTCOME];
        for (unsigned i = 0; i < ELEMENTSOF(refusals); i++)
                if (streq(outcome, refusals[i].outcome)) {
                        call_problem(c, refusals[i].problem, "%s", refusals[i].text);
                        return;
                }
        reply_retried(c, row,
                streq(outcome, "none") || !row[PDF_RETRY_CHUNKS]
                        ? 0
                        : count_items(row[PDF_RETRY_CHUNKS]));
}

static void on_job_to_retry(int error, const char *const *row, void *userdata)
{
        Call *c = userdata;
        const Retry *r = c->data;
        PdfRetry retry = { .act = call_act(c, NULL), .force = r->force, .n_chunks = r->n_chunks };
        char id[UUID_TEXT_SIZE];
        Uuid uuid;

        if (!pdf_job_is_visible(c, error, row) ||
                call_failed(c, uuid_new_v7(now_usec(CLOCK_REALTIME), &uuid)))
                return;
        retry.act.new_id = uuid_format(&uuid, id);
        retry.chunks = r->has_chunks ? r->chunks : NULL;
        (void) call_failed(
                c, pdf_store_retry_chunks(c->api->store, &retry, on_retried, c, &c->pending));
}

/* Returns 0 or -EINVAL with *e filled in. */
static int read_chunks(Retry *r, const JsonValue *root, JsonError *e)
{
        const JsonValue *list = NULL;
        int k = json_get_typed(root, "chunk_ids", JSON_ARRAY, &list, e);

        if (k != JSON_FOUND)
                return k;
        r->has_chunks = true;
        for (const JsonValue *v = json_value_first(list, NULL); v;
                v = json_value_next(list, v, NULL)) {
                int64_t n;

                if (r->n_chunks == PDF_CHUNKS_MAX || json_value_int64(v, &n) < 0 || n < 0 ||
                        n >= PDF_CHUNKS_MAX) {
                        json_error_at(e, v, "chunk_ids: expected numbers of chunks, each once");
                        return -EINVAL;
                }
                r->chunks[r->n_chunks++] = n;
        }
        if (r->n_chunks == 0) {
                json_error_at(e, list, "chunk_ids: expected a chunk, or no chunk_ids");
                return -EINVAL;
        }
        return 0;
}

static void retry_collected(HttpRequest *request, const char *data, size_t size, void *userdata)
{
        static const char *const known[] = { "chunk_ids", "force", NULL };
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        Call *c = userdata;
        Retry *r;
        JsonError e;

        if (!call_read_json(c, data, size, known, &d))
                return;
        r = new0(Retry, 1);
        if (call_failed(c, r ? 0 : -ENOMEM))
                return;
        c->data = r;
        c->cleanup = free_retry;
        if (!d ||
                (call_has_field(c, read_chunks(r, json_document_root(d), &e), &e) &&
                        call_has_field(c,
                                json_get_bool(json_document_root(d), "force", &r->force, &e), &e)))
                pdf_job_get(c, on_job_to_retry);
}

void handle_pdf_retry_chunks(HttpRequest *request, void *userdata)
{
        call_collect(userdata, BODY_MAX, retry_collected);
}

/* ---- force-finalize ---- */

static void reply_finalize(
        Call *c, unsigned status, const char *message, const char *job_status, const char *n_chunks)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        JsonWriter w = json_writer(&b);

        json_open_object(&w, NULL);
        json_put_string(&w, "message", message);
        json_put_string(&w, "job_id", c->id);
        json_put_string(&w, "status", job_status);
        if (n_chunks)
                json_put_raw(&w, "ended_chunks", n_chunks, strlen(n_chunks));
        json_close(&w);
        if (!call_failed(c, json_writer_end(&w)))
                call_json_buf(c, status, &b, NULL);
}

static void on_not_waiting(int error, const char *const *row, void *userdata)
{
        Call *c = userdata;
        const char *status;
        char message[80];

        if (!pdf_job_is_visible(c, error, row))
                return;
        status = row[PDF_JOB_STATUS];
        (void) snprintf(message, sizeof(message), "Job already finalized with status: %s", status);
        if (streq(status, "pending") || streq(status, "processing"))
                call_problem(c, PROBLEM_CONFLICT, "The job waits for no chunks: it is %s.", status);
        else
                reply_finalize(c, 200, message, status, NULL);
}

static void on_finalized(int error, const char *const *row, void *userdata)
{
        Call *c = userdata;

        c->pending = NULL;
        if (call_failed(c, error < 0 ? error : row ? 0 : -EPROTO))
                return;
        if (row[0])
                reply_finalize(c, 202, "Force finalize triggered", "processing", row[0]);
        else
                pdf_job_get(c, on_not_waiting);
}

static void on_job_to_finalize(int error, const char *const *row, void *userdata)
{
        Call *c = userdata;
        const StoreAct act = call_act(c, NULL);

        if (pdf_job_is_visible(c, error, row))
                (void) call_failed(c,
                        pdf_store_force_finalize(
                                c->api->store, &act, on_finalized, c, &c->pending));
}

static const char *const no_fields[] = { NULL };

static void finalize_collected(HttpRequest *request, const char *data, size_t size, void *userdata)
{
        _cleanup_(json_document_freep) JsonDocument *d = NULL;

        if (call_read_json(userdata, data, size, no_fields, &d))
                pdf_job_get(userdata, on_job_to_finalize);
}

void handle_pdf_force_finalize(HttpRequest *request, void *userdata)
{
        call_collect(userdata, BODY_MAX, finalize_collected);
}

/* ---- reconcile-stuck-chunks, terminate-stuck-jobs ---- */

static void on_reconciled(int error, const char *const *row, void *userdata)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        JsonWriter w = json_writer(&b);
        Call *c = userdata;

        c->pending = NULL;
        if (call_failed(c, error < 0 ? error : row && row[0] && row[1] ? 0 : -EPROTO))
                return;
        json_open_object(&w, NULL);
        json_put_string(&w, "message", "Reconciliation completed");
        json_open_object(&w, "result");
        json_put_raw(&w, "stuck", row[0], strlen(row[0]));
        json_put_raw(&w, "retried", row[1], strlen(row[1]));
        json_close(&w);
        json_close(&w);
        if (!call_failed(c, json_writer_end(&w)))
                call_json_buf(c, 200, &b, NULL);
}

static void reconcile_collected(HttpRequest *request, const char *data, size_t size, void *userdata)
{
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        Call *c = userdata;

        if (call_read_json(c, data, size, no_fields, &d))
                (void) call_failed(c,
                        pdf_store_reconcile(c->api->store, STUCK_USEC, c->caller.actor,
                                on_reconciled, c, &c->pending));
}

void handle_pdf_reconcile(HttpRequest *request, void *userdata)
{
        call_collect(userdata, BODY_MAX, reconcile_collected);
}

static void on_terminated(int error, const char *const *row, void *userdata)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        JsonWriter w = json_writer(&b);
        Call *c = userdata;
        unsigned n;
        char message[64];

        c->pending = NULL;
        if (call_failed(c, error < 0 ? error : row && row[0] ? 0 : -EPROTO))
                return;
        n = streq(row[0], "[]") ? 0 : count_items(row[0]);
        (void) snprintf(message, sizeof(message), "Termination completed: %u jobs terminated", n);
        json_open_object(&w, NULL);
        json_put_string(&w, "message", message);
        json_open_object(&w, "result");
        json_put_uint(&w, "count", n);
        json_put_raw(&w, "job_ids", row[0], strlen(row[0]));
        json_close(&w);
        json_close(&w);
        if (!call_failed(c, json_writer_end(&w)))
                call_json_buf(c, 200, &b, NULL);
}

static void terminate_collected(HttpRequest *request, const char *data, size_t size, void *userdata)
{
        static const char *const known[] = { "max_age_hours", NULL };
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        Call *c = userdata;
        int64_t hours = HOURS;
        JsonError e;

        if (!call_read_json(c, data, size, known, &d) ||
                (d &&
                        !call_has_field(c,
                                json_get_int64(json_document_root(d), "max_age_hours", 1, HOURS_MAX,
                                        &hours, &e),
                                &e)))
                return;
        (void) call_failed(c,
                pdf_store_terminate_stuck(c->api->store, (usec_t) hours * 3600 * USEC_PER_SEC,
                        c->caller.actor, on_terminated, c, &c->pending));
}

void handle_pdf_terminate_stuck(HttpRequest *request, void *userdata)
{
        call_collect(userdata, BODY_MAX, terminate_collected);
}
