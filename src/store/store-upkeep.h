/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "store-run.h"

/* Statements that keep the queue going, which any worker may run for the whole fleet: what is due,
 * what is late, who is gone and what they left behind. Rules as in store.h. */

typedef void (*StorePromotedCallback)(int error, int64_t n, usec_t next_usec, void *userdata);

/* Moves due jobs to ready, at most n_most, none that were due more than back_sec ago (negative:
 * all). next_usec: until the next one is due, USEC_INFINITY if there is none. */
int store_promote_due(Store *s, unsigned n_most, int64_t back_sec, StorePromotedCallback callback,
        void *userdata, StoreRequest **ret_request);

typedef void (*StoreUnblockedCallback)(int error, int64_t n, const char *last, void *userdata);

/* Looks after the lines before so many tokens of limits, behind the one given ("": from the first).
 * last: where to go on, NULL if that was all. */
int store_unblock_next(Store *s, const char *after, unsigned n_most,
        StoreUnblockedCallback callback, void *userdata, StoreRequest **ret_request);

/* Lets jobs go on that waited for the time of a rate, of at most so many keys. next_usec: as above.
 */
int store_wake_buckets(Store *s, unsigned n_most, StorePromotedCallback callback, void *userdata,
        StoreRequest **ret_request);

/* Fails idle jobs whose deadline passed within the time back. */
int store_expire_deadlines(Store *s, usec_t back_usec, unsigned n_most, StoreCountCallback callback,
        void *userdata, StoreRequest **ret_request);

typedef struct StoreBeat {
        int64_t instance;
        int64_t beat;
} StoreBeat;

typedef void (*StoreBeatsCallback)(
        int error, const StoreBeat *beats, unsigned n_beats, void *userdata);

/* Heartbeat counters of all running instances of the fleet. */
int store_list_instances(
        Store *s, StoreBeatsCallback callback, void *userdata, StoreRequest **ret_request);

/* Declares an instance lost whose counter stood still. n: 1, or 0 if it moved after all. */
int store_void_instance(Store *s, int64_t id, int64_t beat, StoreCountCallback callback,
        void *userdata, StoreRequest **ret_request);

/* Finds stopped instances whose runs were all ended, and that have one again: a claim that was
 * committed late. Calls back with how many; store_list_orphans() then lists their runs. */
int store_reopen_instances(
        Store *s, StoreCountCallback callback, void *userdata, StoreRequest **ret_request);

typedef struct StoreOrphan {
        int64_t run_id;
        const char *run_key;
        const char *job;
        int64_t attempt, interruptions;
        bool started;
        const char *host, *stop_cause;
        int64_t max_interruptions;
} StoreOrphan;

typedef void (*StoreOrphansCallback)(
        int error, const StoreOrphan *orphans, unsigned n_orphans, void *userdata);

/* Runs of stopped instances and of pullers that let their time pass, to be ended by
 * store_end_runs(). */
int store_list_orphans(Store *s, unsigned n_most, StoreOrphansCallback callback, void *userdata,
        StoreRequest **ret_request);
