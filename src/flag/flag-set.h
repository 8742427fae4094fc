/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "flag-rules.h"
#include "store-control.h"

/* The flags of a database, kept in memory so that an evaluation asks nobody. They are read again at
 * each hint, and by themselves: every 10 s while hints can come, every 1.5 s while they cannot.
 * While the database is away they stay as they are. */

typedef struct FlagSet FlagSet;

/* Called after each reading, from the event loop. */
typedef void (*FlagSetCallback)(void *userdata);

typedef struct FlagSetConfig {
        Store *store; /* must outlive the set; its channel is STORE_FLAG_CHANNEL */
        usec_t stale_usec; /* StaleSec=; USEC_INFINITY: never stale */
        FlagSetCallback on_read; /* may be NULL */
        void *userdata;
} FlagSetConfig;

int flag_set_new(sd_event *event, const FlagSetConfig *config, FlagSet **ret);
FlagSet *flag_set_free(FlagSet *s);
DEFINE_CLEANUP(FlagSet, flag_set_free)

/* Reads the flags again. For StoreConfig.on_hint, and for on_state when it is connected. */
void flag_set_hint(FlagSet *s);

/* Whether they were read once. */
bool flag_set_is_loaded(const FlagSet *s);
/* Whether the last reading is longer ago than StaleSec=: each flag is then as its OnStale= says. */
bool flag_set_is_stale(const FlagSet *s);
/* How long ago it is; USEC_INFINITY: never. */
usec_t flag_set_age_usec(const FlagSet *s);

unsigned flag_set_count(const FlagSet *s);
/* By key or by place (in the order of the keys), valid until the next turn of the event loop; NULL:
 * there is none. */
const Flag *flag_set_find(const FlagSet *s, const char *key);
const Flag *flag_set_get(const FlagSet *s, unsigned i);

/* What the flag says, StaleSec= considered. A flag whose rules this program cannot read (a newer
 * one wrote them) is off with FLAG_ERROR for everybody, unless it is disabled. */
FlagResult flag_set_evaluate(const FlagSet *s, const Flag *flag, FlagContext *context);

/* A row as a flag. Returns 0, -EBADMSG or -EINVAL (*e says what this program cannot read) or
 * -ENOMEM. Undo with flag_done(). */
int flag_from_store(const StoreFlag *row, Flag *ret, JsonError *e);
