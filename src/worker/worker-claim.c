/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <unistd.h>

#include "log.h"
#include "reeve-limits.h"
#include "worker-private.h"

/* The pause between looks: short after work was found, longer while there is none. Hints shorten
 * it; polling is the truth. */
#define POLL_MIN_USEC (20 * USEC_PER_MSEC)
#define POLL_MAX_USEC (500 * USEC_PER_MSEC)

/* One claim on its way: the cursors it was made from. */
typedef struct Claim {
        int64_t instance; /* for which it was made */
        StoreCursor cursors[REEVE_CLAIM_LANES_MAX];
        unsigned n_cursors;
        unsigned n_jobs; /* asked for */
} Claim;

static void claim_next(Worker *w);
static void search_lanes(Worker *w);

static int on_poll(sd_event_source *s, uint64_t usec, void *userdata)
{
        worker_claim(userdata);
        return 0;
}

static void poll_in(Worker *w, usec_t in_usec)
{
        int r;

        if (w->poll_timer) {
                r = sd_event_source_set_time_relative(w->poll_timer, in_usec);
                if (r >= 0)
                        r = sd_event_source_set_enabled(w->poll_timer, SD_EVENT_ONESHOT);
        } else {
                r = sd_event_add_time_relative(w->event, &w->poll_timer, CLOCK_MONOTONIC, in_usec,
                        USEC_PER_MSEC, on_poll, w);
                if (r >= 0)
                        (void) sd_event_source_set_description(w->poll_timer, "poll");
        }
        if (r < 0)
                (void) sd_event_exit(
                        w->event, log_error_errno(r, "Failed to arm the poll timer: %m"));
}

/* A round ended without work: look again later. */
static void claim_rest(Worker *w)
{
        w->claiming = false;
        if (w->state != WORKER_WORKING)
                return;
        poll_in(w, w->poll_usec);
        w->poll_usec = w->poll_usec * 2 > POLL_MAX_USEC ? POLL_MAX_USEC : w->poll_usec * 2;
}

/* Jobs of a kind that is over in a moment are claimed ahead, so that a slot need not wait for a
 * round trip and a commit between two of them; but never so many that a job of higher priority
 * would wait for long. */
#define AHEAD_PER_SLOT 8U
#define AHEAD_MAX      256U

static KindMean *mean_of(Worker *w, const char *name)
{
        for (size_t i = 0; i < w->kinds->n_kinds; i++)
                if (streq(w->kinds->kinds[i]->name, name))
                        return w->means + i;
        return NULL;
}

void worker_note_duration(Worker *w, const Kind *kind, usec_t usec)
{
        KindMean *m = mean_of(w, kind->name);

        if (!m)
                return;
        m->usec = m->n == 0 ? usec : m->usec - m->usec / 16 + usec / 16;
        if (m->n < KIND_MEAN_LEAST)
                m->n++;
}

static bool is_held(const Worker *w, const char *name)
{
        const Kind *kind = kind_set_find(w->kinds, name);

        return kind && worker_holds_kind(w, kind);
}

/* Whether all lanes that have work are of quick kinds: only then it does not matter which job waits
 * in this worker. */
static bool all_are_quick(Worker *w)
{
        bool any = false;

        for (unsigned i = 0; i < w->lanes.n; i++) {
                const LaneEntry *e = w->lanes.entries + i;
                const KindMean *m;

                if (!e->wanted || e->empty || is_held(w, e->kind))
                        continue;
                m = mean_of(w, e->kind);
                if (!m || m->n < KIND_MEAN_LEAST || m->usec >= AHEAD_USEC)
                        return false;
                any = true;
        }
        return any;
}

unsigned worker_n_waiting(const Worker *w)
{
        unsigned n = w->n_queued + worker_n_without_room(w);

        for (const Run *r = w->runs; r; r = r->next)
                n += r->state == RUN_PREPARING;
        return n;
}

/* How many jobs may be claimed now: as many as there are free slots, or some more of quick ones.
 * Ends that the database has not confirmed hold claims back as well, or a slow database would fill
 * the memory with results. */
static unsigned n_wanted(Worker *w)
{
        unsigned n_used = worker_n_busy(w) + worker_n_waiting(w), limit = w->n_slots;

        if (w->state != WORKER_WORKING)
                return 0;
        if (all_are_quick(w))
                limit += w->n_slots * AHEAD_PER_SLOT < AHEAD_MAX ? w->n_slots * AHEAD_PER_SLOT
                                                                 : AHEAD_MAX;
        if (w->n_ended > 2 * limit || n_used >= limit)
                return 0;
        return limit - n_used < REEVE_CLAIM_BATCH_MAX ? limit - n_used : REEVE_CLAIM_BATCH_MAX;
}

static void take_job(Worker *w, const StoreClaimedJob *job)
{
        Run *run = NULL;
        int r;

        r = run_new(w, job, &run);
        if (r < 0) {
                /* Without memory for it nothing can be said about it either: its lease goes with
                 * the next look at our own runs (worker_check_own_runs). */
                log_error_errno(r, "Failed to take run %lld: %m", (long long) job->run_id);
                return;
        }
        if (!job->known || !run->kind) {
                run_give_back(run);
                return;
        }
        if (job->late) {
                run->outcome = (Outcome){ .state = "failed",
                        .cause = "deadline",
                        .exit_status = -1,
                        .error_code = strdup("DEADLINE"),
                        .error_message = strdup("its deadline passed before it ran"),
                        .counts = STORE_COUNTS_NEITHER };
                run_ended(run);
                return;
        }
        run_start(run);
}

