/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "api-auth.h"
#include "api-jobs.h"
#include "event-feed.h"

#include "log.h"
#include "sse.h"

/* A stream of events: who reads, from where, and what of it is for them. */

static EventStream *stream_free(EventStream *s)
{
        if (!s)
                return NULL;
        free(s->behind);
        free(s->told);
        event_batch_unref(s->at);
        strbuf_done(&s->own);
        return mfree(s);
}
DEFINE_CLEANUP(EventStream, stream_free)

static bool fits(const char *wanted, const EventBatch *b, size_t at)
{
        return !wanted || streq(wanted, event_batch_text(b, at));
}

static bool is_for(const EventStream *s, const EventBatch *b, const EventItem *i)
{
        const StreamFilter *f = &s->filter;

        if (s->of_job)
                return streq(s->call->id, event_batch_text(b, i->job)) && i->hash != s->hash;
        return caller_sees(&s->call->caller, event_batch_text(b, i->tenant),
                       event_batch_text(b, i->subject)) &&
                fits(f->tenant, b, i->tenant) && fits(f->kind, b, i->kind) &&
                fits(f->queue, b, i->queue) && fits(f->state, b, i->state) &&
                !(s->told && s->joined_at == b && event_cursor_has(s->told, i->xid, &i->uuid));
}

/* To the next item that is for it. Stays at the end of the last batch. */
static void skip(EventStream *s)
{
        while (s->at) {
                EventBatch *b = s->at;

                while (s->i < b->n && !is_for(s, b, b->items + s->i))
                        s->i++;
                if (s->i < b->n || !b->next)
                        return;
                if (s->joined_at == b) {
                        s->joined_at = NULL;
                        s->told = mfree(s->told);
                }
                s->at = event_batch_ref(b->next);
                s->i = 0;
                event_batch_unref(b);
        }
}

bool stream_is_drained(const EventStream *s)
{
        return s->own.len == 0 && s->offset == 0 && (!s->at || (s->i >= s->at->n && !s->at->next));
}

void stream_move(EventStream *s, EventBatch *b)
{
        EventBatch *old = s->at;

        s->at = event_batch_ref(b);
        s->i = 0;
        event_batch_unref(old);
        skip(s);
        if (!stream_is_drained(s))
                stream_wake(s);
}

void stream_wake(EventStream *s)
{
        if (s->state > STREAM_ASKED)
                http_request_wake(s->call->request);
}

static void put_close(EventStream *s)
{
        _cleanup_(strbuf_done) StrBuf data = {};

        strbuf_printf(&data, "{\"reason\":\"%s\"}", s->closing);
        sse_put_event(&s->own, "close", NULL, strbuf_str(&data));
}

void stream_close(EventStream *s, const char *reason, bool slow)
{
        if (slow) { /* it holds what others have read long ago */
                s->over = s->offset > 0;
                s->offset = 0;
                strbuf_clear(&s->own);
                s->at = event_batch_unref(s->at);
        }
        s->closing = reason;
        stream_wake(s);
}

/* What is to be given next; an event is never broken up by something else. */
static const char *next_text(EventStream *s, size_t *ret)
{
        const EventItem *item;

        if (s->offset == 0 && s->own.len == 0 && !s->over && s->closing) {
                put_close(s);
                s->over = true;
        }
        if (s->offset == 0 && s->own.len > 0) {
                *ret = s->own.len;
                return s->own.data;
        }
        if (s->offset == 0)
                skip(s);
        if (s->over || !s->at || s->i >= s->at->n)
                return NULL;
        item = s->at->items + s->i;
        if (s->of_job && item->full_size > 0) {
                *ret = item->full_size - s->offset;
                return event_batch_text(s->at, item->full) + s->offset;
        }
        *ret = item->text_size - s->offset;
        return event_batch_text(s->at, item->text) + s->offset;
}

static void consume(EventStream *s, size_t n, bool all)
{
        const EventItem *item;

        if (s->offset == 0 && s->own.len > 0) {
                strbuf_consume(&s->own, n);
                if (s->own.len == 0)
                        strbuf_done(&s->own);
                return;
        }
        s->offset += n;
        if (!all)
                return;
        item = s->at->items + s->i++;
        s->offset = 0;
        if (s->of_job) {
                s->hash = item->hash;
                s->job_state = job_state_from_string(event_batch_text(s->at, item->state));
                s->over = item->ended;
        }
}

static ssize_t on_pull(HttpRequest *r, char *data, size_t max, void *userdata)
{
        EventStream *s = userdata;
        const char *text;
        size_t n = 0;

        while (n < max) {
                size_t size, k;

                text = next_text(s, &size);
                if (!text)
                        break;
                k = size < max - n ? size : max - n;
                memcpy(data + n, text, k);
                consume(s, k, k == size);
                n += k;
        }
        if (n > 0)
                s->given_usec = now_usec(CLOCK_MONOTONIC);
        return n > 0 ? (ssize_t) n : s->over ? -1 : 0;
}

/* ---- beginning ---- */

static void on_revoked(Call *c)
{
        EventStream *s = c->data;

        if (!s->closing)
                stream_close(s, "the key is not good any more", false);
}

