/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "api-create.h"
#include "api-auth.h"
#include "api-jobs.h"

#include <stdio.h>

#define FAULT_REFUSED "SQLSTATE 2" /* classes 22 and 23: what was sent cannot be taken */

int create_hold_key(Create *k, const char *tenant)
{
        Api *a = k->call->api;

        if (!k->key || k->held[0])
                return 0;
        for (const Create *other = a->held; other; other = other->next_held)
                if (streq(other->key, k->key) && streq(other->held, tenant))
                        return -EALREADY;
        (void) snprintf(k->held, sizeof(k->held), "%s", tenant);
        k->next_held = a->held;
        if (k->next_held)
                k->next_held->prev_held = k;
        a->held = k;
        return 0;
}

static void create_free(Call *c)
{
        Create *k = c->data;

        if (k->held[0]) {
                *(k->prev_held ? &k->prev_held->next_held : &c->api->held) = k->next_held;
                if (k->next_held)
                        k->next_held->prev_held = k->prev_held;
        }
        enqueue_order_free(k->order);
        multipart_free(k->form);
        strbuf_done(&k->job);
        for (unsigned i = 0; i < k->n_files; i++) {
                blob_writer_free(k->files[i].writer);
                free(k->files[i].name);
                free(k->files[i].type);
        }
        for (unsigned i = 0; i < k->n_errors; i++)
                free(k->errors[i].detail);
        free(k->rows);
        free(k->userdata);
        free(k->files);
        free(k->blobs);
        free(k->key);
        free(k);
}

static bool key_is_valid(const char *key)
{
        size_t n = strlen(key);

        for (const char *p = key; *p; p++)
                if (*p < ' ' || *p == 0x7f)
                        return false;
        return n > 0 && n <= CREATE_KEY_MAX;
}

/* Of a caller with a subject it is a key of its own, which no other subject can guess and take. A
 * control character is in none that a client sends. */
static int take_key(Create *k, const char *key)
{
        const char *subject = k->call->caller.subject;
        _cleanup_(strbuf_done) StrBuf b = {};
        char hash[SHA256_HEX_MAX];
        int r;

        if (!key || !*subject)
                return free_and_strdup(&k->key, key);
        strbuf_printf(&b, "%s\x1f%s", key, subject);
        r = strbuf_error(&b);
        if (r >= 0)
                r = sha256_hex(strbuf_str(&b), b.len, hash);
        if (r < 0)
                return r;
        strbuf_clear(&b);
        strbuf_printf(&b, "\x1f%s", hash);
        r = strbuf_error(&b);
        return r < 0 ? r : free_and_strdup(&k->key, strbuf_str(&b));
}

Create *create_new(Call *c)
{
        const char *key = http_request_get_header(c->request, "Idempotency-Key");
        Create *k;

        if (key && !key_is_valid(key)) {
                call_problem(c, PROBLEM_BAD_HEADER,
                        "Idempotency-Key: expected 1 to %u printable characters of ASCII.",
                        CREATE_KEY_MAX);
                return NULL;
        }
        k = new0(Create, 1);
        if (!k) {
                call_fault(c, -ENOMEM);
                return NULL;
        }
        k->call = c;
        c->data = k;
        c->cleanup = create_free;
        if (enqueue_order_new(&k->order) < 0 || take_key(k, key) < 0) {
                call_fault(c, -ENOMEM);
                return NULL;
        }
        return k;
}

/* ---- the answer ---- */

static void put_errors(JsonWriter *w, void *userdata)
{
        const Create *k = userdata;

        json_open_array(w, "errors");
        for (unsigned i = 0; i < k->n_errors; i++) {
                json_open_object(w, NULL);
                json_put_uint(w, "index", k->errors[i].index);
                json_put_string(w, "detail", k->errors[i].detail);
                json_close(w);
        }
        json_close(w);
}

