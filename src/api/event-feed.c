/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "event-feed.h"

#include "log.h"
#include "sse.h"

#define POLL_USEC (100 * USEC_PER_MSEC)
#define REST_FACTOR                                                                                \
        4U /* a question that took long is not asked again for so many times as long               \
            */
#define PASS_USEC (500 * USEC_PER_MSEC) /* between looks for silent streams */
#define RUNS_USEC (20 * USEC_PER_SEC) /* a claim is committed long before it is so old */

struct Feed {
        Api *api;
        EventStream *first, *last;
        unsigned n;
        EventBatch *tail; /* NULL: its place is not known */
        EventCursor cursor; /* of the tail */
        StrBuf id; /* the same as text */
        int64_t runs_old, runs_new; /* seen before two, and at the last of these times ... */
        usec_t runs_usec;
        StoreRequest *question;
        char *behind; /* the id the question goes on from; NULL: the tail's */
        bool tail_was_last;
        usec_t asked_usec, due_usec, pass_usec;
        sd_event_source *timer;
        FeedStats stats;
};

static void ask(Feed *f);

/* ---- the list ---- */

static void link_last(Feed *f, EventStream *s)
{
        s->next = NULL;
        s->prev = f->last;
        *(f->last ? &f->last->next : &f->first) = s;
        f->last = s;
}

static void unlink_stream(Feed *f, EventStream *s)
{
        *(s->prev ? &s->prev->next : &f->first) = s->next;
        *(s->next ? &s->next->prev : &f->last) = s->prev;
}

static void forget(Feed *f)
{
        f->question = store_request_cancel(f->question);
        f->behind = mfree(f->behind);
        f->tail = event_batch_unref(f->tail);
        f->runs_old = f->runs_new = 0;
        (void) sd_event_source_set_enabled(f->timer, SD_EVENT_OFF);
}

void feed_add(Feed *f, EventStream *s)
{
        link_last(f, s);
        if (f->n++ == 0) {
                f->due_usec = 0;
                (void) sd_event_source_set_time_relative(f->timer, 0);
                (void) sd_event_source_set_enabled(f->timer, SD_EVENT_ONESHOT);
        } else if (f->tail && !f->question)
                stream_begin(s);
}

void feed_remove(Feed *f, EventStream *s)
{
        unlink_stream(f, s);
        if (--f->n == 0)
                forget(f);
}

const char *feed_get_id(const Feed *f)
{
        return strbuf_str(&f->id);
}

EventBatch *feed_get_tail(const Feed *f)
{
        return f->tail;
}

void feed_count_slow(Feed *f)
{
        f->stats.n_slow++;
}

void feed_get_stats(const Feed *f, FeedStats *ret)
{
        *ret = f->stats;
        ret->streams = f->n;
}

/* ---- handing on ---- */

/* The slowest hold what they have not read, and all that came after it. */
static void drop_slow(Feed *f)
{
        while (f->stats.bytes > f->api->settings.event_buffer) {
                EventStream *slowest = NULL;

                for (EventStream *s = f->first; s; s = s->next)
                        if (s->at && !stream_is_drained(s) &&
                                (!slowest || s->at->seq < slowest->at->seq))
                                slowest = s;
                if (!slowest || slowest->at == f->tail)
                        return; /* what came just now is not late */
                f->stats.n_slow++;
                log_notice("Ended a stream of events: %s does not read as fast as things happen "
                           "(EventBufferMax=).",
                        slowest->call->caller.actor);
                stream_close(slowest, "slow", true);
        }
}

/* Joins what those have read who were behind to the tail's next batch. */
static void join(EventStream *s, EventBatch *b)
{
        s->state = STREAM_LIVE;
        s->joined_at = b;
        if (stream_is_drained(s))
                stream_move(s, b);
        else if (!s->at->next)
                s->at->next = event_batch_ref(b);
}

static void append(Feed *f, EventBatch *b)
{
        _cleanup_(event_batch_unrefp) EventBatch *old = f->tail;
        static uint64_t seq;

        b->seq = ++seq;
        f->tail = b;
        old->next = event_batch_ref(b);
        for (EventStream *s = f->first; s; s = s->next)
                if (s->state == STREAM_JOINING)
                        join(s, b);
                else if (s->state == STREAM_LIVE && s->at == old && s->offset == 0 &&
                        s->own.len == 0 && s->i >= old->n)
                        stream_move(s, b);
        drop_slow(f);
}

static void hand_to_behind(Feed *f, EventBatch *b, bool is_all, bool is_future)
{
        for (EventStream *s = f->first; s; s = s->next) {
                if (s->state != STREAM_BEHIND || !streq(s->behind, f->behind) ||
                        !stream_is_drained(s))
                        continue;
                if (is_future)
                        sse_put_event(&s->own, "reset", feed_get_id(f),
                                "{\"reason\":\"the id to go on from is of another database\"}");
                if (is_all)
                        s->state = STREAM_JOINING;
                stream_move(s, b);
                stream_wake(s);
        }
}

