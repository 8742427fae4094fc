/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "api-auth.h"
#include "parse-util.h"
#include "pdf-form.h"
#include "pdf-store.h"

/* POST /api/v1/process-pdf-async: the flag async-processing decides whether the answer waits for
 * the result. Both ways make the same job; a synchronous one is in the queue "inline". */

#define FLAG_KEY    "async-processing"
#define QUEUE       "inline"
#define PARTS_MAX   4U /* pdf_file, job_id, user_id, and one to be refused by its name */
#define RETRY_AFTER "60" /* seconds, while the flag is disabled: that is a matter of minutes */

typedef enum PdfField { FIELD_NONE, FIELD_JOB_ID, FIELD_USER_ID, _FIELD_MAX } PdfField;

typedef enum PdfWay { WAY_ASYNC, WAY_INLINE, WAY_REFUSED } PdfWay;

/* Create.userdata */
typedef struct PdfForm {
        PdfField field; /* that is being read; FIELD_NONE: the file */
        bool seen[_FIELD_MAX];
        char job_id[64], user_id[REEVE_SUBJECT_MAX + 2]; /* one more than there may be */
        PdfWay way;
} PdfForm;

/* ---- the flag ---- */

static const Flag *find_flag(const Call *c)
{
        return flag_set_find(c->api->flags, FLAG_KEY);
}

/* What the flag says for this subject (NULL: none) and document. Returns a PdfWay or -errno. */
static int choose_way(const Call *c, const char *subject, const char *tenant, uint64_t size)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        JsonWriter w = json_writer(&b);
        const Flag *f = find_flag(c);
        FlagContext who;
        FlagResult result;
        JsonError e;
        int r;

        if (!f)
                return c->api->settings.inline_when_off ? WAY_INLINE : WAY_REFUSED;
        json_open_object(&w, NULL);
        if (subject)
                json_put_string(&w, "targetingKey", subject);
        json_put_string(&w, "tenant", tenant);
        json_put_uint(&w, "size", size);
        json_close(&w);
        r = json_writer_end(&w);
        if (r >= 0)
                r = json_parse(strbuf_str(&b), b.len, REEVE_JSON_DEPTH_MAX, &d, &e);
        if (r >= 0)
                r = flag_context_init(&who, json_document_root(d), &e);
        if (r < 0)
                return r;
        result = flag_set_evaluate(c->api->flags, f, &who);
        if (result.on)
                return WAY_ASYNC;
        return result.reason == FLAG_DISABLED && !c->api->settings.inline_when_off ? WAY_REFUSED
                                                                                   : WAY_INLINE;
}

static void refuse(Call *c)
{
        if (!call_failed(c, call_add_field(c, "Retry-After", RETRY_AFTER)))
                call_problem(c, PROBLEM_UNAVAILABLE,
                        "Documents are not taken at the moment: the flag \"" FLAG_KEY "\" is off.");
}

/* Once everybody is asynchronous, who is not is told that this ends, and when. */
static int deprecate(Call *c)
{
        const Flag *f = find_flag(c);
        char since[32], sunset[64];
        struct tm tm;
        time_t end;
        int r;

        if (!f || f->percent < REEVE_FLAG_PERCENT_MAX)
                return 0;
        /* RFC 9745 and RFC 8594 */
        (void) snprintf(since, sizeof(since), "@%llu",
                (unsigned long long) (f->updated_usec / USEC_PER_SEC));
        end = (time_t) ((f->updated_usec + c->api->settings.sunset_usec) / USEC_PER_SEC);
        if (!gmtime_r(&end, &tm) ||
                strftime(sunset, sizeof(sunset), "%a, %d %b %Y %H:%M:%S GMT", &tm) == 0)
                return -EOVERFLOW;
        r = call_add_field(c, "Deprecation", since);
        return r < 0 ? r : call_add_field(c, "Sunset", sunset);
}

/* ---- the answer ---- */

