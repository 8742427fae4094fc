/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "store-upkeep.h"
#include "time-util.h"

/* How long the heartbeat counters of instances have been seen standing still, on the clock of
 * whoever looks: neither a stepped clock, nor a looker that was stopped, nor a database that was
 * away for everybody makes anybody dead. */

typedef struct StandStill {
        int64_t instance, beat;
        usec_t since_usec; /* CLOCK_MONOTONIC */
        usec_t stood_usec; /* until the last look */
} StandStill;

typedef struct StandStills {
        StandStill *entries; /* as the last look gave them */
        unsigned n;
        usec_t looked_usec;
} StandStills;

void stand_stills_done(StandStills *t);
/* What was seen so far counts no more: the connection was lost. */
void stand_stills_forget(StandStills *t);
/* Takes what a look at all living instances gave; now is CLOCK_MONOTONIC. Returns 0 or -ENOMEM. */
int stand_stills_look(StandStills *t, const StoreBeat *beats, unsigned n, usec_t now_usec);
