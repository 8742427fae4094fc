/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "store.h"

/* Statements about ready jobs and runs. See store.h for the rules that they share. */

enum {
        STORE_FLAG_JOIN = 1, /* its children have ended */
        STORE_FLAG_KEYS = 2, /* it holds unique keys */
        STORE_FLAG_PARENT = 4, /* somebody waits for it */
};

typedef struct StoreLane {
        int64_t lane;
        const char *queue, *kind, *tenant;
        int64_t priority;
} StoreLane;

#define STORE_LANES_MAX 500U

typedef void (*StoreLanesCallback)(
        int error, const StoreLane *lanes, unsigned n_lanes, void *userdata);

/* Lanes with ready jobs that are not among the known (ascending). If STORE_LANES_MAX come there may
 * be more: ask again, but not at once, for whoever may create jobs can fill any number of queues
 * that nobody serves. */
int store_find_lanes(Store *s, const int64_t *known, unsigned n_known, StoreLanesCallback callback,
        void *userdata, StoreRequest **ret_request);

typedef struct StoreOwnRun {
        int64_t run_id;
        const char *run_key;
} StoreOwnRun;

/* One lane to claim from. */
typedef struct StoreCursor {
        int64_t lane;
        int64_t cursor; /* claim behind this seq */
        int64_t priority;
        bool limited; /* its kind has limits: as that of all cursors of one claim */
} StoreCursor;

typedef struct StoreClaimedJob {
        int64_t run_id;
        const char *run_key;
        int64_t lane, seq;
        const char *id, *kind, *queue;
        int64_t priority;
        const char *tenant, *subject; /* subject may be NULL */
        int64_t attempt; /* verdicts so far: this is attempt + 1 */
        int64_t interruptions;
        int64_t flags; /* STORE_FLAG_ */
        int64_t max_attempts, max_interruptions;
        int64_t timeout_usec;
        const char *payload; /* JSON text, or NULL: payload_blob */
        const char *payload_blob; /* "sha256:..." or NULL */
        const char *inputs; /* JSON array of {name, blob, size}, or NULL */
        bool late; /* its deadline has passed: end it without running it */
        bool known; /* its kind is among those asked for */
} StoreClaimedJob;

typedef void (*StoreClaimCallback)(
        int error, const StoreClaimedJob *jobs, unsigned n_jobs, void *userdata);

typedef struct StoreClaim {
        const StoreCursor *cursors; /* from the highest priority down */
        unsigned n_cursors;
        const char *const *kinds; /* that the instance can run, NULL-terminated */
        unsigned n_jobs; /* at most */
        usec_t lease_usec; /* 0: until the instance ends; else for so long, and no instance */
        const char *puller; /* whose they are then; else NULL */
} StoreClaim;

/* Claims jobs for an instance, or for a puller (instance 0). */
int store_claim_jobs(Store *s, int64_t instance, const StoreClaim *claim,
        StoreClaimCallback callback, void *userdata, StoreRequest **ret_request);

/* What a run counts as against its job's limits. */
typedef enum StoreCounts {
        STORE_COUNTS_ATTEMPT,
        STORE_COUNTS_INTERRUPTION,
        STORE_COUNTS_NEITHER, /* a drain, a claim that never ran */
} StoreCounts;

/* How a run ended. Text may be NULL where a column may be null. */
typedef struct StoreEndedRun {
        int64_t run_id;
        const char *run_key;
        const char *state; /* succeeded, failed, cancelled, scheduled, ready */
        const char *cause;
        int exit_status; /* < 0: none */
        int exit_signal; /* <= 0: none */
        const char *error_code, *error_message;
        const char *result; /* JSON text */
        const char *result_blob;
        usec_t delay_usec; /* for scheduled */
        uint64_t cpu_usec, max_rss;
        const char *unit;
        const char *log;
        StoreCounts counts;
} StoreEndedRun;

typedef void (*StoreRunsCallback)(
        int error, const int64_t *run_ids, unsigned n_run_ids, void *userdata);

typedef struct StoreEndedRuns {
        const StoreEndedRun *runs;
        unsigned n_runs;
        const char *host; /* where they ran */
        const char *actor; /* for the history */
} StoreEndedRuns;

/* Ends runs; calls back with those that were ended. One that is missing was stale. */
int store_end_runs(Store *s, const StoreEndedRuns *ended, StoreRunsCallback callback,
        void *userdata, StoreRequest **ret_request);

int store_mark_started(Store *s, int64_t instance, const int64_t *run_ids, unsigned n_run_ids,
        StoreDoneCallback callback, void *userdata);

typedef struct StoreProgress {
        int64_t run_id;
        const char *run_key;
        int percent; /* < 0: unchanged */
        const char *status; /* NULL: unchanged */
} StoreProgress;

int store_save_progress(Store *s, const StoreProgress *progress, unsigned n_progress,
        StoreDoneCallback callback, void *userdata);

typedef struct StoreFile {
        const char *direction; /* output or result */
        const char *name;
        const char *digest;
        uint64_t size;
} StoreFile;

typedef struct StoreFiles {
        StoreOwnRun run;
        const StoreFile *files;
        unsigned n_files;
} StoreFiles;

/* Refers to blobs from a run's job; to be sent before the run's end. */
int store_add_files(Store *s, const StoreFiles *added, StoreDoneCallback callback, void *userdata,
        StoreRequest **ret_request);
