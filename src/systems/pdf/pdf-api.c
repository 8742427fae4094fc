/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pdf-api.h"

#include "pdf-form.h"

#define PARTS_MAX 2U /* of a form: the file, and one to be refused by its name */
#define MAY_BODY  (HTTP_BODY_JSON | HTTP_BODY_OPTIONAL)

/* ---- POST /api/pdf: a form ---- */

static int on_part(const MultipartPart *part, void *userdata)
{
        return streq(part->name, "pdf_file") ? pdf_form_begin(userdata, part) : PDF_UNKNOWN_PART;
}

static int on_data(const void *data, size_t size, void *userdata)
{
        return pdf_form_append(userdata, data, size);
}

static int on_end(void *userdata)
{
        return 0;
}

/* ---- a bare document ---- */

static int file_write(HttpRequest *r, const void *data, size_t size, void *userdata)
{
        Create *k = ((Call *) userdata)->data;
        int n = pdf_form_append(k, data, size);

        if (n > 0)
                pdf_form_fail(k, n);
        return n < 0 ? n : 0;
}

static void file_done(HttpRequest *r, void *userdata)
{
        Create *k = ((Call *) userdata)->data;
        int n = pdf_form_check(k);

        if (n != 0)
                pdf_form_fail(k, n);
        else
                create_finish_upload(k);
}

static void take_file(Create *k)
{
        static const HttpSink sink = { file_write, file_done };
        const char *name = http_request_get_query(k->call->request, "name");
        int r = create_begin_file(
                k, name ? name : "document.pdf", "application/pdf", PDF_UPLOAD_MAX);

        if (r > 0)
                pdf_form_fail(k, r);
        else if (!call_failed(k->call, r))
                http_request_stream(k->call->request, &sink, k->call);
}

static void handle_pdf(HttpRequest *request, void *userdata)
{
        static const MultipartOps ops = { on_part, on_data, on_end };
        static const MultipartLimits limits = { PARTS_MAX, 0, PDF_UPLOAD_MAX };
        const char *type = http_request_get_header(request, "Content-Type");
        Create *k = create_new(userdata);
        int r;

        if (!k)
                return;
        r = create_job_from_query(k, "pdf");
        if (r > 0 || call_failed(k->call, r))
                return;
        if (http_type_is(type, "multipart/form-data"))
                pdf_form_read(k, &limits, &ops, create_finish_upload);
        else
                take_file(k);
}

#define LIMITS ";RateLimit;RateLimit-Policy"

static const HttpRoute routes[] = {
        { HTTP_POST, "/api/pdf", handle_pdf, API_SUBMIT, HTTP_BODY_PDF | HTTP_BODY_MULTIPART,
                PDF_UPLOAD_MAX, "the text of a PDF", 0,
                { "createPdf", "documents",
                        "Idempotency-Key of-name of-queue of-priority of-tenant of-subject"
                        " of-unique_key of-run_at of-deadline of-unique_for of-concurrency_key",
                        "application/pdf multipart/form-data=PdfForm",
                        "200=Job;ETag;Location 202=Created;Location 404 409 422 507" } },
        { HTTP_POST, "/api/v1/process-pdf-async", handle_pdf_async, API_SUBMIT, HTTP_BODY_MULTIPART,
                PDF_UPLOAD_MAX, "the text of a PDF, by the flag async-processing", 10,
                { "processPdf", "documents", "Idempotency-Key", "multipart/form-data=PdfAsyncForm",
                        "200=PdfJob;Deprecation;Sunset" LIMITS " 202=PdfStarted;Location" LIMITS
                        " 404 409 422 507" } },
        { HTTP_GET, "/api/v1/jobs/{id}", handle_pdf_job, API_READ, 0, 0, "a document's job", 0,
                { "getPdfJob", "documents", NULL, NULL, "200=PdfJob" } },
        { HTTP_POST, "/api/v1/jobs/{id}/cancel", handle_pdf_cancel, API_SUBMIT, MAY_BODY,
                API_BODY_SMALL, "cancel a document's job", API_RATE_DEFAULT,
                { "cancelPdfJob", "documents", NULL, "PdfNothing",
                        "200=PdfActed" LIMITS " 202=PdfActed" LIMITS } },
        { HTTP_GET, "/api/v1/jobs/{id}/chunks", handle_pdf_chunks, API_READ, 0, 0,
                "a document's chunks", 0,
                { "listPdfChunks", "documents", NULL, NULL, "200=PdfChunks" } },
        { HTTP_POST, "/api/v1/jobs/{id}/chunks/retry", handle_pdf_retry_chunks, API_SUBMIT,
                MAY_BODY, API_BODY_SMALL, "read chunks of a document again", API_RATE_DEFAULT,
                { "retryPdfChunks", "documents", NULL, "PdfRetry",
                        "200=PdfRetried" LIMITS " 202=PdfRetried;Location" LIMITS " 409 410" } },
        { HTTP_POST, "/api/v1/admin/jobs/{id}/force-finalize", handle_pdf_force_finalize, API_ADMIN,
                MAY_BODY, API_BODY_SMALL, "finish a document without the chunks that are left",
                API_RATE_DEFAULT,
                { "finalizePdfJob", "documents", NULL, "PdfNothing",
                        "200=PdfFinalized" LIMITS " 202=PdfFinalized" LIMITS " 409" } },
        { HTTP_POST, "/api/v1/admin/reconcile-stuck-chunks", handle_pdf_reconcile, API_ADMIN,
                MAY_BODY, API_BODY_SMALL, "end runs of chunks that hang", API_RATE_DEFAULT,
                { "reconcilePdfChunks", "documents", NULL, "PdfNothing",
                        "200=PdfReconciled" LIMITS } },
        { HTTP_POST, "/api/v1/admin/terminate-stuck-jobs", handle_pdf_terminate_stuck, API_ADMIN,
                MAY_BODY, API_BODY_SMALL, "end documents that hang", API_RATE_DEFAULT,
                { "terminatePdfJobs", "documents", NULL, "PdfTerminate",
                        "200=PdfTerminated" LIMITS } },
        {},
};

extern const OpenapiPart pdf_openapi; /* made of openapi/ */

const ApiSystem pdf_api_system = { .name = "pdf", .routes = routes, .openapi = &pdf_openapi };
