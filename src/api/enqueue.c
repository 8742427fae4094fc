/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "enqueue.h"

#include "reeve-limits.h"

#define BATCH_BYTES_MAX (8UL * 1024 * 1024)
#define TRIES_MAX       5U
#define DOUBT_USEC      (20 * USEC_PER_SEC) /* for the database to come back and tell */
#define HELD_TRIES      2U /* of an order whose key another transaction holds, a second apart */
#define HELD_MAX        4U /* such orders at a time: each try takes the connection for lock_timeout */
#define HINT_USEC       (20 * USEC_PER_MSEC) /* at most one notification in this time */

typedef enum OrderPlace {
        ORDER_NEW,
        ORDER_QUEUED, /* in Enqueuer.queue */
        ORDER_SENT, /* in Enqueuer.sent */
        ORDER_DOUBT, /* in Enqueuer.doubt */
        ORDER_ASKED, /* in Enqueuer.asked */
        ORDER_HELD, /* until the timer */
        _ORDER_PLACE_MAX,
} OrderPlace;

typedef struct OrderJob {
        char id[UUID_TEXT_SIZE];
        size_t begin, size; /* in text */
} OrderJob;

struct EnqueueOrder {
        Enqueuer *enqueuer;
        EnqueueOrder *prev, *next;
        OrderPlace place;
        StrBuf text;
        OrderJob *jobs;
        unsigned n_jobs, n_allocated;
        unsigned tries, n_held;
        bool alone;
        usec_t doubt_until;
        EnqueueCallback callback; /* NULL: nobody waits any more */
        void *userdata;
};

typedef struct OrderList {
        EnqueueOrder *first, *last;
} OrderList;

struct Enqueuer {
        sd_event *event;
        Store *store;
        OrderList lists[_ORDER_PLACE_MAX];
        StoreRequest *statement, *question;
        sd_event_source *kick, *timer;
        usec_t hinted_usec;
        EnqueuerStats stats;
};

static void unlink_order(EnqueueOrder *o)
{
        OrderList *l;

        if (o->place == ORDER_NEW)
                return;
        l = o->enqueuer->lists + o->place;
        *(o->prev ? &o->prev->next : &l->first) = o->next;
        *(o->next ? &o->next->prev : &l->last) = o->prev;
        o->prev = o->next = NULL;
        o->place = ORDER_NEW;
}

static void move_order(EnqueueOrder *o, OrderPlace place, bool front)
{
        OrderList *l = o->enqueuer->lists + place;

        unlink_order(o);
        o->place = place;
        if (front) {
                o->next = l->first;
                *(l->first ? &l->first->prev : &l->last) = o;
                l->first = o;
        } else {
                o->prev = l->last;
                *(l->last ? &l->last->next : &l->first) = o;
                l->last = o;
        }
}

int enqueue_order_new(EnqueueOrder **ret)
{
        EnqueueOrder *o = new0(EnqueueOrder, 1);

        if (!o)
                return -ENOMEM;
        *ret = o;
        return 0;
}

static void destroy_order(EnqueueOrder *o)
{
        unlink_order(o);
        strbuf_done(&o->text);
        free(o->jobs);
        free(o);
}

EnqueueOrder *enqueue_order_free(EnqueueOrder *o)
{
        if (!o)
                return NULL;
        o->callback = NULL;
        /* What the server may have taken is seen to its end, for the rows of the others in the
         * batch are counted from its place. */
        if (o->place != ORDER_SENT && o->place != ORDER_ASKED)
                destroy_order(o);
        return NULL;
}

int enqueue_order_add(EnqueueOrder *o, const char *members, size_t size)
{
        OrderJob *j;
        Uuid id;
        int r;

        if (o->n_jobs == o->n_allocated) {
                unsigned n = o->n_allocated > 0 ? 2 * o->n_allocated : 1;

                j = reallocarray(o->jobs, n, sizeof(OrderJob));
                if (!j)
                        return -ENOMEM;
                o->jobs = j;
                o->n_allocated = n;
        }
        r = uuid_new_v7(now_usec(CLOCK_REALTIME), &id);
        if (r < 0)
                return r;
        j = o->jobs + o->n_jobs;
        (void) uuid_format(&id, j->id);
        j->begin = o->text.len;
        j->size = size;
        strbuf_append(&o->text, members, size);
        if (strbuf_error(&o->text) < 0)
                return -ENOMEM;
        o->n_jobs++;
        return 0;
}

unsigned enqueue_order_n_jobs(const EnqueueOrder *o)
{
        return o->n_jobs;
}

