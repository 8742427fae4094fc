/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "store.h"

/* Statements of those who hand jobs over and look at them: the HTTP API. Rules as in store.h. Texts
 * and rows are valid until the callback returns. JSON is made by the server and goes out as it is;
 * its times are RFC 3339 UTC where the role's TimeZone is UTC (bootstrap.sql). */

typedef struct StoreEnqueued {
        int64_t n; /* the job's place in the array */
        const char *job; /* NULL if it was refused or skipped */
        const char *outcome; /* created, exists, mismatch, refused, skipped */
        const char *state; /* of a created one */
        const char *detail; /* why it was refused */
} StoreEnqueued;

typedef void (*StoreEnqueuedCallback)(
        int error, const StoreEnqueued *rows, unsigned n_rows, void *userdata);

/* jobs: a JSON array as reeve.enqueue_batch() takes it. */
int store_enqueue_batch(Store *s, const char *jobs, StoreEnqueuedCallback callback, void *userdata,
        StoreRequest **ret_request);

typedef void (*StoreIdsCallback)(int error, const char *const *ids, unsigned n_ids, void *userdata);

typedef struct StoreFound {
        const char *job;
        const char *state;
} StoreFound;

typedef void (*StoreFoundCallback)(
        int error, const StoreFound *rows, unsigned n_rows, void *userdata);

/* Which of these jobs exist; which of them have ended. */
int store_find_jobs(Store *s, const char *const *ids, unsigned n_ids, StoreFoundCallback callback,
        void *userdata, StoreRequest **ret_request);
typedef struct StoreJobsOf {
        const char *const *ids;
        unsigned n_ids;
        const char *subject;
} StoreJobsOf;

/* Which of these jobs are the subject's, in this order. */
int store_find_jobs_of(Store *s, const StoreJobsOf *jobs, StoreIdsCallback callback, void *userdata,
        StoreRequest **ret_request);
int store_find_ended(Store *s, const char *const *ids, unsigned n_ids, StoreIdsCallback callback,
        void *userdata, StoreRequest **ret_request);

/* A row of texts, each NULL where SQL has NULL; row is NULL if there is none. */
typedef void (*StoreRowCallback)(int error, const char *const *row, void *userdata);

enum { STORE_JOB_TENANT, STORE_JOB_SUBJECT, STORE_JOB_STATE, STORE_JOB_BODY };
int store_get_job(Store *s, const char *id, StoreRowCallback callback, void *userdata,
        StoreRequest **ret_request);
/* The same with its payload, and how many children it has in each state. */
int store_get_job_details(Store *s, const char *id, StoreRowCallback callback, void *userdata,
        StoreRequest **ret_request);

/* Whose jobs a caller may touch (NULL: everybody's), and what is noted about the act. */
typedef struct StoreAct {
        const char *id;
        const char *tenant, *subject;
        const char *actor;
        const char *reason; /* may be NULL */
        const char *new_id; /* store_retry_job() only */
} StoreAct;

/* Row: the outcome of reeve.cancel_job(). */
int store_cancel_job(Store *s, const StoreAct *act, StoreRowCallback callback, void *userdata,
        StoreRequest **ret_request);
enum { STORE_RETRY_OUTCOME, STORE_RETRY_JOB, STORE_RETRY_DETAIL };
int store_retry_job(Store *s, const StoreAct *act, StoreRowCallback callback, void *userdata,
        StoreRequest **ret_request);

/* Row: a JSON array. */
int store_list_history(Store *s, const char *id, unsigned n_most, StoreRowCallback callback,
        void *userdata, StoreRequest **ret_request);
int store_list_files(Store *s, const char *id, unsigned n_most, StoreRowCallback callback,
        void *userdata, StoreRequest **ret_request);
int store_list_workers(
        Store *s, StoreRowCallback callback, void *userdata, StoreRequest **ret_request);
enum { STORE_RETIRE_OUTCOME, STORE_RETIRE_DETAIL };
/* id: the kind's name. See reeve.retire_kind(). */
int store_retire_kind(Store *s, const StoreAct *act, StoreRowCallback callback, void *userdata,
        StoreRequest **ret_request);
int store_list_kinds(
        Store *s, StoreRowCallback callback, void *userdata, StoreRequest **ret_request);
int store_list_queues(
        Store *s, StoreRowCallback callback, void *userdata, StoreRequest **ret_request);

enum { STORE_FILE_TENANT, STORE_FILE_DIGEST, STORE_FILE_TYPE };
int store_get_file(Store *s, const char *id, const char *name, StoreRowCallback callback,
        void *userdata, StoreRequest **ret_request);

/* Filters: NULL is any. One of them drives, by its index; see sql/list-jobs.sql. */
typedef struct StoreJobFilter {
        const char *below, *from; /* uuids: only jobs with from <= id < below */
        const char *tenant, *kind, *queue, *state, *subject;
        const char *parent; /* uuid: only its children */
        unsigned n_most;
} StoreJobFilter;

enum { STORE_PAGE_JOBS, STORE_PAGE_MORE };
int store_list_jobs(Store *s, const StoreJobFilter *filter, StoreRowCallback callback,
        void *userdata, StoreRequest **ret_request);

typedef struct StoreBlobNote {
        const char *tenant;
        const char *digest;
        uint64_t size;
} StoreBlobNote;

int store_note_blobs(Store *s, const StoreBlobNote *blobs, unsigned n_blobs,
        StoreDoneCallback callback, void *userdata, StoreRequest **ret_request);

typedef struct StoreStats {
        int64_t n_ready, n_scheduled, n_blocked, n_waiting, n_running; /* counted to 10000 */
        int64_t n_workers, n_slots, n_busy;
        int64_t schema_version;
} StoreStats;

typedef void (*StoreStatsCallback)(int error, const StoreStats *stats, void *userdata);
int store_get_stats(
        Store *s, StoreStatsCallback callback, void *userdata, StoreRequest **ret_request);

/* Tells the workers that there is something to claim. */
int store_hint(Store *s, StoreDoneCallback callback, void *userdata, StoreRequest **ret_request);