static void open_stream(EventStream *s, StreamState state)
{
        Call *c = s->call;
        _cleanup_(http_response_freep) HttpResponse *response = http_response_new(200);

        if (!response || http_response_add(response, "Content-Type", SSE_TYPE) < 0 ||
                http_response_add(response, "Cache-Control", "no-store") < 0 ||
                http_response_add(response, "X-Accel-Buffering", "no") < 0 ||
                strbuf_error(&s->own) < 0) {
                call_fault(c, -ENOMEM);
                return;
        }
        s->state = state;
        c->revoked = on_revoked;
        s->given_usec = now_usec(CLOCK_MONOTONIC);
        if (c->api->stopping)
                s->closing = "stopping";
        call_open(c, TAKE_PTR(response), on_pull, s);
}

static void on_job(int error, const char *const *row, void *userdata)
{
        Call *c = userdata;
        EventStream *s = c->data;
        bool ended;

        if (!call_sees_job(c, error, row))
                return;
        s->job_state = job_state_from_string(row[STORE_JOB_STATE]);
        ended = job_state_is_terminal(s->job_state);
        sse_put_retry(&s->own, REEVE_EVENT_RETRY_MSEC);
        sse_put_event(&s->own, ended ? "end" : "state", feed_get_id(s->feed), row[STORE_JOB_BODY]);
        s->hash = event_hash(row[STORE_JOB_BODY]);
        s->at = event_batch_ref(feed_get_tail(s->feed));
        s->i = s->at->n;
        s->over = ended;
        open_stream(s, STREAM_LIVE);
}

void stream_begin(EventStream *s)
{
        Call *c = s->call;

        if (s->of_job) {
                s->state = STREAM_ASKED;
                (void) call_failed(c, store_get_job(c->api->store, c->id, on_job, c, &c->pending));
                return;
        }
        sse_put_retry(&s->own, REEVE_EVENT_RETRY_MSEC);
        if (s->behind) {
                open_stream(s, STREAM_BEHIND);
                return;
        }
        sse_put_id(&s->own, feed_get_id(s->feed));
        s->at = event_batch_ref(feed_get_tail(s->feed));
        s->i = s->at->n;
        open_stream(s, STREAM_LIVE);
}

static void free_stream(Call *c)
{
        EventStream *s = c->data;

        if (s->state > STREAM_ASKED && http_request_was_slow(c->request)) {
                feed_count_slow(s->feed);
                log_notice("Ended a stream of events: %s took nothing of it for too long.",
                        c->caller.actor);
        }
        feed_remove(s->feed, s);
        stream_free(s);
        c->data = NULL;
        c->cleanup = NULL;
}

/* Answers if the call may not have a stream. */
static EventStream *stream_new(Call *c)
{
        const Settings *settings = &c->api->settings;
        EventStream *s;
        FeedStats stats;

        feed_get_stats(c->api->feed, &stats);
        if (stats.streams >= settings->event_streams) {
                call_problem(c, PROBLEM_UNAVAILABLE,
                        "There are %u streams of events already (EventStreams=). Try again.",
                        stats.streams);
                return NULL;
        }
        s = new0(EventStream, 1);
        if (call_failed(c, s ? 0 : -ENOMEM))
                return NULL;
        s->feed = c->api->feed;
        s->call = c;
        return s;
}

static void start(EventStream *s)
{
        s->call->data = s;
        s->call->cleanup = free_stream;
        feed_add(s->feed, s); /* may answer, and free it */
}

void handle_job_events(HttpRequest *r, void *userdata)
{
        EventStream *s = stream_new(userdata);

        if (!s)
                return;
        s->of_job = true;
        start(s);
}

/* Returns what is wrong with a parameter, or NULL. */
static const char *read_filter(StreamFilter *f, const char *name, const char *value)
{
        if (streq(name, "tenant"))
                f->tenant = value;
        else if (streq(name, "kind"))
                f->kind = value;
        else if (streq(name, "queue"))
                f->queue = value;
        else if (streq(name, "state"))
                f->state = value;
        else
                return "there is no such filter; known are tenant, kind, queue and state";
        if (f->state && job_state_from_string(f->state) <= JOB_NONE)
                return "there is no such state";
        return NULL;
}

static bool read_request(Call *c, EventStream *s)
{
        const UriParams *params = http_request_get_queries(c->request);
        const char *id = http_request_get_header(c->request, "Last-Event-ID");
        EventCursor cursor;

        for (size_t i = 0; i < params->n_items; i++) {
                const char *wrong =
                        read_filter(&s->filter, params->items[i].name, params->items[i].value);

                if (wrong) {
                        call_problem(c, PROBLEM_BAD_QUERY, "%s: %s.", params->items[i].name, wrong);
                        return false;
                }
        }
        if (s->filter.tenant && !caller_sees(&c->caller, s->filter.tenant, c->caller.subject)) {
                call_problem(
                        c, PROBLEM_FORBIDDEN, "%s sees no other tenant's jobs.", c->caller.actor);
                return false;
        }
        if (!id || !*id)
                return true;
        if (event_cursor_parse(id, &cursor) < 0) {
                call_problem(
                        c, PROBLEM_INVALID, "Last-Event-ID is none that this service has sent.");
                return false;
        }
        return !call_failed(c, free_and_strdup(&s->behind, id));
}

void handle_events(HttpRequest *r, void *userdata)
{
        Call *c = userdata;
        _cleanup_(stream_freep) EventStream *s = stream_new(c);

        if (s && read_request(c, s))
                start(TAKE_PTR(s));
}
