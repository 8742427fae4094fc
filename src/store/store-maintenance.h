/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "store.h"

/* What reeve-maintenance runs, one statement at a time: each may take long, and each is harmless
 * when two run it at once. Rules as in store.h. A count of n_most means: once more. */

/* How many jobs were looked at (n_most: once more), and how many results expired. */
typedef void (*StoreExpiredCallback)(int error, int64_t n_seen, int64_t n_expired, void *userdata);
int store_expire_results(Store *s, unsigned n_most, StoreExpiredCallback callback, void *userdata,
        StoreRequest **ret_request);
/* Buckets of rates that say nothing any more. */
int store_forget_buckets(Store *s, unsigned n_most, StoreCountCallback callback, void *userdata,
        StoreRequest **ret_request);
int store_delete_expired_keys(Store *s, unsigned n_most, StoreCountCallback callback,
        void *userdata, StoreRequest **ret_request);
/* Worker instances that stopped longer ago than that. */
int store_delete_old_instances(Store *s, usec_t age_usec, StoreCountCallback callback,
        void *userdata, StoreRequest **ret_request);

/* Deletes what belongs to jobs of the oldest week that ended more than keep_usec ago; when n is 0,
 * store_drop_week() can drop it. */
int store_forget_week(Store *s, usec_t keep_usec, unsigned n_most, StoreCountCallback callback,
        void *userdata, StoreRequest **ret_request);
/* n: weeks dropped, 0 or 1. -EAGAIN: others kept the tables busy. */
int store_drop_week(Store *s, usec_t keep_usec, StoreCountCallback callback, void *userdata,
        StoreRequest **ret_request);

typedef struct StoreBlobName {
        const char *tenant, *digest;
} StoreBlobName;

typedef void (*StoreBlobNamesCallback)(
        int error, const StoreBlobName *names, unsigned n_names, void *userdata);

int store_mark_orphans(
        Store *s, StoreCountCallback callback, void *userdata, StoreRequest **ret_request);
/* Blobs that nobody has named for grace_usec, at most n_most; the database knows of them no more:
 * their files may go. */
int store_forget_orphans(Store *s, usec_t grace_usec, unsigned n_most,
        StoreBlobNamesCallback callback, void *userdata, StoreRequest **ret_request);
/* Those of the names that the database knows nothing of. */
int store_find_unknown_blobs(Store *s, const StoreBlobName *names, unsigned n_names,
        StoreBlobNamesCallback callback, void *userdata, StoreRequest **ret_request);