/* ---- questions ---- */

static int read_page(Feed *f, const StoreEvent *rows, unsigned n, EventCursor *c, EventSnapshot *s,
        EventBatch **ret)
{
        if (event_snapshot_parse(rows[0].snapshot, s) < 0)
                return -EPROTO;
        return event_batch_new(rows, n, c, s, &f->stats.bytes, ret);
}

static void note_runs(Feed *f, int64_t run_id, usec_t now)
{
        if (now - f->runs_usec < RUNS_USEC)
                return;
        f->runs_old = f->runs_new;
        f->runs_new = run_id;
        f->runs_usec = now;
}

static void begin_all(Feed *f)
{
        EventStream *next;

        for (EventStream *s = f->first; s; s = next) {
                next = s->next;
                if (s->state == STREAM_OPENING)
                        stream_begin(s); /* may end it, but no other */
        }
}

static bool anybody_joins(const Feed *f)
{
        for (const EventStream *s = f->first; s; s = s->next)
                if (s->state == STREAM_JOINING)
                        return true;
        return false;
}

static int tail_answered(Feed *f, const StoreEvent *rows, unsigned n, usec_t now)
{
        _cleanup_(event_batch_unrefp) EventBatch *b = NULL;
        EventSnapshot s;
        int r = read_page(f, rows, n, &f->cursor, &s, &b);

        if (r < 0)
                return r;
        note_runs(f, rows[0].run_id, now);
        strbuf_clear(&f->id);
        event_cursor_format(&f->cursor, &f->id);
        if (strbuf_error(&f->id) < 0)
                return strbuf_error(&f->id);
        f->stats.n_events += b->n;
        if (!f->tail)
                f->tail = TAKE_PTR(b);
        else if (b->n > 0 || anybody_joins(f))
                append(f, TAKE_PTR(b));
        f->due_usec = now + REST_FACTOR * (now - f->asked_usec);
        if (f->due_usec < f->asked_usec + POLL_USEC)
                f->due_usec = f->asked_usec + POLL_USEC;
        /* There is more, but readers that keep up are to have read this before it is too much. */
        if (n >= REEVE_EVENT_PAGE_MAX)
                f->due_usec =
                        f->stats.bytes < f->api->settings.event_buffer / 4 ? now : now + POLL_USEC;
        return 0;
}

static int behind_answered(Feed *f, const StoreEvent *rows, unsigned n)
{
        _cleanup_(event_batch_unrefp) EventBatch *b = NULL;
        _cleanup_(strbuf_done) StrBuf id = {};
        EventCursor c;
        EventSnapshot s;
        bool is_future, is_all = n < REEVE_EVENT_PAGE_MAX;
        int r = event_cursor_parse(f->behind, &c);

        if (r >= 0)
                r = event_snapshot_parse(rows[0].snapshot, &s);
        if (r < 0)
                return -EPROTO;
        is_future = c.next.xid > s.xmax && s.n_open < REEVE_EVENT_OPEN_MAX;
        r = read_page(f, rows, n, &c, &s, &b);
        event_cursor_format(&c, &id);
        if (r < 0 || strbuf_error(&id) < 0)
                return r < 0 ? r : strbuf_error(&id);
        f->stats.n_events += b->n;
        hand_to_behind(f, b, is_all, is_future);
        for (EventStream *t = f->first; t; t = t->next) {
                if ((t->state != STREAM_BEHIND && t->state != STREAM_JOINING) || t->at != b)
                        continue;
                r = free_and_strdup(&t->behind, strbuf_str(&id));
                if (r >= 0 && is_all) {
                        t->told = new0(EventCursor, 1);
                        r = t->told ? 0 : -ENOMEM;
                }
                if (r < 0)
                        stream_close(t, "out of memory", true);
                else if (is_all)
                        *t->told = c;
        }
        return 0;
}

static void on_events(int error, const StoreEvent *rows, unsigned n, void *userdata)
{
        Feed *f = userdata;
        usec_t now = now_usec(CLOCK_MONOTONIC);
        bool was_tail = !f->behind;
        int r = error;

        f->question = NULL;
        if (r >= 0)
                r = was_tail ? tail_answered(f, rows, n, now) : behind_answered(f, rows, n);
        f->behind = mfree(f->behind);
        f->tail_was_last = was_tail;
        if (r < 0) {
                f->due_usec = now + USEC_PER_SEC;
                if (r == -EIO)
                        log_warning("Events: %s", store_last_error(f->api->store));
                else if (r == -EPROTO || r == -ENOMEM)
                        (void) log_warning_errno(r, "Failed to read events: %m");
        }
        if (f->tail)
                begin_all(f);
        ask(f);
}

