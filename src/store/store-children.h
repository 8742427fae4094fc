/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "store.h"

/* Statements about jobs that wait for jobs. Rules as in store.h. */

typedef struct StoreSpawn {
        int64_t run_id;
        const char *run_key;
        const char *children; /* JSON array of objects as enqueue_batch() takes them */
        const char *actor;
        unsigned at_once; /* so many of them under way at a time; 0: all */
        int progress_from, progress_to; /* the part of the bar that they are; < 0: none */
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

/* A file that a succeeded child left. */
typedef struct StoreChildFile {
        int64_t child_no;
        const char *direction; /* output, or result: one that is too large for the row */
        const char *name; /* "" for a result */
        const char *digest;
        int64_t size;
} StoreChildFile;

typedef void (*StoreChildFilesCallback)(
        int error, const StoreChildFile *files, unsigned n_files, void *userdata);

/* Those after the given one (NULL: from the first), at most a page of them. */
int store_list_child_files(Store *s, const char *parent, const StoreChildFile *after,
        StoreChildFilesCallback callback, void *userdata, StoreRequest **ret_request);

/* The ended children of a job with numbers above after (-1: from the first), at most a page of
 * them. */
int store_list_children(Store *s, const char *parent, int64_t after, StoreChildrenCallback callback,
        void *userdata, StoreRequest **ret_request);
