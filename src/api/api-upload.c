/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "api-auth.h"
#include "api-create.h"
#include "parse-util.h"

/* Files of a request go into blobs as they come; they are named only when all has come, so that a
 * client that hangs up leaves nothing behind. */

#define FORM_PARTS_MAX (CREATE_FILES_MAX + 8)
#define COMMIT_TRIES   3

enum {
        UPLOAD_BAD_NAME = 1000, /* beyond the outcomes of multipart.h */
        UPLOAD_TWICE,
        UPLOAD_TOO_MANY,
        UPLOAD_TENANT,
        UPLOAD_UNKNOWN_PART,
        UPLOAD_IN_FLIGHT,
};

static const char *upload_to_string(int outcome)
{
        static const char *const texts[] = {
                "A file's name is not one of a file.",
                "Two files have the same name.",
                "There are too many files.",
                "The tenant is not yours, or not that of the files that came before \"job\".",
                "A part without a file name must be called \"job\".",
        };

        return outcome >= UPLOAD_BAD_NAME ? texts[outcome - UPLOAD_BAD_NAME]
                                          : multipart_to_string(outcome);
}

void create_fail_upload(Create *k, int outcome)
{
        if (outcome == UPLOAD_IN_FLIGHT) {
                call_fault(k->call, -EALREADY);
                return;
        }
        call_problem(k->call,
                outcome >= UPLOAD_BAD_NAME ? PROBLEM_BAD_FORM : problem_from_multipart(outcome),
                "%s", upload_to_string(outcome));
}

/* Whose the files are: what the part "job" or the query says, or the caller. */
static int choose_tenant(Create *k)
{
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        const char *tenant = http_request_get_query(k->call->request, "tenant");

        if (k->tenant[0] != '\0')
                return 0;
        if (k->job_seen &&
                json_parse(strbuf_str(&k->job), k->job.len, REEVE_JSON_DEPTH_MAX, &d, NULL) >= 0 &&
                json_value_is(json_document_root(d), JSON_OBJECT))
                tenant = create_tenant_of(k->call, json_document_root(d));
        if (!tenant)
                tenant = k->call->caller.tenant[0] ? k->call->caller.tenant : "default";
        if (!name_is_valid(tenant) ||
                !caller_sees(&k->call->caller, tenant, k->call->caller.subject))
                return UPLOAD_TENANT;
        (void) snprintf(k->tenant, sizeof(k->tenant), "%s", tenant);
        return 0;
}

static bool file_name_is_valid(const char *name)
{
        size_t n = strlen(name);

        return n > 0 && n <= 255 && !streq(name, ".") && !streq(name, "..") && !strchr(name, '/') &&
                !streq(name, "payload.json") && !streq(name, "children.ndjson") &&
                !streq(name, "children") && utf8_is_valid(name, n);
}

int create_begin_file(Create *k, const char *name, const char *type, uint64_t max)
{
        Api *a = k->call->api;
        CreateFile *f;
        int r;

        if (!file_name_is_valid(name))
                return UPLOAD_BAD_NAME;
        for (unsigned i = 0; i < k->n_files; i++)
                if (streq(k->files[i].name, name))
                        return UPLOAD_TWICE;
        if (k->n_files == CREATE_FILES_MAX)
                return UPLOAD_TOO_MANY;
        r = choose_tenant(k);
        if (r != 0)
                return r;
        if (create_hold_key(k, k->tenant) < 0)
                return UPLOAD_IN_FLIGHT;
        if (!a->blobs)
                return -EROFS;
        f = reallocarray(k->files, k->n_files + 1, sizeof(CreateFile));
        if (!f)
                return -ENOMEM;
        k->files = f;
        f += k->n_files;
        *f = (CreateFile){ .name = strdup(name), .type = type ? strdup(type) : NULL };
        k->n_files++;
        if (!f->name || (type && !f->type))
                return -ENOMEM;
        k->n_head = 0;
        return blob_writer_new(a->blobs, k->tenant,
                max < a->settings.upload_max ? max : a->settings.upload_max, &f->writer);
}

