/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "store-jobs.h"

/* The statements of this system, in sql/. Rules as in store.h. */

enum {
        PDF_JOB_TENANT,
        PDF_JOB_SUBJECT,
        PDF_JOB_STATUS, /* pending, processing, completed, failed, cancelled */
        PDF_JOB_HAS_DOCUMENT, /* true or false */
        PDF_JOB_ERROR_CODE,
        PDF_JOB_ERROR,
        PDF_JOB_BODY,
};
/* A job of the kind pdf. */
int pdf_store_get_job(Store *s, const char *id, StoreRowCallback callback, void *userdata,
        StoreRequest **ret_request);
/* Row: the body. */
int pdf_store_list_chunks(Store *s, const char *id, StoreRowCallback callback, void *userdata,
        StoreRequest **ret_request);
typedef struct PdfDocument {
        StoreAct act;
        const char *inputs; /* a JSON array as reeve.job has it */
        const char *queue; /* NULL: the job's */
} PdfDocument;

/* Row: the outcome of reeve_systems.pdf_take_document(). */
int pdf_store_take_document(Store *s, const PdfDocument *document, StoreRowCallback callback,
        void *userdata, StoreRequest **ret_request);

typedef struct PdfRetry {
        StoreAct act; /* id, actor, new_id */
        const int64_t *chunks; /* NULL: all that have failed */
        unsigned n_chunks;
        bool force;
} PdfRetry;

enum { PDF_RETRY_OUTCOME, PDF_RETRY_JOB, PDF_RETRY_CHUNKS };
/* Row: the outcome of reeve_systems.pdf_retry_chunks(), the job, its chunks as a JSON array. */
int pdf_store_retry_chunks(Store *s, const PdfRetry *retry, StoreRowCallback callback,
        void *userdata, StoreRequest **ret_request);
/* Row: how many chunks were ended, or NULL: it waits for none. */
int pdf_store_force_finalize(Store *s, const StoreAct *act, StoreRowCallback callback,
        void *userdata, StoreRequest **ret_request);
/* Row: how many runs were older than this, and how many of their chunks are read again. */
int pdf_store_reconcile(Store *s, usec_t older_usec, const char *actor, StoreRowCallback callback,
        void *userdata, StoreRequest **ret_request);
/* Row: the ids of jobs that were processed for longer than this, a JSON array. */
int pdf_store_terminate_stuck(Store *s, usec_t older_usec, const char *actor,
        StoreRowCallback callback, void *userdata, StoreRequest **ret_request);