static void on_claimed(int error, const StoreClaimedJob *jobs, unsigned n_jobs, void *userdata)
{
        Worker *w = userdata;
        _cleanup_(freep) Claim *claim = TAKE_PTR(w->claim);

        if (error < 0 || claim->instance != w->instance) {
                /* Jobs that came for an instance which is dead by now are freed like all that it
                 * had. */
                worker_note_error(w, error);
                claim_rest(w);
                return;
        }

        w->last_claim_usec = now_usec(CLOCK_MONOTONIC);
        lane_table_claimed(
                &w->lanes, claim->cursors, claim->n_cursors, jobs, n_jobs, n_jobs < claim->n_jobs);
        for (unsigned i = 0; i < n_jobs; i++)
                take_job(w, jobs + i);
        if (n_jobs > 0)
                w->poll_usec = POLL_MIN_USEC;
        w->claiming = false;
        claim_next(w);
}

static void send_claim(Worker *w, Claim *claim)
{
        const StoreClaim request = { claim->cursors, claim->n_cursors, w->kind_names,
                claim->n_jobs };
        int r;

        r = store_claim_jobs(w->store, w->instance, &request, on_claimed, w, NULL);
        if (r < 0) {
                free(claim);
                claim_rest(w);
                return;
        }
        w->claim = claim;
        w->claiming = true;
}

static void on_lanes(int error, const StoreLane *lanes, unsigned n_lanes, void *userdata)
{
        Worker *w = userdata;
        int r;

        w->claiming = false;
        if (error < 0) {
                worker_note_error(w, error);
                claim_rest(w);
                return;
        }

        w->last_claim_usec = now_usec(CLOCK_MONOTONIC);
        for (unsigned i = 0; i < n_lanes; i++) {
                const Kind *kind = kind_set_find(w->kinds, lanes[i].kind);
                bool wanted =
                        kind && kind->type == KIND_EXEC && pool_serves(w->pool, lanes[i].queue);

                r = lane_table_add(&w->lanes, lanes + i, wanted);
                if (r < 0) {
                        log_oom();
                        break;
                }
        }

        /* However many there are, those that are known do not wait for the end of it. */
        w->claims_turn = n_lanes >= STORE_LANES_MAX;
        if (w->claims_turn)
                lane_table_begin_round(&w->lanes, w->last_claim_usec);
        else
                w->searched_usec = w->last_claim_usec;
        claim_next(w);
}

static void search_lanes(Worker *w)
{
        _cleanup_(freep) int64_t *known = NULL;
        int r;

        r = lane_table_known(&w->lanes, &known);
        if (r >= 0)
                r = store_find_lanes(w->store, known, w->lanes.n, on_lanes, w, NULL);
        if (r < 0) {
                claim_rest(w);
                return;
        }
        w->claiming = true;
}

#if REEVE_TEST_HOOKS
/* A fault for tests: the claiming code stands still while the rest of the loop goes on. */
static bool is_wedged(void)
{
        const char *file = getenv("REEVE_TEST_WEDGE_FILE");

        return file && access(file, F_OK) == 0;
}
#else
static bool is_wedged(void)
{
        return false;
}
#endif

/* New lanes are looked for also while the known ones have enough to do: a job of high priority may
 * be in one. */
static bool must_search(const Worker *w)
{
        return now_usec(CLOCK_MONOTONIC) >= w->searched_usec + LANE_SEARCH_USEC(&w->lanes);
}

/* One step of a round: new lanes, if they have not been looked for lately; then the known ones, in
 * batches; then a rest. */
static void claim_next(Worker *w)
{
        LaneSkip skip = { .queues = (const char *const *) w->rules.paused,
                .limited = (const char *const *) w->rules.limited };
        Claim *claim;

        if (w->claiming || !w->instance || n_wanted(w) == 0 || is_wedged())
                return;
        if (must_search(w) && !w->claims_turn) {
                search_lanes(w);
                return;
        }
        w->claims_turn = false;

        claim = new0(Claim, 1);
        if (!claim) {
                log_oom();
                claim_rest(w);
                return;
        }
        claim->instance = w->instance;
        claim->n_jobs = n_wanted(w);
        skip.kinds = worker_held_kinds(w);
        claim->n_cursors = lane_table_pick(&w->lanes, &skip, claim->cursors, REEVE_CLAIM_LANES_MAX);
        if (claim->n_cursors > 0) {
                send_claim(w, claim);
                return;
        }
        free(claim);
        if (must_search(w))
                search_lanes(w);
        else
                claim_rest(w);
}

void worker_claim(Worker *w)
{
        if (w->claiming || w->state != WORKER_WORKING)
                return;
        lane_table_begin_round(&w->lanes, now_usec(CLOCK_MONOTONIC));
        claim_next(w);
}

void worker_hint(Worker *w)
{
        if (w->state != WORKER_WORKING)
                return;
        w->poll_usec = POLL_MIN_USEC;
        poll_in(w, 0);
}
