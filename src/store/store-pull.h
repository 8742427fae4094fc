/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "store-jobs.h"
#include "store-run.h"

/* Statements about runs that programs elsewhere have pulled. Rules as in store.h. */

/* Columns of the row of store_extend_run(). */
enum {
        STORE_EXTENDED_TENANT,
        STORE_EXTENDED_JOB,
        STORE_EXTENDED_EXPIRES_USEC, /* CLOCK_REALTIME of the server */
        STORE_EXTENDED_CANCEL, /* "true": somebody wants it to end */
        STORE_EXTENDED_REASON, /* why; "" if none was given */
};

/* Lets a run be its puller's for usec from now (0: as its kind says). row: NULL if it is not any
 * more. */
int store_extend_run(Store *s, const StoreOwnRun *run, usec_t usec, StoreRowCallback callback,
        void *userdata, StoreRequest **ret_request);

/* Columns of the row of store_get_pulled_run(). */
enum {
        STORE_PULLED_TENANT,
        STORE_PULLED_JOB,
        STORE_PULLED_BY,
        STORE_PULLED_ATTEMPT, /* verdicts before this run */
        STORE_PULLED_MAX_ATTEMPTS,
        STORE_PULLED_RETRY_USEC,
        STORE_PULLED_RETRY_MAX_USEC,
};

/* What decides on the end of a run. row: NULL if it is not its puller's any more. */
int store_get_pulled_run(Store *s, const StoreOwnRun *run, StoreRowCallback callback,
        void *userdata, StoreRequest **ret_request);

typedef struct StorePulledKind {
        const char *name;
        int64_t lease_usec;
} StorePulledKind;

typedef void (*StorePulledKindsCallback)(
        int error, const StorePulledKind *kinds, unsigned n_kinds, void *userdata);

int store_list_pulled_kinds(
        Store *s, StorePulledKindsCallback callback, void *userdata, StoreRequest **ret_request);
