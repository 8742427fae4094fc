/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "store-jobs.h"

/* Statements about the keys of the HTTP API. Rules as in store.h. */

enum {
        STORE_KEY_NAME,
        STORE_KEY_ROLE,
        STORE_KEY_TENANT, /* NULL: every one's */
        STORE_KEY_SUBJECT, /* NULL: none */
        STORE_KEY_ACTS, /* "true": for any subject */
        STORE_KEY_ID,
};

/* The key of a hash, no row if it is not good (any more). */
int store_get_api_key(Store *s, const char *hash, StoreRowCallback callback, void *userdata,
        StoreRequest **ret_request);

/* Which of these keys are good (any more). */
int store_find_good_keys(Store *s, const int64_t *ids, unsigned n_ids, StoreIdsCallback callback,
        void *userdata, StoreRequest **ret_request);

typedef struct StoreApiKey {
        const char *name, *hash, *role;
        const char *tenant, *subject; /* may be NULL */
        bool acts;
        const char *expires; /* RFC 3339 or NULL */
        const char *actor;
} StoreApiKey;

/* Row: the id. -EIO with SQLSTATE 23505: the name is taken. */
int store_add_api_key(Store *s, const StoreApiKey *key, StoreRowCallback callback, void *userdata,
        StoreRequest **ret_request);
/* Row: a JSON array. */
int store_list_api_keys(
        Store *s, StoreRowCallback callback, void *userdata, StoreRequest **ret_request);
/* Row: the name; none if there is no such living key. */
int store_revoke_api_key(Store *s, int64_t id, const char *actor, StoreRowCallback callback,
        void *userdata, StoreRequest **ret_request);

typedef struct StoreRate {
        int64_t n; /* requests in this window; one more than the limit: too many */
        int64_t left_usec; /* until it ends */
} StoreRate;

typedef void (*StoreRateCallback)(int error, const StoreRate *rate, void *userdata);
typedef struct StoreRateLimit {
        int64_t key;
        const char *route;
        unsigned n_most;
        usec_t per_usec;
} StoreRateLimit;

/* Counts a request of the key by the route. */
int store_take_rate(Store *s, const StoreRateLimit *limit, StoreRateCallback callback,
        void *userdata, StoreRequest **ret_request);
