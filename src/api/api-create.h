/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "api-private.h"
#include "http-field.h"
#include "multipart.h"
#include "sha256.h"

/* What the files that create jobs share: api-parse.c (a job's object), api-upload.c (files),
 * api-create.c (the answer). */

#define CREATE_KEY_MAX    512U /* bytes of an Idempotency-Key and of a unique_key */
#define CREATE_FILES_MAX  64U /* files of one form */
#define CREATE_FIELD_MAX  (1024UL * 1024) /* bytes of a form's part "job" */
#define CREATE_HEAD_MAX   1024U /* first bytes of a file that are kept to be looked at */
#define CREATE_ERRORS_MAX 100U /* of a bulk request that are told */

typedef struct CreateBlob {
        char tenant[REEVE_NAME_MAX + 1];
        char digest[BLOB_DIGEST_MAX];
        uint64_t size;
} CreateBlob;

typedef struct CreateError {
        unsigned index;
        char *detail;
} CreateError;

typedef struct CreateFile {
        char *name;
        char *type; /* or NULL */
        BlobWriter *writer;
        char digest[BLOB_DIGEST_MAX];
        uint64_t size;
} CreateFile;

typedef struct Create Create;
/* A request that creates jobs. */
struct Create {
        Call *call;
        EnqueueOrder *order;
        bool bulk;
        char *key; /* Idempotency-Key or NULL; of a caller with a subject: its hash with that */
        char held[REEVE_NAME_MAX + 1]; /* the tenant in which it holds its key; "": none yet */
        Create *prev_held, *next_held;
        char hash[SHA256_HEX_MAX];
        CreateBlob *blobs; /* to be noted before the jobs are made */
        unsigned n_blobs;
        CreateError errors[CREATE_ERRORS_MAX];
        unsigned n_errors;
        unsigned n_read; /* jobs of the request so far: the index of the next */
        EnqueueRow *rows; /* of several, while it is asked which of them the caller may see */
        unsigned n_rows;
        /* uploads */
        Multipart *form;
        StrBuf job; /* the part "job" */
        bool job_seen, in_job, skipping;
        char tenant[REEVE_NAME_MAX + 1]; /* the files' */
        CreateFile *files;
        unsigned n_files;
        char head[CREATE_HEAD_MAX]; /* the first bytes of the last file */
        size_t n_head;
        /* of routes with rules of their own */
        const char
                *queue; /* in place of what the job names, which its Idempotency-Key stands for */
        void (*uploaded)(Create *k); /* all of the form has come */
        void (*submit)(Create *k); /* in place of making the job: its files are noted */
        void (*reply)(Create *k, const EnqueueRow *row); /* answers for a job that is there */
        void *userdata; /* freed with it */
};

/* Makes it the call's data. NULL: the call was answered. */
Create *create_new(Call *c);

/* Adds the job that v describes, or notes what is wrong with it. Returns 0 or -errno. */
int create_add_job(Create *k, const JsonValue *v);
/* Others with the same Idempotency-Key in this tenant are refused until this request is answered.
 * Does nothing the second time, or without a key. Returns 0, or -EALREADY if another one holds it.
 */
int create_hold_key(Create *k, const char *tenant);
int create_note_error(Create *k, const char *format, ...) _printf_(2, 3);
/* The tenant that a job's object names, or the caller's; NULL if that is not a string. */
const char *create_tenant_of(const Call *c, const JsonValue *v);

/* Writes a blob of a text; its row is the caller's to make. Returns BLOB_CREATED, BLOB_EXISTED or
 * -errno. */
int call_keep_text(Call *c, const char *tenant, const char *text, size_t size,
        char ret_digest[static BLOB_DIGEST_MAX]);

/* What the Idempotency-Key stands for: the text, and the subject that the caller's jobs are of. */
int create_hash(Create *k, const char *data, size_t size);
/* Jobs from a text: one object, an array, or lines. Answers if it is not JSON: false. */
bool create_read_text(Create *k, const char *data, size_t size, bool lines);
/* Everything was read: enqueue, and answer. */
void create_go_on(Create *k);

/* The body is a form, or one file. */
void create_upload_form(Create *k);
void create_upload_file(Create *k);

/* The same in steps, for routes with rules of their own. Outcomes are those of multipart.h and some
 * of upload's own, below CREATE_OUTCOME_FREE; others are a caller's. Steps return an outcome or
 * -errno. */
#define CREATE_OUTCOME_FREE 2000
/* Makes the part "job" of the query; kind NULL: the query names it. 1: the call was answered. */
int create_job_from_query(Create *k, const char *kind);
/* type may be NULL; max: bytes. */
int create_begin_file(Create *k, const char *name, const char *type, uint64_t max);
int create_append_file(Create *k, const void *data, size_t size);
/* All has come, and there is a job: names the files, enqueues, answers. */
void create_finish_upload(Create *k);
/* Answers with the problem of an outcome below CREATE_OUTCOME_FREE. */
void create_fail_upload(Create *k, int outcome);