int create_append_file(Create *k, const void *data, size_t size)
{
        size_t room = sizeof(k->head) - k->n_head, n = size < room ? size : room;

        memcpy(k->head + k->n_head, data, n);
        k->n_head += n;
        return blob_writer_append(k->files[k->n_files - 1].writer, data, size);
}

/* The collector, or who names another blob, may hold the directory for a moment. Returns -EBUSY if
 * it was longer: the client is told to try again. */
static int commit_blob(BlobWriter *w, char ret_digest[static BLOB_DIGEST_MAX])
{
        int r = -EBUSY;

        for (unsigned n = 0; n < COMMIT_TRIES && r == -EBUSY; n++)
                r = blob_writer_commit(w, ret_digest);
        return r;
}

int call_keep_text(Call *c, const char *tenant, const char *text, size_t size,
        char ret_digest[static BLOB_DIGEST_MAX])
{
        _cleanup_(blob_writer_freep) BlobWriter *w = NULL;
        int r;

        if (!c->api->blobs)
                return -EROFS;
        r = blob_writer_new(c->api->blobs, tenant, size, &w);
        for (size_t at = 0; r >= 0 && at < size; at += BLOB_CHUNK_MAX)
                r = blob_writer_append(
                        w, text + at, size - at < BLOB_CHUNK_MAX ? size - at : BLOB_CHUNK_MAX);
        return r < 0 ? r : commit_blob(w, ret_digest);
}

/* All has come: names the blobs. */
static int commit_files(Create *k)
{
        CreateBlob *more = reallocarray(k->blobs, k->n_blobs + k->n_files, sizeof(CreateBlob));

        if (!more)
                return -ENOMEM;
        k->blobs = more;
        for (unsigned i = 0; i < k->n_files; i++) {
                CreateFile *f = k->files + i;
                CreateBlob *b = k->blobs + k->n_blobs;
                int r;

                f->size = blob_writer_get_size(f->writer);
                r = commit_blob(f->writer, f->digest);
                if (r < 0)
                        return r;
                f->writer = blob_writer_free(f->writer);
                *b = (CreateBlob){ .size = f->size };
                memcpy(b->tenant, k->tenant, sizeof(b->tenant));
                memcpy(b->digest, f->digest, sizeof(b->digest));
                k->n_blobs++;
        }
        return 0;
}

/* What the Idempotency-Key stands for: the job and what the files are. */
static int hash_request(Create *k)
{
        _cleanup_(strbuf_done) StrBuf b = {};

        strbuf_append(&b, strbuf_str(&k->job), k->job.len);
        for (unsigned i = 0; i < k->n_files; i++)
                strbuf_printf(&b, "\n%s %s", k->files[i].digest, k->files[i].name);
        return strbuf_error(&b) < 0 ? -ENOMEM : create_hash(k, strbuf_str(&b), b.len);
}

void create_finish_upload(Create *k)
{
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        const char *tenant;
        int r;

        /* What is wrong with the job is found before anything is kept. */
        if (k->n_files > 0 &&
                json_parse(strbuf_str(&k->job), k->job.len, REEVE_JSON_DEPTH_MAX, &d, NULL) >= 0 &&
                json_value_is(json_document_root(d), JSON_OBJECT)) {
                tenant = create_tenant_of(k->call, json_document_root(d));
                if (!streq_ptr(tenant, k->tenant)) {
                        create_fail_upload(k, UPLOAD_TENANT);
                        return;
                }
        }
        r = commit_files(k);
        if (r >= 0)
                r = hash_request(k);
        if (call_failed(k->call, r < 0 ? r : 0))
                return;
        if (!create_read_text(k, strbuf_str(&k->job), k->job.len, false))
                return;
        if (k->bulk)
                call_problem(k->call, PROBLEM_BAD_FORM, "The part \"job\" is one object.");
        else
                create_go_on(k);
}

/* ---- forms ---- */

static int on_part(const MultipartPart *part, void *userdata)
{
        Create *k = userdata;
        const char *name = part->filename;

        k->in_job = k->skipping = false;
        if (streq(part->name, "job")) {
                if (k->job_seen)
                        return UPLOAD_TWICE;
                k->in_job = k->job_seen = true;
                return 0;
        }
        if (!name)
                return UPLOAD_UNKNOWN_PART;
        k->skipping = *name == '\0'; /* a form sent with no file chosen */
        return k->skipping ? 0 : create_begin_file(k, name, part->content_type, UINT64_MAX);
}