static void reply_errors(Create *k)
{
        _cleanup_(strbuf_done) StrBuf b = {};

        if (k->bulk)
                strbuf_printf(&b, "No job was created: %u of them %s wrong.", k->n_errors,
                        k->n_errors == 1 ? "is" : "are");
        else
                strbuf_printf(&b, "%s.", k->errors[0].detail);
        call_report(k->call,
                &(ProblemReport){ .problem = PROBLEM_INVALID,
                        .detail = strbuf_str(&b),
                        .extend = k->bulk ? put_errors : NULL,
                        .userdata = k });
}

static void put_row(JsonWriter *w, const EnqueueRow *row)
{
        if (row->job[0] != '\0')
                json_put_string(w, "id", row->job);
        json_put_string(w, "outcome",
                row->outcome == ENQUEUE_CREATED ? "created"
                        : row->job[0] != '\0'   ? "exists"
                                                : "conflict");
        if (row->outcome == ENQUEUE_CREATED)
                json_put_string(w, "state", job_state_to_string(row->state));
}

/* A unique_key is the tenant's, so what is there may be of another subject. */
static void on_existing(int error, const char *const *row, void *userdata)
{
        Call *c = userdata;

        c->pending = NULL;
        if (call_failed(c, error))
                return;
        if (row && !caller_sees(&c->caller, row[STORE_JOB_TENANT], row[STORE_JOB_SUBJECT]))
                call_problem(c, PROBLEM_CONFLICT,
                        "There is such a job already, of another subject: unique_key.");
        else
                call_show_job(c, 200);
}

void call_show_existing(Call *c)
{
        if (c->caller.subject[0])
                (void) call_failed(
                        c, store_get_job(c->api->store, c->id, on_existing, c, &c->pending));
        else
                call_show_job(c, 200);
}

static void reply_one(Create *k, const EnqueueRow *row)
{
        Call *c = k->call;
        _cleanup_(strbuf_done) StrBuf b = {};
        JsonWriter w = json_writer(&b);
        char location[64];

        (void) snprintf(c->id, sizeof(c->id), "%s", row->job);
        if (k->reply) {
                k->reply(k, row);
                return;
        }
        if (row->outcome == ENQUEUE_EXISTS) {
                call_show_existing(c);
                return;
        }
        (void) snprintf(location, sizeof(location), "/api/jobs/%s", row->job);
        json_open_object(&w, NULL);
        put_row(&w, row);
        json_close(&w);
        if (!call_failed(c, json_writer_end(&w)))
                call_json_buf(c, 202, &b, location);
}

static void reply_bulk(Call *c, const EnqueueRow *rows, unsigned n)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        JsonWriter w = json_writer(&b);
        unsigned n_created = 0;

        json_open_object(&w, NULL);
        json_open_array(&w, "jobs");
        for (unsigned i = 0; i < n; i++) {
                n_created += rows[i].outcome == ENQUEUE_CREATED;
                json_open_object(&w, NULL);
                put_row(&w, rows + i);
                json_close(&w);
        }
        json_close(&w);
        json_close(&w);
        if (!call_failed(c, json_writer_end(&w)))
                call_json_buf(c, n_created > 0 ? 202 : 200, &b, NULL);
}

static void on_visible(int error, const char *const *ids, unsigned n, void *userdata)
{
        Create *k = userdata;
        unsigned at = 0;

        k->call->pending = NULL;
        if (call_failed(k->call, error))
                return;
        for (unsigned i = 0; i < k->n_rows; i++)
                if (k->rows[i].outcome != ENQUEUE_EXISTS)
                        continue;
                else if (at < n && streq(k->rows[i].job, ids[at]))
                        at++;
                else
                        k->rows[i].job[0] = '\0';
        reply_bulk(k->call, k->rows, k->n_rows);
}

