/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "api-create.h"
#include "api-jobs.h"

/* Uploads of one document: what /api/pdf and /api/v1/process-pdf-async share. */

#define PDF_UPLOAD_MAX (50ULL << 20) /* bytes of a document; UploadMax= is below it */

enum {
        PDF_NOT_PDF = CREATE_OUTCOME_FREE,
        PDF_EMPTY,
        PDF_NO_FILE,
        PDF_TWICE,
        PDF_UNKNOWN_PART,
        PDF_FIELD_TWICE,
        PDF_BAD_JOB_ID,
        PDF_BAD_USER_ID,
};

/* Answers with the problem of an outcome of these or of api-create.h. */
void pdf_form_fail(Create *k, int outcome);
/* Steps, which return such an outcome, 0 or -errno: the part "pdf_file" begins; bytes of it (what
 * cannot be a PDF is refused when its first ones are there); all has come. */
int pdf_form_begin(Create *k, const MultipartPart *part);
int pdf_form_append(Create *k, const void *data, size_t size);
int pdf_form_check(const Create *k);
/* Reads the form, whose parts ops takes, then calls done. */
void pdf_form_read(
        Create *k, const MultipartLimits *limits, const MultipartOps *ops, void (*done)(Create *k));

/* ---- pdf-async.c, pdf-jobs.c, pdf-repair.c ---- */
/* Asks for the document's job c->id; callback asks pdf_job_is_visible() first. */
void pdf_job_get(Call *c, StoreRowCallback callback);
/* Whether there is a job that the caller may see; else answers. */
bool pdf_job_is_visible(Call *c, int error, const char *const *row);

void handle_pdf_async(HttpRequest *request, void *userdata);
void handle_pdf_job(HttpRequest *request, void *userdata);
void handle_pdf_cancel(HttpRequest *request, void *userdata);
void handle_pdf_chunks(HttpRequest *request, void *userdata);
void handle_pdf_retry_chunks(HttpRequest *request, void *userdata);
void handle_pdf_force_finalize(HttpRequest *request, void *userdata);
void handle_pdf_reconcile(HttpRequest *request, void *userdata);
void handle_pdf_terminate_stuck(HttpRequest *request, void *userdata);
