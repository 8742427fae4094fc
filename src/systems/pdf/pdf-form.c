/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pdf-form.h"

void pdf_form_fail(Create *k, int outcome)
{
        static const struct {
                Problem problem;
                const char *text;
        } problems[] = {
                [0] = { PROBLEM_MEDIA_TYPE, "The file is not a PDF." },
                [PDF_EMPTY - PDF_NOT_PDF] = { PROBLEM_INVALID, "The file is empty." },
                [PDF_NO_FILE -
                        PDF_NOT_PDF] = { PROBLEM_BAD_FORM, "The part \"pdf_file\" has no file." },
                [PDF_TWICE - PDF_NOT_PDF] = { PROBLEM_BAD_FORM, "One document in one request." },
                [PDF_UNKNOWN_PART - PDF_NOT_PDF] = { PROBLEM_BAD_FORM,
                        "A part of the form is not known here, or is no file: the document goes "
                        "into \"pdf_file\", as a file (curl -F pdf_file=@book.pdf)." },
                [PDF_FIELD_TWICE -
                        PDF_NOT_PDF] = { PROBLEM_BAD_FORM, "A part of the form came twice." },
                [PDF_BAD_JOB_ID - PDF_NOT_PDF] = { PROBLEM_INVALID, "job_id: expected a UUID." },
                [PDF_BAD_USER_ID - PDF_NOT_PDF] = { PROBLEM_INVALID,
                        "user_id: expected 1 to 256 bytes of UTF-8." },
        };

        if (outcome < PDF_NOT_PDF)
                create_fail_upload(k, outcome);
        else
                call_problem(k->call, problems[outcome - PDF_NOT_PDF].problem, "%s",
                        problems[outcome - PDF_NOT_PDF].text);
}

/* As readers take it: "%PDF-" within the first 1024 bytes. */
static int check_head(const Create *k)
{
        if (k->n_head == 0)
                return PDF_EMPTY;
        return memmem(k->head, k->n_head, "%PDF-", CONST_STRLEN("%PDF-")) ? 0 : PDF_NOT_PDF;
}

int pdf_form_begin(Create *k, const MultipartPart *part)
{
        if (!part->filename)
                return PDF_UNKNOWN_PART;
        if (k->n_files > 0)
                return PDF_TWICE;
        if (part->filename[0] == '\0')
                return PDF_NO_FILE;
        return create_begin_file(k, part->filename, "application/pdf", PDF_UPLOAD_MAX);
}

int pdf_form_append(Create *k, const void *data, size_t size)
{
        bool was_short = k->n_head < CREATE_HEAD_MAX;
        int r = create_append_file(k, data, size);

        return r == 0 && was_short && k->n_head == CREATE_HEAD_MAX ? check_head(k) : r;
}

int pdf_form_check(const Create *k)
{
        return k->n_files == 0 ? PDF_NO_FILE : check_head(k);
}

static int form_write(HttpRequest *r, const void *data, size_t size, void *userdata)
{
        Create *k = ((Call *) userdata)->data;
        int n = multipart_feed(k->form, data, size);

        if (n > 0)
                pdf_form_fail(k, n);
        return n < 0 ? n : 0;
}

static void form_done(HttpRequest *r, void *userdata)
{
        Call *c = userdata;
        Create *k = c->data;
        int n = multipart_finish(k->form);

        if (n == 0)
                n = pdf_form_check(k);
        if (n > 0)
                pdf_form_fail(k, n);
        else if (!call_failed(c, n))
                k->uploaded(k);
}

void pdf_form_read(
        Create *k, const MultipartLimits *limits, const MultipartOps *ops, void (*done)(Create *k))
{
        static const HttpSink sink = { form_write, form_done };
        const char *type = http_request_get_header(k->call->request, "Content-Type");
        int n = multipart_new(type, limits, ops, k, &k->form);

        k->uploaded = done;
        if (n > 0)
                pdf_form_fail(k, n);
        else if (!call_failed(k->call, n))
                http_request_stream(k->call->request, &sink, k->call);
}