/* To a caller with a subject only its own jobs are named. */
static void reply_visible(Create *k, const EnqueueRow *rows, unsigned n)
{
        _cleanup_(freep) const char **ids = (const char **) new0(char *, n);
        const Caller *caller = &k->call->caller;
        unsigned n_ids = 0;

        k->rows = new0(EnqueueRow, n);
        if (call_failed(k->call, k->rows && ids ? 0 : -ENOMEM))
                return;
        k->n_rows = n;
        for (unsigned i = 0; i < n; i++) {
                k->rows[i] = (EnqueueRow){ .outcome = rows[i].outcome, .state = rows[i].state };
                memcpy(k->rows[i].job, rows[i].job, sizeof(rows[i].job));
                if (rows[i].outcome == ENQUEUE_EXISTS)
                        ids[n_ids++] = k->rows[i].job;
        }
        if (n_ids == 0)
                reply_bulk(k->call, k->rows, n);
        else
                (void) call_failed(k->call,
                        store_find_jobs_of(k->call->api->store,
                                &(StoreJobsOf){ ids, n_ids, caller->subject }, on_visible, k,
                                &k->call->pending));
}

static void on_enqueued(
        int error, const EnqueueRow *rows, unsigned n, const char *text, void *userdata)
{
        Create *k = userdata;
        Call *c = k->call;
        bool mismatch = false;

        k->order = NULL;
        if (error == -EIO && text && strstr(text, FAULT_REFUSED)) {
                call_problem(c, PROBLEM_INVALID, "The database refused it: %s.", text);
                return;
        }
        if (error == -EAGAIN && text && strstr(text, ENQUEUE_HELD)) {
                call_problem(c, PROBLEM_UNAVAILABLE,
                        "A transaction that is still open holds its unique_key or Idempotency-Key. "
                        "Try again.");
                return;
        }
        if (call_failed(c, error))
                return;
        for (unsigned i = 0; i < n; i++) {
                mismatch = mismatch || rows[i].outcome == ENQUEUE_MISMATCH;
                k->n_read = i;
                if (rows[i].outcome == ENQUEUE_REFUSED &&
                        create_note_error(k, "%s", rows[i].detail ? rows[i].detail : "refused") <
                                0) {
                        call_fault(c, -ENOMEM);
                        return;
                }
        }
        if (k->n_errors > 0)
                reply_errors(k);
        else if (mismatch)
                call_problem(c, PROBLEM_IDEMPOTENCY,
                        "Within 24 hours this Idempotency-Key came with another body.");
        else if (k->bulk && c->caller.subject[0])
                reply_visible(k, rows, n);
        else if (k->bulk)
                reply_bulk(c, rows, n);
        else
                reply_one(k, rows);
}

static void submit(Create *k)
{
        if (k->submit) {
                k->submit(k);
                return;
        }
        enqueuer_submit(k->call->api->enqueuer, k->order, on_enqueued, k);
}

static void on_noted(int error, void *userdata)
{
        Create *k = userdata;

        k->call->pending = NULL;
        if (!call_failed(k->call, error))
                submit(k);
}

void create_go_on(Create *k)
{
        _cleanup_(freep) StoreBlobNote *notes = NULL;
        Call *c = k->call;
        char detail[256];

        if (call_lost_key(c))
                return;
        if (k->n_errors > 0) {
                reply_errors(k);
                return;
        }
        /* It may have gone while the body came. */
        if (!api_is_available(c->api, detail, sizeof(detail))) {
                call_problem(c, PROBLEM_UNAVAILABLE, "%s", detail);
                return;
        }
        if (k->n_blobs == 0) {
                submit(k);
                return;
        }
        notes = new0(StoreBlobNote, k->n_blobs);
        if (!notes) {
                call_fault(c, -ENOMEM);
                return;
        }
        for (unsigned i = 0; i < k->n_blobs; i++)
                notes[i] =
                        (StoreBlobNote){ k->blobs[i].tenant, k->blobs[i].digest, k->blobs[i].size };
        (void) call_failed(
                c, store_note_blobs(c->api->store, notes, k->n_blobs, on_noted, k, &c->pending));
}

