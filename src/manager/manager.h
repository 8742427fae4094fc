/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-event.h>

#include "macros.h"

/* The manager: org.reeve1 on the system bus, over the queue in PostgreSQL. */

typedef struct Manager Manager;

typedef struct ManagerOptions {
        const char *root; /* the configuration is below it; NULL: the system's */
} ManagerOptions;

/* Starts to connect to the database, then to the bus; says READY=1 when the name is owned. Faults
 * have been logged. Returns 0 or -errno. */
int manager_new(sd_event *event, const ManagerOptions *options, Manager **ret);
/* Ends the loop after what is under way has been answered, or after 5 s; at once when called again.
 */
void manager_stop(Manager *m);
Manager *manager_free(Manager *m);
DEFINE_CLEANUP(Manager, manager_free)
