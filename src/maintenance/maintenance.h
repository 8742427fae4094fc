/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-event.h>

/* One round of tidying up, for reeve-maintenance.timer: what has expired goes, from the database
 * and from this host's blob store. Every step can be left in the middle and done again; several
 * hosts may do it at once. */

typedef struct MaintenanceOptions {
        const char *root; /* configuration is read below it; NULL: the running system */
        const char *blobs; /* the blob store's directory */
} MaintenanceOptions;

/* Runs the event loop until all is done. SIGTERM must be blocked: it ends the round after the
 * statement under way. Logs what it did and what failed. Returns 0, -EINTR (told to end), or the
 * -errno of the first step that failed; the steps that do not depend on it were done all the same.
 */
int maintenance_run(sd_event *event, const MaintenanceOptions *options);
