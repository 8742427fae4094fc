/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "store-jobs.h"

/* Statements of those who steer: flags and queues. Rules as in store.h. Each change writes who,
 * when and why into the history and tells the listeners in its own transaction: flags on channel
 * STORE_FLAG_CHANNEL, queues on the workers' one. What is given has been checked: names, percents,
 * rules, the length of a reason (REEVE_REASON_MAX). */

#define STORE_FLAG_CHANNEL "reeve_flag" /* StoreConfig.channel */

/* A flag. Texts are valid until the callback returns. */
typedef struct StoreFlag {
        const char *key;
        const char *description; /* may be NULL */
        bool enabled;
        int64_t percent; /* thousandths of a percent, 0 to REEVE_FLAG_PERCENT_MAX */
        const char *bucketing; /* murmur3, modulo */
        const char *seed; /* NULL: the key */
        const char *allow; /* a JSON array of subjects */
        const char *rules; /* a JSON array */
        const char *value_on, *value_off; /* JSON */
        const char *on_stale; /* keep, on, off */
        int64_t version; /* from 1, one more with each change */
        const char *updated_by;
        usec_t updated_usec; /* CLOCK_REALTIME */
        usec_t archived_usec; /* USEC_INFINITY: it is in use */
        const char *queues; /* that it guards: a JSON array of names */
} StoreFlag;

typedef void (*StoreFlagsCallback)(
        int error, const StoreFlag *flags, unsigned n_flags, void *userdata);

/* The flags that are in use, by key; or, if key is not NULL, that one, archived or not. */
int store_list_flags(Store *s, const char *key, StoreFlagsCallback callback, void *userdata,
        StoreRequest **ret_request);

/* A new flag. NULL texts (all but key and actor) and empty ones are the table's defaults. */
typedef struct StoreNewFlag {
        const char *key;
        const char *description;
        bool enabled;
        int64_t percent;
        const char *bucketing, *seed;
        const char *const *allow; /* NULL-terminated, or NULL */
        const char *rules;
        const char *value_on, *value_off;
        const char *on_stale;
        const char *actor;
        const char *reason;
} StoreNewFlag;

enum { STORE_FLAG_EXISTS = 0, STORE_FLAG_TOO_MANY = -1 }; /* instead of a version */

/* n: the version (1), or one of the outcomes above. An archived flag's key stays taken. */
int store_create_flag(Store *s, const StoreNewFlag *flag, StoreCountCallback callback,
        void *userdata, StoreRequest **ret_request);

/* Who changes what, and why. */
typedef struct StoreChange {
        const char *name; /* a flag's key, a queue's name */
        const char *actor;
        const char *reason; /* may be NULL */
} StoreChange;

/* n: the flag's new version, 0: there is no such flag (or it is archived). A change to what was set
 * before is a change as well: it is recorded. */
int store_set_flag_enabled(Store *s, const StoreChange *change, bool enabled,
        StoreCountCallback callback, void *userdata, StoreRequest **ret_request);
int store_set_flag_percent(Store *s, const StoreChange *change, unsigned percent,
        StoreCountCallback callback, void *userdata, StoreRequest **ret_request);
int store_set_flag_rules(Store *s, const StoreChange *change, const char *rules,
        StoreCountCallback callback, void *userdata, StoreRequest **ret_request);
int store_set_flag_allow(Store *s, const StoreChange *change, const char *const *allow,
        StoreCountCallback callback, void *userdata, StoreRequest **ret_request);
int store_set_flag_queues(Store *s, const StoreChange *change, const char *const *queues,
        StoreCountCallback callback, void *userdata, StoreRequest **ret_request);
int store_archive_flag(Store *s, const StoreChange *change, StoreCountCallback callback,
        void *userdata, StoreRequest **ret_request);

/* Row: a JSON array, newest first; times as in store-jobs.h. */
int store_list_flag_history(Store *s, const char *key, unsigned n_most, StoreRowCallback callback,
        void *userdata, StoreRequest **ret_request);

/* n: 1, or 0: nothing knows this queue (no kind, living worker or job). */
int store_set_queue_paused(Store *s, const StoreChange *change, bool paused,
        StoreCountCallback callback, void *userdata, StoreRequest **ret_request);

/* ---- operations ---- */

enum { STORE_NO_FLAG = 0, STORE_NO_QUEUES = -1 }; /* instead of an operation's id */

typedef struct StoreRollback {
        StoreChange change; /* name: the flag's key */
        const char *const *queues; /* NULL-terminated; NULL: those that the flag guards */
        usec_t timeout_usec; /* how long what was let in may take */
} StoreRollback;

/* n: the operation's id, or one of the outcomes above. The operation that runs for this flag
 * already is joined. */
int store_start_rollback(Store *s, const StoreRollback *rollback, StoreCountCallback callback,
        void *userdata, StoreRequest **ret_request);
/* Row: a JSON object of what that would do; NULL: there is no such flag. */
int store_plan_rollback(Store *s, const char *flag, const char *const *queues,
        StoreRowCallback callback, void *userdata, StoreRequest **ret_request);
/* Takes the next step of all that run. n: how many go on. */
int store_advance_operations(
        Store *s, StoreCountCallback callback, void *userdata, StoreRequest **ret_request);
/* Row: a JSON array of those that run or have ended a short time ago. */
int store_list_operations(
        Store *s, StoreRowCallback callback, void *userdata, StoreRequest **ret_request);
