/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>

#include "time-util.h"

/* A libpq that follows a script: the calls that matter, in the order they are expected, each with
 * what it gives back. Anything else that is called, in any other order, fails the test. Calls
 * that only look (PQsocket, PQstatus, PQisBusy, PQerrorMessage, ...) are answered from the state.
 *
 * It behaves like libpq 15 where it was measured: PQgetResult would block while PQisBusy, which is
 * so unless a result is next in the script; a broken connection is never busy and gives NULL for
 * ever; PQnotifies gives NULL unless a notification is next. */
typedef enum FakeStep {
        FAKE_END,
        FAKE_CONNECT, /* r: 0 under way, -1 failed at once, -2 no memory */
        FAKE_POLL, /* r: PGRES_POLLING_* */
        FAKE_NONBLOCKING,
        FAKE_PIPELINE, /* r: 0 entered, -1 refused */
        FAKE_PREPARE, /* text: the statement's name */
        FAKE_EXECUTE, /* text: the statement's name */
        FAKE_QUERY, /* text: the SQL */
        FAKE_SYNC,
        FAKE_FLUSH, /* r: what PQflush gives */
        FAKE_CONSUME, /* r: 0 it went well, -1 the connection ended */
        FAKE_RESULT, /* r: ExecStatusType, or FAKE_NULL; text: SQLSTATE or NULL */
        FAKE_NOTIFY,
} FakeStep;

#define FAKE_NULL (-1)

typedef struct FakeCall {
        FakeStep step;
        int r;
        const char *text;
        const char *severity; /* of a result that is an error; NULL: ERROR */
        const char *function; /* the server's function that raised it */
        bool new_socket; /* the connection has another socket after this call */
        bool fails; /* a call that sends: it says no */
} FakeCall;

/* Groups that most scripts have. */
#define FAKE_CONNECTED                                                                             \
        { FAKE_CONNECT }, { FAKE_POLL, PGRES_POLLING_OK }, { FAKE_NONBLOCKING },                   \
        {                                                                                          \
                FAKE_PIPELINE                                                                      \
        }
#define FAKE_SENT(sql)                                                                             \
        { FAKE_QUERY, .text = (sql) }, { FAKE_SYNC },                                              \
        {                                                                                          \
                FAKE_FLUSH                                                                         \
        }
/* The first and a later time that a named statement is sent; the first has one result more. */
#define FAKE_FIRST(name)                                                                           \
        { FAKE_PREPARE, .text = (name) }, { FAKE_EXECUTE, .text = (name) }, { FAKE_SYNC },         \
        {                                                                                          \
                FAKE_FLUSH                                                                         \
        }
#define FAKE_NEXT(name)                                                                            \
        { FAKE_EXECUTE, .text = (name) }, { FAKE_SYNC },                                           \
        {                                                                                          \
                FAKE_FLUSH                                                                         \
        }
#define FAKE_ROWS                                                                                  \
        { FAKE_RESULT, PGRES_TUPLES_OK },                                                          \
        {                                                                                          \
                FAKE_RESULT, FAKE_NULL                                                             \
        }
#define FAKE_DONE                                                                                  \
        { FAKE_RESULT, PGRES_COMMAND_OK },                                                         \
        {                                                                                          \
                FAKE_RESULT, FAKE_NULL                                                             \
        }
#define FAKE_SYNCED                                                                                \
        {                                                                                          \
                FAKE_RESULT, PGRES_PIPELINE_SYNC                                                   \
        }
#define FAKE_ERROR(sqlstate)                                                                       \
        { FAKE_RESULT, PGRES_FATAL_ERROR, .text = (sqlstate) },                                    \
        {                                                                                          \
                FAKE_RESULT, FAKE_NULL                                                             \
        }

/* Begins a script of n calls (it must outlive the test). */
void fake_pq_begin(const FakeCall *script, unsigned n);

/* Fails the test unless every call came, and every connection and result was given back. */
void fake_pq_end(void);

unsigned fake_pq_n_left(void);

/* Makes the connection's socket readable once. */
void fake_pq_readable(void);

/* Pauses asked for with sd_event_add_time_relative() between 1 us and 3 s, which are those before
 * a new attempt; they are kept, and last fake_pause_usec instead (an hour unless a test says
 * otherwise). */
extern usec_t fake_pause_usec;
extern usec_t fake_pauses[32];
extern unsigned fake_n_pauses;

/* The n-th next allocation (calloc, strdup) or event source of the code under test fails;
 * 0: none does. Counts down. */
extern unsigned fake_fail_after;

/* Settings of the last attempt, by keyword; NULL if it was not given. */
const char *fake_pq_setting(const char *keyword);

/* The n-th value of the statement sent last, NULL for NULL; n < 2. */
const char *fake_pq_value(unsigned n);