static bool is_idle(JobState s)
{
        return s == JOB_SCHEDULED || s == JOB_BLOCKED || s == JOB_WAITING;
}

static int ask_tail(Feed *f)
{
        size_t n_most = 2UL * f->n;
        _cleanup_(freep) const char **ids = (const char **) new0(char *, n_most);
        StoreEventQuery q = { .cursor = f->tail ? &f->cursor : NULL, .run_id = f->runs_old };
        const char **idle;

        if (!ids)
                return -ENOMEM;
        idle = ids + f->n;
        for (EventStream *s = f->first; s; s = s->next) {
                if (!s->of_job) {
                        q.everybody = true;
                } else if (s->state > STREAM_OPENING) {
                        ids[q.n_jobs++] = s->call->id;
                        if (is_idle(s->job_state))
                                idle[q.n_idle++] = s->call->id;
                }
        }
        q.jobs = ids;
        q.idle = idle;
        return store_list_events(f->api->store, &q, on_events, f, &f->question);
}

/* The next place to go on from, in turn. */
static EventStream *find_behind(Feed *f)
{
        EventStream *s = f->first;

        while (s && (s->state != STREAM_BEHIND || !stream_is_drained(s)))
                s = s->next;
        return s;
}

static int ask_behind(Feed *f, EventStream *s)
{
        StoreEventQuery q = { .everybody = true };
        EventCursor c;
        int r = free_and_strdup(&f->behind, s->behind);

        unlink_stream(f, s);
        link_last(f, s);
        if (r < 0)
                return r;
        r = event_cursor_parse(f->behind, &c);
        q.cursor = &c;
        if (r >= 0)
                r = store_list_events(f->api->store, &q, on_events, f, &f->question);
        if (r < 0)
                f->behind = mfree(f->behind);
        return r;
}

static void ask(Feed *f)
{
        usec_t now = now_usec(CLOCK_MONOTONIC);
        EventStream *behind;
        int r = 0;

        if (f->question || !f->first || !store_is_connected(f->api->store) ||
                f->api->schema_version < SCHEMA_NEEDED)
                return;
        behind = f->tail ? find_behind(f) : NULL;
        f->asked_usec = now;
        if (behind && (f->tail_was_last || now < f->due_usec))
                r = ask_behind(f, behind);
        else if (now >= f->due_usec || anybody_joins(f))
                r = ask_tail(f);
        if (r < 0)
                f->due_usec = now + USEC_PER_SEC;
}

/* ---- time ---- */

/* Says something where nothing happens: proxies cut what is silent, and who has gone is noticed.
 * The id moves on with it, so that whoever comes back has little to catch up. */
static void comment(Feed *f, usec_t now)
{
        bool connected = store_is_connected(f->api->store);

        f->pass_usec = now;
        for (EventStream *s = f->first; s; s = s->next) {
                if (s->state <= STREAM_ASKED || !stream_is_drained(s) ||
                        now - s->given_usec < f->api->settings.event_comment_usec)
                        continue;
                sse_put_comment(&s->own, connected ? "" : "the database is away");
                if (s->state == STREAM_LIVE && !s->of_job)
                        sse_put_id(&s->own, feed_get_id(f));
                stream_wake(s);
        }
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        Feed *f = userdata;
        usec_t now = now_usec(CLOCK_MONOTONIC);
        usec_t next;

        if (!f->first)
                return 0;
        if (now - f->pass_usec >= PASS_USEC)
                comment(f, now);
        ask(f);
        now = now_usec(CLOCK_MONOTONIC);
        next = f->due_usec > now && f->due_usec - now < POLL_USEC ? f->due_usec - now : POLL_USEC;
        (void) sd_event_source_set_time_relative(source, next);
        return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int feed_new(Api *a, Feed **ret)
{
        _cleanup_(freep) Feed *f = new0(Feed, 1);
        int r;

        if (!f)
                return -ENOMEM;
        f->api = a;
        r = sd_event_add_time(a->event, &f->timer, CLOCK_MONOTONIC, 0, USEC_PER_MSEC, on_timer, f);
        if (r < 0)
                return r;
        (void) sd_event_source_set_enabled(f->timer, SD_EVENT_OFF);
        (void) sd_event_source_set_description(f->timer, "events");
        *ret = TAKE_PTR(f);
        return 0;
}

Feed *feed_free(Feed *f)
{
        if (!f)
                return NULL;
        forget(f);
        strbuf_done(&f->id);
        sd_event_source_disable_unref(f->timer);
        return mfree(f);
}

void feed_stop(Feed *f)
{
        EventStream *next;

        for (EventStream *s = f->first; s; s = next) {
                next = s->next;
                if (s->state == STREAM_OPENING)
                        call_problem(s->call, PROBLEM_STOPPING, "The service stops. Try again.");
                else if (!s->closing)
                        stream_close(s, "stopping", false);
        }
}
