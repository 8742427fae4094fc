/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stand-still.h"

#include "macros.h"

/* Looks are made every 5 s; after a longer pause the one who looks was stopped, and not the others.
 */
#define GAP_USEC (12 * USEC_PER_SEC)

void stand_stills_done(StandStills *t)
{
        free(t->entries);
        *t = (StandStills){ 0 };
}

void stand_stills_forget(StandStills *t)
{
        stand_stills_done(t);
}

static const StandStill *find(const StandStills *t, int64_t instance)
{
        for (unsigned i = 0; i < t->n; i++)
                if (t->entries[i].instance == instance)
                        return t->entries + i;
        return NULL;
}

int stand_stills_look(StandStills *t, const StoreBeat *beats, unsigned n, usec_t now_usec)
{
        StandStill *entries;

        if (now_usec - t->looked_usec > GAP_USEC)
                stand_stills_forget(t);
        entries = new0(StandStill, n + 1);
        if (!entries)
                return -ENOMEM;
        for (unsigned i = 0; i < n; i++) {
                const StandStill *old = find(t, beats[i].instance);

                entries[i] = (StandStill){ beats[i].instance, beats[i].beat, now_usec, 0 };
                if (old && old->beat == beats[i].beat) {
                        entries[i].since_usec = old->since_usec;
                        entries[i].stood_usec = now_usec - old->since_usec;
                }
        }
        free(t->entries);
        *t = (StandStills){ entries, n, now_usec };
        return 0;
}