/* 202: where to look. */
static void reply_started(Call *c, const char *status, const char *message)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        JsonWriter w = json_writer(&b);
        char location[64];

        (void) snprintf(location, sizeof(location), "/api/v1/jobs/%s", c->id);
        json_open_object(&w, NULL);
        json_put_string(&w, "job_id", c->id);
        json_put_string(&w, "task_id", c->id);
        json_put_string(&w, "status", status);
        json_put_string(&w, "message", message);
        json_close(&w);
        if (!call_failed(c, json_writer_end(&w)))
                call_json_buf(c, 202, &b, location);
}

static void put_failure(JsonWriter *w, void *userdata)
{
        const char *const *row = ((void **) userdata)[0];
        const Call *c = ((void **) userdata)[1];

        json_put_string(w, "job_id", c->id);
        json_put_string(w, "job_status", row[PDF_JOB_STATUS]);
        if (row[PDF_JOB_ERROR_CODE])
                json_put_string(w, "error_code", row[PDF_JOB_ERROR_CODE]);
}

/* The database cannot be asked; the job is there. */
static void not_known(Call *c)
{
        reply_started(
                c, "pending", "The database is away: what became of the job is not known yet");
}

static void on_result(int error, const char *const *row, void *userdata)
{
        Call *c = userdata;
        void *both[] = { (void *) row, c };
        ProblemReport report = { .extend = put_failure, .userdata = both };

        c->pending = NULL;
        if (error < 0) {
                not_known(c);
                return;
        }
        if (call_failed(c, row ? 0 : -EPROTO) || call_failed(c, deprecate(c)))
                return;
        if (streq(row[PDF_JOB_STATUS], "completed")) {
                call_json(c, 200, row[PDF_JOB_BODY]);
        } else if (streq(row[PDF_JOB_STATUS], "failed")) {
                report.problem = PROBLEM_UNPROCESSABLE;
                report.detail = row[PDF_JOB_ERROR] ? row[PDF_JOB_ERROR] : "The job failed.";
                call_report(c, &report);
        } else if (streq(row[PDF_JOB_STATUS], "cancelled")) {
                report.problem = PROBLEM_CONFLICT;
                report.detail = "The job was cancelled.";
                call_report(c, &report);
        } else {
                reply_started(c, row[PDF_JOB_STATUS], "The result is not there yet");
        }
}

/* The time is over, or the job has ended. */
static void look_at_result(Call *c)
{
        if (pdf_store_get_job(c->api->store, c->id, on_result, c, &c->pending) < 0)
                not_known(c);
}

static void on_existing(int error, const char *const *row, void *userdata)
{
        Call *c = userdata;

        c->pending = NULL;
        if (!call_failed(c, error < 0 ? error : row ? 0 : -EPROTO))
                reply_started(c, row[PDF_JOB_STATUS], "This request came before");
}

/* The job c->id is there; is_new: since this request. Frees k. */
static void reply(Create *k, bool is_new)
{
        Call *c = k->call;
        PdfWay way = ((PdfForm *) k->userdata)->way;

        c->cleanup(c);
        c->cleanup = NULL;
        c->data = NULL;
        if (way == WAY_INLINE)
                (void) call_failed(c,
                        waiters_add(c->api->waiters, c,
                                c->api->stopping ? 0 : c->api->settings.sync_timeout_usec,
                                look_at_result));
        else if (is_new)
                reply_started(c, "pending", "PDF processing started");
        else
                (void) call_failed(
                        c, pdf_store_get_job(c->api->store, c->id, on_existing, c, &c->pending));
}

static void reply_created(Create *k, const EnqueueRow *row)
{
        reply(k, row->outcome == ENQUEUE_CREATED);
}

/* ---- a job that was made before ---- */

