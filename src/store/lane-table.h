/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

#include "store-instance.h"
#include "store-run.h"
#include "time-util.h"

/* The lanes that whoever claims knows, and where it stands in each.
 *
 * GLOSSARY
 * lane    (queue, kind, tenant, priority), by its hash
 * cursor  the last seq claimed: dead entries before it are not walked again
 * empty   a claim found nothing behind the cursor; asked again at the next poll
 * turn    lanes of one priority are asked in a circle that begins one further each time
 */

typedef struct LaneEntry {
        int64_t lane;
        int64_t priority;
        int64_t cursor;
        usec_t used_usec; /* CLOCK_MONOTONIC of the round after its last job; 0: since this round */
        char *queue, *kind, *tenant;
        bool wanted; /* its queue is the pool's, its kind can be run here */
        bool empty;
} LaneEntry;

typedef struct LaneTable {
        LaneEntry *entries; /* ascending by lane */
        unsigned n, n_allocated;
        unsigned turn;
        usec_t reset_usec; /* CLOCK_MONOTONIC of the last reset of cursors */
} LaneTable;

/* Jobs become visible in the order of commits, not of seq: a late one stands behind the cursor
 * until the next reset. So this is the bound on that delay (measured: a reset costs 0.1 us for each
 * dead entry). */
#define LANE_RESET_USEC USEC_PER_SEC

/* A lane that gave nothing for so long is forgotten, or a worker would ask for every tenant that it
 * ever met. The search finds it again when it has a job. */
#define LANE_FORGET_USEC (10 * USEC_PER_MIN)

/* How long to wait between two searches for new lanes: each costs a probe of the index for each
 * known lane. */
#define LANE_SEARCH_USEC(t) (250 * USEC_PER_MSEC * (1 + (t)->n / 2000))

void lane_table_done(LaneTable *t);

/* Adds a lane that is not there yet. Returns 1 if it was added, 0 if it was known, or -ENOMEM. */
int lane_table_add(LaneTable *t, const StoreLane *lane, bool wanted);

/* All known lanes ascending, for store_find_lanes(); the caller frees it. n is t->n. */
int lane_table_known(const LaneTable *t, int64_t **ret);

/* Starts a new round: no lane counts as empty, and if the last reset is long enough ago cursors go
 * back to 0 and lanes without jobs are forgotten. Not while a claim is on its way. */
void lane_table_begin_round(LaneTable *t, usec_t now_usec);

/* Whether a lane is for the one who asks now, of several. */
typedef bool (*LaneFilter)(const LaneEntry *e, void *userdata);

/* What is not claimed from: NULL-terminated names, or NULL for none. */
typedef struct LaneSkip {
        const char *const *queues; /* paused */
        const char *const *kinds; /* cannot be run now */
        const char *const *limited; /* not skipped: kinds that have limits */
        LaneFilter filter; /* what it refuses; NULL: nothing */
        void *userdata;
} LaneSkip;

/* The next lanes to claim from, highest priority first, lanes of one priority in turn. Returns
 * their number, at most n. They are all of kinds with limits or all of kinds without, as the first
 * is (each has its own statement), and none is behind one that was left out for it. */
unsigned lane_table_pick(LaneTable *t, const LaneSkip *skip, StoreCursor *cursors, unsigned n);

/* A claim from these cursors gave these jobs: moves the cursors; what gave nothing is empty if
 * got_less says that the claim was not full. */
void lane_table_claimed(LaneTable *t, const StoreCursor *cursors, unsigned n_cursors,
        const StoreClaimedJob *jobs, unsigned n_jobs, bool got_less);

/* What one who claims was told last. */
typedef struct ClaimRules {
        char **paused; /* names of queues, NULL-terminated; or NULL */
        char **limited; /* names of kinds */
} ClaimRules;

/* Replaces them by what store_list_claim_rules() gave. Returns 0, or -ENOMEM: they stay. */
int claim_rules_set(ClaimRules *r, const StoreClaimRule *rules, unsigned n_rules);
void claim_rules_done(ClaimRules *r);
