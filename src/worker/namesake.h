/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "time-util.h"

/* Whether who has a worker's name is its predecessor, or another one that lives.
 *
 * GLOSSARY
 * process  a process as no other is called: boot id, PID namespace, PID, time of its start
 * machine  what this installation is called (machine-id(5), hashed): images that were cloned have
 *          it together
 */

typedef enum NamesakePlace {
        NAMESAKE_GONE, /* its process was here, and is no more; or it is ourselves */
        NAMESAKE_HERE, /* its process is here; it may be stopped, or hang */
        NAMESAKE_NEAR, /* on this machine before it was restarted, or on one cloned from it */
        NAMESAKE_ELSEWHERE, /* on another machine, or it did not say */
} NamesakePlace;

/* This process and this machine, to be freed by the caller. NULL: the kernel, or a sandbox, hides
 * what it takes. Returns 0 or -ENOMEM. */
int namesake_identify(char **ret_process, char **ret_machine);

/* Where the process is that said so of itself; NULLs are taken. */
NamesakePlace namesake_find(
        const char *process, const char *machine, const char *own_process, const char *own_machine);

/* How long its heartbeat must have stood still until it counts as gone: the lease, after which
 * anybody says so; three heartbeats, at most the lease, of one that ended with its machine, most
 * likely. */
usec_t namesake_patience(NamesakePlace place, usec_t lease_usec, usec_t heartbeat_usec);
