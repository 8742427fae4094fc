/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

#include "conf.h"
#include "time-util.h"

/* What one worker instance serves: a .conf file of reeve/pools/ (reeve.conf(5)). */
typedef struct Pool {
        char *name;
        char **queues; /* as in Queues=, NULL-terminated: names, "*", "!name" */
        unsigned slots; /* 0: as many as the host has CPUs (Slots=auto) */
        unsigned min, max; /* worker instances on this host */
        usec_t drain_usec; /* how long a stopping worker waits for its runs */
        unsigned recycle_jobs; /* after so many a fresh process takes over; 0: never */
} Pool;

/* The settings of a pool for which there is no file: the pool "inline" serves the queue "inline",
 * every other pool all queues but "inline". Returns as kind_new_from_conf(). */
int pool_new_from_conf(
        const char *name, const Conf *c, ConfReport report, void *userdata, Pool **ret);
Pool *pool_free(Pool *p);
DEFINE_CLEANUP(Pool, pool_free)

/* Whether a queue is the pool's: named, or meant by "*"; "!name" wins over both. */
bool pool_serves(const Pool *p, const char *queue);

/* Every key, ended by one without key. */
const ConfEntry *pool_entries(void);