/* The last word about an order. */
static void finish(EnqueueOrder *o, int error, const EnqueueRow *rows, const char *text)
{
        EnqueueCallback callback = o->callback;
        void *userdata = o->userdata;
        unsigned n = error == 0 ? o->n_jobs : 0;

        destroy_order(o);
        if (callback)
                callback(error, n > 0 ? rows : NULL, n, text, userdata);
}

static void free_rows(EnqueueRow *rows, unsigned n)
{
        for (unsigned i = 0; rows && i < n; i++)
                free(rows[i].detail);
        free(rows);
}

/* ---- sending ---- */

static void append_order(StrBuf *b, const EnqueueOrder *o, unsigned group)
{
        for (unsigned i = 0; i < o->n_jobs; i++) {
                strbuf_printf(b, "%s{\"grp\":%u,\"id\":\"%s\",", b->len > 1 ? "," : "", group,
                        o->jobs[i].id);
                strbuf_append(b, strbuf_str(&o->text) + o->jobs[i].begin, o->jobs[i].size);
                strbuf_putc(b, '}');
        }
}

static void hint(Enqueuer *e)
{
        usec_t now = now_usec(CLOCK_MONOTONIC);

        if (now - e->hinted_usec < HINT_USEC)
                return; /* the workers look at the queue by themselves, too */
        e->hinted_usec = now;
        (void) store_hint(e->store, NULL, NULL, NULL);
}

static void decode_rows(const EnqueueOrder *o, const StoreEnqueued *in, EnqueueRow *out)
{
        static const char *const outcomes[] = { "created", "exists", "mismatch", "refused",
                "skipped" };

        for (unsigned i = 0; i < o->n_jobs; i++) {
                out[i].outcome = ENQUEUE_REFUSED;
                for (unsigned k = 0; k < ELEMENTSOF(outcomes); k++)
                        if (streq(in[i].outcome, outcomes[k]))
                                out[i].outcome = (EnqueueOutcome) k;
                if (in[i].job && strlen(in[i].job) < UUID_TEXT_SIZE)
                        strcpy(out[i].job, in[i].job); /* NOLINT: the length was looked at */
                /* Sent again after a doubt: the key that is in the way is its own. */
                if (out[i].outcome == ENQUEUE_EXISTS && streq(out[i].job, o->jobs[i].id))
                        out[i].outcome = ENQUEUE_CREATED;
                out[i].state = in[i].state ? job_state_from_string(in[i].state) : JOB_READY;
                out[i].detail = in[i].detail ? strdup(in[i].detail) : NULL;
        }
}

static void finish_sent(Enqueuer *e, const StoreEnqueued *rows, unsigned n_rows)
{
        unsigned at = 0;

        while (e->lists[ORDER_SENT].first) {
                EnqueueOrder *o = e->lists[ORDER_SENT].first;
                unsigned n = o->n_jobs;
                EnqueueRow *own = new0(EnqueueRow, n);

                if (at + n > n_rows || !own) {
                        finish(o, own ? -EPROTO : -ENOMEM, NULL, NULL);
                } else {
                        decode_rows(o, rows + at, own);
                        for (unsigned i = 0; i < n; i++)
                                e->stats.n_created += own[i].outcome == ENQUEUE_CREATED;
                        finish(o, 0, own, NULL);
                }
                free_rows(own, n);
                at += n;
        }
        hint(e);
}

/* What was sent goes back to the front of the queue, in its order. */
static void send_again(Enqueuer *e, bool alone, int error)
{
        EnqueueOrder *prev;

        for (EnqueueOrder *o = e->lists[ORDER_SENT].last; o; o = prev) {
                prev = o->prev;
                o->alone = o->alone || alone;
                if (++o->tries > TRIES_MAX)
                        finish(o, error, NULL, NULL);
                else if (!o->callback)
                        destroy_order(o);
                else
                        move_order(o, ORDER_QUEUED, true);
        }
}

static void doubt_sent(Enqueuer *e)
{
        usec_t until = now_usec(CLOCK_MONOTONIC) + DOUBT_USEC;

        while (e->lists[ORDER_SENT].first) {
                EnqueueOrder *o = e->lists[ORDER_SENT].first;

                if (o->doubt_until == 0)
                        o->doubt_until = until;
                if (o->callback)
                        move_order(o, ORDER_DOUBT, false);
                else
                        destroy_order(o);
        }
}

static void refuse_sent(Enqueuer *e)
{
        EnqueueOrder *o = e->lists[ORDER_SENT].first;

        if (o != e->lists[ORDER_SENT].last)
                send_again(e, true, -EAGAIN);
        else if (o && strstr(store_last_error(e->store), "SQLSTATE 23505") &&
                o->tries++ < TRIES_MAX)
                doubt_sent(e); /* its ids are there: an earlier try was committed after all */
        else if (o)
                finish(o, -EIO, NULL, store_last_error(e->store));
}

