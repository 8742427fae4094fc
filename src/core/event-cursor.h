/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "reeve-limits.h"
#include "strbuf.h"
#include "uuid.h"

/* How far somebody has been told what happened: the id of an event.
 *
 * A change is named by the transaction that made it (PostgreSQL's 64-bit number, the same on every
 * host and after every restart) and the job. Transactions commit in another order than their
 * numbers have, so a number alone would skip what is committed late; a cursor also names those that
 * were still open below it. As text: NEXT[.JOB][,OPEN[.JOB]]... Told is everything of transactions
 * below NEXT but for the OPEN ones, and of a transaction with a JOB all jobs up to that one.
 *
 * GLOSSARY
 * snapshot  what PostgreSQL says of transactions as pg_current_snapshot(): xmin:xmax:xip,...
 */

typedef struct EventPlace {
        uint64_t xid;
        Uuid job; /* zero: none of them was told */
} EventPlace;

typedef struct EventCursor {
        EventPlace next;
        EventPlace open[REEVE_EVENT_OPEN_MAX]; /* ascending, below next */
        unsigned n_open;
} EventCursor;

typedef struct EventSnapshot {
        uint64_t xmax; /* no transaction from here on is visible */
        uint64_t open[REEVE_EVENT_OPEN_MAX]; /* ascending, below xmax */
        unsigned n_open;
} EventSnapshot;

/* Return 0 or -EINVAL. A snapshot with more open transactions than fit is read as one that was
 * taken earlier: what comes after it is told later. */
int event_cursor_parse(const char *text, EventCursor *ret);
int event_snapshot_parse(const char *text, EventSnapshot *ret);
void event_cursor_format(const EventCursor *c, StrBuf *b);

/* Whether a change was told. */
bool event_cursor_has(const EventCursor *c, uint64_t xid, const Uuid *job);
/* It has now been told, and so has everything before it, in this order: first what was open, then
 * what is new, each by transaction and job. s: as it was when the changes were asked for. */
void event_cursor_take(EventCursor *c, const EventSnapshot *s, uint64_t xid, const Uuid *job);
/* Everything was told. */
void event_cursor_finish(EventCursor *c, const EventSnapshot *s);