static bool is_own(const Create *k, const char *const *row)
{
        const PdfForm *f = k->userdata;

        return row && streq(row[PDF_JOB_TENANT], k->tenant) &&
                caller_sees(&k->call->caller, row[PDF_JOB_TENANT], row[PDF_JOB_SUBJECT]) &&
                (!f->seen[FIELD_USER_ID] || streq_ptr(row[PDF_JOB_SUBJECT], f->user_id));
}

static void refuse_status(Call *c, const char *status, bool has_document)
{
        if (has_document)
                call_problem(c, PROBLEM_CONFLICT, "Job %s has its document.", c->id);
        else
                call_problem(c, PROBLEM_CONFLICT, "Job is in %s status, cannot process", status);
}

static void on_taken(int error, const char *const *row, void *userdata)
{
        Create *k = userdata;
        Call *c = k->call;

        c->pending = NULL;
        if (call_failed(c, error < 0 ? error : row && row[0] ? 0 : -EPROTO))
                return;
        if (streq(row[0], "taken"))
                reply(k, true);
        else if (streq(row[0], "not-found"))
                call_no_job(c);
        else
                refuse_status(c, "processing", streq(row[0], "has-document"));
}

/* Its document is kept: hands it over. */
static void take_document(Create *k)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        JsonWriter w = json_writer(&b);
        Call *c = k->call;
        PdfDocument document = { .act = call_act(c, NULL), .queue = k->queue };

        json_open_array(&w, NULL);
        json_open_object(&w, NULL);
        json_put_string(&w, "name", k->files->name);
        json_put_string(&w, "blob", k->files->digest);
        json_put_uint(&w, "size", k->files->size);
        json_put_string(&w, "content_type", "application/pdf");
        json_close(&w);
        json_close(&w);
        if (call_failed(c, json_writer_end(&w)))
                return;
        document.inputs = strbuf_str(&b);
        (void) call_failed(
                c, pdf_store_take_document(c->api->store, &document, on_taken, k, &c->pending));
}

/* ---- all has come ---- */

static void go(Create *k, const char *subject)
{
        Call *c = k->call;
        PdfForm *f = k->userdata;
        JsonWriter w = json_writer(&k->job);
        int way = choose_way(c, subject, k->tenant, blob_writer_get_size(k->files->writer));

        if (call_failed(c, way < 0 ? way : 0))
                return;
        if (way == WAY_REFUSED) {
                refuse(c);
                return;
        }
        f->way = (PdfWay) way;
        k->queue = way == WAY_INLINE ? QUEUE : NULL;
        k->reply = reply_created;
        json_open_object(&w, NULL);
        json_put_string(&w, "kind", "pdf");
        json_put_string(&w, "tenant", k->tenant);
        if (subject)
                json_put_string(&w, "subject", subject);
        json_close(&w);
        k->job_seen = true;
        if (!call_failed(c, json_writer_end(&w)))
                create_finish_upload(k);
}

static void on_own_job(int error, const char *const *row, void *userdata)
{
        Create *k = userdata;
        Call *c = k->call;
        bool has_document;

        c->pending = NULL;
        if (call_failed(c, error))
                return;
        if (!is_own(k, row)) {
                call_no_job(c);
                return;
        }
        has_document = streq(row[PDF_JOB_HAS_DOCUMENT], "true");
        if (has_document || !streq(row[PDF_JOB_STATUS], "pending")) {
                refuse_status(c, row[PDF_JOB_STATUS],
                        has_document && streq(row[PDF_JOB_STATUS], "pending"));
                return;
        }
        k->submit = take_document;
        go(k, row[PDF_JOB_SUBJECT]);
}

static const char *subject_of(const Create *k)
{
        const PdfForm *f = k->userdata;

        if (f->seen[FIELD_USER_ID])
                return f->user_id;
        return k->call->caller.subject[0] ? k->call->caller.subject : NULL;
}