static unsigned count_orders(const OrderList *l)
{
        unsigned n = 0;

        for (const EnqueueOrder *o = l->first; o; o = o->next)
                n++;
        return n;
}

/* Its key is held: by a transaction that is left open, or by one whose commit is slow. */
static void hold_order(EnqueueOrder *o)
{
        Enqueuer *e = o->enqueuer;

        if (!o->callback)
                destroy_order(o);
        else if (++o->n_held > HELD_TRIES || count_orders(e->lists + ORDER_HELD) >= HELD_MAX)
                finish(o, -EAGAIN, NULL, store_last_error(e->store));
        else
                move_order(o, ORDER_HELD, false);
}

/* A conflict with others' transactions, or a server without room. One that is left open may hold a
 * key for long: orders that went together with the one that wants it do not wait for that. */
static void retry_sent(Enqueuer *e)
{
        EnqueueOrder *o = e->lists[ORDER_SENT].first;
        bool held = strstr(store_last_error(e->store), ENQUEUE_HELD);

        if (held && o && o == e->lists[ORDER_SENT].last)
                hold_order(o);
        else
                send_again(e, held, -EAGAIN);
}

static void on_enqueued(int error, const StoreEnqueued *rows, unsigned n_rows, void *userdata)
{
        Enqueuer *e = userdata;

        e->statement = NULL;
        if (error == 0)
                finish_sent(e, rows, n_rows);
        else if (error == -EAGAIN)
                retry_sent(e);
        else if (error == -EIO)
                refuse_sent(e);
        else if (error == -ECONNRESET || error == -ETIMEDOUT)
                doubt_sent(e);
        else
                while (e->lists[ORDER_SENT].first)
                        finish(e->lists[ORDER_SENT].first, error, NULL, NULL);
        enqueuer_kick(e);
}

static void send_batch(Enqueuer *e)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        unsigned n_jobs = 0;
        unsigned group = 0;
        EnqueueOrder *o;
        int r;

        if (e->statement || !e->lists[ORDER_QUEUED].first)
                return;
        strbuf_putc(&b, '[');
        while ((o = e->lists[ORDER_QUEUED].first)) {
                bool fits = n_jobs + o->n_jobs <= REEVE_ENQUEUE_BATCH_MAX &&
                        b.len + o->text.len <= BATCH_BYTES_MAX && !o->alone;

                if (group > 0 && !fits)
                        break;
                append_order(&b, o, group++);
                n_jobs += o->n_jobs;
                move_order(o, ORDER_SENT, false);
                if (o->alone)
                        break;
        }
        strbuf_putc(&b, ']');
        r = strbuf_error(&b);
        if (r == 0)
                r = store_enqueue_batch(e->store, strbuf_str(&b), on_enqueued, e, &e->statement);
        if (r == 0)
                e->stats.n_statements++;
        while (r < 0 && e->lists[ORDER_SENT].first)
                finish(e->lists[ORDER_SENT].first, r, NULL, NULL);
}

/* ---- asking ---- */

static const StoreFound *find_job(const char *id, const StoreFound *found, unsigned n)
{
        for (unsigned i = 0; i < n; i++)
                if (streq(id, found[i].job))
                        return found + i;
        return NULL;
}

static void settle_doubt(Enqueuer *e, EnqueueOrder *o, const StoreFound *found, unsigned n_rows)
{
        unsigned n_found = 0;
        unsigned n = o->n_jobs;
        EnqueueRow *rows;

        /* One id tells of all: they were committed together. But with keys some may be others'. */
        for (unsigned i = 0; i < n; i++)
                n_found += find_job(o->jobs[i].id, found, n_rows) != NULL;
        if (n_found == 0 && ++o->tries <= TRIES_MAX) {
                o->alone = true;
                move_order(o, ORDER_QUEUED, true);
                return;
        }
        if (n_found < n) {
                finish(o, -ECONNRESET, NULL, NULL);
                return;
        }
        rows = new0(EnqueueRow, n);
        for (unsigned i = 0; rows && i < n; i++) {
                const StoreFound *f = find_job(o->jobs[i].id, found, n_rows);

                rows[i].outcome = ENQUEUE_CREATED;
                rows[i].state = f ? job_state_from_string(f->state) : JOB_NONE;
                memcpy(rows[i].job, o->jobs[i].id, UUID_TEXT_SIZE);
        }
        e->stats.n_created += n;
        finish(o, rows ? 0 : -ENOMEM, rows, NULL);
        free_rows(rows, n);
}

