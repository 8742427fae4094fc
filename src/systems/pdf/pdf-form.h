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

/* ---- the routes of pdf-async.c and pdf-jobs.c ---- */
void handle_pdf_async(HttpRequest *request, void *userdata);
void handle_pdf_job(HttpRequest *request, void *userdata);
void handle_pdf_cancel(HttpRequest *request, void *userdata);
void handle_pdf_chunks(HttpRequest *request, void *userdata);
