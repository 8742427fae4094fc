/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pdf-api.h"

#include "api-create.h"

#define PDF_UPLOAD_MAX (50ULL << 20) /* bytes of a document; UploadMax= is below it */
#define PARTS_MAX      2U /* of a form: the file, and one to be refused by its name */

enum {
        OUTCOME_NOT_PDF = CREATE_OUTCOME_FREE,
        OUTCOME_EMPTY,
        OUTCOME_NO_FILE,
        OUTCOME_TWICE,
        OUTCOME_UNKNOWN_PART,
};

static void fail(Create *k, int outcome)
{
        switch (outcome) {
        case OUTCOME_NOT_PDF:
                call_problem(k->call, PROBLEM_MEDIA_TYPE, "The file is not a PDF.");
                break;
        case OUTCOME_EMPTY:
                call_problem(k->call, PROBLEM_INVALID, "The file is empty.");
                break;
        case OUTCOME_NO_FILE:
                call_problem(k->call, PROBLEM_BAD_FORM, "The part \"pdf_file\" has no file.");
                break;
        case OUTCOME_TWICE:
                call_problem(k->call, PROBLEM_BAD_FORM, "One document in one request.");
                break;
        case OUTCOME_UNKNOWN_PART:
                call_problem(
                        k->call, PROBLEM_BAD_FORM, "The form has one part, \"pdf_file\", a file.");
                break;
        default:
                create_fail_upload(k, outcome);
        }
}

/* As readers take it: "%PDF-" within the first 1024 bytes. */
static int check_head(const Create *k)
{
        if (k->n_head == 0)
                return OUTCOME_EMPTY;
        return memmem(k->head, k->n_head, "%PDF-", CONST_STRLEN("%PDF-")) ? 0 : OUTCOME_NOT_PDF;
}

/* What cannot be a PDF is refused when its first bytes are there. */
static int append(Create *k, const void *data, size_t size)
{
        bool was_short = k->n_head < CREATE_HEAD_MAX;
        int r = create_append_file(k, data, size);

        return r == 0 && was_short && k->n_head == CREATE_HEAD_MAX ? check_head(k) : r;
}

static void finish(Create *k)
{
        int r = k->n_files == 0 ? OUTCOME_NO_FILE : check_head(k);

        if (r != 0)
                fail(k, r);
        else
                create_finish_upload(k);
}

/* ---- a form ---- */

static int on_part(const MultipartPart *part, void *userdata)
{
        Create *k = userdata;

        if (!streq(part->name, "pdf_file") || !part->filename)
                return OUTCOME_UNKNOWN_PART;
        if (k->n_files > 0)
                return OUTCOME_TWICE;
        if (part->filename[0] == '\0')
                return OUTCOME_NO_FILE;
        return create_begin_file(k, part->filename, "application/pdf", PDF_UPLOAD_MAX);
}

static int on_data(const void *data, size_t size, void *userdata)
{
        return append(userdata, data, size);
}

static int on_end(void *userdata)
{
        return 0;
}

static int form_write(HttpRequest *r, const void *data, size_t size, void *userdata)
{
        Create *k = ((Call *) userdata)->data;
        int n = multipart_feed(k->form, data, size);

        if (n > 0)
                fail(k, n);
        return n < 0 ? n : 0;
}

static void form_done(HttpRequest *r, void *userdata)
{
        Call *c = userdata;
        Create *k = c->data;
        int n = multipart_finish(k->form);

        if (n > 0)
                fail(k, n);
        else if (!call_failed(c, n))
                finish(k);
}

static void take_form(Create *k, const char *type)
{
        static const MultipartOps ops = { on_part, on_data, on_end };
        static const HttpSink sink = { form_write, form_done };
        const MultipartLimits limits = { PARTS_MAX, 0, PDF_UPLOAD_MAX };
        int n = multipart_new(type, &limits, &ops, k, &k->form);

        if (n > 0)
                fail(k, n);
        else if (!call_failed(k->call, n))
                http_request_stream(k->call->request, &sink, k->call);
}

/* ---- a bare document ---- */

static int file_write(HttpRequest *r, const void *data, size_t size, void *userdata)
{
        Create *k = ((Call *) userdata)->data;
        int n = append(k, data, size);

        if (n > 0)
                fail(k, n);
        return n < 0 ? n : 0;
}

static void file_done(HttpRequest *r, void *userdata)
{
        finish(((Call *) userdata)->data);
}

static void take_file(Create *k)
{
        static const HttpSink sink = { file_write, file_done };
        const char *name = http_request_get_query(k->call->request, "name");
        int r = create_begin_file(
                k, name ? name : "document.pdf", "application/pdf", PDF_UPLOAD_MAX);

        if (r > 0)
                fail(k, r);
        else if (!call_failed(k->call, r))
                http_request_stream(k->call->request, &sink, k->call);
}

static void handle_pdf(HttpRequest *request, void *userdata)
{
        const char *type = http_request_get_header(request, "Content-Type");
        Create *k = create_new(userdata);
        int r;

        if (!k)
                return;
        r = create_job_from_query(k, "pdf");
        if (r > 0 || call_failed(k->call, r))
                return;
        if (http_type_is(type, "multipart/form-data"))
                take_form(k, type);
        else
                take_file(k);
}

static const HttpRoute routes[] = {
        { HTTP_POST, "/api/pdf", handle_pdf, API_SUBMIT, HTTP_BODY_PDF | HTTP_BODY_MULTIPART,
                PDF_UPLOAD_MAX, "the text of a PDF" },
        {},
};

const ApiSystem pdf_api_system = { .name = "pdf", .routes = routes };
