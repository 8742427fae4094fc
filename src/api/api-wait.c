/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "api-auth.h"
#include "api-jobs.h"

/* Long polls. One statement asks for all jobs that anybody waits for. */

#define POLL_USEC  (100 * USEC_PER_MSEC)
#define WAITED_MAX 1000U /* ids in one statement; the others take their turn */

typedef struct Waiter Waiter;
struct Waiter {
        Waiters *waiters;
        Waiter *prev, *next;
        Call *call;
        CallReady ready;
        usec_t until_usec;
};

struct Waiters {
        Api *api;
        Waiter *first, *last;
        unsigned n;
        sd_event_source *timer;
        StoreRequest *question;
};

static void free_waiter(Call *c)
{
        Waiter *w = c->data;
        Waiters *all = w->waiters;

        *(w->prev ? &w->prev->next : &all->first) = w->next;
        *(w->next ? &w->next->prev : &all->last) = w->prev;
        all->n--;
        free(w);
        c->data = NULL;
        c->cleanup = NULL;
        c->revoked = NULL;
}

static void on_revoked(Call *c)
{
        free_waiter(c);
        (void) call_lost_key(c);
}

static void release(Waiter *w)
{
        Call *c = w->call;
        CallReady ready = w->ready;

        free_waiter(c);
        ready(c);
}

static void on_ended(int error, const char *const *ids, unsigned n_ids, void *userdata)
{
        Waiters *all = userdata;
        Waiter *next;

        all->question = NULL;
        for (unsigned i = 0; i < n_ids; i++)
                for (Waiter *w = all->first; w; w = next) {
                        next = w->next;
                        if (streq(w->call->id, ids[i]))
                                release(w);
                }
}

static void ask(Waiters *all)
{
        _cleanup_(freep) const char **ids = NULL;
        unsigned n = 0;

        if (all->question || !all->first || !store_is_connected(all->api->store))
                return;
        ids = (const char **) new0(char *, WAITED_MAX);
        if (!ids)
                return; /* the next tick tries again */
        for (Waiter *w = all->first; w && n < WAITED_MAX; w = w->next)
                ids[n++] = w->call->id;
        (void) store_find_ended(all->api->store, ids, n, on_ended, all, &all->question);
        /* More than a statement takes: the first ones go behind the others. */
        if (all->n > WAITED_MAX)
                for (unsigned i = 0; i < n; i++) {
                        Waiter *w = all->first;

                        all->first = w->next;
                        w->next->prev = NULL;
                        w->next = NULL;
                        w->prev = all->last;
                        all->last->next = w;
                        all->last = w;
                }
}

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
        Waiters *all = userdata;
        usec_t now = now_usec(CLOCK_MONOTONIC);
        Waiter *next;

        for (Waiter *w = all->first; w; w = next) {
                next = w->next;
                if (now >= w->until_usec)
                        release(w);
        }
        ask(all);
        if (!all->first)
                return 0;
        (void) sd_event_source_set_time_relative(s, POLL_USEC);
        return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

int waiters_new(Api *a, Waiters **ret)
{
        Waiters *all = new0(Waiters, 1);
        int r;

        if (!all)
                return -ENOMEM;
        all->api = a;
        r = sd_event_add_time(
                a->event, &all->timer, CLOCK_MONOTONIC, 0, USEC_PER_MSEC, on_timer, all);
        if (r >= 0)
                r = sd_event_source_set_enabled(all->timer, SD_EVENT_OFF);
        if (r < 0) {
                waiters_free(all);
                return r;
        }
        (void) sd_event_source_set_description(all->timer, "waiters");
        *ret = all;
        return 0;
}

Waiters *waiters_free(Waiters *all)
{
        if (!all)
                return NULL;
        store_request_cancel(all->question);
        sd_event_source_disable_unref(all->timer);
        return mfree(all);
}

int waiters_add(Waiters *all, Call *c, usec_t usec, CallReady ready)
{
        Waiter *w = new0(Waiter, 1);

        if (!w)
                return -ENOMEM;
        *w = (Waiter){ .waiters = all, .call = c, .ready = ready, .prev = all->last };
        w->until_usec = now_usec(CLOCK_MONOTONIC) + usec;
        *(all->last ? &all->last->next : &all->first) = w;
        all->last = w;
        c->data = w;
        c->cleanup = free_waiter;
        c->revoked = on_revoked;
        if (all->n++ == 0) {
                (void) sd_event_source_set_time_relative(all->timer, POLL_USEC / 10);
                (void) sd_event_source_set_enabled(all->timer, SD_EVENT_ONESHOT);
        }
        return 0;
}

void waiters_flush(Waiters *all)
{
        while (all->first)
                release(all->first);
}
