/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "job.h"
#include "store-jobs.h"
#include "strbuf.h"
#include "uuid.h"

/* Group commit: jobs of many requests go into the queue by one statement and one commit. While a
 * statement is under way, requests gather; the next statement takes them all.
 *
 * GLOSSARY
 * order   the jobs of one request, taken all or none
 * alone   an order that is sent in a statement of its own, since one of a batch was refused by the
 *         server: one caller's poison must not fail the others
 * doubt   the connection was lost before the answer: whether the jobs exist is asked on the next
 *         connection; those that do not are sent again with the same ids, which the primary key
 *         keeps from being there twice
 */

typedef struct Enqueuer Enqueuer;
typedef struct EnqueueOrder EnqueueOrder;

typedef enum EnqueueOutcome {
        ENQUEUE_CREATED,
        ENQUEUE_EXISTS, /* job is the one that is there */
        ENQUEUE_MISMATCH, /* the idempotency key was used for another request */
        ENQUEUE_REFUSED, /* detail says why */
        ENQUEUE_SKIPPED, /* another of the order was refused */
} EnqueueOutcome;

typedef struct EnqueueRow {
        EnqueueOutcome outcome;
        char job[UUID_TEXT_SIZE]; /* "" if there is none */
        JobState state; /* of a created one: ready, scheduled or blocked, unless its answer was
                         * lost: as it was when it was found */
        char *detail; /* or NULL */
} EnqueueRow;

/* In the text of an error -EAGAIN: lock_timeout passed (bootstrap.sql), for a transaction that is
 * still open holds a key of the order. */
#define ENQUEUE_HELD "SQLSTATE 55P03"

/* Called once from the event loop, unless the order was dropped; the order is freed afterwards.
 * error 0: one row for each job. Otherwise there are none:
 * - -ENOTCONN, -EAGAIN, -ENOBUFS: nothing was done, may be repeated; -EAGAIN: text may say why
 * - -ECONNRESET: not known
 * - -EIO: the server refused it; text says why
 * - other: a fault */
typedef void (*EnqueueCallback)(
        int error, const EnqueueRow *rows, unsigned n_rows, const char *text, void *userdata);

/* store must outlive it. */
int enqueuer_new(sd_event *event, Store *store, Enqueuer **ret);
/* Drops everything. */
Enqueuer *enqueuer_free(Enqueuer *e);
DEFINE_CLEANUP(Enqueuer, enqueuer_free)
/* The database came or went. */
void enqueuer_kick(Enqueuer *e);

int enqueue_order_new(EnqueueOrder **ret);
/* Also drops it where it waits. Jobs that were sent may be created nevertheless. */
EnqueueOrder *enqueue_order_free(EnqueueOrder *o);
DEFINE_CLEANUP(EnqueueOrder, enqueue_order_free)
/* Adds a job: the members of its JSON object without id, grp and braces; at least one. Makes its
 * id. */
int enqueue_order_add(EnqueueOrder *o, const char *members, size_t size);
unsigned enqueue_order_n_jobs(const EnqueueOrder *o);
/* Takes the order over, also if it fails: then the callback comes, too. */
void enqueuer_submit(Enqueuer *e, EnqueueOrder *o, EnqueueCallback callback, void *userdata);

typedef struct EnqueuerStats {
        uint64_t n_created, n_statements;
        unsigned n_waiting;
} EnqueuerStats;

void enqueuer_get_stats(const Enqueuer *e, EnqueuerStats *ret);