static int on_data(const void *data, size_t size, void *userdata)
{
        Create *k = userdata;

        if (k->skipping)
                return size > 0 ? UPLOAD_BAD_NAME : 0;
        if (!k->in_job)
                return create_append_file(k, data, size);
        if (k->job.len + size > CREATE_FIELD_MAX)
                return MULTIPART_FIELD_TOO_LARGE;
        strbuf_append(&k->job, data, size);
        return strbuf_error(&k->job);
}

static int on_part_end(void *userdata)
{
        return 0;
}

static int form_write(HttpRequest *r, const void *data, size_t size, void *userdata)
{
        Create *k = ((Call *) userdata)->data;
        int n = multipart_feed(k->form, data, size);

        if (n > 0)
                create_fail_upload(k, n);
        return n < 0 ? n : 0;
}

static void form_done(HttpRequest *r, void *userdata)
{
        Create *k = ((Call *) userdata)->data;
        int n = multipart_finish(k->form);

        if (n > 0)
                create_fail_upload(k, n);
        else if (!k->job_seen)
                call_problem(k->call, PROBLEM_BAD_FORM, "The part \"job\" is missing.");
        else if (!call_failed(k->call, n))
                create_finish_upload(k);
}

void create_upload_form(Create *k)
{
        static const MultipartOps ops = { on_part, on_data, on_part_end };
        static const HttpSink sink = { form_write, form_done };
        const MultipartLimits limits = { FORM_PARTS_MAX, CREATE_FIELD_MAX,
                k->call->api->settings.upload_max };
        int n = multipart_new(http_request_get_header(k->call->request, "Content-Type"), &limits,
                &ops, k, &k->form);

        if (n > 0)
                create_fail_upload(k, n);
        else if (!call_failed(k->call, n))
                http_request_stream(k->call->request, &sink, k->call);
}

/* ---- one file ---- */

static int file_write(HttpRequest *r, const void *data, size_t size, void *userdata)
{
        return create_append_file(((Call *) userdata)->data, data, size);
}

static void file_done(HttpRequest *r, void *userdata)
{
        create_finish_upload(((Call *) userdata)->data);
}

int create_job_from_query(Create *k, const char *kind)
{
        static const char *const names[] = { "kind", "queue", "tenant", "subject", "unique_key",
                "run_at", "deadline", "unique_for", "concurrency_key" };
        const UriParams *params = http_request_get_queries(k->call->request);
        JsonWriter w = json_writer(&k->job);
        uint64_t number;

        json_open_object(&w, NULL);
        if (kind)
                json_put_string(&w, "kind", kind);
        for (size_t i = 0; i < params->n_items; i++) {
                const UriParam *p = params->items + i;
                bool known = streq(p->name, "name");

                for (unsigned n = 0; n < ELEMENTSOF(names); n++)
                        if (streq(p->name, names[n]) && !(kind && streq(p->name, "kind"))) {
                                known = true;
                                json_put_string(&w, p->name, p->value);
                        }
                if (streq(p->name, "priority") && parse_u64(p->value, 1, 10, &number) >= 0) {
                        known = true;
                        json_put_uint(&w, p->name, number);
                }
                if (!known) {
                        call_problem(k->call, PROBLEM_BAD_QUERY, "%s: unknown, or a wrong value.",
                                p->name);
                        return 1;
                }
        }
        json_close(&w);
        k->job_seen = true;
        return json_writer_end(&w);
}

void create_upload_file(Create *k)
{
        static const HttpSink sink = { file_write, file_done };
        HttpRequest *request = k->call->request;
        const char *name = http_request_get_query(request, "name");
        int r = create_job_from_query(k, NULL);

        if (r > 0 || call_failed(k->call, r))
                return;
        r = create_begin_file(k, name ? name : "body",
                http_request_get_header(request, "Content-Type"), UINT64_MAX);
        if (r > 0)
                create_fail_upload(k, r);
        else if (!call_failed(k->call, r))
                http_request_stream(request, &sink, k->call);
}
