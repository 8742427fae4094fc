/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>
#include <systemd/sd-event.h>

#include "macros.h"
#include "time-util.h"

/* One PostgreSQL connection in pipeline mode under sd-event, which comes back by itself. Nothing
 * here blocks, but for libpq's own name resolution (give hostaddr= or a socket directory to avoid
 * it).
 *
 * GLOSSARY
 * - request: one statement and its Sync: an implicit transaction of its own, so that one caller's
 *   error aborts nobody else
 * - queue: requests sent and not answered, in order; libpq names no results, so this order is all
 *   there is
 * - lost: the connection broke with requests in the queue: their outcome is unknown, and each is
 *   told so
 * - overrun: the oldest request had no answer within the statement deadline: the connection is
 *   given up as lost
 */

typedef struct PqLoop PqLoop;
typedef struct PqRequest PqRequest;

/* A statement of store/sql: the name serves for preparing, parameters have their types as casts in
 * the text. */
typedef struct PqStatement {
        const char *name;
        const char *sql;
        unsigned n_params;
} PqStatement;

/* Called once for each request that was not cancelled, from the event loop. error 0: result holds
 * the rows (PGRES_TUPLES_OK or COMMAND_OK) and stays valid until the callback returns. Otherwise
 * result is NULL or the server's error, never rows:
 * - -ECONNRESET: the connection was lost: the outcome is unknown
 * - -ETIMEDOUT: overrun: the outcome is unknown
 * - -EAGAIN: the server undid it and asks for another try (serialization, deadlock, lock or
 *   statement timeout, out of disk or memory, not a primary any more, a prepared statement that is
 *   gone)
 * - -EIO: the server refused it: see PQresultErrorField()
 * The request is freed afterwards; sending new requests from here is allowed, freeing the
 * connection is not (nor from the callbacks below). */
typedef void (*PqResultCallback)(PqRequest *q, int error, const PGresult *result, void *userdata);

typedef enum PqState {
        PQ_WAITING, /* for the next attempt */
        PQ_CONNECTING, /* an attempt is under way */
        PQ_CONNECTED,
} PqState;

/* Called from the event loop after each change between connected and not, and after each attempt
 * that failed. text says why in one line (libpq's words), NULL when connected. */
typedef void (*PqStateCallback)(PqLoop *p, PqState state, const char *text, void *userdata);

/* Called when a notification came, or when one may have been missed because the connection was new.
 */
typedef void (*PqNotifyCallback)(PqLoop *p, void *userdata);

typedef struct PqConfig {
        const char *conninfo; /* libpq connection string */
        const char *user; /* role, unless conninfo names one; may be NULL */
        const char *application_name; /* seen in pg_stat_activity */
        /* true: statements are named and prepared once, and requests are pipelined. false: for a
         * pooler in transaction mode: unnamed, each sent when the one before it was answered.
         * PgBouncer 1.18 gives answers of pipelined unnamed statements to others (measured). */
        bool prepared;
        const char *listen; /* a channel to LISTEN on, or NULL */
        usec_t connect_timeout_usec; /* 0: 5 s */
        usec_t deadline_usec; /* for an answer to a request; 0: 15 s */
        usec_t retry_max_usec; /* longest pause between attempts; 0: 2 s */
        PqStateCallback on_state; /* may be NULL */
        PqNotifyCallback on_notify; /* may be NULL */
        void *userdata;
} PqConfig;

/* Makes the connection object; the first attempt starts in the next iteration of the loop. Strings
 * are copied. */
int pq_loop_new(sd_event *event, const PqConfig *config, PqLoop **ret);

/* Closes without further callbacks: requests in the queue are dropped silently. NULL-safe, returns
 * NULL. */
PqLoop *pq_loop_free(PqLoop *p);
DEFINE_CLEANUP(PqLoop, pq_loop_free)

/* Sends a statement. values has statement->n_params texts, NULL for SQL NULL; all are copied.
 * statement must outlive the connection. ret_request may be NULL if it is never to be cancelled.
 * Returns 0, -ENOTCONN (not connected: nothing was sent), -ENOBUFS (the queue is full) or -ENOMEM.
 */
int pq_loop_send(PqLoop *p, const PqStatement *statement, const char *const *values,
        PqResultCallback callback, void *userdata, PqRequest **ret_request);

/* The callback will not come. The statement is not undone on the server. NULL-safe, returns NULL.
 */
PqRequest *pq_request_cancel(PqRequest *q);

bool pq_loop_is_connected(const PqLoop *p);
unsigned pq_loop_n_pending(const PqLoop *p);

/* CLOCK_MONOTONIC times for a program's watchdog: of the last answer to any request, of the end of
 * the last attempt to connect (either way); 0 if there was none. */
usec_t pq_loop_last_answer_usec(const PqLoop *p);
usec_t pq_loop_last_attempt_usec(const PqLoop *p);
/* How long the oldest request has waited for its answer, or an attempt under way has taken; 0 if
 * there is none. */
usec_t pq_loop_oldest_age_usec(const PqLoop *p);

/* The last reason for not being connected, in one line; NULL if there never was one. Owned by p. */
const char *pq_loop_last_error(const PqLoop *p);
