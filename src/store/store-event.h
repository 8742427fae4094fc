/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "event-cursor.h"
#include "store.h"

/* What changed since somebody looked. Rules as in store.h. */

/* Of one change. Texts are valid until the callback returns; those of the job are NULL where a
 * later change of the page has them, or where the job is no more. */
typedef struct StoreEvent {
        const char *snapshot; /* the same in all of a page */
        int64_t run_id; /* the same: the latest run that is under way */
        const char *xid; /* NULL: nothing has changed; the only row */
        const char *job;
        const char *ended; /* "t" or "f": whether this is its end */
        const char *soft; /* "t" or "f": whether only its progress changed */
        const char *tenant, *subject, *kind, *queue, *state;
        const char *body; /* JSON as GET /api/jobs/{id} has it, without the result */
        const char *result; /* JSON, of jobs that were named; NULL: none */
} StoreEvent;

/* rows: at least one if error is 0. */
typedef void (*StoreEventsCallback)(
        int error, const StoreEvent *rows, unsigned n_rows, void *userdata);

typedef struct StoreEventQuery {
        const EventCursor *cursor; /* NULL: nothing is wanted but the snapshot */
        int64_t run_id; /* all runs up to this one were seen */
        bool everybody; /* not only the jobs that are named */
        const char *const *jobs;
        unsigned n_jobs;
        const char *const *idle; /* those of them that neither run nor have ended */
        unsigned n_idle;
} StoreEventQuery;

/* At most REEVE_EVENT_PAGE_MAX rows; if there are so many, there may be more. */
int store_list_events(Store *s, const StoreEventQuery *query, StoreEventsCallback callback,
        void *userdata, StoreRequest **ret_request);