static void on_uploaded(Create *k)
{
        Call *c = k->call;
        const PdfForm *f = k->userdata;
        const char *subject = subject_of(k);

        if (subject && !c->caller.acts && !streq(subject, c->caller.subject)) {
                call_problem(c, PROBLEM_FORBIDDEN, "user_id: you may not act for another one.");
        } else if (!f->seen[FIELD_JOB_ID]) {
                go(k, subject);
        } else if (k->key) {
                call_problem(c, PROBLEM_BAD_HEADER,
                        "Idempotency-Key and job_id exclude each other: a job takes one document.");
        } else {
                memcpy(c->id, f->job_id, sizeof(c->id));
                (void) call_failed(
                        c, pdf_store_get_job(c->api->store, c->id, on_own_job, k, &c->pending));
        }
}

/* ---- the form ---- */

static int on_part(const MultipartPart *part, void *userdata)
{
        Create *k = userdata;
        PdfForm *f = k->userdata;

        f->field = FIELD_NONE;
        if (streq(part->name, "pdf_file"))
                return pdf_form_begin(k, part);
        if (part->filename)
                return PDF_UNKNOWN_PART;
        if (streq(part->name, "job_id"))
                f->field = FIELD_JOB_ID;
        else if (streq(part->name, "user_id"))
                f->field = FIELD_USER_ID;
        else
                return PDF_UNKNOWN_PART;
        if (f->seen[f->field])
                return PDF_FIELD_TWICE;
        f->seen[f->field] = true;
        return 0;
}

static int append_field(char *buf, size_t size, const void *data, size_t n)
{
        size_t len = strlen(buf);

        if (memchr(data, '\0', n) || n >= size - len)
                return 1;
        memcpy(buf + len, data, n);
        buf[len + n] = '\0';
        return 0;
}

static int on_data(const void *data, size_t size, void *userdata)
{
        Create *k = userdata;
        PdfForm *f = k->userdata;

        switch (f->field) {
        case FIELD_JOB_ID:
                return append_field(f->job_id, sizeof(f->job_id), data, size) > 0 ? PDF_BAD_JOB_ID
                                                                                  : 0;
        case FIELD_USER_ID:
                return append_field(f->user_id, sizeof(f->user_id), data, size) > 0
                        ? PDF_BAD_USER_ID
                        : 0;
        default:
                return pdf_form_append(k, data, size);
        }
}

static int on_end(void *userdata)
{
        PdfForm *f = ((Create *) userdata)->userdata;
        size_t n = strlen(f->user_id);
        Uuid id;

        if (f->field == FIELD_JOB_ID) {
                if (uuid_parse(f->job_id, &id) < 0)
                        return PDF_BAD_JOB_ID;
                (void) uuid_format(&id, f->job_id);
        }
        if (f->field == FIELD_USER_ID &&
                (n == 0 || n > REEVE_SUBJECT_MAX || !utf8_is_valid(f->user_id, n)))
                return PDF_BAD_USER_ID;
        return 0;
}

void handle_pdf_async(HttpRequest *request, void *userdata)
{
        static const MultipartOps ops = { on_part, on_data, on_end };
        static const MultipartLimits limits = { PARTS_MAX, REEVE_SUBJECT_MAX + 1, PDF_UPLOAD_MAX };
        Call *c = userdata;
        Create *k;
        int way;

        if (http_request_get_queries(request)->n_items > 0) {
                call_problem(c, PROBLEM_BAD_QUERY, "This route takes no query.");
                return;
        }
        if (!flag_set_is_loaded(c->api->flags)) {
                call_problem(
                        c, PROBLEM_UNAVAILABLE, "The flags have not been read yet. Try again.");
                return;
        }
        /* Nobody sends a document to be refused. */
        way = choose_way(c, NULL, "", 0);
        if (call_failed(c, way < 0 ? way : 0))
                return;
        if (way == WAY_REFUSED) {
                refuse(c);
                return;
        }
        k = create_new(c);
        if (!k)
                return;
        k->userdata = new0(PdfForm, 1);
        if (!call_failed(c, k->userdata ? 0 : -ENOMEM))
                pdf_form_read(k, &limits, &ops, on_uploaded);
}
