/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "store.h"

/* Statements about jobs that wait for jobs. Rules as in store.h. */

typedef struct StoreSpawn {
        int64_t run_id;
        const char *run_key;
        const char *children; /* JSON array of objects as enqueue_batch() takes them */
        const char *actor;
} StoreSpawn;

/* Ends a run that asked for children. n: children made; 0 in a callback without error: stale, or
 * all were there before. -EIO with SQLSTATE 22023: one was refused, nothing changed. */
int store_spawn_children(Store *s, const StoreSpawn *spawn, StoreCountCallback callback,
        void *userdata, StoreRequest **ret_request);

typedef struct StoreChild {
        int64_t child_no;
        const char *id, *kind, *state, *cause;
        const char *result, *result_blob, *error_code, *error_message; /* may be NULL */
} StoreChild;

typedef void (*StoreChildrenCallback)(
        int error, const StoreChild *children, unsigned n_children, void *userdata);

#define STORE_CHILDREN_PAGE 500U

/* The ended children of a job with numbers above after (-1: from the first), at most a page of
 * them. */
int store_list_children(Store *s, const char *parent, int64_t after, StoreChildrenCallback callback,
        void *userdata, StoreRequest **ret_request);
