/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "api-private.h"
#include "event-batch.h"
#include "job.h"

/* What happens, for all who listen: one statement at a time asks the database for what is new, and
 * one more for those who come back and are behind, together where they stand at the same place.
 * Nothing is asked while nobody listens.
 *
 * GLOSSARY
 * tail    the chain of what was read, that those stand on who are not behind
 * behind  it has an id to go on from that is not the tail's: read page by page, as it reads
 * drained it was given all there is
 */

typedef enum StreamState {
        STREAM_OPENING, /* waits for the tail's place to be known, and for no question to be asked
                         */
        STREAM_ASKED, /* the job's state is being asked for */
        STREAM_BEHIND,
        STREAM_JOINING, /* read up to its own place, which the tail will pass next */
        STREAM_LIVE,
} StreamState;

/* NULL: any. */
typedef struct StreamFilter {
        const char *tenant, *kind, *queue, *state;
} StreamFilter;

typedef struct EventStream {
        Feed *feed;
        Call *call; /* NULL never; the stream is its data */
        struct EventStream *prev, *next;
        StreamState state;
        bool of_job; /* only the call's job, to its end */
        JobState job_state; /* as it was told last */
        uint64_t hash; /* of what was told last of the job */
        StreamFilter filter;
        char *behind; /* id */
        EventCursor *told; /* while it joins: what of the batch joined_at it has had */
        EventBatch *joined_at; /* not held */
        StrBuf own; /* what only this one gets, before what follows */
        EventBatch *at; /* held; NULL: none yet */
        unsigned i; /* of the item in it */
        size_t offset; /* of the item's text: > 0 in the middle of it */
        const char *closing; /* a reason: to be told, then it is over */
        bool over;
        usec_t given_usec; /* when something was taken last */
} EventStream;

typedef struct FeedStats {
        unsigned streams;
        uint64_t n_events; /* read from the database */
        uint64_t n_slow; /* streams that were ended because nobody read */
        size_t bytes;
} FeedStats;

int feed_new(Api *a, Feed **ret);
Feed *feed_free(Feed *f); /* streams are gone: they go with their calls */
void feed_get_stats(const Feed *f, FeedStats *ret);
/* Ends all streams; they go on elsewhere. */
void feed_stop(Feed *f);

/* event-stream.c calls these. */
/* Replies with a stream; the call lives until it ends, and is then freed. (api.c has it.) */
void call_open(Call *c, HttpResponse *response, HttpPull pull, void *userdata);
void feed_add(Feed *f, EventStream *s);
void feed_remove(Feed *f, EventStream *s);
/* The id of what was read last. */
const char *feed_get_id(const Feed *f);
EventBatch *feed_get_tail(const Feed *f);
void feed_count_slow(Feed *f);

/* event-feed.c calls these. Begins to answer; called when no question is on the way. */
void stream_begin(EventStream *s);
bool stream_is_drained(const EventStream *s);
/* Puts a drained stream at the beginning of a batch, and behind what is not for it. */
void stream_move(EventStream *s, EventBatch *b);
void stream_wake(EventStream *s);
/* Ends it with a reason for the reader. slow: at once, even in the middle of an event. */
void stream_close(EventStream *s, const char *reason, bool slow);