static void on_found(int error, const StoreFound *found, unsigned n_found, void *userdata)
{
        Enqueuer *e = userdata;

        e->question = NULL;
        while (e->lists[ORDER_ASKED].first) {
                EnqueueOrder *o = e->lists[ORDER_ASKED].first;

                if (!o->callback)
                        destroy_order(o);
                else if (error < 0)
                        move_order(o, ORDER_DOUBT, false);
                else
                        settle_doubt(e, o, found, n_found);
        }
        if (error == 0 || store_is_connected(e->store))
                enqueuer_kick(e);
}

static void ask(Enqueuer *e)
{
        _cleanup_(freep) const char **ids = NULL;
        size_t n = 0;
        EnqueueOrder *o;
        int r;

        if (e->question || !e->lists[ORDER_DOUBT].first || !store_is_connected(e->store))
                return;
        /* A few at a time, so that on_found() stays short. */
        while ((o = e->lists[ORDER_DOUBT].first) && (n == 0 || n + o->n_jobs <= 256)) {
                const char **more = reallocarray(ids, n + o->n_jobs, sizeof(char *));

                if (!more)
                        break;
                ids = more;
                for (unsigned i = 0; i < o->n_jobs; i++)
                        ids[n++] = o->jobs[i].id;
                move_order(o, ORDER_ASKED, false);
        }
        r = n > 0 ? store_find_jobs(e->store, ids, (unsigned) n, on_found, e, &e->question)
                  : -ENOMEM;
        while (r < 0 && e->lists[ORDER_ASKED].first)
                move_order(e->lists[ORDER_ASKED].first, ORDER_DOUBT, false);
}

/* ---- life ---- */

static int on_kick(sd_event_source *s, void *userdata)
{
        Enqueuer *e = userdata;

        ask(e);
        send_batch(e);
        return 0;
}

/* Who waits for an answer too long is told that it is not known. */
static int on_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
        Enqueuer *e = userdata;
        EnqueueOrder *next;

        for (EnqueueOrder *o = e->lists[ORDER_DOUBT].first; o; o = next) {
                next = o->next;
                if (usec >= o->doubt_until)
                        finish(o, -ECONNRESET, NULL, NULL);
        }
        while (e->lists[ORDER_HELD].first)
                move_order(e->lists[ORDER_HELD].first, ORDER_QUEUED, false);
        enqueuer_kick(e);
        (void) sd_event_source_set_time_relative(s, USEC_PER_SEC);
        return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

int enqueuer_new(sd_event *event, Store *store, Enqueuer **ret)
{
        _cleanup_(enqueuer_freep) Enqueuer *e = new0(Enqueuer, 1);
        int r;

        if (!e)
                return -ENOMEM;
        e->event = event;
        e->store = store;
        r = sd_event_add_defer(event, &e->kick, on_kick, e);
        if (r >= 0)
                r = sd_event_source_set_enabled(e->kick, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_add_time_relative(event, &e->timer, CLOCK_MONOTONIC, USEC_PER_SEC,
                        100 * USEC_PER_MSEC, on_timer, e);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(e->kick, "enqueue");
        (void) sd_event_source_set_description(e->timer, "enqueue-tick");
        *ret = TAKE_PTR(e);
        return 0;
}

Enqueuer *enqueuer_free(Enqueuer *e)
{
        if (!e)
                return NULL;
        store_request_cancel(e->statement);
        store_request_cancel(e->question);
        for (unsigned i = 0; i < ELEMENTSOF(e->lists); i++)
                while (e->lists[i].first)
                        destroy_order(e->lists[i].first);
        sd_event_source_disable_unref(e->kick);
        sd_event_source_disable_unref(e->timer);
        return mfree(e);
}

void enqueuer_kick(Enqueuer *e)
{
        (void) sd_event_source_set_enabled(e->kick, SD_EVENT_ONESHOT);
}

void enqueuer_submit(Enqueuer *e, EnqueueOrder *o, EnqueueCallback callback, void *userdata)
{
        o->enqueuer = e;
        o->callback = callback;
        o->userdata = userdata;
        move_order(o, ORDER_QUEUED, false);
        enqueuer_kick(e);
}

void enqueuer_get_stats(const Enqueuer *e, EnqueuerStats *ret)
{
        *ret = e->stats;
        ret->n_waiting = 0;
        for (unsigned i = 0; i < ELEMENTSOF(e->lists); i++)
                ret->n_waiting += count_orders(e->lists + i);
}