/* ---- bodies of text ---- */

static bool add(Create *k, const JsonValue *v)
{
        int r = 0;

        if (k->n_read >= REEVE_ENQUEUE_BATCH_MAX) {
                call_problem(k->call, PROBLEM_BODY_TOO_LARGE, "At most %u jobs in one request.",
                        REEVE_ENQUEUE_BATCH_MAX);
                return false;
        }
        if (!json_value_is(v, JSON_OBJECT))
                r = create_note_error(k, "expected an object");
        else
                r = create_add_job(k, v);
        k->n_read++;
        return !call_failed(k->call, r);
}

static bool parse(Create *k, const char *data, size_t size, unsigned line, JsonDocument **ret)
{
        return call_parse_json(k->call, data, size, REEVE_JSON_DEPTH_MAX, line, ret);
}

static bool read_lines(Create *k, const char *data, size_t size)
{
        const char *end = data + size;
        unsigned line = 0;

        for (const char *at = data, *next; at < end; at = next + 1, line++) {
                _cleanup_(json_document_freep) JsonDocument *d = NULL;

                next = memchr(at, '\n', (size_t) (end - at));
                if (!next)
                        next = end;
                if (strspn(at, " \t\r") >= (size_t) (next - at))
                        continue;
                if (!parse(k, at, (size_t) (next - at), line, &d) || !add(k, json_document_root(d)))
                        return false;
        }
        return true;
}

int create_hash(Create *k, const char *data, size_t size)
{
        _cleanup_(sha256_freep) Sha256 *s = NULL;
        const char *subject = k->call->caller.subject;
        int r = sha256_new(&s);

        if (r >= 0 && *subject)
                r = sha256_update(s, subject, strlen(subject) + 1);
        if (r >= 0)
                r = sha256_update(s, data, size);
        return r < 0 ? r : sha256_final(s, k->hash);
}

bool create_read_text(Create *k, const char *data, size_t size, bool lines)
{
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        const JsonValue *root;

        if (k->key && k->hash[0] == '\0' && call_failed(k->call, create_hash(k, data, size)))
                return false;
        if (lines) {
                k->bulk = true;
                if (!read_lines(k, data, size))
                        return false;
        } else {
                if (!parse(k, data, size, 0, &d))
                        return false;
                root = json_document_root(d);
                k->bulk = json_value_is(root, JSON_ARRAY);
                if (!k->bulk)
                        return add(k, root);
                for (const JsonValue *v = json_value_first(root, NULL); v;
                        v = json_value_next(root, v, NULL))
                        if (!add(k, v))
                                return false;
        }
        if (k->n_read > 0)
                return true;
        call_problem(k->call, PROBLEM_INVALID, "There is no job in it.");
        return false;
}

static void text_collected(HttpRequest *r, const char *data, size_t size, void *userdata)
{
        Call *c = userdata;
        const char *type = http_request_get_header(r, "Content-Type");
        Create *k = create_new(c);

        if (k &&
                create_read_text(k, data, size, type && http_type_is(type, "application/x-ndjson")))
                create_go_on(k);
}

void handle_create(HttpRequest *r, void *userdata)
{
        Call *c = userdata;
        const char *type = http_request_get_header(r, "Content-Type");
        Create *k;

        if (type &&
                (http_type_is(type, "application/json") ||
                        http_type_is(type, "application/x-ndjson"))) {
                call_collect(c, c->api->settings.body_max, text_collected);
                return;
        }
        if (!http_request_get_query(r, "kind") &&
                !(type && http_type_is(type, "multipart/form-data"))) {
                call_problem(c, PROBLEM_MEDIA_TYPE,
                        "Send application/json, application/x-ndjson or multipart/form-data, or a "
                        "file with ?kind= in the path.");
                return;
        }
        k = create_new(c);
        if (!k)
                return;
        if (type && http_type_is(type, "multipart/form-data"))
                create_upload_form(k);
        else
                create_upload_file(k);
}
