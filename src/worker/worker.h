/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "config-load.h"
#include "kind-hold.h"
#include "lane-table.h"
#include "reaper.h"
#include "run-state.h"
#include "stand-still.h"
#include "store-instance.h"
#include "store-upkeep.h"

/* A worker instance: claims jobs of its pool's queues and has them run.
 *
 * GLOSSARY
 * slot     a place where one run can be: a connection to a launcher, or none yet
 * run      a claimed job until the database has confirmed its end
 * queued   claimed, without a slot yet
 * ended    its outcome is known and on its way to the database
 * held     a kind that cannot be run on this host is not claimed for a while
 * drain    no new claims; runs may end by themselves within the pool's DrainSec=
 */

typedef enum WorkerState {
        WORKER_WAITING, /* for the database or the schema; Worker.instance is 0 */
        WORKER_REGISTERING, /* the instance's row is being made */
        WORKER_WORKING,
        WORKER_DRAINING, /* claims no more */
        WORKER_STOPPING, /* no run is left; the instance's row is being closed */
} WorkerState;

/* How long runs of a kind take, as a mean that forgets: each run counts a sixteenth. */
typedef struct KindMean {
        usec_t usec;
        unsigned n; /* runs so far, up to KIND_MEAN_LEAST */
} KindMean;

/* Claiming ahead of free slots is for kinds whose mean is below this, after so many runs. */
#define AHEAD_USEC      (10 * USEC_PER_MSEC)
#define KIND_MEAN_LEAST 20U

struct Worker {
        sd_event *event;
        WorkerState state;
        Settings settings;
        Pool *pool;
        KindSet *kinds;
        const char **kind_names; /* of Exec kinds, NULL-terminated */
        KindMean *means; /* parallel to kinds->kinds */
        KindHold *holds; /* parallel to kinds->kinds */
        const char **held; /* names of kinds that are held, NULL-terminated */
        bool faults_told; /* the instance's row says what is wrong with kinds */
        char *host, *name, *boot_id;
        char *process, *machine; /* namesake.h; NULL: not known */
        const char *run_directory; /* of the kinds' sockets */
        const char *launcher; /* as in WorkerOptions */
        unsigned n_launched; /* by ourselves */
        BlobStore *blobs;
        Store *store;
        int64_t instance;
        int64_t schema_version;

        Slot *slots;
        unsigned n_slots;
        Run *runs;
        unsigned n_runs, n_queued, n_ended;
        bool sending_ends; /* one batch at a time */
        bool sent_held; /* the last batch was one that had been held: others are next */
        bool retry_ends; /* a batch did not get through: again with the next tick */

        LaneTable lanes;
        ClaimRules rules; /* paused queues, kinds with limits */
        bool claiming; /* a claim or a search for lanes is under way */
        struct Claim *claim; /* worker-claim.c: the one under way */
        struct Batch *batch; /* worker-end.c: the one under way */
        usec_t searched_usec; /* when all new lanes had been found */
        bool claims_turn; /* the search is not at its end, and known lanes are next */
        usec_t poll_usec; /* the pause before the next look, growing while there is nothing */
        sd_event_source *poll_timer;
        sd_event_source *end_defer; /* sends what has ended in this iteration */
        sd_event_source *keep_defer; /* keeps output files step by step */

        sd_event_source *beat_timer, *due_timer, *unblock_timer, *wake_timer, *reap_timer,
                *tick_timer, *drain_timer, *schema_timer;
        StandStills namesakes; /* of those that have our name */
        int64_t saw_namesake; /* the one that we wait for, 0: none */
        bool told_namesake; /* the journal says so */
        unsigned n_taken_over; /* predecessors that the registration under way stops */
        char waits_for[224]; /* for STATUS= */
        StandStills still; /* heartbeat counters as the reaper last saw them move */
        char *unblock_after; /* the token behind which to look next, NULL: from the first */
        usec_t promoted_all_usec; /* when due jobs were last looked for from the beginning of time
                                   */
        unsigned n_reaps;
        Reaper reaper;
        sd_bus *bus; /* to stop units whose launcher does not answer; NULL until it is needed */

        usec_t last_beat_usec, last_claim_usec; /* CLOCK_MONOTONIC of their last answers */
        usec_t started_usec, noted_usec, lost_usec, orders_usec;
        usec_t drain_until_usec, drain_grace_usec;
        bool connected, told_away, told_schema;
        uint64_t n_done, n_failed;
        char status[256];
        uint64_t watchdog_usec; /* 0: none */
        bool recycling; /* it drains by itself, and waits for its runs for as long as they take */
};
