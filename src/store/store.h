/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "macros.h"
#include "time-util.h"

/* The queue in PostgreSQL. One function runs one statement of sql/ of the same name; nobody else
 * speaks SQL.
 *
 * Every function that starts a statement copies what it is given, returns 0, -ENOTCONN (not
 * connected, nothing sent), -ENOBUFS or -ENOMEM, and calls back from the event loop, once, never
 * before it has returned. The callback's error: 0            done; the rows are valid until the
 * callback returns -ECONNRESET, -ETIMEDOUT   the outcome is unknown: ask or send again, every
 * statement is guarded -EAGAIN      undone by the server, try again -EIO         refused:
 * store_last_error() has the server's words -EPROTO      the rows are not what this program expects
 * ret_request may be NULL; otherwise it can be cancelled until the callback. */

typedef struct Store Store;
typedef struct StoreRequest StoreRequest;

/* Called after each change between connected and not, and after each failed attempt (text: why). */
typedef void (*StoreStateCallback)(bool connected, const char *text, void *userdata);
/* Something may have changed that is worth a look before the next poll. */
typedef void (*StoreHintCallback)(void *userdata);

typedef struct StoreConfig {
        const char *conninfo; /* Database= */
        const char *role; /* unless conninfo names a user */
        const char *application_name; /* in pg_stat_activity */
        bool prepared; /* Prepared= */
        bool listen; /* take hints: a second connection with LISTEN */
        const char *channel; /* where hints come from; NULL: the workers' one */
        usec_t deadline_usec; /* for an answer; 0: 15 s */
        StoreStateCallback on_state; /* may be NULL */
        StoreHintCallback on_hint; /* may be NULL */
        void *userdata;
} StoreConfig;

/* Strings are copied. The first attempt to connect starts in the next iteration of the loop. */
int store_new(sd_event *event, const StoreConfig *config, Store **ret);
/* Drops what is under way without callbacks. Not to be called from a callback. NULL-safe, returns
 * NULL. */
Store *store_free(Store *s);
DEFINE_CLEANUP(Store, store_free)

bool store_is_connected(const Store *s);
/* Whether hints come: false as well where none were asked for. */
bool store_is_listening(const Store *s);
unsigned store_n_pending(const Store *s);
/* CLOCK_MONOTONIC of the last answer, of the end of the last attempt to connect; 0: none yet. */
usec_t store_last_answer_usec(const Store *s);
usec_t store_last_attempt_usec(const Store *s);
/* Age of the oldest unanswered request or of the attempt under way; 0: none. */
usec_t store_oldest_age_usec(const Store *s);
/* One line about the last failure, of a statement (with its name and SQLSTATE) or of the
 * connection; "" if none. */
const char *store_last_error(const Store *s);
/* Whether the last failure says that the schema, or a table of it, is not there. */
bool store_lacks_schema(const Store *s);

/* No callback will follow. The statement is not undone. NULL-safe, returns NULL. */
StoreRequest *store_request_cancel(StoreRequest *q);

typedef void (*StoreDoneCallback)(int error, void *userdata);
typedef void (*StoreCountCallback)(int error, int64_t n, void *userdata);

/* The schema's version; -EIO with SQLSTATE 42P01 or 3F000 in store_last_error() if there is none
 * yet. */
int store_get_schema_version(
        Store *s, StoreCountCallback callback, void *userdata, StoreRequest **ret_request);
/* How many partitions were made. */
int store_ensure_partitions(
        Store *s, StoreCountCallback callback, void *userdata, StoreRequest **ret_request);
