/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "store-run.h"

/* Statements about worker instances: their life, their heartbeats, and what they leave behind.
 * Rules as in store.h. */

/* A living instance of a name on a host of a name. */
typedef struct StoreNamesake {
        int64_t instance;
        bool made; /* it is the one that was registered */
        int64_t beat;
        int64_t age_usec; /* of its last heartbeat, by the database's clock */
        int64_t pid;
        const char *process, *machine; /* worker/namesake.h; NULL: it did not say */
} StoreNamesake;

typedef struct StoreInstance {
        const char *host, *name, *boot_id;
        int64_t pid;
        const char *process, *machine; /* NULL: not known */
        const char *version;
        int64_t schema_version;
        const char *const *kinds, *const *queues; /* NULL-terminated */
        unsigned n_slots;
        const StoreNamesake *gone; /* to be stopped, if their beats are still these */
        unsigned n_gone;
} StoreInstance;

typedef void (*StoreNamesakesCallback)(
        int error, const StoreNamesake *rows, unsigned n_rows, void *userdata);

/* Makes the instance's row, unless others of its name are left. rows: the new one, or these. */
int store_register_instance(Store *s, const StoreInstance *instance,
        StoreNamesakesCallback callback, void *userdata, StoreRequest **ret_request);

int store_list_namesakes(Store *s, const char *host, const char *name,
        StoreNamesakesCallback callback, void *userdata, StoreRequest **ret_request);

/* Stops an instance. n: 0 if it was stopped already. */
int store_stop_instance(Store *s, int64_t instance, const char *cause, StoreCountCallback callback,
        void *userdata, StoreRequest **ret_request);

typedef struct StoreHeartbeat {
        int64_t instance;
        const char *state; /* idle, busy, draining */
        unsigned n_busy;
        uint64_t n_jobs_done;
} StoreHeartbeat;

/* A heartbeat. n: the counter, or 0: the instance was stopped by somebody else and must give up its
 * runs. */
int store_beat_instance(Store *s, const StoreHeartbeat *beat, StoreCountCallback callback,
        void *userdata, StoreRequest **ret_request);

/* What the instance cannot run, and why: a JSON array of {kind, code, message, since}. */
int store_set_faults(
        Store *s, int64_t instance, const char *faults, StoreDoneCallback callback, void *userdata);

/* Runs of an instance that somebody wants to end. */
int store_list_cancels(Store *s, int64_t instance, StoreRunsCallback callback, void *userdata,
        StoreRequest **ret_request);

typedef void (*StoreNamesCallback)(
        int error, const char *const *names, unsigned n_names, void *userdata);

/* A queue that is paused, or a kind that has limits. */
typedef struct StoreClaimRule {
        const char *name;
        bool paused; /* false: the name is a kind's */
} StoreClaimRule;

typedef void (*StoreClaimRulesCallback)(
        int error, const StoreClaimRule *rules, unsigned n_rules, void *userdata);

/* What one who claims has to know: see claim_rules_set(). */
int store_list_claim_rules(
        Store *s, StoreClaimRulesCallback callback, void *userdata, StoreRequest **ret_request);

typedef void (*StoreOwnRunsCallback)(
        int error, const StoreOwnRun *runs, unsigned n_runs, void *userdata);

/* The leases an instance holds. */
int store_list_own_runs(Store *s, int64_t instance, StoreOwnRunsCallback callback, void *userdata,
        StoreRequest **ret_request);

/* Publishes kinds: a JSON array as sql/publish-kinds.sql takes it. names: those that changed. */
int store_publish_kinds(Store *s, const char *kinds, StoreNamesCallback callback, void *userdata,
        StoreRequest **ret_request);
