/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lane-table.h"

#include "conf.h"
#include "macros.h"

static void entry_done(LaneEntry *e)
{
        free(e->queue);
        free(e->kind);
        free(e->tenant);
}

void lane_table_done(LaneTable *t)
{
        for (unsigned i = 0; i < t->n; i++)
                entry_done(t->entries + i);
        free(t->entries);
        *t = (LaneTable){ 0 };
}

/* The index of the first entry that is not below lane. */
static unsigned lower_bound(const LaneTable *t, int64_t lane)
{
        unsigned lo = 0, hi = t->n;

        while (lo < hi) {
                unsigned mid = lo + (hi - lo) / 2;

                if (t->entries[mid].lane < lane)
                        lo = mid + 1;
                else
                        hi = mid;
        }
        return lo;
}

static LaneEntry *find(LaneTable *t, int64_t lane)
{
        unsigned i = lower_bound(t, lane);

        return i < t->n && t->entries[i].lane == lane ? t->entries + i : NULL;
}

int lane_table_add(LaneTable *t, const StoreLane *lane, bool wanted)
{
        LaneEntry e = { .lane = lane->lane, .priority = lane->priority, .wanted = wanted };
        unsigned i = lower_bound(t, lane->lane);

        if (i < t->n && t->entries[i].lane == lane->lane)
                return 0;

        if (t->n == t->n_allocated) {
                unsigned n = t->n_allocated ? t->n_allocated * 2 : 16;
                LaneEntry *p = realloc(t->entries, n * sizeof(LaneEntry));

                if (!p)
                        return -ENOMEM;
                t->entries = p;
                t->n_allocated = n;
        }
        e.queue = strdup(lane->queue);
        e.kind = strdup(lane->kind);
        e.tenant = strdup(lane->tenant);
        if (!e.queue || !e.kind || !e.tenant) {
                entry_done(&e);
                return -ENOMEM;
        }

        memmove(t->entries + i + 1, t->entries + i, (t->n - i) * sizeof(LaneEntry));
        t->entries[i] = e;
        t->n++;
        return 1;
}

int lane_table_known(const LaneTable *t, int64_t **ret)
{
        int64_t *known = new0(int64_t, t->n);

        if (!known)
                return -ENOMEM;
        for (unsigned i = 0; i < t->n; i++)
                known[i] = t->entries[i].lane;
        *ret = known;
        return 0;
}

static void forget_unused(LaneTable *t, usec_t now_usec)
{
        unsigned n = 0;

        for (unsigned i = 0; i < t->n; i++) {
                LaneEntry *e = t->entries + i;

                if (now_usec >= e->used_usec + LANE_FORGET_USEC)
                        entry_done(e);
                else
                        t->entries[n++] = *e;
        }
        t->n = n;
}

void lane_table_begin_round(LaneTable *t, usec_t now_usec)
{
        bool reset = now_usec >= t->reset_usec + LANE_RESET_USEC;

        for (unsigned i = 0; i < t->n; i++) {
                t->entries[i].empty = false;
                if (t->entries[i].used_usec == 0)
                        t->entries[i].used_usec = now_usec;
                if (reset)
                        t->entries[i].cursor = 0;
        }
        if (reset) {
                t->reset_usec = now_usec;
                forget_unused(t, now_usec);
        }
}

static bool is_among(const char *name, const char *const *names)
{
        for (; names && *names; names++)
                if (streq(*names, name))
                        return true;
        return false;
}

static bool is_skipped(const LaneEntry *e, const LaneSkip *skip)
{
        return is_among(e->queue, skip->queues) || is_among(e->kind, skip->kinds) ||
                (skip->filter && !skip->filter(e, skip->userdata));
}

unsigned lane_table_pick(LaneTable *t, const LaneSkip *skip, StoreCursor *cursors, unsigned n)
{
        int64_t least = 1; /* the priority of those of the other sort */
        unsigned n_picked = 0;

        if (t->n == 0)
                return 0;
        t->turn = (t->turn + 1) % t->n;
        for (int64_t priority = 10; priority >= least && n_picked < n; priority--)
                for (unsigned k = 0; k < t->n && n_picked < n; k++) {
                        const LaneEntry *e = t->entries + (t->turn + k) % t->n;
                        bool limited;

                        if (e->priority != priority || !e->wanted || e->empty ||
                                is_skipped(e, skip))
                                continue;
                        limited = is_among(e->kind, skip->limited);
                        if (n_picked > 0 && limited != cursors[0].limited) {
                                least = priority;
                                continue;
                        }
                        cursors[n_picked++] =
                                (StoreCursor){ e->lane, e->cursor, e->priority, limited };
                }
        return n_picked;
}

void lane_table_claimed(LaneTable *t, const StoreCursor *cursors, unsigned n_cursors,
        const StoreClaimedJob *jobs, unsigned n_jobs, bool got_less)
{
        for (unsigned i = 0; i < n_cursors; i++) {
                LaneEntry *e = find(t, cursors[i].lane);

                if (e && got_less)
                        e->empty = true;
        }
        for (unsigned i = 0; i < n_jobs; i++) {
                LaneEntry *e = find(t, jobs[i].lane);

                if (!e)
                        continue;
                e->used_usec = 0;
                if (jobs[i].seq > e->cursor)
                        e->cursor = jobs[i].seq;
        }
}

int claim_rules_set(ClaimRules *r, const StoreClaimRule *rules, unsigned n_rules)
{
        _cleanup_(claim_rules_done)
                ClaimRules told = { new0(char *, n_rules + 1), new0(char *, n_rules + 1) };
        unsigned n_paused = 0, n_limited = 0;

        if (!told.paused || !told.limited)
                return -ENOMEM;
        for (unsigned i = 0; i < n_rules; i++) {
                char *name = strdup(rules[i].name);

                if (!name)
                        return -ENOMEM;
                if (rules[i].paused)
                        told.paused[n_paused++] = name;
                else
                        told.limited[n_limited++] = name;
        }
        claim_rules_done(r);
        *r = STEAL(told);
        return 0;
}

void claim_rules_done(ClaimRules *r)
{
        r->paused = conf_names_free(r->paused);
        r->limited = conf_names_free(r->limited);
}
