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
/* inputs: a JSON array as reeve.job has it; queue may be NULL. Row: the outcome of
 * reeve_systems.pdf_take_document(). */
int pdf_store_take_document(Store *s, const StoreAct *act, const char *inputs, const char *queue,
        StoreRowCallback callback, void *userdata, StoreRequest **ret_request);
