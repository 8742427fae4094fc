/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "store-upkeep.h"

/* Ends the runs that stopped instances left behind. Used by workers, for the whole fleet, and by
 * reeve-worker --release when systemd has seen a worker end. */

typedef void (*ReaperCallback)(int error, unsigned n_ended, void *userdata);

typedef struct Reaper {
        Store *store;
        const char *actor; /* for the history */
        const char *detail; /* what is known of the end beyond its cause, or NULL */
        ReaperCallback on_done;
        void *userdata;
        unsigned n_ended;
        bool busy;
} Reaper;

/* Begins; on_done comes when none is left or it failed. Does nothing if it is under way. Returns as
 * store_ functions. */
int reaper_start(Reaper *r);
